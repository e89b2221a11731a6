"""Routes of which it is known what they take, and which tell it: for the trial `measures`.

/truth answers, as JSON, for each path what the application itself has measured: calls, seconds, CPU seconds of the
thread; and seconds in collections of garbage.
"""

from __future__ import annotations

import gc
import json
import threading
import time

TEXT = [("Content-Type", "text/plain")]
HELD = []
TRUTH = {}
guard = threading.Lock()
collecting = [0, 0.0, 0.0]  # collections, seconds, when the present one began


def on_collection(phase, info):
    if phase == "start":
        collecting[2] = time.perf_counter()
    else:
        collecting[0] += 1
        collecting[1] += time.perf_counter() - collecting[2]


gc.callbacks.append(on_collection)


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(50))


def allocate():
    """Rings of lists: only a collection frees them."""
    for _ in range(20_000):
        ring = []
        ring.append(ring)


WORK = {
    "/sleep5": lambda: time.sleep(0.005),
    "/sleep": lambda: time.sleep(0.020),
    "/sleep50": lambda: time.sleep(0.050),
    "/cpu": lambda: compute(0.010),
    "/stall": lambda: compute(0.200),
    "/allocate": allocate,
    "/hold": lambda: HELD.append(b"x" * 200_000),
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"ok"
    if path == "/truth":
        with guard:
            body = json.dumps({"routes": TRUTH, "collecting": collecting[:2]}).encode()
    elif path in WORK:
        began, cpu = time.perf_counter(), time.thread_time()
        WORK[path]()
        took, cpu = time.perf_counter() - began, time.thread_time() - cpu
        with guard:
            row = TRUTH.setdefault(path, [0, 0.0, 0.0])
            row[0] += 1
            row[1] += took
            row[2] += cpu
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]
