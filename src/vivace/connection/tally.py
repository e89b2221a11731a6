# HOT  bench: benchmarks/bench_loop.py  budget: 0.25 us a request (hello)
"""What a worker counts of its requests, and how that comes into the shared page.

A quick request on the loop's own thread costs two comparisons and an addition, together with those before it that are
like it (`loop.turn`); every other one leaves a row when it is done. `flush`, by the leader, counts them together: once
a second, and every FLUSH_REQUESTS.

* Requests and statuses are counted, each one. While more than DETAIL_RATE requests a second come, the times and bytes
  of the quick ones are read in one turn of the loop in 2, 4, ... DETAIL_TURNS, so that still about so many are looked
  at, and stand for the others of their route. Turns are chosen by number, never by time, which would prefer those after
  a stall.
* The response time begins when the request reached this machine, as far as that is known (`arrival`), and ends when the
  last byte of the response has been given to the system.

Threads: `done` and `refused.append` by any thread; everything else by the leader.
"""

from __future__ import annotations

import time
from collections import deque

from vivace.connection.meter import clock
from vivace.connection.rows import UNKNOWN, Row, Stats, body_size
from vivace.observe.histogram import binned, bucket_of
from vivace.observe.layout import (
    NOT_FOUND,
    R_1XX,
    R_BLOCKED_NS,
    R_BODY_NS,
    R_BYTES_IN,
    R_BYTES_OUT,
    R_COUNT,
    R_CPU_NS,
    R_GONE,
    R_HIGH,
    R_INLINE,
    R_LANE,
    R_LAST_NS,
    R_LOW,
    R_MAX_NS,
    R_QUEUED_NS,
    R_SEND_NS,
    R_SUM_NS,
    W_REFUSED_4XX,
    W_REFUSED_5XX,
)
from vivace.schedule.route import LOOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.connection.arrival import Arrivals
    from vivace.connection.connection import Connection
    from vivace.connection.plan import Answer
    from vivace.connection.slow import SlowRequests
    from vivace.observe.section import Section
    from vivace.schedule.route import Route
    from vivace.schedule.routes import RouteTable
    from vivace.wsgi.exchange import Exchange

FLUSH_REQUESTS = 16384
RATE_S = 0.2
"""Over so long, or FLUSH_REQUESTS, it is found out how many come."""
DETAIL_RATE = 1000
DETAIL_TURNS = 128
NO_BODY: dict[str, Any] = {}
"""The environ of a request without one."""


