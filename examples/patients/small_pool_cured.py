"""`small_pool`, cured: as many connections as requests that run at once."""

from __future__ import annotations

import queue
from urllib.request import urlopen

import upstream

URL = upstream.start()
CONNECTIONS = 12


class Connection:
    """To something that takes its time; one question at once."""

    def ask(self, question: str) -> bytes:
        return urlopen(f"{URL}/{question}?ms=20").read()


POOL: queue.Queue[Connection] = queue.Queue()
for _ in range(CONNECTIONS):
    POOL.put(Connection())


def app(environ, start_response):
    connection = POOL.get()
    try:
        body = connection.ask("orders")
    finally:
        POOL.put(connection)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
