"""1 MB (2**20 bytes) from memory, one block."""

from __future__ import annotations

BODY = [bytes(range(256)) * 4096]
HEADERS = [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(BODY[0])))]


def app(environ, start_response):
    start_response("200 OK", HEADERS)
    return BODY
