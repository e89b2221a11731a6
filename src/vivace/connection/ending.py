"""The end of a response, and of a connection; and how a connection passes from one thread to another.

Rules:

* Ownership of a connection passes by its state: before another thread gets it, it is RUNNING; that thread gives it back
  by `hand_back`, which sets the state last, or by putting it into `ready`.
* A RUNNING connection stays in the poller, because most clients are silent until they are answered. Where one is not,
  the leader puts it AWAY; `modes` is held for that, and while a RUNNING connection becomes something else.
* Every connection ends in `close`, with one reason from `observe.reasons.REASONS`.

Threads: methods say who may call them; "owner" is the thread that owns the connection at that moment.
"""

from __future__ import annotations

import os
from collections import deque
from threading import Lock

from vivace.connection.connection import (
    BODY,
    CLOSED,
    DRAINING,
    IDLE,
    LINGERING,
    RUNNING,
    shut_down_writing,
)
from vivace.connection.exhaustion import no_memory
from vivace.connection.meter import clock
from vivace.connection.outbox import Outbox
from vivace.connection.reasons import CloseCounts
from vivace.connection.slow import SlowRequests
from vivace.errors import PeerGone
from vivace.http1.head import HEAD
from vivace.http1.status import refusal
from vivace.net.poller import AWAY, READ, WRITE
from vivace.observe.desk import aside
from vivace.observe.layout import S_CONNECTIONS, SENDING
from vivace.observe.section import Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.caching import Caching
    from vivace.connection.connection import Connection
    from vivace.connection.known import Known
    from vivace.connection.limiter import Limiter
    from vivace.connection.plan import Plan
    from vivace.connection.reading import Reader
    from vivace.connection.tally import Tally
    from vivace.net.poller import Poller
    from vivace.observe.collector import CollectorWatch
    from vivace.observe.growth import Growth

NOBODY_THERE = ("client", "client_early", "client_gone", "write_timeout")

LINGER_S = 2.0
"""How long a connection that was refused waits for more, so that its answer is not lost to a reset (nginx:
lingering_timeout 5 s)."""

LINGER_S_MAX = 30.0
"""... and how long what comes is read and dropped (nginx: lingering_time 30 s)."""

LINGER_BYTES_MAX = 1 << 30
"""... and how much of it: the largest body that is taken by default. nginx bounds the time alone."""


