"""Time limits on requests: `request_timeout`, whatever thread runs the application.

What is bounded is one passage through the application: from its call to the end of `close()`, the reading of the body
and the waiting for the client in between included. What comes before (head, body, queue) and after (sending what the
application has left behind) has limits of its own.

Who looks: a call that lasts is always on a thread that does not lead (schedule.monitor overtakes it), and enters
`calls` then; the sweeper of the present leader goes through them. With one thread a watchdog does both. A quick request
never comes by here: the limit costs it nothing.

What happens, in `_strike`, to a call past its limit:

1. Its thread's stack and what it waits for are read.
2. The wire is taken away from it (`Connection.lose_wire`): what it sends from now on goes nowhere. Only then is it
   looked how far the response had come, because a thread notes that *before* it sends: so either nothing of the
   response was sent, and a 504 is; or it was complete but for `close()`, and is sent to its end; or the connection is
   reset, so that what is cut off cannot pass for a whole one. There is no way to two answers, or to a mixture.
3. RequestTimeout is raised in the thread (schedule.interrupt).
4. One message says all of this.

A thread that has not come back GRACE_S later is *stuck*: it does not count any more, and another process is asked for.

Rules:

* A call is in `calls` while its thread may be interrupted. `end` takes it out, under the lock under which it is
  interrupted, and then takes back an exception that has not come yet: it can strike no other request.
* Between the two the exception may come anywhere in the thread, in vivace's own lines as well. There a lock is held by
  `with` alone, and `execute`, `perform` and `lead` know what to do.
"""

from __future__ import annotations

import os
import socket
import threading
from threading import get_ident

from vivace.connection.connection import shut_down_writing
from vivace.connection.meter import clock
from vivace.connection.passage import Passage
from vivace.connection.plan import Answer
from vivace.errors import RequestTimeout
from vivace.schedule.interrupt import MainThread, forget_pending, raise_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.serving import Serving
    from vivace.wsgi.exchange import Exchange

GRACE_S = 5.0
"""How long an interrupted thread has to come back (mod_wsgi's documentation of interrupt-timeout: 5 s)."""

QUEUED_S = 0.1
"""A shorter wait before the application was called is not worth telling."""

DETAIL = "the application took too long"
REASON = "request_timeout"
EXTEND = "vivace.extend_timeout"


class Call:
    """One passage through the application on a thread that does not lead."""

    __slots__ = (
        "again",
        "began",
        "conn",
        "exchange",
        "excused",
        "queued_s",
        "raised",
        "request_id",
        "struck_s",
        "stuck",
        "thread",
        "until",
        "what",
    )

    def __init__(
        self, conn: Connection, exchange: Exchange, thread: int, began: float, queued_s: float, until: float
    ) -> None:
        self.conn = conn
        self.exchange = exchange
        self.thread = thread
        self.began = began
        self.queued_s = queued_s
        """From its head to the call of the application, where that is known."""
        self.until = until
        self.struck_s = 0.0
        """When it was answered in place of the application, 0.0 before."""
        self.raised = False
        """On the main thread: whether RequestTimeout has come."""
        self.again = False
        """It was raised a second time."""
        self.stuck = False
        self.excused = False
        """Stuck, and another thread may take the place of its own."""
        self.what = ""
        """Its request line, once that was read."""
        self.request_id = ""
        """The same."""


