"""The applications under load, one module each, all named `app`. They run in the servers' processes."""
