"""What time brings: the Date line, time limits, the deadline of a stop. Once a second, by the leader.

A time limit is therefore kept to within a second or a quarter of the shortest limit, whichever is less. That is the
price of one store a request (`conn.expires`) instead of a timer queue.
"""

from __future__ import annotations

import time

from vivace.connection.connection import BODY, DRAINING, HEAD, IDLE, LINGERING, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.loop import Loop
    from vivace.connection.reading import Incoming

RATE_GRACE_S = 5.0
"""A body's rate is judged from this age on (Apache's mod_reqtimeout gives 20 s)."""

LOG_PERIOD_S = 0.1
"""How long a line of the access log may wait for the others of its batch."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def date_line(now: float) -> bytes:
    """The Date field for Unix time `now` (RFC 9110 section 5.6.7), with its CRLF."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(now)
    text = f"{DAYS[weekday]}, {day:02d} {MONTHS[month - 1]} {year} {hour:02d}:{minute:02d}:{second:02d} GMT"
    return b"Date: %b\r\n" % text.encode("ascii")


def too_slow(incoming: Incoming, now: float, rate_bytes_min: int) -> bool:
    """Whether a body that is coming has come at less than `rate_bytes_min` bytes a second so far."""
    age_s = now - incoming.started
    return age_s > RATE_GRACE_S and incoming.received < age_s * rate_bytes_min


class Sweeper:
    """The loop's clockwork. `next_s` is when `tick` is due, `timeout_s` how long the loop may wait."""

    def __init__(self, loop: Loop) -> None:
        plan = loop.plan
        self._loop = loop
        shortest = min(
            plan.head_timeout_s,
            plan.body_timeout_s,
            plan.keepalive_timeout_s,
            plan.write_timeout_s,
            plan.shutdown_timeout_s,
            plan.queue_timeout_s or 4.0,
        )
        self._period_s = min(1.0 if plan.on_tick is None else LOG_PERIOD_S, max(0.01, shortest / 4))
        self.next_s = 0.0
        self.timeout_s = plan.idle_s
        self._stop_by_s = 0.0

    def awake(self) -> None:
        """There is something to look after again."""
        self.timeout_s = self._period_s

    def begin_stopping(self, now: float) -> None:
        """The server stops: what is not answered by the deadline is cut off."""
        self.awake()
        if not self._stop_by_s:
            self._stop_by_s = now + self._loop.plan.shutdown_timeout_s

    def tick(self, now: float) -> None:
        """Renews the Date line and closes what has outlived its limit. `now` is the loop's clock."""
        loop = self._loop
        wall = time.time()
        loop.date = date_line(wall)
        self.next_s = now + min(self._period_s, 1.0 - wall % 1.0)
        if loop.full:
            loop.acceptor.maybe_resume()
        queue_timeout_s = loop.plan.queue_timeout_s
        if queue_timeout_s and len(loop.heavy):
            for conn in loop.heavy.expire(now - queue_timeout_s):
                loop.shed(conn)
        for conn in list(loop.conns.values()):
            if (conn.state == BODY and too_slow(conn.incoming, now, loop.plan.body_rate_bytes_min)) or (
                conn.expires < now and conn.state != RUNNING
            ):
                self._on_expired(conn)
        if not loop.conns and not loop.stopping:
            self.timeout_s = loop.plan.idle_s
        if self._stop_by_s and now > self._stop_by_s:
            self._cut_off()
        if loop.plan.on_tick is not None:
            loop.plan.on_tick()

    def _on_expired(self, conn: Connection) -> None:
        loop = self._loop
        if conn.state == IDLE:
            if conn.mode:
                loop.close(conn, "stopping" if loop.stopping else "keepalive_timeout")
        elif conn.state == HEAD:
            loop.refuse(conn, 408, "the head of the request did not come in time", "head_timeout")
        elif conn.state == BODY:
            loop.refuse(conn, 408, "the body of the request did not come in time", "body_timeout")
        elif conn.state == DRAINING:
            loop.close(conn, "write_timeout")
        elif conn.state == LINGERING:
            loop.close(conn, conn.close_reason)

    def _cut_off(self) -> None:
        loop = self._loop
        held = 0
        for conn in list(loop.conns.values()):
            if conn.state == RUNNING:
                held += 1
            else:
                loop.close(conn, "stopping")
        if held:
            loop.plan.warn(f"{held} requests were still running at the end of shutdown_timeout_s and are cut off")
        loop.done = True
