"""Why connections close: the closed list of reasons, each with a word in the shared page, in this order.

Every connection that closes increments exactly one counter, once (`connection.reasons` counts).
"""

from __future__ import annotations

REASONS = {
    "client": "the client closed it between requests",
    "client_early": "the client closed it in the middle of a request",
    "client_gone": "the client closed or reset it before it had its whole response",
    "done": "the response was the last one (Connection: close, HTTP/1.0)",
    "refused": "a request broke HTTP or a limit and was refused",
    "unread": "the application answered without reading the whole body that it asked to read itself",
    "aborted": "the application failed when the head was already out",
    "handshake": "the client broke off or broke the rules before HTTP began (TLS, the PROXY protocol)",
    "untrusted": "a PROXY protocol header was due, and its peer is no trusted proxy",
    "garbled": "what came within TLS was no TLS, or altered on the way",
    "redirected": "its one request was sent on to https",
    "handshake_timeout": "what comes before HTTP took longer than its deadline",
    "keepalive_timeout": "nothing came for keepalive_timeout_s",
    "head_timeout": "the head was not complete after head_timeout_s",
    "body_timeout": "the body came slower than body_timeout_s or body_rate_bytes_min allow",
    "request_timeout": "the application took longer than request_timeout_s",
    "write_timeout": "the client read nothing for write_timeout_s",
    "evicted": "idle, closed to make room for a new one (connections_max, descriptors)",
    "passed_on": "another worker serves it on",
    "memory": "there was no memory to go on with its request",
    "stopping": "the server stopped",
    "bug": "a fault of vivace itself, logged with its traceback",
}
