"""The baton: so that a call which turns out slow stalls the others for a tick or two, and not for its length.

Before the leader runs a call on the loop's own thread it lays the baton on the table (`table.append(call)`) and takes
it back afterwards (`table.pop()`): two atomic list operations, no lock and no clock. The monitor looks at the table
once a tick. Where the same call has lain there for its allowance, the monitor takes the baton itself, and another
thread is promoted to lead. The overtaken thread finds the table empty (`IndexError`), finishes its request and joins
the pool.

Rules:

* Each leader has a table of its own, and `table` is that of the present one: an overtaken thread that looks at its old
  table can never take the baton of its successor. So there is never a second leader.
* What lies on the table is new for every call (the monitor tells calls apart by identity) and has an `allowance_s`.
* While only known calls run, the monitor looks RELAXED times more rarely: each look costs the leader a hand-over of
  the GIL. `wake` brings the short tick back. While nothing happens at all it sleeps until it is woken.

Threads: `watch` on a thread of its own (the main one, so that signals are answered at once); `wake` by the leader.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ALERT_TICKS = 50
"""Short ticks after the last alarm before the monitor relaxes, and relaxed ones without any turn of the loop before
it rests."""

RELAXED = 5
"""A relaxed tick is so many times longer."""

WATCH_S = 0.25
"""A watchdog looks at least so often while the loop turns."""


class Monitor:
    """Watches the table. `overtake(call)` is called with `turnover` held, when `table` is the successor's."""

    def __init__(
        self,
        overtake: Callable[[Any], None],
        clock: Callable[[], float],
        *,
        tick_s: float,
        limit_s: float = float("inf"),
    ) -> None:
        """`limit_s`: whatever its allowance, a call that has run so long is overtaken."""
        self.table: list[Any] = []
        self.turnover = threading.Lock()
        """Held from taking the baton to the end of `overtake`; the overtaken thread waits for it."""
        self.drowsy = False
        """Relaxed or resting: a call that may take long needs `wake`."""
        self.resting = False
        """Sleeping until woken."""
        self.turns = 0
        """Counted by the leader, once a turn of the loop: whether anything happens at all."""
        self.looks, self.late_s = 0, 0.0
        """Looks so far, and how much later than they were due: what whoever wants the GIL waits for it."""
        self.on_wake: Callable[[], None] | None = None
        """Called by `wake`: for whoever else rests while nothing happens."""
        self._overtake = overtake
        self._clock = clock
        self._tick_s = tick_s
        self._limit_s = limit_s
        self._bell = threading.Lock()
        self._bell.acquire()
        self._stopping = False
        # the call looked at last, and for how long it has been seen there
        self._seen: Any = None
        self._seen_s = 0.0

    def wake(self) -> None:
        """Something happens again, or may take long: short ticks from now on."""
        self.resting = self.drowsy = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it is awake already
        if self.on_wake is not None:
            self.on_wake()

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
        ticks = quiet = 0
        turns = -1
        while not self._stopping:
            asked_s = tick_s if ticks < ALERT_TICKS else tick_s * RELAXED
            before = clock()
            if self._bell.acquire(timeout=asked_s):
                ticks = quiet = 0
                continue
            # What starved this thread (the machine, a collection, C code that holds the GIL) stretched the call as
            # well: the time overslept is not held against it.
            slept_s = clock() - before
            self.looks += 1
            self.late_s += max(0.0, slept_s - asked_s)
            overtaken = self._look(min(slept_s, asked_s))
            ticks = 0 if overtaken else ticks + 1
            self.drowsy = ticks >= ALERT_TICKS
            quiet = quiet + 1 if turns == self.turns and not self.table else 0
            turns = self.turns
            if quiet >= ALERT_TICKS:
                self.drowsy = self.resting = True
                if turns == self.turns and not self.table:
                    self._bell.acquire()
                self.resting = self.drowsy = False
                ticks = quiet = 0

    def _look(self, slept_s: float) -> bool:
        """Whether the call on the table was overtaken."""
        with self.turnover:
            try:
                call = self.table[0]
                if call is not self._seen:
                    self._seen = call
                    self._seen_s = 0.0
                    return False
                self._seen_s += slept_s
                if self._seen_s < min(call.allowance_s, self._limit_s):
                    return False
                # A fresh call may have taken its place this very moment: then this is one hand-off too many, and
                # harmless.
                call = self.table.pop()
            except IndexError:
                self._seen = None
                return False
            self._seen = None
            self.table = []
            self._overtake(call)
            return True


class Watchdog(Monitor):
    """For a loop with one thread: sees to it that what takes longer than `limit_s` is noticed by somebody.

    It overtakes as the monitor does, but nobody else can lead: the loop goes on with its own thread, when that comes
    back. `tend(now)` is called at every look, and says whether there is something left to look after.
    """

    def __init__(
        self,
        overtake: Callable[[Any], None],
        clock: Callable[[], float],
        tend: Callable[[float], bool],
        *,
        limit_s: float,
    ) -> None:
        super().__init__(overtake, clock, tick_s=min(WATCH_S, max(0.002, limit_s / 10)), limit_s=limit_s)
        self._tend = tend

    def watch(self) -> None:
        """Looks at the table once a tick until `stop`; rests while the loop does."""
        turns = -1
        while not self._stopping:
            before = self._clock()
            if self._bell.acquire(timeout=self._tick_s):
                continue
            self._look(min(self._clock() - before, self._tick_s))
            busy = self._tend(self._clock()) or bool(self.table)
            if not busy and turns == self.turns:
                self.resting = True
                if turns == self.turns and not self.table:
                    self._bell.acquire()
                self.resting = False
            turns = self.turns
