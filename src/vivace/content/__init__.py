"""What a response is made of: codings of its body, and files."""
