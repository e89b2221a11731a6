"""The lab: outside a server, looking at it. It loads servers, times them and compares them, as processes of their own.

Rules: a server is started by its real command, never in this process; nothing that serves imports this room.
Times are seconds, sizes bytes. A percentile is read from recorded times only, never guessed between them.
"""
