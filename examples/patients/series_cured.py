"""`series`, cured: the three are asked at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import upstream

URL = upstream.start()
POOL = ThreadPoolExecutor(30)


def asked(name: str) -> bytes:
    return urlopen(f"{URL}/{name}?ms=50").read()


def app(environ, start_response):
    body = b"".join(POOL.map(asked, ("price", "stock", "rating")))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
