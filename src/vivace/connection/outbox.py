"""Answers of one turn of the loop that leave together, so that whoever waits for them is woken once.

To wake a process that sleeps on another core costs the kernel more than all else that sending does: 10 us of a Flask
hello's 93 on a virtual machine, where it takes an interrupt through the hypervisor. A client, or a proxy in front,
that is awake already gets the second answer without that. So where several requests have come together and their
calls take long enough for the client to fall asleep in between, answers wait for each other, for HOLD_S at most.

Rules:

* Only a whole answer to a request of the loop's fast path waits, and only on a connection that stays open.
* Nothing but another such call happens while one waits: what may last, what closes connections and what is asked of
  the system comes after `send_all`.
* If the call that the others wait for is overtaken, whoever overtakes it sends them before another thread leads. With
  one thread nobody could, so there no answer waits.

PEP 3333 forbids to delay a block of a response that goes on; the last one may wait for the end of its own call.
"""

from __future__ import annotations

from collections import deque

from vivace.connection.connection import CLOSED
from vivace.connection.meter import clock
from vivace.errors import PeerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.ending import Ending

HOLD_S = 0.0005
"""An answer waits at most so long, and for the call during which that is over, or until that is overtaken."""
HOLD_FROM_S = 0.00002
"""Answers wait for each other where a call takes longer: within less a client that was woken has not fallen asleep."""


class Outbox(deque["tuple[Connection, bytes]"]):
    """The connections and what each is to get, oldest first. One for each leader: see `schedule.monitor`."""

    __slots__ = ("looks",)

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[tuple[Callable[..., None], Any]] = []
        """What is called with its arguments when all are out: the times of requests that are looked at."""

    def send_all(self, server: Ending, calling: Connection | None = None) -> None:
        """Sends them. Leader, or whoever takes the lead away from `calling`, whose call goes on."""
        while self:
            conn, answer = self.popleft()
            if conn.state == CLOSED:
                continue  # the loop ran out of memory meanwhile
            try:
                sent = conn.send(answer)
            except PeerGone:
                if conn is calling:
                    conn.close_reason = conn.close_reason or "client_gone"
                else:
                    server.close(conn, "client_gone")
                continue
            conn.answered = clock()
            if sent == len(answer):
                continue
            if conn is calling:
                conn.keep(memoryview(answer)[sent:])  # it goes out when the call has ended
            else:
                server.finish(conn, answer[sent:], True, leading=True)
        looks, self.looks = self.looks, []
        for look, seen in looks:
            look(*seen)
