"""What the loads of benchmarks.adapting ask for. A path says what a call does; see CALLS."""

from __future__ import annotations

import threading
import time

CONNECTIONS = 8
GATE = threading.Semaphore(CONNECTIONS)
BEST = 16
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "3")]

inside: list[None] = []


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def gated():
    """A database with so many connections, 20 ms each."""
    with GATE:
        time.sleep(0.020)


def thrash():
    """Something that takes the longer the more ask at once: most is done with BEST of them."""
    inside.append(None)
    try:
        time.sleep(0.010 * (1 + (len(inside) / BEST) ** 2))
    finally:
        inside.pop()


def page():
    for _ in range(4):
        burn(0.0002)
        time.sleep(0.0008)


CALLS = {
    "/": lambda: None,
    "/sleep": lambda: time.sleep(0.020),
    "/wait": lambda: time.sleep(0.100),
    "/gated": gated,
    "/thrash": thrash,
    "/cpu": lambda: burn(0.010),
    "/page": page,
}


def app(environ, start_response):
    CALLS[environ["PATH_INFO"]]()
    start_response("200 OK", HEADERS)
    return [b"ok\n"]
