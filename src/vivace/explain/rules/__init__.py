"""The rules: from the case to findings, a module for each kind of illness. Pure functions without memory."""
