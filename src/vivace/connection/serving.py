"""From a whole request to its answer, on the loop's own thread or on a pooled one; and who leads meanwhile.

Rules:

* `execute` runs the application. With a table it runs on the leader's thread, under the baton (see schedule.monitor);
  afterwards the caller must look whether it still leads.
* How a connection passes from one thread to another, and how it ends, stands in `ending`.

Threads: methods say who may call them; "owner" is the thread that owns the connection at that moment.
"""

from __future__ import annotations

from threading import current_thread, get_ident, get_native_id, main_thread

from vivace.connection.connection import RUNNING, Connection
from vivace.connection.ending import Ending
from vivace.connection.exhaustion import starved
from vivace.connection.meter import Meter, clock
from vivace.connection.outbox import Outbox
from vivace.connection.overload import Refusals, expected_wait_s, joins_loop_queue, turn_away
from vivace.connection.rows import Row
from vivace.errors import PeerGone, RequestTimeout
from vivace.http1.head import CLOSE
from vivace.net.poller import AWAY, READ
from vivace.observe.layout import APPLICATION, QUEUED, S_NOW, W_OVERTAKES
from vivace.schedule.admission import Admission
from vivace.schedule.heavy import HeavyQueue
from vivace.schedule.monitor import Monitor, Watchdog
from vivace.schedule.policy import overdue
from vivace.schedule.pool import Pool
from vivace.schedule.route import HEAVY
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.facts import Facts
    from vivace.connection.known import Known
    from vivace.connection.plan import Plan
    from vivace.connection.refreshing import Job
    from vivace.net.poller import Poller


