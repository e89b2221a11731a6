"""From a whole request to its answer, on the loop's own thread or on a pooled one; and the end of connections.

Rules:

* `execute` runs the application. With a table it runs on the leader's thread, under the baton (see schedule.monitor);
  afterwards the caller must look whether it still leads.
* Ownership of a connection passes by its state: before another thread gets it, it is RUNNING and AWAY in the poller
  (nothing is
  reported); that thread gives it back by `hand_back`, which sets the state last, or by putting it into `ready`.
* Every connection ends in `close`, with one reason from `reasons.REASONS`.

Threads: methods say who may call them; "owner" is the thread that owns the connection at that moment.
"""

from __future__ import annotations

import os
from collections import deque
from threading import current_thread, main_thread

from vivace.connection.connection import (
    BODY,
    CLOSED,
    DRAINING,
    IDLE,
    LINGERING,
    RUNNING,
    shut_down_writing,
)
from vivace.connection.meter import Meter, clock
from vivace.connection.reasons import CloseCounts
from vivace.errors import PeerGone
from vivace.http1.head import CLOSE, HEAD
from vivace.http1.status import refusal
from vivace.net.poller import AWAY, READ, WRITE
from vivace.schedule.heavy import HeavyQueue
from vivace.schedule.monitor import Monitor
from vivace.schedule.policy import HEAVY, overdue
from vivace.schedule.pool import Pool
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.plan import Plan
    from vivace.connection.reading import Reader
    from vivace.net.poller import Poller

NOBODY_THERE = ("client", "client_early", "client_gone", "write_timeout")

LINGER_S = 2.0
"""How long a connection that was refused is read on, so that its answer is not lost to a reset (nginx:
lingering_timeout 5 s)."""


