"""The file named by BENCH_FILE through wsgi.file_wrapper (PEP 3333), or in blocks where the server has none."""

from __future__ import annotations

import os

PATH = os.environ["BENCH_FILE"]
LENGTH = str(os.path.getsize(PATH))
BLOCK_BYTES = 262144


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", LENGTH)])
    file = open(PATH, "rb")
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is not None:
        return wrapper(file, BLOCK_BYTES)
    return iter(lambda: file.read(BLOCK_BYTES), b"")