class Ending:
    """What every connection comes to."""

    def __init__(self, plan: Plan, poller: Poller) -> None:
        self.plan = plan
        self.poller = poller
        # connections
        self.conns: dict[int, Connection] = {}
        self.modes = Lock()
        self.ready: deque[Any] = deque()
        """Connections handed back with bytes of the next request already read, or with one that has waited; jobs."""
        self.outbox = Outbox()
        """Answers that wait for others of the same turn; of the present leader."""
        self.closed = CloseCounts()
        self.reader: Reader
        self.date = b""
        """The Date line, renewed by the leader once a second."""
        self.section = plan.section or Section.private()
        """Where this process tells the others what it does."""
        self.cache: Caching | None = None
        """Keeps responses; None where none are."""
        self.known: Known | None = None
        """Answers that need no head to be read; None while there may be none."""
        self.tally: Tally | None = None
        """Counts requests; None where nobody wants to know."""
        self.collector: CollectorWatch | None = None
        """... and collections of garbage."""
        self.growth: Growth | None = None
        """... and what memory there is."""
        self.slow = SlowRequests(self, plan.slow_request_s, by_route=plan.slow_request_by_route)
        """Remembers the slow ones, and tells of those that run."""
        plan.topics["slow"] = aside(self.slow.told)
        self.limiter: Limiter | None = None
        """Keeps request_timeout_s; None where there is no such limit."""
        self.closing = False
        """Each response is the last one of its connection: `stopping`, or waiting to (drain_delay_s)."""
        self.stopping = False
        self.done = False
        """The loop has ended: what still runs elsewhere closes its connection itself."""
        self.full = False
        """No new connection is accepted until one closes."""

    # The end of a response.

    def finish(self, conn: Connection, answer: bytes, keep: bool, *, leading: bool) -> None:
        """Sends `answer` behind what is pending, then gives the connection back to the loop or closes it. Owner."""
        conn.keep_alive = keep
        if conn.slot:
            self.section.proceed(conn.slot, SENDING)
        if conn.held:
            answer = conn.held + answer
            conn.held = b""
        try:
            if conn.close_reason == "write_timeout":
                raise PeerGone
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
        self.sign_off(conn)
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
        conn.answered = clock()
        conn.expires = conn.answered + self.plan.keepalive_timeout_s
        self.hand_back(conn, READ, IDLE)

    def sign_off(self, conn: Connection, *, gone: bool = False) -> None:
        """The response is out, or its client is `gone`: counts the request, which is no longer in progress. Owner."""
        if conn.row is not None and self.tally is not None:
            self.tally.done(conn, gone=gone)
        if conn.slot:
            self.section.leave(conn.slot)
            conn.slot = 0

    def hand_back(self, conn: Connection, mode: int, state: int) -> None:
        """The leader owns `conn` from now on. Owner; its last act."""
        if conn.state == RUNNING:
            with self.modes:
                self.set_mode(conn, mode)
                conn.state = state
        else:
            self.set_mode(conn, mode)
            conn.state = state
        if self.full or self.stopping:
            self.poller.wake()  # somebody may wait for an idle connection to make room, or for the last one to end

    def put_away(self, conn: Connection) -> None:
        """The client of a RUNNING connection stirs: nothing more is reported of it. Leader."""
        with self.modes:
            if conn.state == RUNNING and not conn.taken:
                self.set_mode(conn, AWAY)

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
        if self.tally is not None:
            self.tally.refused.append(status)
        conn.end_fill()
        environ = conn.environ or {"REMOTE_ADDR": conn.host, "REMOTE_PORT": conn.port}
        fields = self.date
        if self.plan.annotator is not None:
            fields += self.plan.annotator.refused(environ, conn.host)
        if self.plan.refused is not None:
            self.plan.refused(environ, status, detail)
        conn.environ = None
        conn.keep_alive = False
        conn.close_reason = reason
        self.finish(conn, refusal(status, detail, fields, head_only), False, leading=False)

    def end(self, conn: Connection, reason: str) -> None:
        """Closes after a complete response, so that the client can read it (RFC 9112 section 9.6). Owner."""
        finished = reason == "done" and conn.at >= len(conn.buffer)
        if finished or conn.reset or conn.taken or reason in NOBODY_THERE:
            if conn.reset:
                shut_down_writing(conn.fd, reset=True)
            self.close(conn, reason)
            return
        conn.close_reason = reason
        conn.buffer = b""
        conn.at = 0
        if conn.filter is not None:
            conn.farewell(reason)
        shut_down_writing(conn.fd, reset=False)
        conn.arrived = clock()
        conn.expires = conn.arrived + LINGER_S
        self.hand_back(conn, READ, LINGERING)

    def on_lingering(self, conn: Connection, data: bytes, now: float) -> None:
        """The peer still sends what nobody wants, or has ended. Leader."""
        conn.at += len(data)
        conn.expires = min(now + LINGER_S, conn.arrived + LINGER_S_MAX)
        if not data or conn.at > LINGER_BYTES_MAX:
            self.close(conn, conn.close_reason)

    def close(self, conn: Connection, reason: str) -> None:
        """Closes now and counts `reason`. Owner."""
        if conn.state == CLOSED:
            return
        if self.limiter is not None:
            self.limiter.end(conn)
        if conn.filter is not None and not conn.taken:
            conn.farewell(reason)
        if conn.state == RUNNING:
            with self.modes:
                conn.state = CLOSED
        else:
            conn.state = CLOSED
        if not conn.taken:  # else whoever has its wire counts
            self.closed.add(reason)
        self.sign_off(conn, gone=reason in NOBODY_THERE)
        conn.end_fill()
        self.reader.forget(conn)
        if conn.pending:
            conn.drop_pending(self.plan.on_error)
        if reason == "write_timeout":
            # Else the system would keep for minutes what the client does not read, and the client would wait as long
            # to hear of its end (nginx: reset_timedout_connection).
            shut_down_writing(conn.fd, reset=True)
        self.close_descriptor(conn)

    def close_descriptor(self, conn: Connection) -> None:
        """The last part of `close`, enough where the request is counted and nothing of it is left. Owner."""
        conn.state = CLOSED
        fd, conn.fd = conn.fd, -1  # whoever still holds the connection must not reach its successor
        self.conns.pop(fd, None)
        self.section.words[S_CONNECTIONS] = len(self.conns)
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
        if isinstance(error, MemoryError):
            no_memory(self, conn)
            return
        if not self.done:  # else it came too late, which is no fault
            self.plan.on_error(error)
        try:
            self.close(conn, "stopping" if self.done else "bug")
        except Exception as second:
            self.plan.on_error(second)
