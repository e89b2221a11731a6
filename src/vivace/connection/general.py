"""What the loop's fast path leaves: every other event, and every other kind of request.

Each method that may run the application returns True where another thread leads afterwards: then its caller returns at
once. `on_data` is the general twin of the fast path in `loop`; tests/test_twins.py holds them to the same answers.

Threads: the leader.
"""

from __future__ import annotations

import os

from vivace.connection.connection import DRAINING, HEAD, IDLE, LINGERING, OPENING, RUNNING, Connection
from vivace.connection.filters import through
from vivace.connection.meter import clock
from vivace.connection.overload import turn_away
from vivace.connection.own_route import run_own
from vivace.connection.plan import PARKED
from vivace.connection.reading import BODY_READ_BYTES, READ_BYTES
from vivace.connection.serving import Serving, streams
from vivace.errors import PeerGone, Refused
from vivace.net.poller import READ, WRITE
from vivace.schedule.policy import overdue
from vivace.schedule.route import LOOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.accepting import Acceptor
    from vivace.connection.sweeping import Sweeper

SHARE_BYTES_MAX = 65536
"""Answers to pipelined requests are joined into one write up to this size."""

LEFT = {IDLE: "client", OPENING: "handshake"}
"""What it is called when the client has gone; in any other state it left in the middle of a request."""

SPELL_S = 0.0005
"""Calls of the loop's own queue run for so long before the others' turn: what one heavy call takes at least."""


