"""The command line: one module a command, called by `main`."""
