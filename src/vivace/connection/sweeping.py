"""What time brings: the Date line, time limits, the deadline of a stop. Once a second, by the leader.

A time limit is therefore kept to within a second or a quarter of the shortest limit, whichever is less. That is the
price of one store a request (`conn.expires`) instead of a timer queue.
"""

from __future__ import annotations

import time

from vivace.connection.connection import BODY, DRAINING, HEAD, IDLE, LINGERING, OPENING, RUNNING
from vivace.connection.meter import clock
from vivace.connection.overload import LoadWatch, expire, tell
from vivace.http1.dates import write_date
from vivace.observe.layout import (
    S_BUSY,
    S_CONNECTIONS,
    S_MEASURES,
    S_QUEUED,
    S_SEEN,
    S_THREADS,
    S_THREADS_MAX,
    S_TICKED,
    S_TURNS,
    W_CLOSED,
    W_GIL_LATE_NS,
    W_GIL_LOOKS,
)
from vivace.observe.reasons import REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.connection.connection import Connection
    from vivace.connection.incoming import Incoming
    from vivace.connection.loop import Loop

RATE_GRACE_S = 5.0
"""A body's rate is judged from this age on (Apache's mod_reqtimeout gives 20 s)."""

LOG_PERIOD_S = 0.1
"""How long a line of the access log may wait for the others of its batch."""


def date_line(now: float) -> bytes:
    """The Date field for Unix time `now` (RFC 9110 section 5.6.7), with its CRLF."""
    return b"Date: %b\r\n" % write_date(int(now)).encode("ascii")


def too_slow(incoming: Incoming, now: float, rate_bytes_min: int) -> bool:
    """Whether a body that is coming has come at less than `rate_bytes_min` bytes a second so far."""
    age_s = now - incoming.started
    return age_s > RATE_GRACE_S and incoming.received < age_s * rate_bytes_min


