"""Too much at once: how long a request would have to wait, what those are told who are not let in, and the operator.

The decisions stand in schedule.admission; here they meet the queues and the connections.

Rules:

* A request is refused when it would join a queue (`expected_wait_s`), or when its deadline has come while it waited:
  the sweeper looks (`expire`), because with every thread stuck nobody else does.
* A refusal costs the connection nothing where the request was read to its end: the client may go on (nginx keeps such
  connections as well). Closing it would cost more than many a request: a new connection, and all that comes with it.
"""

from __future__ import annotations

import threading
from collections import Counter

from vivace.connection.connection import RUNNING
from vivace.http1.flags import CLOSE, HEAD
from vivace.net.poller import EVENTS_MAX
from vivace.schedule.admission import BATCH_MIN, RETRY_S_MAX
from vivace.schedule.policy import overdue
from vivace.schedule.route import HEAVY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.serving import Serving

STATUS = "503 Service Unavailable"
DETAIL = "the server is busy; try again in a moment"
BODY = f"{STATUS}: {DETAIL}\n".encode()
FIELDS = [
    [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", str(retry_s))] for retry_s in range(RETRY_S_MAX + 1)
]
"""By the value of Retry-After (RFC 9110 sections 10.2.3 and 15.6.4)."""

NEVER = float("inf")
"""When what has no deadline came (`refreshing.Job`)."""

TELL_S = 10.0
"""The operator is told at most once in this time."""


class Refusals:
    """How many requests were turned away since the start; `add` may be called by any thread."""

    __slots__ = ("_guard", "count", "next_tell_s", "told")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.count = 0
        self.told = 0
        self.next_tell_s = 0.0

    def add(self) -> None:
        with self._guard:
            self.count += 1


class LoadWatch:
    """Notices where requests wait unread, in the kernel, for quick calls that the loop runs one after another.

    Such calls cost less than a queue would, so as a rule there is none. But a request in the kernel can neither be
    refused nor be seen to wait. So now and then a turn of the loop is measured; where turns are long, quick calls queue
    (`saturated`), and a turn reads what has come and runs calls for a moment only. Once that queue is short, all is as
    before. SO_TIMESTAMPNS would tell how long each has waited, at 0.4 us a request, but only when it is too late to
    refuse it at once.
    """

    __slots__ = ("_began_s", "_events", "_server")

    def __init__(self, server: Serving) -> None:
        self._server = server
        self._began_s = 0.0
        self._events = 0

    def look(self, now: float, events: int) -> bool:
        """A turn begins, with `events` ready; whether it is to be measured: then the next one ends it here."""
        server, admission = self._server, self._server.admission
        if self._began_s:
            took_s, self._began_s = now - self._began_s, 0.0
            if admission.saturated(took_s, self._events, EVENTS_MAX, len(server.conns)):
                server.saturate(True)
                return False
        elif server.saturated:
            if not admission.saturated(admission.inline_wait_s(len(server.heavy.inline)), 1, EVENTS_MAX, 1):
                server.saturate(False)
            return False
        if events < BATCH_MIN or not server.plan.queue_timeout_s:
            return False
        self._began_s = now
        self._events = events
        return True


def joins_loop_queue(server: Serving, conn: Connection) -> bool:
    """Whether the request that `conn` holds waits for the loop's own thread. Leader."""
    if conn.incoming is not None and conn.incoming.spool is None:
        return False  # it waits for its client as well
    route = conn.route
    if route.lane == HEAVY:
        return not route.away
    pool = server.pool
    return bool(server.saturated and not route.lane and (pool is None or pool.busy <= server.plan.threads))


def expected_wait_s(server: Serving, conn: Connection, here: bool) -> float:
    """How long the request that `conn` holds would wait before it begins, `here` or on a pooled thread. Leader."""
    admission, heavy, pool = server.admission, server.heavy, server.pool
    if here:
        return admission.inline_wait_s(len(heavy.inline))
    if pool is None:
        return 0.0
    wait_s = admission.pool_wait_s(len(pool.waiting)) if pool.waiting else 0.0
    if heavy.away and conn.route.lane == HEAVY:
        wait_s += heavy.ahead_s(server.policy.heavy_key(conn.route, conn.arrived), conn.route.cpu_s)
    return wait_s


def turn_away(server: Serving, conn: Connection, wait_s: float, *, leading: bool) -> None:
    """Answers 503 to the request that `conn` holds; `wait_s` is what it has waited, or would have to. Owner."""
    environ, conn.environ = conn.environ, None
    conn.end_fill()
    conn.token = 0
    if server.closing or server.full:
        conn.flags |= CLOSE
    if conn.incoming is not None and not server.reader.release(conn):
        conn.flags |= CLOSE  # its body is still coming
    retry_s = server.admission.retry_after_s(wait_s)
    head, _, keep = server.heads.encode(STATUS, FIELDS[retry_s], conn.flags, len(BODY), server.date)
    if server.plan.annotator is not None:
        head = head[:-2] + server.plan.annotator.refused(environ, conn.host) + b"\r\n"
    server.refusals.add()
    if server.plan.refused is not None:
        server.plan.refused(environ, 503, DETAIL)
    server.finish(conn, head if conn.flags & HEAD else head + BODY, keep, leading=leading)


def expire(server: Serving, now: float) -> None:
    """Turns away whoever has waited until its deadline. Leader, once a tick."""
    timeout_s = server.plan.queue_timeout_s
    if not timeout_s:
        return
    heavy, pool = server.heavy, server.pool
    gone = heavy.expire(now - timeout_s) if len(heavy) else []
    if pool is not None and pool.waiting:
        late = pool.expire(lambda job: None if job.arrived == NEVER else overdue(job.arrived, now, timeout_s))
        if late:
            server.admission.expired()
        gone += late
    for conn in gone:
        turn_away(server, conn, now - conn.arrived, leading=True)


def tell(server: Serving, now: float) -> None:
    """Says how many were turned away, and what those do that are served. Leader, once a tick."""
    refusals = server.refusals
    count = refusals.count - refusals.told
    if not count or now < refusals.next_tell_s:
        return
    refusals.told += count
    refusals.next_tell_s = now + TELL_S
    running = Counter(conn.route.name for conn in list(server.conns.values()) if conn.state == RUNNING)
    busy = "; most of what runs or waits is " + running.most_common(1)[0][0] if running else ""
    server.plan.warn(
        f"overload: {count} requests answered 503, as they would have waited past queue_timeout "
        f"({server.plan.queue_timeout_s:g} s); threads = {server.plan.threads}{busy}"
    )