class Serving:
    """What the leader and the pooled threads share."""

    def __init__(self, plan: Plan, poller: Poller, lead: Callable[[], None]) -> None:
        self.plan = plan
        self.poller = poller
        self.connections_max = min(plan.connections_max, poller.connections_max)
        self.app = plan.app
        self.heads = plan.heads
        self.policy = plan.policy
        self.prepare = plan.prepare
        self.log = plan.log
        self.report = plan.report
        # connections
        self.conns: dict[int, Connection] = {}
        self.ready: deque[Connection] = deque()
        """Handed back with bytes of the next request already read."""
        self.closed = CloseCounts()
        self.reader: Reader
        # the clock's children, renewed by the leader once a second
        self.date = b""
        # lanes
        self.heavy = HeavyQueue()
        self.monitor = Monitor(self.on_overtake, clock, tick_s=plan.tick_s)
        self.pool: Pool | None = None
        if plan.threads > 1:
            self.pool = Pool(self.perform, lead, self.on_crash, threads_max=plan.threads, idle_s=plan.thread_idle_s)
        self.leader = 0
        """Identity of the thread that leads."""
        self.stopping = False
        self.done = False
        """The loop has ended: what still runs elsewhere closes its connection itself."""
        self.full = False
        """No new connection is accepted until one closes."""

    # Running the application.

    def execute(self, conn: Connection, table: list[Any] | None) -> tuple[bytes, bool]:
        """Runs the request that `conn` holds; returns (bytes to send, whether another may follow). Owner."""
        route = conn.route
        environ, conn.environ = conn.environ, None
        if self.prepare is not None:
            environ = self.prepare(environ)
        if self.stopping and conn.at >= len(conn.buffer):  # what has come is still answered
            conn.flags |= CLOSE
        exchange = Exchange(conn, conn.flags, self.heads, self.date, self.report, route.allowance_s)
        if conn.incoming is not None and conn.incoming.spool is None:
            # Until the body is read to its end nobody knows where the next request begins.
            exchange.flags |= CLOSE
            conn.exchange = exchange
        conn.table = table
        conn.waited_s = 0.0
        meter = conn.meter = Meter(self.heavy, conn.token, table is not None) if route.watch else None
        started = clock()
        if table is not None:
            if meter is not None and self.monitor.drowsy:
                self.monitor.wake()
            table.append(exchange)
        try:
            answer, keep = exchange.run(self.app, environ)
        except PeerGone:
            answer, keep = b"", False
            conn.close_reason = conn.close_reason or "client_gone"
        except KeyboardInterrupt:
            answer, keep = b"", False
            self.on_interrupt(conn)
        # Waiting for the client is not the route's doing.
        wall = clock() - started - conn.waited_s
        if meter is not None:
            self.policy.observe(route, *meter.read(wall))
        elif wall > self.policy.quick_s:
            self.policy.suspect(route, wall)
        conn.meter = None
        conn.token = 0
        if conn.incoming is not None:
            keep = self.reader.release(conn) and keep
        if self.log is not None:
            self.log(environ, exchange.status, exchange.body_bytes, wall)
        return answer, keep and not conn.close_reason

    def on_interrupt(self, conn: Connection) -> None:
        """The application raised KeyboardInterrupt, and what could be answered has been. Owner.

        On the main thread, which the loop then leads itself, it is the user's and ends the loop; elsewhere it is one
        request's failure.
        """
        conn.close_reason = conn.close_reason or "aborted"
        if self.pool is None and current_thread() is main_thread():
            self.close(conn, conn.close_reason)
            raise KeyboardInterrupt

    def still_leading(self, table: list[Any]) -> bool:
        """Takes the baton back after `execute`; False: another thread leads now. The thread that ran it."""
        try:
            table.pop()
        except IndexError:
            with self.monitor.turnover:  # until the one who took it has finished with the connection
                return False
        return True

    def dispatch(self, conn: Connection) -> None:
        """Gives the request that `conn` holds to the lane of its route. Leader."""
        conn.state = RUNNING
        route = conn.route
        streams = conn.incoming is not None and conn.incoming.spool is None
        if route.lane == HEAVY and not streams:
            if route.away:
                self.set_mode(conn, AWAY)
            else:
                conn.queued = True  # it stays the leader's: no need to tell the poller, unless the client stirs
            key = self.policy.heavy_key(route, conn.arrived)
            self.heavy.push(key, conn.arrived, conn, route.away, route.allowance_s, route.cpu_s)
        elif self.pool is not None:
            self.set_mode(conn, AWAY)
            self.pool.submit(conn)

    def perform(self, conn: Connection) -> None:
        """One request on a pooled thread, from the queue to the last byte. Pooled thread, owner."""
        token = conn.token
        try:
            if overdue(conn.arrived, clock(), self.plan.queue_timeout_s):
                self.shed(conn)
                return
            answer, keep = self.execute(conn, None)
            self.finish(conn, answer, keep, leading=False)
        except Exception as error:
            self.on_bug(conn, error)
        finally:
            self.leave_heavy(token)

    def leave_heavy(self, token: int) -> None:
        """A heavy call has ended, or waits for its client: the next one may start. Any thread; twice does no harm."""
        if token:
            self.heavy.ended(token)
            if self.heavy.away:
                self.poller.wake()

    def shed(self, conn: Connection) -> None:
        """Refuses a request that has waited too long to be worth doing (RFC 9110 section 15.6.4). Owner."""
        conn.token = 0
        conn.queued = False
        if conn.incoming is not None:
            self.reader.release(conn)
        self.refuse(conn, 503, "the server is busy; try again in a moment", "overload")

    # Leadership.

    def on_overtake(self, exchange: Exchange) -> None:
        """The call keeps its thread; another one leads. Under the monitor's turnover lock."""
        conn: Connection = exchange.sink
        conn.state = RUNNING
        if conn.table is None:
            pass  # it steps aside by itself, to wait for its client
        elif conn.meter is None:
            self.policy.overtaken(conn.route, exchange.allowance_s, None)
        else:
            self.policy.overtaken(conn.route, *conn.meter.look(self.leader))
        if conn.mode:
            self.set_mode(conn, AWAY)
        if self.pool is not None:
            self.pool.promote()

    def step_aside(self, conn: Connection) -> None:
        """The call on `conn` is about to wait for its client: lets others lead and compute. Owner."""
        token, conn.token = conn.token, 0
        self.leave_heavy(token)
        table, conn.table = conn.table, None
        if table is not None and self.pool is not None:
            self.monitor.step_aside(table)

    # The end of a response.

    def finish(self, conn: Connection, answer: bytes, keep: bool, *, leading: bool) -> None:
        """Sends `answer` behind what is pending, then gives the connection back to the loop or closes it. Owner."""
        conn.keep_alive = keep
        if conn.held:
            answer = conn.held + answer
            conn.held = b""
        try:
            if conn.pending:
                if answer:
                    conn.keep(answer)
                conn.flush()
            elif answer and (sent := conn.send(answer)) != len(answer):
                conn.keep(memoryview(answer)[sent:])
        except PeerGone:
            self.close(conn, conn.close_reason or "client_gone")
            return
        if self.done:
            self.close(conn, "stopping")
        elif conn.pending:
            conn.expires = clock() + self.plan.write_timeout_s
            self.hand_back(conn, WRITE, DRAINING)
        else:
            self.settle(conn, leading=leading)

    def settle(self, conn: Connection, *, leading: bool) -> None:
        """What was pending is out: the next request, or the end. Owner."""
        if not conn.keep_alive:
            self.end(conn, conn.close_reason or "done")
            return
        if conn.incoming is not None:  # the answers before a request whose body is still coming
            conn.expires = clock() + self.plan.body_timeout_s
            self.hand_back(conn, READ, BODY)
            return
        if conn.at < len(conn.buffer):
            conn.state = RUNNING  # events are none of its business until the loop takes it from `ready`
            self.ready.append(conn)
            if not leading:
                self.poller.wake()
            return
        conn.buffer = b""
        conn.at = 0
        conn.expires = clock() + self.plan.keepalive_timeout_s
        self.hand_back(conn, READ, IDLE)

    def hand_back(self, conn: Connection, mode: int, state: int) -> None:
        """The leader owns `conn` from now on. Owner; its last act."""
        self.set_mode(conn, mode)
        conn.state = state
        if self.full:
            self.poller.wake()  # somebody may wait for an idle connection to make room

    def set_mode(self, conn: Connection, mode: int) -> None:
        """What the poller reports of `conn` from now on. Owner."""
        if conn.mode == mode:
            return
        if conn.mode:
            self.poller.change(conn.fd, mode)
        else:
            self.poller.add(conn.fd, mode)
        conn.mode = mode

    # The end of a connection.

    def refuse(self, conn: Connection, status: int, detail: str, reason: str) -> None:
        """Answers `status` and ends the connection. Owner."""
        head_only = conn.environ is not None and bool(conn.flags & HEAD)
        if self.plan.refused is not None:
            self.plan.refused(conn.environ or {"REMOTE_ADDR": conn.host, "REMOTE_PORT": conn.port}, status, detail)
        conn.environ = None
        conn.keep_alive = False
        conn.close_reason = reason
        self.finish(conn, refusal(status, detail, self.date, head_only), False, leading=False)

    def end(self, conn: Connection, reason: str) -> None:
        """Closes after a complete response, so that the client can read it (RFC 9112 section 9.6). Owner."""
        finished = reason == "done" and conn.at >= len(conn.buffer)
        if finished or conn.reset or reason in NOBODY_THERE:
            if conn.reset:
                shut_down_writing(conn.fd, reset=True)
            self.close(conn, reason)
            return
        conn.close_reason = reason
        conn.buffer = b""
        conn.at = 0
        shut_down_writing(conn.fd, reset=False)
        conn.expires = clock() + LINGER_S
        self.hand_back(conn, READ, LINGERING)

    def close(self, conn: Connection, reason: str) -> None:
        """Closes now and counts `reason`. Owner."""
        if conn.state == CLOSED:
            return
        conn.state = CLOSED
        self.closed.add(reason)
        self.reader.forget(conn)
        if conn.pending:
            conn.drop_pending(self.plan.on_error)
        fd, conn.fd = conn.fd, -1  # whoever still holds the connection must not reach its successor
        self.conns.pop(fd, None)
        if conn.mode and not self.done:
            # Closing alone is not enough: a forked child of the application may share the open file.
            try:
                self.poller.remove(fd)
            except (OSError, ValueError):
                pass
        os.close(fd)
        if self.stopping or self.full:
            self.poller.wake()  # somebody waits for this

    def on_bug(self, conn: Connection, error: BaseException) -> None:
        """A fault of vivace itself: it costs the connection, and nothing else. Owner."""
        if not self.done:  # else it came too late, which is no fault
            self.plan.on_error(error)
        try:
            self.close(conn, "stopping" if self.done else "bug")
        except Exception as second:
            self.plan.on_error(second)

    def on_crash(self, error: BaseException) -> None:
        """What a pooled thread raised outside a request."""
        self.plan.on_error(error)
