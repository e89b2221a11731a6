"""The baton: so that a call which turns out slow stalls the others for a tick, and not for its length.

Before the leader runs a call on the loop's own thread it lays the baton on the table (`table.append(call)`) and takes
it back afterwards (`table.pop()`): two atomic list operations and no lock. The monitor looks at the table once a tick.
Where the same call has lain there past its allowance, the monitor takes the baton itself, and another thread is
promoted to lead. The overtaken thread finds the table empty (`IndexError`), finishes its request and joins the pool.

Rules:

* Each leader has a table of its own, and `table` is that of the present one: an overtaken thread that looks at its old table
  can never take the baton of its successor. So there is never a second leader.
* What lies on the table has a `deadline` (seconds of the same clock); the monitor knows nothing else of it.
* While nothing happens the monitor sleeps without a tick: the leader wakes it when something does.

Threads: `watch` on a thread of its own (the main one, so that signals are answered at once); `wake` by the leader.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REST_TICKS = 50
"""Ticks without any activity after which the monitor sleeps until it is woken."""


class Monitor:
    """Watches the table. `overtake(call)` is called with `turnover` held, when `table` is the successor's."""

    def __init__(
        self,
        overtake: Callable[[Any], None],
        clock: Callable[[], float],
        *,
        tick_s: float,
    ) -> None:
        self.table: list[Any] = []
        self.turnover = threading.Lock()
        """Held from taking the baton to the end of `overtake`; the overtaken thread waits for it."""
        self.resting = False
        self.turns = 0
        """Counted by the leader, once a turn of the loop: whether anything happens at all."""
        self._overtake = overtake
        self._clock = clock
        self._tick_s = tick_s
        self._bell = threading.Lock()
        self._bell.acquire()
        self._stopping = False

    def wake(self) -> None:
        """The leader: something happens again."""
        self.resting = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it is awake already

    def stop(self) -> None:
        """`watch` returns soon; may be called by a signal handler."""
        self._stopping = True
        self.wake()

    def step_aside(self, table: list[Any]) -> None:
        """The leader itself, in a call that is about to wait: gives the lead away, unless it has been taken."""
        with self.turnover:
            try:
                call = table.pop()
            except IndexError:
                return
            self.table = []
            self._overtake(call)

    def watch(self) -> None:
        """Looks at the table once a tick until `stop`."""
        clock, tick_s = self._clock, self._tick_s
        quiet = 0
        turns = -1
        while not self._stopping:
            if quiet >= REST_TICKS:
                self.resting = True
                if not self.table and turns == self.turns:
                    self._bell.acquire()
                self.resting = False
                quiet = 0
                continue
            asked = clock()
            self._bell.acquire(timeout=tick_s)
            now = clock()
            if self.table:
                quiet = 0
                # What starved this thread (the machine, a collection, C code that holds the GIL) stretched
                # the call as well: the time overslept is not held against it.
                self._look(now - max(0.0, now - asked - tick_s))
            elif turns == self.turns:
                quiet += 1
            else:
                quiet = 0
            turns = self.turns

    def _look(self, now: float) -> None:
        with self.turnover:
            table = self.table
            try:
                if now < table[0].deadline:
                    return
                # A fresh call may have replaced the one looked at: a hand-off too many, and harmless.
                call = table.pop()
            except IndexError:
                return
            self.table = []
            self._overtake(call)