class Limiter:
    """Keeps the limit for the calls of one loop."""

    def __init__(self, loop: Serving) -> None:
        self._loop = loop
        self._limit_s = loop.plan.request_timeout_s
        self.calls: dict[Connection, Call] = {}
        self.base: dict[str, Any] = {EXTEND: self.extend}
        """What every environ has besides."""
        self._guard = threading.Lock()
        self._main = MainThread(self._on_kick)
        self._dead: socket.socket | None = None
        self._excused = 0
        self._asked = False

    def open(self) -> None:
        """Before the loop runs: keeps a socket whose peer is gone, so that one is there when descriptors are not."""
        self._dead, peer = socket.socketpair()
        self._dead.setblocking(False)
        peer.close()

    def close(self) -> None:
        """The loop has ended."""
        dead, self._dead = self._dead, None
        if dead is not None:
            dead.close()

    def watch_over(self, lead: Callable[[], None]) -> None:
        """Runs `lead` on this thread, which runs the application as well; a watchdog looks after it meanwhile."""
        monitor = self._loop.monitor
        watchdog = threading.Thread(target=monitor.watch, name="vivace-watchdog", daemon=True)
        with self._main:
            watchdog.start()
            try:
                lead()
            finally:
                monitor.stop()
                watchdog.join(GRACE_S)

    # The thread of the call.

    def begin(self, conn: Connection, exchange: Exchange, thread: int, began: float, queued_s: float = 0.0) -> None:
        """The call may last: it is looked after from now on. Its thread, or the one that overtakes it."""
        self.calls.setdefault(conn, Call(conn, exchange, thread, began, queued_s, began + self._limit_s))

    def end(self, conn: Connection) -> None:
        """The application has returned, or the connection closes. Its thread; more than once does no harm."""
        call = self.calls.get(conn)
        if call is None:
            return
        while True:
            try:
                with self._guard:
                    self.calls.pop(conn, None)
                    if call.struck_s:
                        forget_pending(call.thread)
                break
            except RequestTimeout:
                continue  # it came this very moment
        if call.stuck:
            self._on_return(call)

    def own(self) -> Connection | None:
        """The connection whose call the calling thread runs, if it is looked after."""
        thread = get_ident()
        for call in list(self.calls.values()):
            if call.thread == thread:
                return call.conn
        return None

    def on_interrupted(self) -> None:
        """RequestTimeout has come in vivace's own lines: the request is answered. The thread of the call."""
        conn = self.own()
        if conn is not None:
            self._loop.close(conn, REASON)

    def extend(self, seconds: float) -> None:
        """`environ['vivace.extend_timeout']`: this request may take `seconds` from now on (inf: any time).

        Called by the application on the thread of the request; raises RuntimeError elsewhere.
        """
        until = clock() + float(seconds)
        loop = self._loop
        if (conn := self.own()) is None and get_ident() == loop.leader and (table := loop.monitor.table):
            # It runs on the loop's own thread, and is going to last: the loop need not find that out.
            loop.step_aside(table[0].sink)
            conn = self.own()
        call = self.calls.get(conn) if conn is not None else None
        if call is None:
            raise RuntimeError(f"{EXTEND} was called outside of its request, or on another thread")
        call.until = until

    def _on_kick(self) -> None:
        """On the main thread, wherever it is: its call is to end."""
        thread = get_ident()
        for call in list(self.calls.values()):
            if call.thread == thread and call.struck_s and not call.raised:
                call.raised = True
                raise RequestTimeout

    # The thread that looks: the leader in its sweep, or the watchdog.

    def look(self, now: float) -> bool:
        """Deals with the calls that are past their limits; whether any are running."""
        for call in list(self.calls.values()):
            if call.stuck:
                continue
            if not call.struck_s:
                if now >= call.until:
                    self._strike(call, now)
            elif now - call.struck_s > GRACE_S:
                self._on_stuck(call, now)
            elif not call.again and now - call.struck_s > GRACE_S / 2:
                self._interrupt_again(call)
            elif call.thread == self._main.thread and not call.raised:
                self._main.kick()  # the last one came before the system call that it was to end
        return any(not call.stuck for call in list(self.calls.values()))

    def _strike(self, call: Call, now: float) -> None:
        passage = Passage(call.thread, call.exchange)
        if passage.environ is None:
            return  # on its way into the application, or out of it
        with self._guard:
            if self.calls.get(call.conn) is not call or call.exchange.ended:
                return
            call.what = passage.request_line
            call.request_id = passage.request_id
            outcome = self._answer(call, passage.environ, now)
            if not outcome:
                return
            self._interrupt(call)
        fill = call.conn.fill
        if fill is not None:
            fill.lose()
        before = f" ({call.queued_s:.3g} s after its head had come)" if call.queued_s >= QUEUED_S else ""
        self._loop.plan.complain(
            f"a request took longer than request_timeout: {call.what} from {_client(call.conn)}\n"
            f"  {now - call.began:.3g} s after the application was called{before}, {passage.phase}; {outcome}\n"
            + passage.written(call.conn.route)
            + self._seen(passage.native, call.began),
            call.request_id,
        )

    def _seen(self, thread: int, began: float) -> str:
        """What the profiler saw of the call, as lines of the message."""
        lines = self._loop.slow.written(thread, began)
        return "".join(["\n  what it did until then:", *(f"\n    {line}" for line in lines)]) if lines else ""

    def _interrupt(self, call: Call) -> None:
        """Under the lock."""
        if call.thread != self._main.thread or not self._main.kick():
            raise_in(call.thread, RequestTimeout)

    def _interrupt_again(self, call: Call) -> None:
        """It may have been swallowed: by a bare `except`, or by the interpreter, in a callback of a weak reference or
        in `__del__`. Once only: what cleans up for so long is hit as well."""
        with self._guard:
            if self.calls.get(call.conn) is call:
                call.again = True
                call.raised = False
                self._interrupt(call)

    def _answer(self, call: Call, environ: dict[str, Any], now: float) -> str:
        """Takes the wire and ends it as the response allows; says how, "" where it is too late. Under the lock."""
        loop, conn, exchange = self._loop, call.conn, call.exchange
        if conn.mode:
            conn.mode = 0
            try:
                loop.poller.remove(conn.fd)
            except (OSError, ValueError):
                pass
        ghost = conn.copy_wire()
        if exchange.ended:  # meanwhile: these system calls have let its thread go on
            if ghost is not None:
                os.close(ghost.fd)
            return ""
        call.struck_s = now
        assert self._dead is not None
        if ghost is None:
            shut_down_writing(conn.fd, reset=True)
        conn.lose_wire(self._dead.fileno())
        answer = Answer(exchange.status, exchange.body_bytes, exchange.headers)
        if ghost is None:
            loop.closed.add(REASON)
            outcome = "its connection was reset"
        else:
            loop.conns[ghost.fd] = ghost
            ghost.held = conn.held
            # In this order: a thread notes each of these before it sends anything.
            untouched, rest = not exchange.ended and conn.answers_plainly, getattr(exchange, "rest", None)
            if untouched and rest is not None:
                ghost.pending, conn.pending = conn.pending, None
                ghost.pending_bytes = conn.pending_bytes
                ghost.close_reason = REASON
                loop.finish(ghost, rest, False, leading=False)
                outcome = "its response was complete, and was sent"
            elif untouched and exchange.framing is None and not conn.pending:
                ghost.environ, ghost.flags = environ, exchange.flags
                loop.refuse(ghost, 504, DETAIL, REASON)
                return "answered 504"
            else:
                ghost.held = b""
                ghost.reset = True
                loop.end(ghost, REASON)
                outcome = "its connection was reset"
        if loop.log is not None:
            loop.log(environ, answer, now - call.began)
        return outcome

    # A thread that does not come back.

    def _on_stuck(self, call: Call, now: float) -> None:
        loop = self._loop
        passage = Passage(call.thread, call.exchange)
        with self._guard:
            if self.calls.get(call.conn) is not call:
                return
            call.stuck = True
            call.excused = loop.pool is not None and self._excused < loop.plan.threads
            self._excused += call.excused
            loop.conns.pop(call.conn.fd, None)  # a stop does not wait for it
        if call.excused and loop.pool is not None:
            loop.pool.excuse()
        if loop.stopping:
            loop.poller.wake()
        name = passage.thread_name
        replaced = "" if loop.plan.on_stuck is None else "; this process is to be replaced"
        lost = "another one takes its place" if call.excused else "nobody takes its place"
        loop.plan.complain(
            f"the thread {name} is stuck: {now - call.struck_s:.3g} s after RequestTimeout was raised in it it has not "
            f"come back: {call.what}\n"
            f"  {lost}{replaced}; a call into C cannot be interrupted: give it a time limit of its own\n"
            + passage.written(call.conn.route),
            call.request_id,
        )
        if loop.plan.on_stuck is not None and not self._asked:
            self._asked = True
            loop.plan.on_stuck(f"the thread {name} is stuck in {call.what}: it is {passage.wait.text}")

    def _on_return(self, call: Call) -> None:
        """A stuck thread is back, and in `end`."""
        loop = self._loop
        if call.excused and loop.pool is not None:
            loop.pool.welcome()
            with self._guard:
                self._excused -= 1
        loop.plan.complain(f"a stuck thread is back after {clock() - call.began:.3g} s: {call.what}", call.request_id)


def _client(conn: Connection) -> str:
    return f"{conn.host}:{conn.port}" if conn.host else "a Unix socket"
