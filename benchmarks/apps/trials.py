"""What the trials ask for: a quick route, one that waits, two that compute, a large body, and resources to take.

/cpu burns BENCH_LOOPS turns of a Python loop (2 ms), /short a seventh of that: see apps/mixed.py. /stall stands
still in the last second of every five.
"""

from __future__ import annotations

import itertools
import os
import time

from mixed import LOOPS, SLEEP_S, burn

TEXT = [("Content-Type", "text/plain")]
LARGE = b"x" * 20_000_000
HELD = []
CALLS = itertools.count()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if environ["QUERY_STRING"] == "load":
        next(CALLS)
    size = len(environ["wsgi.input"].read())
    body = b"%d bytes" % size
    if path == "/sleep":
        time.sleep(SLEEP_S)
    elif path == "/cpu":
        burn(LOOPS)
    elif path == "/short":
        burn(LOOPS // 7)
    elif path == "/stall":
        second = time.time() % 5
        if second > 4:
            time.sleep(5 - second)
    elif path == "/large":
        body = LARGE
    elif path == "/stream":
        start_response("200 OK", TEXT)
        return (b"x" * 10_000 for _ in range(50))
    elif path == "/fail":
        raise ValueError("as it should")
    elif path == "/count":
        body = b"%d" % next(CALLS)  # how many came before
    elif path == "/hold":
        HELD.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(50))
    elif path == "/memory":
        HELD.append(bytearray(120_000_000))
    elif path == "/free":
        while HELD:
            kept = HELD.pop()
            if isinstance(kept, int):
                os.close(kept)
    start_response("200 OK", TEXT)
    return [body]
