"""A machine in virtual time: cores, threads and CPython's GIL, for simulate_schedule.py.

A thread is a generator that yields what it does next:

* `(RUN, s)`   computes for s seconds of Python: needs the GIL (if there is one) and a core;
* `(FREE, s)`  computes for s seconds without the GIL (a system call, C code that releases it): needs a core;
* `(SLEEP, s)` waits for s seconds (a database, a timer) and needs nothing;
* `(PARK, 0)`  waits until `wake` is called for it.

The GIL follows CPython's ceval_gil: a waiter that sees no switch for one switch interval asks for it, and the owner
must then let it go; an owner that lets go by itself (any system call) wakes one waiter, which needs a moment to arrive
and finds the GIL taken again if the owner was back first. That race is what starves threads.

Not modelled: caches, hyper-threads, the allocator, priorities. Cores are given first come, first served, in slices of
SLICE_S where there are more threads than cores; a real kernel is kinder to the thread that has slept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

RUN, FREE, SLEEP, PARK = range(4)
Op = tuple[int, float]

WAKE_S = 5e-6  # from a futex wake to the woken thread running
SLICE_S = 1e-3  # what a thread gets of a core while others wait for one
DONE_S = 1e-12  # less than this of an operation is rounding


class Thread:
    """One thread. `cpu_s` is its on-CPU time, as time.thread_time reads it."""

    __slots__ = ("asked", "body", "cpu_s", "has_core", "left_s", "parked", "permit", "since_s", "turn")

    def __init__(self, body: Iterator[Op]) -> None:
        self.body = body
        self.cpu_s = 0.0
        self.left_s = 0.0  # of the present RUN or FREE
        self.since_s = 0.0  # when its present stretch on a core began
        self.has_core = False
        self.parked = False
        self.permit = False  # woken before it parked
        self.turn = 0  # an event for an older turn is void: the stretch or the wait was cut short
        self.asked = 0  # the GIL's switch count when it began to wait

    def cpu_now_s(self, now_s: float) -> float:
        """`cpu_s` with the stretch that is not over, as another thread reads it."""
        return self.cpu_s + (now_s - self.since_s if self.has_core and self.left_s > 0.0 else 0.0)


class Machine:
    """`cores` cores and, unless `switch_s` (the switch interval) is None, a GIL. `now_s` is the time."""

    def __init__(self, cores: int, switch_s: float | None) -> None:
        self.now_s = 0.0
        self.gil = switch_s is not None
        self.cpu_s = 0.0  # of all threads, as time.process_time reads it
        self.current = Thread(iter(()))  # whose body runs
        self._switch_s = switch_s or 0.0
        self._until_s = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._cores_free = cores
        self._core_queue: deque[Thread] = deque()
        self._owner: Thread | None = None
        self._last_owner: Thread | None = None
        self._waiters: list[Thread] = []
        self._switches = 0

    # Events

    def at(self, when_s: float, call: Callable[..., None], *args: object) -> None:
        """Calls `call(*args)` at the time `when_s`."""
        self._count += 1
        heappush(self._events, (when_s, self._count, call, args))

    def run(self, until_s: float) -> None:
        """Lets time pass until `until_s`."""
        events = self._events
        self._until_s = until_s
        while events and events[0][0] <= until_s:
            self.now_s, _, call, args = heappop(events)
            call(*args)
        self.now_s = until_s

    # Threads

    def start(self, body: Iterator[Op], delay_s: float = 0.0) -> None:
        """Starts a thread that does what `body` yields."""
        self.at(self.now_s + delay_s, self._resume, Thread(body))

    def wake(self, thread: Thread) -> None:
        """Ends the thread's PARK, or the next one if it is not parked."""
        if thread.parked:
            thread.parked = False
            self.at(self.now_s + WAKE_S, self._resume, thread)
        else:
            thread.permit = True

    def _resume(self, thread: Thread) -> None:
        """Runs the thread's body until it has to wait for something."""
        self.current = thread
        for kind, seconds in thread.body:
            if kind > FREE:
                if self._owner is thread:
                    self._release_gil()
                if kind == PARK and thread.permit:
                    thread.permit = False
                    continue
                self._release_core(thread)
                if kind == PARK:
                    thread.parked = True
                else:
                    self.at(self.now_s + seconds, self._resume, thread)
                return
            thread.left_s = seconds
            if kind == RUN and self.gil:
                if self._owner is not thread and not self._take_gil(thread):
                    self._release_core(thread)
                    return
            elif self._owner is thread:
                self._release_gil()
            if not thread.has_core and not self._take_core(thread):
                return
            end_s = self.now_s + seconds
            if not self._events or self._events[0][0] <= end_s or end_s > self._until_s or self._core_queue:
                self._stretch(thread)
                return
            self.now_s = end_s  # nothing can come between: no event needed
            thread.cpu_s += seconds
            self.cpu_s += seconds
        if self._owner is thread:
            self._release_gil()
        self._release_core(thread)

    def _stretch(self, thread: Thread) -> None:
        """Lets a thread that has all it needs compute until it is done or its slice ends."""
        thread.since_s = self.now_s
        thread.turn += 1
        self.at(self.now_s + min(thread.left_s, SLICE_S), self._on_stretch_end, thread, thread.turn)

    def _on_stretch_end(self, thread: Thread, turn: int) -> None:
        if turn != thread.turn:
            return
        self._account(thread)
        if thread.left_s <= DONE_S:
            self._resume(thread)
        elif self._core_queue:
            self._release_core(thread)
            self._core_queue.append(thread)
        else:
            self._stretch(thread)

    def _account(self, thread: Thread) -> None:
        done_s = self.now_s - thread.since_s
        thread.cpu_s += done_s
        self.cpu_s += done_s
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
        self._wait_for_gil(thread)
        return False

    def _wait_for_gil(self, thread: Thread) -> None:
        """A whole switch interval begins anew."""
        thread.asked = self._switches
        thread.turn += 1
        self.at(self.now_s + self._switch_s, self._on_gil_timeout, thread, thread.turn)

    def _own(self, thread: Thread) -> None:
        self._owner = thread
        if self._last_owner is not thread:
            self._last_owner = thread
            self._switches += 1

    def _release_gil(self) -> None:
        self._owner = None
        if self._waiters:
            self.at(self.now_s + WAKE_S, self._on_gil_signal, self._waiters[0])

    def _on_gil_signal(self, thread: Thread) -> None:
        if thread not in self._waiters:
            return
        if self._owner is None:
            self._give_gil(thread)
        else:
            self._wait_for_gil(thread)  # too late

    def _on_gil_timeout(self, thread: Thread, turn: int) -> None:
        if turn != thread.turn or thread not in self._waiters:
            return
        owner = self._owner
        if owner is None:
            self._give_gil(thread)
        elif thread.asked != self._switches or not owner.has_core:
            self._wait_for_gil(thread)
        else:  # the owner must let go, and the first in the queue gets it
            self._account(owner)
            self._release_core(owner)
            self._give_gil(self._waiters[0])
            if owner.left_s <= DONE_S:
                self.at(self.now_s, self._resume, owner)
            else:
                self._take_gil(owner)

    def _give_gil(self, thread: Thread) -> None:
        self._waiters.remove(thread)
        self._own(thread)
        if self._take_core(thread):
            self._stretch(thread)
