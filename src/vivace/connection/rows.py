"""What a loop has noted of requests before it is counted (`tally`): sums of a route's quick ones, rows of others."""

from __future__ import annotations

from array import array
from threading import get_native_id

from vivace.connection.meter import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.plan import Answer
    from vivace.schedule.route import Route
    from vivace.wsgi.exchange import Exchange

UNKNOWN = -1


class Stats:
    """One route's quick requests, as far as they have not been counted."""

    __slots__ = (
        "app_s",
        "count",
        "counts",
        "histogram",
        "missing",
        "number",
        "odd",
        "queued_s",
        "read",
        "send_s",
        "status",
        "times",
        "unseen",
        "usual",
        "written",
    )

    def __init__(self) -> None:
        self.count = 0
        self.status: str | None = ""
        """Seen last. The next one is looked at only if it is another object."""
        self.usual = UNKNOWN
        """The class (0: 1xx) of the first status ..."""
        self.odd = [0] * 5
        """... and by class, those that are of another one."""
        self.missing = True
        """Nothing but 404 has been seen."""
        # Of those that were looked at: response times in seconds, and sums of the rest.
        self.times = array("f")
        self.queued_s = self.app_s = self.send_s = 0.0
        self.read = self.written = 0
        self.unseen = 0
        """Counted since the last one that was looked at."""
        # Where it is counted.
        self.number = UNKNOWN
        self.counts: Any = None
        self.histogram: Any = None


class Row:
    """One request that was no quick one. Times in seconds."""

    __slots__ = (
        "arrived",
        "blocked_s",
        "body_s",
        "bytes_in",
        "bytes_out",
        "client",
        "cpu_s",
        "done",
        "gone",
        "lane",
        "method",
        "request_id",
        "returned",
        "route",
        "started",
        "status",
        "target",
        "thread",
        "wall_s",
    )

    def __init__(
        self,
        conn: Connection,
        environ: dict[str, Any],
        exchange: Exchange | Answer,
        started: float,
        wall_s: float | None = None,
    ) -> None:
        """When the application has returned, which was called at `started`; with what is known by then. On its thread.

        `wall_s`: how long it took; less than the time since `started`, which is the default, where it waited for its
        client.
        """
        incoming = conn.incoming
        self.route: Route = conn.route
        self.lane: int = conn.route.lane
        self.started = started
        self.done: float
        self.returned = clock()
        self.wall_s = self.cpu_s = self.returned - started if wall_s is None else wall_s
        self.blocked_s = self.body_s = 0.0
        self.arrived = conn.arrived
        if incoming is not None:
            self.bytes_in: int = incoming.received
            self.arrived = incoming.started
            self.body_s = max(0.0, conn.arrived - incoming.started)
        else:
            self.bytes_in = body_size(environ)
        self.bytes_out = exchange.body_bytes
        self.status: str | None = "504" if conn.taken else exchange.status
        self.gone = False
        self.method = environ.get("REQUEST_METHOD")  # the application may have emptied it
        self.target = environ.get("REQUEST_URI")
        self.request_id = environ.get("vivace.request_id")
        self.client = conn.host
        self.thread = get_native_id()


def body_size(environ: dict[str, Any]) -> int:
    """What the request says of its body's length; 0 where it says nothing. The application may have changed it."""
    text = environ.get("CONTENT_LENGTH")
    return int(text) if text and str(text).isdecimal() else 0