class Sweeper:
    """The loop's clockwork. `next_s` is when `tick` is due, `timeout_s` how long the loop may wait."""

    def __init__(self, loop: Loop) -> None:
        plan = loop.plan
        self._loop = loop
        self._load = LoadWatch(loop)
        shortest = min(
            plan.head_timeout_s,
            plan.body_timeout_s,
            plan.keepalive_timeout_s,
            plan.write_timeout_s,
            plan.shutdown_timeout_s,
            4.0,
        )
        self._sweep_s = max(0.01, shortest / 4)
        """How often every connection is looked at: with 10,000 of them that takes a millisecond or two."""
        self._sweep_next_s = 0.0
        self._period_s = min(
            self._sweep_s,
            max(0.01, (plan.queue_timeout_s or 4.0) / 4),
            max(0.01, (plan.request_timeout_s or 4.0) / 4),
            1.0 if plan.on_tick is None else LOG_PERIOD_S,
        )
        if plan.on_sweep is not None and plan.idle_s > 0:
            self._period_s = min(self._period_s, plan.idle_s)
        self.next_s = 0.0
        self.timeout_s = plan.idle_s
        self._drain_by_s = 0.0
        self._stop_by_s = 0.0
        self._told = (0, 0)
        """Of what the monitor has counted."""
        self._look: Callable[[float], None] | None = None

    def keep_to(self, limit_s: float) -> None:
        """A further limit is to be kept: what comes before HTTP on a listener."""
        self._sweep_s = min(self._sweep_s, max(0.01, limit_s / 4))
        self._period_s = min(self._period_s, self._sweep_s)

    def look_often(self, look: Callable[[float], None], period_s: float) -> None:
        """Calls `look(now)` at least so often, while there are connections, when all has been counted."""
        self._look = look
        self._period_s = min(self._period_s, period_s)

    def awake(self) -> None:
        """There is something to look after again."""
        self.timeout_s = self._period_s

    def begin_draining(self, now: float) -> None:
        """Everybody is served on until drain_delay_s is over; then the server stops. Twice does no harm."""
        self.awake()
        if not self._drain_by_s:
            self._drain_by_s = now + self._loop.plan.drain_delay_s

    def await_room(self, room_at_s: float | None, now: float) -> None:
        """Calls wait for room in the book of the heavy lane, or none do: the loop looks again when there will be."""
        self.timeout_s = self._period_s if room_at_s is None else max(0.0, min(self._period_s, room_at_s - now))

    def hurry(self, seconds: float) -> None:
        """The loop looks again in `seconds`, and ticks then."""
        self.timeout_s = min(self.timeout_s, seconds) if self.timeout_s >= 0 else seconds
        self.next_s = min(self.next_s, clock() + seconds)

    def begin_stopping(self, now: float) -> None:
        """The server stops: what is not answered by the deadline is cut off."""
        self.awake()
        if not self._stop_by_s:
            self._stop_by_s = now + self._loop.plan.shutdown_timeout_s

    def tick(self, now: float, events: int = 0) -> None:
        """Renews the Date line and closes what has outlived its limit.

        `now` is the loop's clock, `events` how many descriptors are ready in the turn that begins.
        """
        loop = self._loop
        wall = time.time()
        loop.date = date_line(wall)
        self.next_s = now + min(self._period_s, 1.0 - wall % 1.0)
        self.tell_page()
        if self._look is not None:
            self._look(now)
        if loop.plan.siblings is not None:
            loop.plan.siblings.look()
        if self._load.look(now, events):
            self.next_s = now
        if loop.answers is not None:
            loop.answers.clear()  # they have the old Date
        if loop.cache is not None:
            loop.cache.tick()
        if loop.facts is not None and now >= loop.facts.until_s:
            loop.facts.on_over()
        if loop.full:
            loop.acceptor.maybe_resume()
        if loop.pool is not None:
            loop.pool.retry()
        expire(loop, now)
        tell(loop, now)
        if now >= self._sweep_next_s:
            self._sweep_next_s = now + self._sweep_s * 0.99
            self._sweep(now)
        if loop.limiter is not None and loop.pool is not None:
            loop.limiter.look(now)
        if self._drain_by_s and now >= self._drain_by_s:
            loop.stopping = True
        if not loop.conns and not loop.closing:
            self.timeout_s = loop.plan.idle_s
        if self._stop_by_s and now > self._stop_by_s:
            self._cut_off()
        if loop.plan.on_tick is not None:
            loop.plan.on_tick()
        if loop.plan.on_sweep is not None:
            loop.plan.on_sweep()

    def tell_page(self) -> None:
        """What this process says of itself to those that look from outside; also as its last word."""
        loop = self._loop
        loop.count()
        waiting = len(loop.pool.waiting) if loop.pool is not None else 0
        words = loop.section.words
        words[S_TURNS] = loop.monitor.turns
        words[S_SEEN] = loop.seen
        words[S_CONNECTIONS] = len(loop.conns)
        words[S_BUSY] = max(0, loop.pool.busy - 1) if loop.pool is not None else 0
        words[S_QUEUED] = len(loop.heavy) + waiting
        if loop.cache is not None:
            loop.cache.filling.tell_page()
        words[S_TICKED] = int(time.monotonic() * 1e9)
        if loop.tally is not None:
            words[S_MEASURES] = 1
            words[S_THREADS] = loop.pool.total if loop.pool is not None else 1
            words[S_THREADS_MAX] = loop.plan.threads
            loop.closed.tell(words[W_CLOSED : W_CLOSED + len(REASONS)])
            looks, late_ns = loop.monitor.looks, int(loop.monitor.late_s * 1e9)
            words[W_GIL_LOOKS] += looks - self._told[0]
            words[W_GIL_LATE_NS] += late_ns - self._told[1]
            self._told = looks, late_ns
            if loop.collector is not None:
                loop.collector.tell()
            if loop.growth is not None:
                loop.growth.look(clock())

    def _sweep(self, now: float) -> None:
        rate_bytes_min = self._loop.plan.body_rate_bytes_min
        for conn in list(self._loop.conns.values()):
            if (conn.state == BODY and too_slow(conn.incoming, now, rate_bytes_min)) or (
                conn.expires < now and conn.state != RUNNING
            ):
                self._on_expired(conn)

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
        elif conn.state == OPENING:
            loop.close(conn, "handshake_timeout")
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