class Tally:
    """Counts the requests of `routes` into `section`.

    `slow_s`: a request whose response took so long is kept in the list of slow ones; 0: none is.
    """

    def __init__(self, section: Section, slow_s: float, routes: RouteTable, arrivals: Arrivals) -> None:
        self._section = section
        self._routes = routes
        self.arrivals = arrivals
        """When they came."""
        self._slow_s = slow_s or float("inf")
        self.slow: SlowRequests | None = None
        """Keeps those that took long."""
        self.rows: deque[Row] = deque()
        self.on_row: Callable[[Row], None] | None = None
        """Sees each row, while somebody wants to."""
        self.refused: deque[int] = deque()
        """Statuses of what was refused before it had a response of the application."""
        self.due = FLUSH_REQUESTS
        """What the loop has seen when `flush` is called next."""
        self.detail_mask = 0
        """A turn whose number has none of these bits is looked at closely."""
        self._seen, self._since_s = 0, clock()

    # On the path of a request.

    def note_status(self, stats: Stats, status: str | None) -> None:
        """The last quick response has another status than the one before it, or the same in another string."""
        stats.status = status
        kind = class_of(status)
        if stats.missing and (status is None or status[:3] != "404"):
            stats.missing = False
        if stats.usual == UNKNOWN:
            stats.usual = kind
        elif kind != stats.usual:
            stats.odd[kind] += 1
            stats.status = ""  # so that the next one is counted, too

    def detail(
        self, stats: Stats, environ: dict[str, Any], exchange: Exchange | Answer, times: tuple[float, float, float]
    ) -> None:
        """Looks at a quick request that has just been sent: `times` when it arrived, began and had its answer."""
        arrived, began, ended = times
        sent = clock()
        stats.times.append(sent - arrived)
        stats.queued_s += began - arrived
        stats.app_s += ended - began
        stats.send_s += sent - ended
        stats.read += body_size(environ)
        stats.written += exchange.body_bytes

    def count_known(self, conn: Connection, told: Answer, arrived: float, detail: bool) -> None:
        """A request that has been answered without the application; `detail`: in a turn that is looked at."""
        stats: Stats = conn.route.stats
        stats.count += 1
        if told.status is not stats.status:
            self.note_status(stats, told.status)
        if detail:
            now = clock()
            self.detail(stats, NO_BODY, told, (arrived, now, now))

    def note_slow(
        self, route: Route, environ: dict[str, Any], exchange: Exchange, times: tuple[float, float, float]
    ) -> None:
        """A request on the quick path, counted there, was not quick: if it was slow, it is remembered."""
        arrived, began, ended = times
        now = clock()
        if now - arrived >= self._slow_s or (self.slow is not None and self.slow.is_slow(now - arrived, route.number)):
            row = Row(exchange.sink, environ, exchange, began, ended - began)
            row.arrived, row.done = arrived, now
            self._remember(time.time_ns(), times_of(row, now - arrived), route.number, row)

    def done(self, conn: Connection, *, gone: bool = False) -> None:
        """The response of `conn.row` is out, or `gone`: its client is. Owner."""
        row, conn.row = conn.row, None
        row.done = clock()
        row.gone = gone
        self.rows.append(row)

    # Into the page.

    def flush(self, seen: int) -> bool:
        """Counts all that is new. `seen`: requests that the loop has seen so far.

        True: heads are remembered that lead to routes which have another name now.
        """
        now = clock()
        elapsed_s = now - self._since_s
        if elapsed_s > RATE_S or seen >= self.due:
            rate = (seen - self._seen) / max(1e-6, elapsed_s)
            self.detail_mask = detail_mask(rate)
            self._seen, self._since_s = seen, now
        self.due = seen + FLUSH_REQUESTS
        wall_ns = time.time_ns()
        pairs, stale = self._routes.apply_renames()
        for route, named in pairs:
            self._hand_over(route, named)
        while self.rows:
            self._count_row(self.rows.popleft(), wall_ns - int(now * 1e9))
        self.count_quick(self._routes.all())
        if self.slow is not None:
            self.slow.renew(now)
        words = self._section.words
        while self.refused:
            words[W_REFUSED_5XX if self.refused.popleft() >= 500 else W_REFUSED_4XX] += 1
        return stale

    def count_quick(self, routes: Iterable[Route]) -> None:
        """Counts the quick requests of `routes`. The last chance to do so is when these are about to be forgotten."""
        wall_ns = time.time_ns()
        for route in routes:
            if route.stats is not None and route.stats.count:
                self._count_route(route, wall_ns)

    def _hand_over(self, route: Route, named: Route) -> None:
        """What has not been counted yet of `route` belongs to `named`."""
        stats = route.stats
        stats.odd[stats.usual] += stats.count - sum(stats.odd)
        heir: Stats = named.stats
        if heir.usual == UNKNOWN:
            heir.usual = stats.usual
        heir.count += stats.count
        heir.missing = heir.missing and stats.missing
        for kind, number in enumerate(stats.odd):
            if kind != heir.usual:
                heir.odd[kind] += number
        heir.times.extend(stats.times)
        heir.queued_s += stats.queued_s
        heir.app_s += stats.app_s
        heir.send_s += stats.send_s
        heir.read += stats.read
        heir.written += stats.written
        route.stats = Stats()
        if not self._section.route_counts(route.number)[R_COUNT]:
            self._section.retire_route(route.number)

    def _place(self, route: Route) -> Stats:
        """The stats of the route, with the place in the page where they are counted."""
        stats: Stats = route.stats
        section = self._section
        if stats.missing:
            if route.number != NOT_FOUND and not section.route_counts(route.number)[R_COUNT]:
                section.retire_route(route.number)
                route.number = NOT_FOUND
        elif route.number >= NOT_FOUND:  # a number may have become free
            route.number = section.number_route(route.name)
        if stats.number != route.number:
            stats.number = route.number
            stats.counts = section.route_counts(route.number)
            stats.histogram = section.histogram(route.number)
        return stats

    def _count_route(self, route: Route, wall_ns: int) -> None:
        stats = self._place(route)
        counts, count = stats.counts, stats.count
        stats.count = 0
        stats.unseen += count
        counts[R_INLINE] += count
        counts[R_LANE] = route.lane
        counts[R_LAST_NS] = wall_ns
        odd, stats.odd = stats.odd, [0] * 5
        for kind, number in enumerate(odd):
            counts[R_1XX + kind] += number
        counts[R_1XX + stats.usual] += count - sum(odd)
        if stats.times:
            self._count_times(stats)
        counts[R_COUNT] += count  # last: who waits for it finds the rest

    def _count_times(self, stats: Stats) -> None:
        """What was read of some requests, for all of them."""
        times, counts, histogram = stats.times, stats.counts, stats.histogram
        scale = stats.unseen / len(times)
        buckets = binned(times)
        exact = 0.0
        whole = 0
        for bucket, number in buckets.items():  # whole numbers that add up to what they stand for
            exact += number * scale
            histogram[bucket] += round(exact) - whole
            whole = round(exact)
        widen(counts, min(buckets), max(buckets))
        for word, seconds in (
            (R_SUM_NS, sum(times)),
            (R_QUEUED_NS, stats.queued_s),
            (R_CPU_NS, stats.app_s),
            (R_SEND_NS, stats.send_s),
        ):
            counts[word] += max(0, int(seconds * scale * 1e9))
        counts[R_BYTES_IN] += round(stats.read * scale)
        counts[R_BYTES_OUT] += round(stats.written * scale)
        counts[R_MAX_NS] = max(counts[R_MAX_NS], int(max(times) * 1e9))
        del times[:]
        stats.unseen = stats.read = stats.written = 0
        stats.queued_s = stats.app_s = stats.send_s = 0.0

    def _count_row(self, row: Row, wall_offset_ns: int) -> None:
        route = row.route.became or row.route
        if row.status is None or row.status[:3] != "404":
            route.stats.missing = False
        stats = self._place(route)
        response_s = max(0.0, row.done - row.arrived)
        counts = stats.counts
        bucket = bucket_of(response_s)
        stats.histogram[bucket] += 1
        widen(counts, bucket, bucket)
        times_ns = times_of(row, response_s)
        response_ns, queued_ns, body_ns, cpu_ns, blocked_ns, send_ns, _ = times_ns
        counts[R_SUM_NS] += response_ns
        counts[R_QUEUED_NS] += queued_ns
        counts[R_CPU_NS] += cpu_ns
        counts[R_SEND_NS] += send_ns
        if body_ns:
            counts[R_BODY_NS] += body_ns
        if blocked_ns:
            counts[R_BLOCKED_NS] += blocked_ns
        counts[R_BYTES_IN] += row.bytes_in
        counts[R_BYTES_OUT] += row.bytes_out
        counts[R_1XX + class_of(row.status)] += 1
        if row.gone:
            counts[R_GONE] += row.gone
        counts[R_INLINE + row.lane % LOOP] += 1  # LOOP is inline
        counts[R_LANE] = route.lane
        ended_ns = int(row.done * 1e9) + wall_offset_ns
        counts[R_LAST_NS] = ended_ns
        if response_ns > counts[R_MAX_NS]:
            counts[R_MAX_NS] = response_ns
        if response_s >= self._slow_s or (self.slow is not None and self.slow.is_slow(response_s, stats.number)):
            self._remember(ended_ns, times_ns, stats.number, row)
        if self.on_row is not None:
            self.on_row(row)
        counts[R_COUNT] += 1

    def _remember(self, ended_ns: int, times_ns: tuple[int, ...], number: int, row: Row) -> None:
        status, request = row.status, f"{row.method} {row.target}"
        code = int(status[:3]) if status is not None and status[:3].isdecimal() else 0
        if self.slow is not None:
            self.slow.note(ended_ns, times_ns, code, number, request, row)
        if times_ns[0] >= self._slow_s * 1e9:  # last: who finds it there is told of it by `slow`, too
            self._section.add_record(ended_ns, times_ns, code, number, request.encode("utf-8", "replace"))


