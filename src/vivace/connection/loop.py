# HOT  bench: benchmarks/bench_loop.py  budget: 3 us a request beside the system calls (hello, memoised head)
"""The loop: waits for readiness, reads, parses, and runs what is quick on its own thread.

One thread leads at a time. `turn` is the one function that every request passes; its sections are numbered. What is
rare stands in `general`, and in `accepting`, `sweeping` and `serving`.

Rules:

* The leader may be overtaken in any call of the application (schedule.monitor). Then it returns at once: what is left
  of its batch of events is reported again to its successor, because readiness is level-triggered.
* `turn` has a fast path, for a whole request without a body whose head is known and whose route is quick;
  `General.on_data` is its twin. tests/test_twins.py holds them to the same answers.
"""

from __future__ import annotations

import os
from threading import get_ident, get_native_id

from vivace.connection.accepting import Acceptor
from vivace.connection.arrival import Arrivals, turn_on
from vivace.connection.arrival import arrived as arrived_at
from vivace.connection.connection import CLOSED, RUNNING
from vivace.connection.exhaustion import failed_turn
from vivace.connection.general import General
from vivace.connection.health import add_health
from vivace.connection.meter import clock
from vivace.connection.outbox import HOLD_FROM_S, HOLD_S
from vivace.connection.own_route import add_mounts
from vivace.connection.reading import READ_BYTES, Reader
from vivace.connection.rows import Row, Stats
from vivace.connection.site import Site
from vivace.connection.stopping import stop_turn
from vivace.connection.sweeping import Sweeper
from vivace.connection.tally import Tally
from vivace.errors import PeerGone, RequestTimeout, SettingError
from vivace.net.poller import EVENTS_MAX, READ, make_poller
from vivace.observe.layout import S_LEADER, S_NOW
from vivace.schedule.routes import RouteTable
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.plan import Plan
    from vivace.net.listen import Listener
    from vivace.schedule.route import Route


