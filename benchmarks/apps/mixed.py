"""A quick route beside slow ones: / is hello, /sleep waits 20 ms, /cpu burns BENCH_LOOPS turns of a Python
loop.

The harness finds how many turns take 1 ms of CPU on this machine, once a run, so that every server does the
same work.
"""

from __future__ import annotations

import os
import time

LOOPS = int(os.environ.get("BENCH_LOOPS", "0"))
SLEEP_S = 0.020
BODY = [b"Hello, World!"]
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]


def burn(loops):
    value = 1
    for _ in range(loops):
        value = value * 31 & 0xFFFF
    return value


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(SLEEP_S)
    elif path == "/cpu":
        burn(LOOPS)
    start_response("200 OK", HEADERS)
    return BODY