def detail_mask(rate: float) -> int:
    """Of the turns of the loop that are looked at while `rate` requests a second come."""
    turns = 1
    while turns < DETAIL_TURNS and rate > DETAIL_RATE * turns:
        turns *= 2
    return turns - 1


def times_of(row: Row, response_s: float) -> tuple[int, int, int, int, int, int, int]:
    """ns: response, queued, body, CPU, blocked, sending, the application. Where clocks of several kinds differ by a
    trifle, 0."""
    queued_s = row.started - row.arrived - row.body_s
    send_s = row.done - row.started - row.wall_s
    return (
        int(response_s * 1e9),
        int(queued_s * 1e9) if queued_s > 0.0 else 0,
        int(row.body_s * 1e9) if row.body_s > 0.0 else 0,
        int(row.cpu_s * 1e9) if row.cpu_s > 0.0 else 0,
        int(row.blocked_s * 1e9) if row.blocked_s > 0.0 else 0,
        int(send_s * 1e9) if send_s > 0.0 else 0,
        int(row.wall_s * 1e9) if row.wall_s > 0.0 else 0,
    )


def widen(counts: Any, low: int, high: int) -> None:
    """Buckets from `low` to `high` are no longer empty."""
    if not counts[R_HIGH] or low < counts[R_LOW]:
        counts[R_LOW] = low
    if high >= counts[R_HIGH]:
        counts[R_HIGH] = high + 1


def class_of(status: str | None) -> int:
    """0 for 1xx to 4 for 5xx; what is no status counts as a failure."""
    return ord(status[0]) - 49 if status and status[0] in "12345" else 4
