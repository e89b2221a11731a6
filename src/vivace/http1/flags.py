"""What a request head asks of its response and its connection, as one small integer. Imports nothing."""

from __future__ import annotations

HTTP10 = 1  # the client speaks HTTP/1.0
HEAD = 2  # the method is HEAD: a head is answered, and no body
CLOSE = 4  # the connection closes after the response
EXPECTS = 8  # a body follows, and the client waits for 100 (Continue)
PRIVATE = 16  # holds a credential, or a value made for this request: not to be kept beyond it
