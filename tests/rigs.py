"""A reader of requests with one connection, and no loop."""

from __future__ import annotations

import socket
from typing import Any

from vivace.connection.connection import HEAD, IDLE, Connection
from vivace.connection.reading import Reader
from vivace.connection.site import Site
from vivace.http1.flags import PRIVATE
from vivace.http1.head import HeadLimits
from vivace.schedule.policy import Policy
from vivace.schedule.routes import RouteTable

BASE = {"SERVER_NAME": "test", "wsgi.url_scheme": "http"}


def new_site() -> Site:
    return Site(dict(BASE), response_buffer_bytes=1 << 20, write_timeout_s=5.0, step_aside=lambda conn: None)


class Rig:
    """A reader, one connection of it, and what a loop would do with both."""

    def __init__(self, site: Site | None = None, limits: HeadLimits | None = None, **options: Any) -> None:
        self.ours, self.peer = socket.socketpair()
        self.ours.setblocking(False)
        self.peer.settimeout(5)
        self.site = site or new_site()
        self.conn = Connection(self.ours.fileno(), "192.0.2.1", "1234", self.site, 0.0)
        self.disk_errors: list[OSError] = []
        self.aside: list[Connection] = []
        self.reader = Reader(
            RouteTable(Policy(tick_s=0.004, gil=True).new_route),
            limits or HeadLimits(),
            **{
                "body_bytes_max": 1 << 30,
                "body_memory_bytes": 1 << 20,
                "spill_dir": "",
                "stream": False,
                "lazy_max": 0,
                "head_timeout_s": 30.0,
                "body_timeout_s": 60.0,
                "body_rate_bytes_min": 0,
                "step_aside": self.aside.append,
                "on_disk_error": self.disk_errors.append,
                **options,
            },
        )

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.reader.forget(self.conn)
        self.ours.close()
        self.peer.close()

    def bring(self, data: bytes) -> None:
        """Bytes have come: as Loop.on_data."""
        conn = self.conn
        if conn.state == HEAD:
            conn.buffer += data
        else:
            conn.buffer = conn.buffer[conn.at :] + data if conn.buffer else data
            conn.at = 0

    def take(self, data: bytes, now: float = 0.0) -> bool:
        """Whether `data` completes a request, which the connection then holds."""
        self.bring(data)
        return self.reader.take(self.conn, now)

    def requests(self, *pieces: bytes, found: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Environ and body of every request in the pieces: as Loop.serve_buffer; in `found` if one is refused."""
        found = [] if found is None else found
        conn = self.conn
        for piece in pieces:
            self.bring(piece)
            while self.reader.take(conn, 0.0):
                environ = dict(conn.environ)
                environ["body"] = environ.pop("wsgi.input").read()
                environ["vivace.route"] = environ["vivace.route"].name
                found.append(environ | {"flags": conn.flags & ~PRIVATE})
                if conn.incoming is not None:
                    assert self.reader.release(conn)
                conn.state = IDLE
                if conn.at >= len(conn.buffer):
                    conn.buffer, conn.at = b"", 0
                    break
        return found
