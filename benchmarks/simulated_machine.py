"""A machine in virtual time: cores, threads and CPython's GIL, for simulate_schedule.py.

A thread is a generator that yields what it does next:

* `(RUN, s)`   computes for s seconds of Python: needs the GIL (if there is one) and a core;
* `(FREE, s)`  computes for s seconds without the GIL (a system call, C code that releases it): needs a core;
* `(SLEEP, s)` waits for s seconds (a database, a timer) and needs nothing;
* `(PARK, 0)`  waits until `wake` is called for it.

The GIL follows CPython's ceval_gil: a waiter that sees no switch for one switch interval asks for it, and the
owner must then let it go; an owner that lets go by itself (any system call) wakes one waiter, which needs a
moment to arrive and finds the GIL taken again if the owner was back first. That race is what starves threads.

Not modelled: caches, hyper-threads, the allocator, priorities. A core is given first come, first served, in
slices of SLICE_S when there are more threads than cores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from heapq import heappop, heappush

RUN, FREE, SLEEP, PARK = range(4)
Op = tuple[int, float]
Body = Generator[Op, None, None]

WAKE_S = 5e-6  # from a futex wake to the woken thread running
SLICE_S = 1e-3  # what a thread gets of a core while others wait for one


class Thread:
    """One thread. `cpu_s` is its on-CPU time, as time.thread_time reads it."""

    __slots__ = (
        "asked",
        "body",
        "cpu_s",
        "has_core",
        "left_s",
        "needs_gil",
        "parked",
        "permit",
        "since",
        "turn",
    )

    def __init__(self, body: Body) -> None:
        self.body = body
        self.cpu_s = 0.0
        self.left_s = 0.0  # of the present RUN or FREE
        self.since = 0.0  # when its present stretch on a core began
        self.needs_gil = False
        self.has_core = False
        self.parked = False
        self.permit = False  # woken before it parked
        self.turn = 0  # invalidates events of stretches that were cut short
        self.asked = 0  # the GIL's switch count when it began to wait

    def cpu_now(self, m):
        return self.cpu_s + (m.now - self.since if self.has_core and self.left_s > 0 else 0.0)


class Machine:
    """`cores` cores and, with `switch_s` (the switch interval), a GIL. `now` is the time in seconds."""

    def __init__(self, cores: int, switch_s: float | None) -> None:
        self.now = 0.0
        self._until_s = 0.0
        self.switch_s = switch_s
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._cores_free = cores
        self._core_queue: deque[Thread] = deque()
        self._running: list[Thread] = []  # on a core, in order of arrival
        self._owner: Thread | None = None
        self._waiters: list[Thread] = []
        self._switches = 0
        self._last_owner: Thread | None = None

        self.current = Thread(iter(()))  # whose body runs

    # Events

    def at(self, when_s: float, call: Callable[..., None], *args: object) -> None:
        self._count += 1
        heappush(self._events, (when_s, self._count, call, args))

    def run(self, until_s: float) -> None:
        events = self._events
        self._until_s = until_s
        while events and events[0][0] <= until_s:
            self.now, _, call, args = heappop(events)
            call(*args)
        self.now = until_s

    # Threads

    def start(self, body: Body, delay_s: float = 0.0) -> Thread:
        thread = Thread(body)
        self.at(self.now + delay_s, self._resume, thread)
        return thread

    def wake(self, thread: Thread) -> None:
        """Ends the thread's PARK, or the next one if it is not parked."""
        if thread.parked:
            thread.parked = False
            self.at(self.now + WAKE_S, self._resume, thread)
        else:
            thread.permit = True

    def _resume(self, thread: Thread) -> None:
        """Runs the thread's body until it waits for something; it holds a core or the GIL only from op to op."""
        self.current = thread
        for kind, seconds in thread.body:
            if kind <= FREE:
                thread.left_s = seconds
                thread.needs_gil = kind == RUN and self.switch_s is not None
                if not thread.needs_gil and self._owner is thread:
                    self._release_gil()
                if thread.needs_gil and self._owner is not thread and not self._take_gil(thread):
                    self._release_core(thread)
                    return
                if not thread.has_core and not self._take_core(thread):
                    return
                end_s = self.now + seconds
                if self._events and self._events[0][0] > end_s <= self._until_s and not self._core_queue:
                    self.now = end_s  # nothing can interfere: no event needed
                    thread.cpu_s += seconds
                    continue
                self._stretch(thread)
                return
            if self._owner is thread:
                self._release_gil()
            if kind == SLEEP:
                self._release_core(thread)
                self.at(self.now + seconds, self._resume, thread)
                return
            if thread.permit:
                thread.permit = False
                continue
            self._release_core(thread)
            thread.parked = True
            return
        if self._owner is thread:
            self._release_gil()
        self._release_core(thread)

    def _stretch(self, thread: Thread) -> None:
        """Lets a thread that has all it needs compute until it is done or its slice ends."""
        thread.since = self.now
        thread.turn += 1
        part_s = min(thread.left_s, SLICE_S)
        self.at(self.now + part_s, self._stretch_ended, thread, thread.turn)

    def _stretch_ended(self, thread: Thread, turn: int) -> None:
        if turn != thread.turn:
            return
        self._account(thread)
        if thread.left_s <= 1e-12:
            self._resume(thread)
        elif self._core_queue:
            self._release_core(thread)
            thread.has_core = False
            self._core_queue.append(thread)
        else:
            self._stretch(thread)

    def _account(self, thread: Thread) -> None:
        done_s = self.now - thread.since
        thread.cpu_s += done_s
        thread.left_s -= done_s
        thread.turn += 1

    # Cores

    def _take_core(self, thread: Thread) -> bool:
        if self._cores_free:
            self._cores_free -= 1
            thread.has_core = True
            return True
        self._core_queue.append(thread)
        return False

    def _release_core(self, thread: Thread) -> None:
        if not thread.has_core:
            return
        thread.has_core = False
        if self._core_queue:
            other = self._core_queue.popleft()
            other.has_core = True
            self._stretch(other)
        else:
            self._cores_free += 1

    # The GIL

    def _take_gil(self, thread: Thread) -> bool:
        if self._owner is None:
            self._own(thread)
            return True
        self._waiters.append(thread)
        thread.asked = self._switches
        self.at(self.now + (self.switch_s or 0.0), self._gil_timeout, thread, self._waiting_turn(thread))
        return False

    def _waiting_turn(self, thread: Thread) -> int:
        thread.turn += 1
        return thread.turn

    def _own(self, thread: Thread) -> None:
        self._owner = thread
        if self._last_owner is not thread:
            self._last_owner = thread
            self._switches += 1

    def _release_gil(self) -> None:
        self._owner = None
        if self._waiters:
            self.at(self.now + WAKE_S, self._gil_signalled, self._waiters[0])

    def _gil_signalled(self, thread: Thread) -> None:
        if thread not in self._waiters:
            return
        if self._owner is None:
            self._got_gil(thread)
        else:  # too late: it waits a whole interval again
            thread.asked = self._switches
            self.at(self.now + (self.switch_s or 0.0), self._gil_timeout, thread, self._waiting_turn(thread))

    def _gil_timeout(self, thread: Thread, turn: int) -> None:
        if turn != thread.turn or thread not in self._waiters:
            return
        owner = self._owner
        if owner is None:
            self._got_gil(thread)
        elif thread.asked != self._switches or not owner.has_core:
            thread.asked = self._switches
            self.at(self.now + (self.switch_s or 0.0), self._gil_timeout, thread, self._waiting_turn(thread))
        else:  # the owner must let go, and the first in the queue gets it
            self._account(owner)
            self._release_core(owner)
            self._owner = None
            first = self._waiters[0]
            self._got_gil(first)
            if owner.left_s <= 1e-12:
                self.at(self.now, self._resume, owner)
            else:
                self._take_gil(owner)

    def _got_gil(self, thread: Thread) -> None:
        self._waiters.remove(thread)
        self._own(thread)
        if self._take_core(thread):
            self._stretch(thread)