class General(Serving):
    """The events and requests that take the long way."""

    acceptor: Acceptor
    sweeper: Sweeper

    def count(self) -> None:
        """What has been done since the last time goes into the shared page."""
        if self.tally is not None and self.tally.flush(self.seen):
            for site in {*self.acceptor.sites(), *(conn.site for conn in self.conns.values())}:
                site.memo.clear()
                site.body_memo.clear()

    def on_other(self, fd: int, table: list[Any], now: float, events: list[tuple[int, int]]) -> bool:
        """An event of a descriptor that is no connection: a listener, a wake-up, or something closed meanwhile.

        New connections are added to `events`."""
        if fd == self.poller.wake_fd:
            self.poller.on_wake()
            if self.plan.desk is not None:
                self.plan.desk.serve()
            if self.closing:
                self.sweeper.begin_draining(now)
            self.acceptor.maybe_resume()
            return False
        if fd in self.watched:
            self.watched[fd]()
            return False
        return self.acceptor.on_readable(fd, table, now, events)

    def on_state(self, conn: Connection, table: list[Any], now: float) -> bool:
        """An event of a connection that is not idle."""
        state = conn.state
        if state == RUNNING:
            # The client hung up, or sent more already; whoever owns the connection will notice.
            self.put_away(conn)
            return False
        if state == DRAINING:
            return self.on_writable(conn, now)
        try:
            data = os.read(conn.fd, READ_BYTES if state == HEAD else BODY_READ_BYTES)
        except OSError as error:
            self.on_read_error(conn, error)
            return False
        if state == LINGERING:
            self.on_lingering(conn, data, now)
            return False
        return self.on_data(conn, data, table, now)

    def on_read_error(self, conn: Connection, error: OSError) -> None:
        """`read` failed: not readable after all, or the peer reset the connection."""
        if isinstance(error, BlockingIOError):
            if not conn.mode:  # a new connection, of which nothing has come yet
                self.set_mode(conn, READ)
            return
        if conn.state == LINGERING:
            self.close(conn, conn.close_reason)
        else:
            self.close(conn, LEFT.get(conn.state, "client_early"))

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
            self.close(conn, LEFT.get(conn.state, "client_early"))
            return False
        if conn.filter is not None and not (data := through(self, conn, data)):
            return False
        try:
            if conn.state == HEAD:
                conn.buffer += data  # a bytearray: a head that comes in drops is not copied at each of them
            else:
                conn.buffer = conn.buffer[conn.at :] + data if conn.buffer else data
                conn.at = 0
        except MemoryError as error:
            self.on_bug(conn, error)
            return False
        return self.serve_buffer(conn, table, now)

    def serve_buffer(self, conn: Connection, table: list[Any], now: float) -> bool:
        """Serves the whole requests at the front of `conn.buffer`, in order, their answers joined."""
        now = max(now, conn.answered)  # they have not come before the last answer
        try:
            while self.reader.take(conn, now):
                known = self.cache.answer(conn) if self.cache is not None else None
                if known is PARKED:
                    conn.release_held()
                    return False
                if known is not None:
                    (answer, keep), leading = known, True
                else:
                    if self.must_leave(conn):
                        conn.release_held()
                        self.dispatch(conn)
                        return False
                    if conn.held and (streams(conn) or (self.pool is not None and conn.route.samples == 0)):
                        conn.release_held()  # nobody knows how long this one takes
                    answer, keep = self.execute(conn, table)
                    leading = self.still_leading(conn, table)
                more = keep and leading and conn.at < len(conn.buffer) and not conn.pending
                if not more or len(conn.held) > SHARE_BYTES_MAX:
                    self.finish(conn, answer, keep, leading=leading)
                    return not leading
                conn.held += answer
                conn.state = IDLE
                self.sign_off(conn)  # as good as sent
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

    def on_request(self, conn: Connection, table: list[Any], arrived: float, data: bytes = b"") -> bool:
        """One whole request, alone, which is not for the fast path. `data`: its bytes, where they may be remembered."""
        conn.arrived = max(arrived, conn.answered)  # not before the last answer
        if self.cache is not None and self.is_answered(conn, data):
            return False
        if self.must_leave(conn):
            self.dispatch(conn)
            return False
        if self.usual and conn.route.lane == LOOP:
            return run_own(self, conn, table, data)
        return self.run_here(conn, table)

    def is_answered(self, conn: Connection, data: bytes) -> bool:
        """Whether the cache has answered the request that `conn` holds, or has it wait for another one's response."""
        assert self.cache is not None
        try:
            known = self.cache.answer(conn, data)
        except PeerGone:
            self.close(conn, conn.close_reason or "client_gone")
        except Exception as error:
            self.on_bug(conn, error)
        else:
            if known is None:
                return False
            if known is not PARKED:
                self.give(conn, *known)
        return True

    def give(self, conn: Connection, answer: bytes, keep: bool) -> None:
        """`finish` of an answer from the cache; most often it is out at once, and nothing else is to be done."""
        if (
            not keep
            or conn.pending
            or conn.held
            or conn.mode != READ  # a new connection is not yet watched
            or conn.filter is not None
            or conn.at < len(conn.buffer)
            or self.full
            or conn.row is not None
        ):
            self.finish(conn, answer, keep, leading=True)
            return
        try:
            sent = os.write(conn.fd, answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(conn, conn.close_reason or "client_gone")
            return
        if sent == len(answer):
            conn.buffer = b""
            conn.at = 0
            conn.answered = clock()
            conn.expires = conn.answered + self.plan.keepalive_timeout_s
        else:
            self.finish(conn, answer[sent:], keep, leading=True)

    def run_here(self, conn: Connection, table: list[Any]) -> bool:
        """The request that `conn` holds, on the loop's own thread, to its end."""
        answer, keep = self.execute(conn, table)
        leading = self.still_leading(conn, table)
        self.finish(conn, answer, keep, leading=leading)
        return not leading

    def must_leave(self, conn: Connection) -> bool:
        """Whether the request that `conn` holds may not run on the loop's thread at once."""
        if conn.route.lane == LOOP:
            return False
        if self.pool is None:
            return self.saturated and not streams(conn)
        if conn.fill is not None and self.cache is not None and self.cache.waits:
            return True
        return bool(conn.route.lane) or streams(conn) or self.saturated or self.pool.busy > self.plan.threads

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
            if self.cache is not None and (not isinstance(conn, Connection) or conn.environ is not None):
                if self.cache.resume(conn, table):
                    return True
                continue
            conn.state = IDLE
            if self.serve_buffer(conn, table, now):
                return True
        return False

    def on_heavy(self, table: list[Any], now: float) -> bool:
        """At most one heavy call here, or quick ones for SPELL_S where those queue, and on pooled threads what the book
        has room for: the quick ones come between."""
        heavy = self.heavy
        while heavy.away and self.pool is not None and (started := heavy.start_away(now)) is not None:
            call, token = started
            call.token = token
            self.admission.submitted(call.route.wall_s)
            self.pool.submit(call)
        self.sweeper.await_room(heavy.room_at_s() if heavy.away else None, now)
        until_s = now + SPELL_S
        while heavy.inline:
            conn: Connection = heavy.pop()
            if overdue(conn.arrived, now, self.plan.queue_timeout_s):
                turn_away(self, conn, now - conn.arrived, leading=True)
                continue
            waiting = len(heavy.inline)
            if self.run_here(conn, table):
                return True
            began, now = now, clock()
            self.admission.ran_inline(began, now, waiting)
            if now > until_s:
                break
        return False
