"""One look at a request that is in the application: which it is, in which phase, at which line, waiting for what.

Read from the frames of its thread: nothing of this is noted on the path of a request.
"""

from __future__ import annotations

import os
import threading

from vivace.connection.meter import clock
from vivace.observe.layout import PHASES as PAGE_PHASES
from vivace.observe.stacks import is_ours, stack_of, written
from vivace.observe.waits import UNKNOWN, Wait, wait_of
from vivace.schedule.route import LANES
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

RUN = Exchange.run.__code__

# Functions of vivace below `Exchange.run`, and what it means that one of them is at work. The first that fits.
PHASES = {
    "_fail": "reporting what the application raised",
    "close_body": "closing: in close() of the response's body",
    "wait_for_room": "sending to a client that takes it slowly",
    "receive": "reading the body of the request",
}


class Passage:
    """What `thread` (its identity) does in `exchange`; None: in whichever it is. Another thread."""

    def __init__(self, thread: int, exchange: Exchange | None = None) -> None:
        self._stack: list[tuple[FrameType, int]] = []
        ours = []
        self.environ: dict[str, Any] | None = None
        """That of the request; None: the thread is not in the application."""
        self.caller: FrameType | None = None
        """What has called the application."""
        for frame, line in stack_of(thread):
            if frame.f_code is RUN and exchange in (None, frame.f_locals.get("self")):
                exchange = frame.f_locals["self"]
                self.environ = frame.f_locals["environ"]
                self.caller = frame.f_back
                break
            self._stack.append((frame, line))
            if is_ours(frame):
                ours.append(frame.f_code.co_name)
        self.exchange = exchange
        self.phase = next((words for name, words in PHASES.items() if name in ours), "") or _phase(exchange)
        found = next((known for known in threading.enumerate() if known.ident == thread), None)
        self.thread_name = found.name if found is not None else str(thread)
        self.native = (found.native_id if found is not None else None) or 0
        """What the system calls the thread, 0 where that is not known."""
        self.wait = wait_of(os.getpid(), self.native) if self.native else Wait(UNKNOWN, "doing nobody knows what")

    @property
    def request_line(self) -> str:
        """As much of it as the application has left in environ."""
        get = (self.environ or {}).get
        return f"{get('REQUEST_METHOD')} {get('REQUEST_URI')} {get('SERVER_PROTOCOL')}"

    @property
    def request_id(self) -> str:
        """Its id, "" where it has none."""
        return str((self.environ or {}).get("vivace.request_id") or "")

    @property
    def place(self) -> list[str | int] | None:
        """[function, file, line] of the innermost line that is the application's."""
        for frame, line in self._stack:
            if not is_ours(frame):
                return [frame.f_code.co_qualname, frame.f_code.co_filename, line]
        return None

    def written(self, route: Any) -> str:
        """Lines for the log: route, lane, thread, what it waits for, stack. Lets go of the frames."""
        lines, self._stack = self._stack, []
        lane = LANES[route.lane] if route is not None else "-"
        name = route.name if route is not None else "-"
        stack = written(lines) or "  (no line of the application)\n"
        return (
            f"  route {name} (lane now: {lane}), thread {self.thread_name}\n  it was {self.wait.text}\n{stack.rstrip()}"
        )


def running(thread: int, route: str, phase: int, text: str, began: float) -> tuple[dict[str, Any], int, float]:
    """A request in progress, as `slow` tells it; the thread that runs it, and when the application was called, 0.0
    where that is not known. Another thread.

    `thread` is the system's number, 0: none runs it. `phase`, `text` and `began` are what the shared page says of it,
    "" and 0.0: nothing, for the thread leads.
    """
    told: dict[str, Any] = {
        "request": text.partition(" from ")[0] or route,
        "route": route,
        "phase": PAGE_PHASES[phase % len(PAGE_PHASES)],
        "age_s": max(0.0, clock() - began) if began else 0.0,
        "thread": thread,
        **dict.fromkeys(("queued_s", "request_id", "client", "at")),
        "waits": "",
    }
    ident = (
        next((known.ident for known in threading.enumerate() if known.native_id == thread), None) if thread else None
    )
    if ident is None:
        return told, thread, 0.0
    passage = Passage(ident)
    environ, caller = passage.environ, passage.caller
    if environ is None or caller is None or passage.exchange is None:
        return told, thread, 0.0
    seen = _locals(caller)
    called: float = seen.get("started") or seen.get("began") or began
    conn: Any = passage.exchange.sink
    if caller.f_code.co_name == "execute" and conn.arrived:
        told |= {"queued_s": max(0.0, called - conn.arrived), "age_s": max(0.0, clock() - conn.arrived)}
    elif called:
        told["age_s"] = max(0.0, clock() - called)
    told |= {
        "request": f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}",
        "phase": passage.phase + (", answered in its place" if conn.taken else ""),
        "request_id": passage.request_id or None,
        "client": conn.host,
        "at": passage.place,
        "waits": passage.wait.text,
    }
    return told, thread, called


def _locals(frame: FrameType) -> dict[str, Any]:
    """The local variables of a frame. Up to CPython 3.12 a frame keeps what was made for that, with all that the
    variables held: for the loop that would be the last request, until the next look."""
    found = frame.f_locals
    kept = dict(found)
    if type(found) is dict:
        found.clear()
    return kept


def _phase(exchange: Exchange | None) -> str:
    if exchange is None:
        return "in no application"
    if exchange.status is None:
        return "in the application, before start_response"
    if exchange.framing is None:
        return "in the application, after start_response and before any of the body"
    return f"in the body of the response, after {exchange.body_bytes} bytes of it"
