"""Starts the servers that have no command: `python -m vivace.lab.peers NAME PORT`, with the application of `hosted`.

Rules: runs in a process of its own. Knows nothing of the rest of the room.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HOST = "127.0.0.1"
BACKLOG = 1024


def bjoern(application: Callable[..., Any], port: int) -> None:
    server: Any = __import__("bjoern")
    server.run(application, HOST, port)


def wsgiref(application: Callable[..., Any], port: int) -> None:
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *words: Any) -> None:
            """No line for each request: no other server writes one here."""

    class Queueing(WSGIServer):
        request_queue_size = BACKLOG  # with its default of 5 a loader's connections are dropped, not queued

    make_server(HOST, port, application, server_class=Queueing, handler_class=Quiet).serve_forever()


PEERS = {"bjoern": bjoern, "wsgiref": wsgiref}


def main() -> None:
    from vivace.lab import hosted

    name, port = sys.argv[1:]
    PEERS[name](hosted.application, int(port))


if __name__ == "__main__":
    main()