class Loop(General):
    """Serves `plan.app` on listeners. `run` serves until `stop`; everything else is called by it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, make_poller(plan.poller), self.lead)
        self.routes = RouteTable(self.new_route, self.section.number_route)
        if plan.metrics:
            arrivals = Arrivals(self.section, stamped=plan.arrival_stamps)
            self.tally = Tally(self.section, plan.slow_request_s, self.routes, arrivals)
            self.tally.slow = self.slow
            self.routes.on_forget = self.tally.count_quick
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
        if plan.cache is not None or plan.mounts:
            from vivace.connection.known import Known

            self.answers = known = Known(self)
        if plan.cache is not None:
            from vivace.connection.caching import Caching

            self.cache = Caching(self, plan.cache, known)
        add_health(self, plan.livez_path, plan.readyz_path)
        add_mounts(self)
        self.acceptor = Acceptor(self)
        self.sweeper = Sweeper(self)

    def add_listener(self, listener: Listener, base: dict[str, Any]) -> Site:
        """Serves what arrives at `listener`; every environ starts as a copy of `base`. Before `run`.

        What does not speak HTTP in clear from its first byte on is set up in the Site, which is returned.
        """
        site = Site(
            base,
            response_buffer_bytes=self.plan.response_buffer_bytes,
            write_timeout_s=self.plan.write_timeout_s,
            step_aside=self.step_aside,
        )
        if self.limiter is not None:
            site.base.update(self.limiter.base)
        self.acceptor.add(listener, site)
        if self.tally is not None and self.tally.arrivals.stamped:
            turn_on(listener.socket)
        return site

    def new_route(self, name: str) -> Route:
        """A route nobody has called yet."""
        route = self.policy.new_route(name)
        if self.plan.metrics:
            route.stats = Stats()
        return route

    # From outside: any thread, or a signal handler.

    def run(self) -> None:
        """Serves until `stop` has been called and what was in flight is answered."""
        if self.limiter is not None:
            self.limiter.open()
        if self.pool is None:
            if self.limiter is None:
                self.lead()
            else:
                self.limiter.watch_over(self.lead)
        else:
            if not self.pool.promote():
                raise SettingError("the system starts no thread to serve with; raise its limit, or set threads to 1")
            self.monitor.watch()
            self.pool.end()
        if self.limiter is not None:
            self.limiter.close()
        self.acceptor.close()
        if self.cache is not None:
            self.cache.end()
        for conn in list(self.conns.values()):
            if conn.state != RUNNING:
                self.close(conn, "stopping")
        self.poller.close()

    def stop(self, *, gently: bool = False, delay: bool = True) -> None:
        """Ends `run`: no new connection, the requests in flight are finished within shutdown_timeout_s.

        `gently`: others serve on, so idle connections may bring one more request, for IDLE_GRACE_S. Else they are
        closed at once, but before that everybody is served on for drain_delay_s, unless `delay` is false."""
        self.gentle = gently
        self.closing = True
        self.usual = self.fast = False
        self.known = None
        if gently or not delay or not self.plan.drain_delay_s:
            self.stopping = True
        self.poller.wake()

    # The leader.

    def lead(self) -> None:
        """Turns of the loop until another thread leads or the server has stopped."""
        table: list[Any] = self.monitor.table
        self.leader, self.leader_tid = get_ident(), get_native_id()
        self.section.words[S_LEADER] = self.leader_tid
        while not self.done:
            try:
                self.turn(table)
            except Exception as error:
                failed_turn(self, error)
                table.clear()
            except RequestTimeout:
                if self.limiter is not None:
                    self.limiter.on_interrupted()
            finally:
                if self.outbox and self.monitor.table is table:
                    self.outbox.send_all(self)
            if self.monitor.table is not table:  # the table of whoever leads now
                if self.pool is not None:
                    return
                table = self.monitor.table
        self.sweeper.tell_page()
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
        log = self.log
        self.renew_fast()
        self.acceptor.watch_new()
        threads_max = self.plan.threads
        words = self.section.words
        tally = self.tally
        detail, late, step, asked = False, False, 0.0, 0.0
        # Not counted yet: the last `run` requests, all of one route and with one status. To look up its sums for each
        # of them costs more than the adding.
        same: Any = None
        told, run = "", 0
        # Answers wait for each other in a turn with several events, unless calls (the last one `took`) are too short or
        # nobody could overtake one that lasts.
        outbox, holds, took = self.outbox, pool is not None, 0.0
        if tally is not None:
            tally.arrivals.begin()
        while True:
            # 1. Wait. Not at all while something waits for the loop itself.
            words[S_NOW] = 0
            if tally is not None:
                asked = clock()
            events = wait(0 if ready or heavy.inline else sweeper.timeout_s, EVENTS_MAX)
            arrived = now = clock()
            monitor.turns += 1
            self.seen += len(events)
            if tally is not None and events:
                lag, late = tally.arrivals.turn(conns, events, asked, now)
                step = lag / len(events)
                arrived = now - lag - step
                detail = not monitor.turns & tally.detail_mask
                if self.seen >= tally.due:
                    self.count()
            if monitor.resting:
                monitor.wake()
            if now >= sweeper.next_s:
                sweeper.tick(now, len(events))
                threads_max = self.plan.threads
            date = self.date
            # With `threads` of them inside the application this one only does I/O.
            fast = self.fast and (pool is None or pool.busy <= threads_max)
            known = self.known.current() if self.usual and self.known is not None else None
            hold = holds and took > HOLD_FROM_S and len(events) > 1
            due = now + HOLD_S
            try:
                for fd, _ in events:
                    conn = conns.get(fd)
                    arrived = arrived_at(fd) if late else arrived + step
                    if conn is None:
                        if run:
                            same.stats.count += run
                        same, run = None, 0
                        if outbox:
                            outbox.send_all(self)
                        if self.on_other(fd, table, now, events):
                            return True
                        continue
                    if conn.state:
                        if outbox:
                            outbox.send_all(self)
                        if self.on_state(conn, table, now):
                            return True
                        continue
                    if not conn.mode:  # new, and not yet watched
                        arrived = conn.arrived
                    # 2. Read.
                    try:
                        data = read(fd, READ_BYTES)
                    except OSError as error:
                        self.on_read_error(conn, error)
                        continue
                    if known is not None and known.serve(conn, data, arrived, now, detail):
                        continue
                    # 3. One whole request without a body, its head known or new?
                    entry = conn.memo.get(data)
                    if entry is not None:
                        template, flags, route = entry
                        environ = template.copy()
                        environ["REMOTE_ADDR"] = conn.host
                        environ["REMOTE_PORT"] = conn.port
                    else:
                        if run:
                            same.stats.count += run
                        same, run = None, 0  # a new route may take the place of that one
                        if outbox:
                            outbox.send_all(self)
                        entry = take_whole(conn, data)
                        if entry is None:
                            if self.on_data(conn, data, table, arrived):
                                return True
                            now = clock()
                            fast = fast and (pool is None or pool.busy <= threads_max)
                            continue
                        environ, flags, route = entry
                    conn.route = route
                    if route.lane or route.watch or not fast:
                        if outbox:
                            outbox.send_all(self)
                        conn.environ = environ
                        conn.flags = flags
                        if self.on_request(conn, table, arrived, data):
                            return True
                        now = clock()
                        fast = fast and (pool is None or pool.busy <= threads_max)
                        continue
                    # 4. Run it under the baton.
                    words[S_NOW] = route.number
                    conn.table = table
                    if hold:
                        conn.outbox = outbox
                    exchange = Exchange(conn, flags, heads, date, report, route.allowance_s)
                    table.append(exchange)
                    began = clock()
                    try:
                        answer, keep = exchange.run(app, environ)
                        now = clock()
                        # 5. Send, if it is one whole answer: of an iterable each block has been sent by now.
                        sent = write(fd, answer) if answer and not (hold or conn.pending or conn.close_reason) else 0
                    except BlockingIOError:
                        sent = 0
                    except (OSError, PeerGone, RequestTimeout):
                        answer, keep, sent, now = b"", False, 0, clock()
                        conn.close_reason = conn.close_reason or "client_gone"
                    except KeyboardInterrupt:
                        answer, keep, sent, now = b"", False, 0, clock()
                        self.on_interrupt(conn)
                    # 6. Take the baton back.
                    try:
                        table.pop()
                    except IndexError:
                        conn.arrived = arrived
                        self.finish_overtaken(conn, exchange, environ, answer[sent:], keep, now - began)
                        return True
                    took = now - began
                    if hold:
                        conn.outbox = None
                        if answer and keep and not (conn.pending or conn.close_reason):
                            outbox.append((conn, answer))
                            sent = len(answer)
                    if log is not None:
                        log(environ, exchange, took)
                    if sent != len(answer) or not (keep or sent) or conn.pending or conn.close_reason:
                        if tally is not None:
                            conn.arrived = arrived
                            conn.row = Row(conn, environ, exchange, began)
                        if outbox:
                            outbox.send_all(self)
                        if conn.state != CLOSED:
                            self.finish(conn, answer[sent:], keep, leading=True)
                    else:
                        if route is same and exchange.status is told:
                            run += 1
                        elif tally is not None:
                            if run:
                                same.stats.count += run
                                run = 0
                            same, stats = route, route.stats
                            stats.count += 1
                            if exchange.status is not stats.status:
                                tally.note_status(stats, exchange.status)
                            told = stats.status
                        if detail and tally is not None:
                            # It cannot have come before the answer to the one before it.
                            seen = route.stats, environ, exchange, (max(arrived, conn.answered), began, now)
                            if outbox:
                                outbox.looks.append((tally.detail, seen))
                            else:
                                tally.detail(*seen)
                        if keep:
                            conn.answered = now
                            conn.expires = now + keepalive_s
                            if not conn.mode:
                                self.set_mode(conn, READ)
                        else:
                            self.closed.add("done")
                            self.close_descriptor(conn)
                    # 7. Learn. Only what the application took: the system calls around it say nothing about the route.
                    if hold and now > due:
                        due = now + HOLD_S
                        outbox.send_all(self)
                    if took > quick_s:
                        self.policy.suspect(route, took)
                        if tally is not None and keep and sent == len(answer):
                            tally.note_slow(route, environ, exchange, (arrived, began, now))
                if outbox:
                    outbox.send_all(self)
            finally:  # overtaken, too: the thread that leads now has not seen them, but it may have renamed the route
                if run:
                    (same.became or same).stats.count += run
                same, run = None, 0
            # 8. What waits for the loop itself.
            if ready and self.on_ready(table, now):
                return True
            if (heavy.inline or heavy.away) and self.on_heavy(table, now):
                return True
            if self.stopping:
                stop_turn(self, now)
                return False
