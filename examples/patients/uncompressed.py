"""A route that sends much text as it is to clients that would take it compressed."""

from __future__ import annotations

import itertools

COUNT = itertools.count()
ROWS = "\n".join(f"{number},article {number},{number * 3 % 101},in stock" for number in range(12_000)).encode()


def app(environ, start_response):
    body = b"# list %d\n%b" % (next(COUNT), ROWS)
    start_response("200 OK", [("Content-Type", "text/csv"), ("Content-Length", str(len(body)))])
    return [body]
