"""Seven parts of computing in `f`, three of waiting in `g`; what both really took, by the clocks, is at /truth.

With PYINSTRUMENT=1 each request is run under that profiler, and /truth says what it saw, too.
"""

from __future__ import annotations

import json
import os
import threading
import time

COMPUTE_S, WAIT_S = 0.007, 0.003
LOCK = threading.Lock()
TOLD = {"f_s": 0.0, "f_cpu_s": 0.0, "g_s": 0.0}
SEEN = {"f": 0.0, "g": 0.0}


def f() -> int:
    """Computes for so long by the clock of its thread."""
    end = time.thread_time() + COMPUTE_S
    count = 0
    while time.thread_time() < end:
        for _ in range(200):
            count += 1
    return count


def g() -> None:
    time.sleep(WAIT_S)


def work() -> None:
    began, began_cpu = time.perf_counter(), time.thread_time()
    f()
    between, ended_cpu = time.perf_counter(), time.thread_time()
    g()
    ended = time.perf_counter()
    with LOCK:
        TOLD["f_s"] += between - began
        TOLD["f_cpu_s"] += ended_cpu - began_cpu
        TOLD["g_s"] += ended - between


def instrumented() -> None:
    from pyinstrument import Profiler

    with Profiler(interval=0.001) as profiler:
        work()
    frames = [profiler.last_session.root_frame()]
    found = dict.fromkeys(SEEN, 0.0)
    for frame in frames:
        if frame is not None and frame.function in found:
            found[frame.function] += frame.time
        elif frame is not None:
            frames += frame.children
    with LOCK:
        for name, seconds in found.items():
            SEEN[name] += seconds


def app(environ, start_response):
    if environ["PATH_INFO"] == "/truth":
        body = json.dumps({**TOLD, "pid": os.getpid(), "pyinstrument": SEEN}).encode()
    else:
        instrumented() if os.environ.get("PYINSTRUMENT") else work()
        body = b"done\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
