"""The loop's own cost for one request: everything but the system calls, which are replaced by functions that return
at once.

python -m benchmarks.bench_loop        prints us per request: the fast path, its general twin, a list of two headers
"""

from __future__ import annotations

import os
import time
from typing import Any

from vivace.config.load import from_keywords
from vivace.connection import loop as loop_module
from vivace.connection.connection import Connection
from vivace.connection.reading import Site
from vivace.worker.console import Console
from vivace.worker.server import make_plan

HEAD = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
COOKIE = b"Cookie: session=%032x\r\ntraceparent: 00-%032x-00f067aa0ba902b7-01\r\n\r\n"
TURNS = 20_000
BATCH = 8


class Enough(BaseException):
    """Raised by the poller's stand-in to leave the loop."""


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The smallest application."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def measure(requests: list[bytes]) -> float:
    """Seconds per request of a loop that reads `requests` over and over."""
    settings = from_keywords(threads=2, lanes="inline")
    plan = make_plan(hello, settings, Console())
    loop = loop_module.Loop(plan)
    site = Site({}, response_buffer_bytes=1 << 20, write_timeout_s=60, step_aside=loop.step_aside)
    base = {f"base.{index}": index for index in range(12)}
    site.base.update(base)
    for fd in range(1000, 1000 + BATCH):
        conn = Connection(fd, "127.0.0.1", "50000", site, float("inf"))
        conn.mode = 1
        loop.conns[fd] = conn
    events = [(fd, 1) for fd in range(1000, 1000 + BATCH)]
    left = TURNS // BATCH

    def wait(timeout_s: float, events_max: int) -> list[tuple[int, int]]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Enough
        return events

    position = 0

    def read(fd: int, size: int) -> bytes:
        nonlocal position
        position += 1
        # A new object each time, as the kernel gives one: its hash is not known yet.
        return bytes(memoryview(requests[position % len(requests)]))

    loop.poller.wait = wait  # type: ignore[method-assign]
    loop.sweeper.tick(time.perf_counter())
    real = os.read, os.write
    os.read, os.write = read, lambda fd, data: len(data)  # type: ignore[assignment]
    plan.on_error = lambda error: None
    started = time.process_time()
    try:
        loop.turn([])
    except Enough:
        pass
    finally:
        os.read, os.write = real
        loop.poller._epoll.close()
    return (time.process_time() - started) / TURNS


def main() -> None:
    """Prints the minimum of several runs."""
    same = [HEAD]
    fresh = [HEAD[:-2] + COOKIE % (index, index * 7919) for index in range(5000)]
    for name, requests in (("identical heads", same), ("new cookie and traceparent in each", fresh)):
        best = min(measure(requests) for _ in range(7))
        print(f"{name:40s} {best * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
