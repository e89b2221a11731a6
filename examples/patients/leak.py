"""A route that keeps something of each request for good: 1 KB."""

from __future__ import annotations

import time

VISITS: dict[int, list[str]] = {}


def remember(path: str) -> None:
    now = time.monotonic_ns()
    VISITS[now] = [f"{path} at {now} {number}" for number in range(12)]  # ILL: never removed


def app(environ, start_response):
    remember(environ["PATH_INFO"])
    body = b"%d visits\n" % len(VISITS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
