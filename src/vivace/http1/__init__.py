"""HTTP/1.1 without I/O: bytes in, tuples and bytes out (RFC 9110, RFC 9112).

Knows no socket, clock, thread, log or setting. What a peer may not send raises `Refused`; what an
application may not send raises `ApplicationError`; nothing here answers or closes anything itself.

* `head`     one request head -> WSGI environ keys, body length, flags
* `target`   the request line and its four forms of target
* `fields`   field lines: grammar, environ keys, and the bounded cache of lines that repeat
* `blocks`   heads that repeat but for a cookie, a token or a query: a shortcut beside `head`
* `framing`  how the body of a request is delimited, and what Expect asks
* `chunked`  the chunked coding, decoded piece by piece
* `response` a status line and fields -> one response head
* `forwarded`, `trusted`  what trusted proxies say of their client (X-Forwarded-*, RFC 7239)
* `proxy_header`  the header of the PROXY protocol
* `status`   reason phrases, and the whole response that refuses a request
"""
