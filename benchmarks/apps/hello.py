"""The smallest application: 13 bytes of text, the headers made once."""

from __future__ import annotations

BODY = [b"Hello, World!"]
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]


def app(environ, start_response):
    start_response("200 OK", HEADERS)
    return BODY
