# HOT  bench: benchmarks/bench_loop.py  budget: 3 us a request beside the system calls (hello, memoised head)
"""The loop: waits for readiness, reads, parses, and runs what is quick on its own thread.

One thread leads at a time. `lead` is the one function that every request passes; its sections are numbered. What is
rare stands in methods below it and in `accepting`, `sweeping` and `serving`.

Rules:

* The leader may be overtaken in any call of the application (schedule.monitor). Then it returns at once: what is left
  of its batch of events is reported again to its successor, because readiness is level-triggered.
* `lead` has a fast path, for a whole request without a body whose head is known and whose route is quick; `on_data`
  is its general twin. tests/test_twins.py holds them to the same answers.
"""

from __future__ import annotations

import os
from threading import get_ident

from vivace.connection.accepting import Acceptor
from vivace.connection.connection import BODY, DRAINING, HEAD, IDLE, LINGERING, RUNNING, Connection
from vivace.connection.meter import clock
from vivace.connection.reading import BODY_READ_BYTES, READ_BYTES, Reader, Site
from vivace.connection.serving import Serving
from vivace.connection.stopping import stop_turn
from vivace.connection.sweeping import Sweeper
from vivace.errors import PeerGone, Refused
from vivace.net.poller import AWAY, EVENTS_MAX, READ, WRITE, make_poller
from vivace.schedule.policy import overdue
from vivace.schedule.routes import RouteTable
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.plan import Plan
    from vivace.net.listen import Listener

SHARE_BYTES_MAX = 65536
"""Answers to pipelined requests are joined into one write up to this size."""

LINGER_BYTES_MAX = 1 << 20
"""A peer that is refused and still sends more than this is cut off."""


