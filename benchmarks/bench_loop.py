"""The loop's own cost for one request: everything but the system calls, which are replaced by functions that return
at once.

python -m benchmarks.bench_loop        prints us per request: the fast path, its general twin, a list of two headers,
                                       and the fast path with an access log in each format
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from vivace.config.load import from_keywords
from vivace.connection import loop as loop_module
from vivace.connection.connection import Connection
from vivace.connection.site import Site
from vivace.worker.caching import make_cache
from vivace.worker.console import Console
from vivace.worker.log_file import open_logs
from vivace.worker.planning import make_plan

HEAD = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
COOKIE = b"Cookie: session=%032x\r\ntraceparent: 00-%032x-00f067aa0ba902b7-01\r\n\r\n"
TURNS = 20_000
BATCH = 8
METRICS = True


class Enough(BaseException):
    """Raised by the poller's stand-in to leave the loop."""


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The smallest application."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def kept(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The same, for everybody."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=3600")])
    return [b"Hello, World!"]


def measure(
    requests: list[bytes], app: Any = hello, arranged: Callable[[Site], Site] = lambda site: site, **more: Any
) -> float:
    """Seconds per request of a loop that reads `requests` over and over; `arranged` may change the site.

    `more` are settings.
    """
    settings = from_keywords(threads=2, lanes="inline", **{"metrics": METRICS, **more})
    plan = make_plan(app, settings, Console(), open_logs(settings))
    if settings.cache:
        plan.cache = make_cache(settings, None, Console())
    loop = loop_module.Loop(plan)
    site = Site({}, response_buffer_bytes=1 << 20, write_timeout_s=60, step_aside=loop.step_aside)
    base: dict[str, Any] = {f"base.{index}": index for index in range(12)} | {"wsgi.url_scheme": "http"}
    site.base.update(base)
    site = arranged(site)
    for fd in range(1000, 1000 + BATCH):
        conn = Connection(fd, "127.0.0.1", "50000", site, time.perf_counter() + 3600)
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
    print(f"{'the same, from the cache':40s} {min(measure(same, kept, cache=True) for _ in range(7)) * 1e6:6.2f} us")
    best = min(measure(fresh, kept, cache=True) for _ in range(7))
    print(f"{'the same, new cookie in each':40s} {best * 1e6:6.2f} us")
    for form in ("common", "combined", "json"):
        best = min(measure(same, access_log_file="/dev/null", access_log_format=form) for _ in range(7))
        print(f"{'identical heads, access log ' + form:40s} {best * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
