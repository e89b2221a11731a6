"""`leak`, cured: the last five hundred are kept. Memory grows until they are there, and no more: that is no leak."""

from __future__ import annotations

import time

VISITS: dict[int, list[str]] = {}
VISITS_MAX = 500


def remember(path: str) -> None:
    now = time.monotonic_ns()
    VISITS[now] = [f"{path} at {now} {number}" for number in range(12)]
    while len(VISITS) > VISITS_MAX:
        try:
            VISITS.pop(next(iter(VISITS)), None)
        except (RuntimeError, StopIteration):  # another thread changes it
            break


def app(environ, start_response):
    remember(environ["PATH_INFO"])
    body = b"%d visits\n" % len(VISITS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