class Loop(Serving):
    """Serves `plan.app` on listeners. `run` serves until `stop`; everything else is called by it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, make_poller(plan.poller), self.lead)
        self.routes = RouteTable(plan.policy.new_route)
        self.reader = Reader(
            self.routes,
            plan.limits,
            body_bytes_max=plan.body_bytes_max,
            body_memory_bytes=plan.body_memory_bytes,
            spill_dir=plan.spill_dir,
            stream=plan.body_stream,
            lazy_max=plan.threads // 4,
            head_timeout_s=plan.head_timeout_s,
            body_timeout_s=plan.body_timeout_s,
            body_rate_bytes_min=plan.body_rate_bytes_min,
            step_aside=self.step_aside,
            on_disk_error=plan.on_disk_error,
        )
        self.acceptor = Acceptor(self)
        self.sweeper = Sweeper(self)

    def add_listener(self, listener: Listener, base: dict[str, Any]) -> None:
        """Serves what arrives at `listener`; every environ starts as a copy of `base`. Before `run`."""
        site = Site(
            base,
            response_buffer_bytes=self.plan.response_buffer_bytes,
            write_timeout_s=self.plan.write_timeout_s,
            step_aside=self.step_aside,
        )
        self.acceptor.add(listener, site)

    # From outside: any thread, or a signal handler.

    def run(self) -> None:
        """Serves until `stop` has been called and what was in flight is answered."""
        if self.pool is None:
            self.lead()
        else:
            self.pool.promote()
            self.monitor.watch()
            self.pool.end()
        self.acceptor.close()
        for conn in list(self.conns.values()):
            if conn.state != RUNNING:
                self.close(conn, "stopping")
        self.poller.close()

    def stop(self) -> None:
        """Ends `run` gracefully: no new connection, the requests in flight are finished within shutdown_timeout_s."""
        self.stopping = True
        self.poller.wake()

    # The leader.

    def lead(self) -> None:
        """Turns of the loop until another thread leads or the server has stopped."""
        table: list[Any] = self.monitor.table
        self.leader = get_ident()
        while not self.done:
            try:
                if self.turn(table):
                    return
            except Exception as error:
                self.plan.on_error(error)
                table.clear()
                if self.pool is not None and self.monitor.table is not table:
                    return
        self.monitor.stop()

    def turn(self, table: list[Any]) -> bool:
        """Turns of the loop until something unusual is to be looked at; True: overtaken."""
        wait, read, write = self.poller.wait, os.read, os.write
        conns, ready, heavy = self.conns, self.ready, self.heavy
        app, heads, report = self.app, self.heads, self.report
        monitor, sweeper, pool = self.monitor, self.sweeper, self.pool
        take_whole = self.reader.take_whole
        quick_s = self.policy.quick_s
        keepalive_s = self.plan.keepalive_timeout_s
        plain, log = self.prepare is None, self.log
        threads_max = self.plan.threads
        while True:
            # 1. Wait. Not at all while something waits for the loop itself.
            events = wait(0 if ready or heavy.inline else sweeper.timeout_s, EVENTS_MAX)
            now = clock()
            monitor.turns += 1
            if monitor.resting:
                monitor.wake()
            if now >= sweeper.next_s:
                sweeper.tick(now)
            date = self.date
            # With `threads` of them inside the application this one only does I/O.
            fast = plain and not self.stopping and (pool is None or pool.busy <= threads_max)
            for fd, _ in events:
                conn = conns.get(fd)
                if conn is None:
                    if self.on_other(fd, table, now):
                        return True
                    continue
                if conn.state:
                    if self.on_state(conn, table, now):
                        return True
                    continue
                # 2. Read.
                try:
                    data = read(fd, READ_BYTES)
                except OSError as error:
                    self.on_read_error(conn, error)
                    continue
                # 3. One whole request without a body, its head known or new?
                entry = conn.memo.get(data)
                if entry is not None:
                    template, flags, route = entry
                    environ = template.copy()
                elif (entry := take_whole(conn.site, data)) is not None:
                    environ, flags, route = entry
                else:
                    if self.on_data(conn, data, table, now):
                        return True
                    now = clock()
                    fast = fast and (pool is None or pool.busy <= threads_max)
                    continue
                environ["REMOTE_ADDR"] = conn.host
                environ["REMOTE_PORT"] = conn.port
                conn.route = route
                if route.lane or route.watch or not fast:
                    conn.environ = environ
                    conn.flags = flags
                    if self.on_request(conn, table, now):
                        return True
                    now = clock()
                    fast = fast and (pool is None or pool.busy <= threads_max)
                    continue
                # 4. Run it under the baton.
                conn.table = table
                exchange = Exchange(conn, flags, heads, date, report, route.allowance_s)
                table.append(exchange)
                began = clock()
                try:
                    answer, keep = exchange.run(app, environ)
                    now = clock()
                    # 5. Send. Whatever is not one whole answer on a kept connection is for `finish`.
                    sent = write(fd, answer) if keep and answer and not conn.pending else 0
                except BlockingIOError:
                    sent = 0
                except (OSError, PeerGone):
                    answer, keep, sent = b"", False, 0
                    conn.close_reason = conn.close_reason or "client_gone"
                except KeyboardInterrupt:
                    answer, keep, sent = b"", False, 0
                    self.on_interrupt(conn)
                # 6. Take the baton back.
                try:
                    table.pop()
                except IndexError:
                    with monitor.turnover:
                        pass
                    if log is not None:
                        log(environ, exchange.status, exchange.body_bytes, now - began)
                    self.finish(conn, answer[sent:], keep, leading=False)
                    return True
                if log is not None:
                    log(environ, exchange.status, exchange.body_bytes, now - began)
                if sent != len(answer) or not sent:
                    self.finish(conn, answer[sent:], keep, leading=True)
                else:
                    conn.expires = now + keepalive_s
                # 7. Learn. Only what the application took: the system calls around it say nothing about the route.
                if now - began > quick_s:
                    self.policy.suspect(route, now - began)
            # 8. What waits for the loop itself.
            if ready and self.on_ready(table, now):
                return True
            if (heavy.inline or heavy.away) and self.on_heavy(table, now):
                return True
            if self.stopping:
                stop_turn(self, now)
                return False

    # What is not the fast path's. Each returns True where another thread leads now.

    def on_other(self, fd: int, table: list[Any], now: float) -> bool:
        """An event of a descriptor that is no connection: a listener, a wake-up, or something closed meanwhile."""
        if fd == self.poller.wake_fd:
            self.poller.on_wake()
            self.acceptor.maybe_resume()
            return False
        return self.acceptor.on_readable(fd, table, now)

    def on_state(self, conn: Connection, table: list[Any], now: float) -> bool:
        """An event of a connection that is not idle."""
        state = conn.state
        if state == RUNNING:
            # The client hung up, or sent more already; whoever owns the connection will notice.
            if conn.queued:
                self.set_mode(conn, AWAY)
            return False
        if state == DRAINING:
            return self.on_writable(conn, now)
        try:
            data = os.read(conn.fd, BODY_READ_BYTES if state == BODY else READ_BYTES)
        except OSError as error:
            self.on_read_error(conn, error)
            return False
        if state == LINGERING:
            conn.at += len(data)
            if not data or conn.at > LINGER_BYTES_MAX:
                self.close(conn, conn.close_reason)
            return False
        return self.on_data(conn, data, table, now)

    def on_read_error(self, conn: Connection, error: OSError) -> None:
        """`read` failed: not readable after all, or the peer reset the connection."""
        if isinstance(error, BlockingIOError):
            return
        if conn.state == LINGERING:
            self.close(conn, conn.close_reason)
        else:
            self.close(conn, "client" if conn.state == IDLE else "client_early")

    def on_writable(self, conn: Connection, now: float) -> bool:
        """The peer takes more of a response that is complete."""
        try:
            done = conn.flush()
        except PeerGone:
            self.close(conn, conn.close_reason or "client_gone")
            return False
        if done:
            self.settle(conn, leading=True)
        else:
            conn.expires = now + self.plan.write_timeout_s
        return False

    def on_data(self, conn: Connection, data: bytes, table: list[Any], now: float) -> bool:
        """Bytes have come: serves every whole request in them. The general twin of the fast path."""
        if not data:
            self.close(conn, "client" if conn.state == IDLE else "client_early")
            return False
        if conn.state == HEAD:
            conn.buffer += data  # a bytearray: a head that comes in drops is not copied at each of them
        else:
            conn.buffer = conn.buffer[conn.at :] + data if conn.buffer else data
            conn.at = 0
        return self.serve_buffer(conn, table, now)

    def serve_buffer(self, conn: Connection, table: list[Any], now: float) -> bool:
        """Serves the whole requests at the front of `conn.buffer`, in order, their answers joined."""
        try:
            while self.reader.take(conn, now):
                if self.pool is not None and self.must_leave(conn):
                    conn.release_held()
                    self.dispatch(conn)
                    return False
                if conn.held and self.pool is not None and conn.route.samples == 0:
                    conn.release_held()  # nobody knows how long this one takes
                answer, keep = self.execute(conn, table)
                leading = self.still_leading(table)
                more = keep and leading and conn.at < len(conn.buffer) and not conn.pending
                if not more or len(conn.held) > SHARE_BYTES_MAX:
                    self.finish(conn, answer, keep, leading=leading)
                    return not leading
                conn.held += answer
                conn.state = IDLE
                now = clock()
            conn.release_held()
            self.await_rest(conn)
        except Refused as refused:
            self.refuse(conn, refused.status, refused.detail, "refused")
        except PeerGone:
            self.close(conn, conn.close_reason or "client_gone")
        except Exception as error:
            self.on_bug(conn, error)
        return False

    def on_request(self, conn: Connection, table: list[Any], now: float) -> bool:
        """One whole request, alone, which is not for the fast path."""
        conn.arrived = now
        if self.pool is not None and self.must_leave(conn):
            self.dispatch(conn)
            return False
        return self.run_here(conn, table)

    def run_here(self, conn: Connection, table: list[Any]) -> bool:
        """The request that `conn` holds, on the loop's own thread, to its end."""
        answer, keep = self.execute(conn, table)
        leading = self.still_leading(table)
        self.finish(conn, answer, keep, leading=leading)
        return not leading

    def must_leave(self, conn: Connection) -> bool:
        """Whether the request that `conn` holds may not run on the loop's thread."""
        assert self.pool is not None
        streams = conn.incoming is not None and conn.incoming.spool is None
        return bool(conn.route.lane) or streams or self.pool.busy > self.plan.threads

    def await_rest(self, conn: Connection) -> None:
        """The beginning of a request has come; first of all the answers before it have to go."""
        if conn.pending:
            conn.keep_alive = True
            conn.state = DRAINING
            conn.expires = clock() + self.plan.write_timeout_s
            self.set_mode(conn, WRITE)
        else:
            self.set_mode(conn, READ)

    def on_ready(self, table: list[Any], now: float) -> bool:
        """Connections handed back with the next request already read."""
        for _ in range(len(self.ready)):
            conn = self.ready.popleft()
            conn.state = IDLE
            if self.serve_buffer(conn, table, now):
                return True
        return False

    def on_heavy(self, table: list[Any], now: float) -> bool:
        """At most one heavy call here, and on pooled threads what the book has room for: the quick ones come
        between."""
        heavy = self.heavy
        while heavy.away and self.pool is not None and (started := heavy.start_away(now)) is not None:
            call, token = started
            call.token = token
            self.pool.submit(call)
        if not heavy.inline:
            return False
        conn: Connection = heavy.pop()
        conn.queued = False
        if overdue(conn.arrived, now, self.plan.queue_timeout_s):
            self.shed(conn)
            return False
        return self.run_here(conn, table)