class Serving(Ending):
    """What the leader and the pooled threads share."""

    def __init__(self, plan: Plan, poller: Poller, lead: Callable[[], None]) -> None:
        super().__init__(plan, poller)
        self.connections_max = min(plan.connections_max, poller.connections_max)
        self.heads = plan.heads
        self.policy = plan.policy
        self.prepare = plan.prepare
        self.annotator = plan.annotator
        if plan.annotator is not None:
            plan.annotator.section = self.section
        if plan.annotator is not None and plan.annotator.quick:
            self.annotator = None  # there is nothing else to do for it than what `wrapped` does
        self.facts: Facts | None = None
        """Looks closely at the requests, while somebody wants to know; see `watch_requests`."""
        self.app = self.slow_app = self.wrapped(plan.app)
        """What the loop's fast path calls, and what is called for all other requests."""
        self.log = plan.log
        self.report = plan.report
        # lanes
        self.heavy = HeavyQueue()
        self.admission = Admission(plan.queue_timeout_s, plan.threads)
        self.refusals = Refusals()
        self.saturated = False
        """What is ready waits long for its turn: the quick ones queue as well, so that each can be refused in time."""
        limit_s = plan.request_timeout_s or float("inf")
        self.monitor = Monitor(self.on_overtake, clock, tick_s=plan.tick_s, limit_s=limit_s)
        self.pool: Pool | None = None
        if plan.threads > 1:
            self.pool = Pool(
                self.perform,
                lead,
                self.on_crash,
                threads_max=plan.threads,
                idle_s=plan.thread_idle_s,
                on_starved=lambda threads: starved(self, threads),
            )
        self.seen = 0
        """Requests that have come, or a few more: events of the poller."""
        self.watched: dict[int, Callable[[], None]] = {}
        """Descriptors that are neither connections nor listeners, and what to call when they are readable."""
        if plan.request_timeout_s:
            from vivace.connection.limiter import Limiter

            self.limiter = Limiter(self)
            if self.pool is None:
                self.monitor = Watchdog(self.on_overtake, clock, self.limiter.look, limit_s=limit_s)
        self.leader = 0
        """Identity of the thread that leads ..."""
        self.leader_tid = 0
        """... and what the system calls it."""
        self.answers: Known | None = None
        """What `known` is, while the loop may take its fast path."""
        self.gentle = False
        self.usual = False
        """Whether nothing stands in the way of what is quick; see `renew_fast`."""
        self.fast = False
        """Whether the loop may take its fast path; see `renew_fast`."""

    def wrapped(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """`app`, as an exchange is to call it: with what is done to every response."""
        plan = self.plan
        if self.facts is not None:
            app = self.facts.wrap(app, plan.compressor)
        elif plan.compressor is not None:
            app = plan.compressor.wrap(app)
        if plan.annotator is not None and plan.annotator.quick:
            app = plan.annotator.wrap(app)
        return app

    # Running the application.

    def execute(self, conn: Connection, table: list[Any] | None) -> tuple[bytes, bool]:
        """Runs the request that `conn` holds; returns (bytes to send, whether another may follow). Owner."""
        route = conn.route
        environ, conn.environ = conn.environ, None
        if conn.site.secure:
            environ.update(conn.filter.facts)
        if self.prepare is not None:
            environ = self.prepare(environ)
        if (self.closing or self.full) and conn.at >= len(conn.buffer):  # what has come is still answered
            conn.flags |= CLOSE
        heads: Any = self.heads
        annotator = self.annotator if route.annotated else None
        if annotator is not None:
            heads = annotator.begin(environ, conn.host, clock() - conn.arrived)
            heads.conn = conn
        exchange = Exchange(conn, conn.flags, heads, self.date, self.report, route.allowance_s)
        if streams(conn):
            # Until the body is read to its end nobody knows where the next request begins.
            exchange.flags |= CLOSE
            conn.exchange = exchange
        conn.table = table
        conn.waited_s = 0.0
        meter = conn.meter = Meter(self.heavy, conn.token, table is not None) if route.watch else None
        started = clock()
        if table is not None:
            self.section.words[S_NOW] = route.number
            if conn.slot:  # it has waited for its turn
                self.section.proceed(conn.slot, APPLICATION, self.leader_tid)
            if meter is not None and self.monitor.drowsy and not route.settled:
                self.monitor.wake()
            table.append(exchange)
        elif self.limiter is not None:
            self.limiter.begin(conn, exchange, get_ident(), started, started - conn.arrived)
        try:
            app = route.app or self.slow_app if conn.fill is None else self.wrapped(conn.fill)
            answer, keep = exchange.run(app, environ)
        except (PeerGone, RequestTimeout):
            answer, keep = b"", False
            conn.close_reason = conn.close_reason or "client_gone"
        except KeyboardInterrupt:
            answer, keep = b"", False
            self.on_interrupt(conn)
        if conn.fill is not None:
            conn.end_fill()
        if self.limiter is not None:
            self.limiter.end(conn)
        if annotator is not None:
            annotator.end(heads, environ, exchange, conn.taken)
        # Waiting for the client is not the route's doing.
        wall = clock() - started - conn.waited_s
        if self.tally is not None and route.stats is not None:
            conn.row = Row(conn, environ, exchange, started, wall)
        if meter is not None:
            measured = meter.read(wall)
            self.policy.observe(route, *measured)
            if conn.row is not None:
                conn.row.cpu_s = measured[1]
                conn.row.blocked_s = wall - measured[1]
        elif wall > self.policy.quick_s:
            self.policy.suspect(route, wall)
        conn.meter = None
        conn.token = 0
        if conn.incoming is not None:
            keep = self.reader.release(conn) and keep
        if self.log is not None and not conn.taken and route.logged:
            self.log(environ, exchange, wall)
        return answer, keep and not conn.close_reason and not conn.taken

    def on_interrupt(self, conn: Connection) -> None:
        """The application raised KeyboardInterrupt, and what could be answered has been. Owner.

        On the main thread, which the loop then leads itself, it is the user's and ends the loop; elsewhere it is one
        request's failure.
        """
        conn.close_reason = conn.close_reason or "aborted"
        if self.pool is None and current_thread() is main_thread():
            self.close(conn, conn.close_reason)
            raise KeyboardInterrupt

    def still_leading(self, conn: Connection, table: list[Any]) -> bool:
        """Takes the baton back after `execute`; False: the table is another one's now. The thread that ran it."""
        try:
            table.pop()
        except IndexError:
            with self.monitor.turnover:  # until the one who took it has finished with the connection
                pass
            if self.limiter is not None:
                self.limiter.end(conn)
            return False
        return True

    def finish_overtaken(
        self, conn: Connection, exchange: Exchange, environ: dict[str, Any], answer: bytes, keep: bool, wall_s: float
    ) -> None:
        """The end of a call of the loop's fast path that was overtaken; `answer` is what is left of it. Owner."""
        with self.monitor.turnover:
            pass
        outbox, conn.outbox = conn.outbox, None
        if outbox:  # put there in the very moment in which it was overtaken
            answer = outbox.popleft()[1] + answer
        if self.limiter is not None:
            self.limiter.end(conn)
        if self.log is not None and not conn.taken and conn.route.logged:
            self.log(environ, exchange, wall_s)
        if self.tally is not None and conn.route.stats is not None:
            conn.row = Row(conn, environ, exchange, clock() - wall_s, wall_s)
        self.finish(conn, answer, keep and not conn.taken, leading=False)

    def dispatch(self, conn: Connection) -> None:
        """Gives the request that `conn` holds to the lane of its route, or refuses it. Leader."""
        here = joins_loop_queue(self, conn)
        wait_s = expected_wait_s(self, conn, here)
        if wait_s > self.admission.limit_s:
            turn_away(self, conn, wait_s, leading=True)
            return
        route = conn.route
        environ = conn.environ
        conn.state = RUNNING
        text = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} from {conn.host or 'a local client'}"
        conn.slot = self.section.enter(text.encode(), QUEUED, route.number)
        if here:
            self.heavy.push(self.policy.heavy_key(route, conn.arrived), conn.arrived, conn)
            return
        if route.lane == HEAVY and not streams(conn):
            key = self.policy.heavy_key(route, conn.arrived)
            self.heavy.push(key, conn.arrived, conn, route.away, route.allowance_s, route.cpu_s, route.wall_s)
        elif self.pool is not None:
            if streams(conn):
                self.set_mode(conn, AWAY)
            self.admission.submitted(route.wall_s)
            self.pool.submit(conn)

    def perform(self, conn: Connection) -> None:
        """One request on a pooled thread, from the queue to the last byte. Pooled thread, owner."""
        if self.cache is not None and not isinstance(conn, Connection):
            self.admission.began()
            self.cache.run_job(conn)
            return
        token = conn.token
        try:
            now = clock()
            if overdue(conn.arrived, now, self.plan.queue_timeout_s):
                turn_away(self, conn, now - conn.arrived, leading=False)
                return
            self.admission.began()
            if conn.slot:
                self.section.proceed(conn.slot, APPLICATION, get_native_id())
            answer, keep = self.execute(conn, None)
            self.finish(conn, answer, keep, leading=False)
        except Exception as error:
            self.on_bug(conn, error)
        except RequestTimeout:
            if self.limiter is not None:
                self.limiter.on_interrupted()
        finally:
            self.leave_heavy(token)

    def resize(self, threads: int) -> None:
        """So many threads may run the application from now on. Leader."""
        self.plan.threads = threads
        self.admission.resize(threads)
        if self.pool is not None:
            self.pool.resize(threads)

    def saturate(self, on: bool) -> None:
        """Has the quick requests queue as well, or no longer. Leader."""
        self.saturated = on
        self.renew_fast()

    def renew_fast(self) -> None:
        """Whether the loop may take its fast path. Leader."""
        self.usual = (
            self.prepare is None and self.annotator is None and not (self.closing or self.saturated or self.full)
        )
        self.fast = self.usual and self.cache is None and self.facts is None
        self.known = self.answers if self.usual and self.plan.annotator is None else None

    def call(self, app: Callable[..., Any]) -> None:
        """From now on `app` is the application. Any thread."""
        self.plan.app = app
        self.app = self.slow_app = self.wrapped(app)

    def watch_requests(self, facts: Facts | None) -> None:
        """From now on `facts` sees each request that reaches the application; or nobody. Leader."""
        self.facts = facts
        self.call(self.plan.app)
        if self.tally is not None:
            self.tally.on_row = facts.on_row if facts is not None else None
        self.renew_fast()

    def leave_heavy(self, token: int) -> None:
        """A heavy call has ended, or waits for its client: the next one may start. Any thread; twice does no harm."""
        if token:
            self.heavy.ended(token)
            if self.heavy.away:
                self.poller.wake()

    def do_later(self, job: Job) -> None:
        """Has `job` done on a pooled thread, or, where there is none, on the loop's when it has served who is ready."""
        if self.pool is None:
            self.ready.append(job)
            self.poller.wake()
        else:
            self.admission.submitted(0.0)
            self.pool.submit(job)

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Calls `on_readable` whenever `fd`, which is no connection, is readable; on the leader's thread."""
        self.watched[fd] = on_readable
        self.poller.add(fd, READ)

    def unwatch(self, fd: int) -> None:
        """Ends `watch`; before `fd` is closed."""
        if self.watched.pop(fd, None) is not None:
            self.poller.remove(fd)

    # Leadership.

    def on_overtake(self, exchange: Exchange) -> None:
        """The call keeps its thread; another one leads. Under the monitor's turnover lock."""
        conn: Connection = exchange.sink
        conn.state = RUNNING
        if conn.outbox is not None:
            waiting, self.outbox = self.outbox, Outbox()
            waiting.send_all(self, conn)
        if not conn.slot:
            text = f"{conn.route.name} from {conn.host or 'a local client'}"
            conn.slot = self.section.enter(text.encode(), APPLICATION, conn.route.number, self.leader_tid)
        words = self.section.words
        words[S_NOW] = 0  # it is not the loop's any more
        words[W_OVERTAKES] += 1
        thread = self.leader
        if conn.table is None or self.pool is None:
            pass  # it steps aside by itself, to wait for its client
        elif conn.meter is None:
            self.policy.overtaken(conn.route, exchange.allowance_s, None)
        else:
            self.policy.overtaken(conn.route, *conn.meter.look(self.leader, self.leader_tid))
        if conn.mode:
            self.set_mode(conn, AWAY)
        if self.pool is not None:
            self.pool.promote()
        if self.limiter is not None:
            self.limiter.begin(conn, exchange, thread, clock() - min(exchange.allowance_s, self.plan.request_timeout_s))

    def step_aside(self, conn: Connection) -> None:
        """The call on `conn` is about to wait for its client: lets others lead and compute. Owner."""
        token, conn.token = conn.token, 0
        self.leave_heavy(token)
        table, conn.table = conn.table, None
        if table is not None and (self.pool is not None or self.limiter is not None):
            self.monitor.step_aside(table)

    def on_crash(self, error: BaseException) -> None:
        """What a pooled thread raised outside a request."""
        self.plan.on_error(error)


def streams(conn: Connection) -> bool:
    """Whether the application reads the body of the request itself, as it arrives."""
    return conn.incoming is not None and conn.incoming.spool is None
