"""Threads that run calls for the loop: started on demand, the most recently used first.

Rules:

* The idle thread that worked last works next: warm caches, and as few per-thread resources (database connections) as
  the load needs. A thread idle for `idle_s` ends.
* A thread waits on a lock of its own, so waking one wakes exactly one and takes no contended lock.
* One thread *leads* the loop. Leading is a job like any other: `promote()` gives it to an idle thread, or starts
  one, even above `threads_max` (a loop without a leader would serve nobody).
* A thread that runs calls has a longer slice of the processor than one that leads (`timeslice`).
* No job is lost: who adds one looks for a thread afterwards, and who stops being busy looks for a job afterwards.
* A job is whatever `perform` takes. `perform` and `lead` must not raise; what they raise ends up in `on_crash`.

Threads: `submit` and `promote` by the leader or by the thread that overtakes it; everything shared is a list or deque
whose single operations are atomic.
"""

from __future__ import annotations

import threading
from collections import deque

from vivace.schedule.timeslice import CALLS_S, ask_for

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LEAD = object()
_END = object()


class _Worker:
    """One thread's post-box: `job` is what it runs next, `lock` is released when there is one."""

    __slots__ = ("job", "lock")

    def __init__(self, job: Any) -> None:
        self.job = job
        self.lock = threading.Lock()
        self.lock.acquire()


class Pool:
    """At most `threads_max` threads and one that leads; more only where there would be no leader otherwise."""

    def __init__(
        self,
        perform: Callable[[Any], None],
        lead: Callable[[], None],
        on_crash: Callable[[BaseException], None],
        *,
        threads_max: int,
        idle_s: float,
        name: str = "vivace",
        on_starved: Callable[[int], None] | None = None,
    ) -> None:
        """`on_starved(threads there are)` is called where the system starts no further one."""
        self.waiting: deque[Any] = deque()
        """Jobs that no thread has taken yet, oldest first."""
        self.total = 0
        self._perform = perform
        self._lead = lead
        self._on_crash = on_crash
        self._threads_max = threads_max + 1
        self._idle_s = idle_s
        self._name = name
        self._on_starved = on_starved
        self._idle: list[_Worker] = []
        self._guard = threading.Lock()
        self._ending = False
        self._leaving = 0
        """Threads that are to end after their job: there are too many."""
        self._started = 0

    @property
    def busy(self) -> int:
        """Threads that are not idle: in a call, or leading."""
        return self.total - len(self._idle)

    def submit(self, job: Any) -> None:
        """Runs `job` on the warmest idle thread, on a new one, or when one becomes free."""
        self.waiting.append(job)
        self._match()

    def promote(self) -> bool:
        """Has another thread lead: an idle one, or a new one even above the limit. False: the first that comes free."""
        try:
            worker = self._idle.pop()
        except IndexError:
            if self._start(_LEAD):
                return True
            self.waiting.appendleft(_LEAD)  # the system gives no more threads
            return False
        worker.job = _LEAD
        worker.lock.release()
        return True

    def expire(self, late: Callable[[Any], bool | None]) -> list[Any]:
        """Takes out the jobs at the head of the queue that are `late`, oldest first. Leader.

        Those of which `late` says None have no deadline: they stay, and say nothing of those behind them.
        """
        waiting = self.waiting
        gone: list[Any] = []
        stay: list[Any] = []
        while True:
            try:
                job = waiting.popleft()
            except IndexError:
                break
            is_late = None if job is _LEAD else late(job)
            if is_late:
                gone.append(job)
                continue
            stay.append(job)
            if is_late is not None:
                break
        if stay:
            waiting.extendleft(reversed(stay))
            self._match()  # a thread may have looked while the queue seemed empty
        return gone

    def retry(self) -> None:
        """Looks again for threads where the system gave none. Leader, now and then."""
        if self.waiting:
            self._match()

    def resize(self, threads_max: int) -> None:
        """Another limit from now on. Where there are more threads, so many end when their call is done. Leader."""
        with self._guard:
            self._threads_max = threads_max + 1
            self._leaving = max(0, self.total - self._threads_max)
        self._match()

    def end(self) -> None:
        """Idle threads end now, the others when their call is done. Does not wait for them."""
        self._ending = True
        while self._idle:
            try:
                worker = self._idle.pop()
            except IndexError:
                break
            worker.job = _END
            worker.lock.release()

    def excuse(self) -> None:
        """A thread does not come back from its job: another one may take its place. Any thread."""
        self._forgo()
        self._match()

    def welcome(self) -> None:
        """That thread has come back, and counts again. Called on it."""
        with self._guard:
            self.total += 1

    def _match(self) -> None:
        """Brings waiting jobs and threads together, until one of them runs out. Any thread."""
        waiting, idle = self.waiting, self._idle
        while waiting:
            try:
                worker = idle.pop()
            except IndexError:
                if not self._reserve():
                    return  # every thread is busy; each looks at `waiting` before it rests or ends
                try:
                    job = waiting.popleft()
                except IndexError:
                    self._forgo()
                else:
                    if not self._launch(job):
                        waiting.appendleft(job)
                        return
                continue
            try:
                worker.job = waiting.popleft()
            except IndexError:
                idle.append(worker)
            else:
                worker.lock.release()

    def _start(self, job: Any) -> bool:
        """A new thread for `job`, whatever the limit says; False where the system gives none."""
        with self._guard:
            self.total += 1
        return self._launch(job)

    def _reserve(self) -> bool:
        with self._guard:
            if self.total >= self._threads_max:
                return False
            self.total += 1
            return True

    def _forgo(self) -> None:
        with self._guard:
            self.total -= 1

    def _leave(self) -> bool:
        """Whether this thread is one too many."""
        with self._guard:
            if not self._leaving or self.total <= self._threads_max:
                self._leaving = 0
                return False
            self._leaving -= 1
            return True

    def _launch(self, job: Any) -> bool:
        """Starts the thread that was counted already."""
        self._started += 1
        name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, args=(_Worker(job),), name=name, daemon=True).start()
        except (RuntimeError, MemoryError):
            self._forgo()
            if self._on_starved is not None:
                self._on_starved(self.total)
            return False
        return True

    def _work(self, worker: _Worker) -> None:
        leads = None
        while True:
            job, worker.job = worker.job, None
            if job is not _END and leads is not (job is _LEAD):  # at first it has what the thread that started it has
                leads = job is _LEAD
                ask_for(0.0 if leads else CALLS_S)
            try:
                if job is _LEAD:
                    self._lead()
                elif job is not _END:
                    self._perform(job)
            except BaseException as error:
                self._on_crash(error)
            del job
            if not self._next(worker):
                break
        self._forgo()
        self._match()  # a job may have come while this thread made up its mind

    def _next(self, worker: _Worker) -> bool:
        """Puts the next job into `worker`, waiting for one if need be; False: the thread is to end."""
        idle, waiting = self._idle, self.waiting
        if self._leaving and self._leave():
            return False
        try:
            worker.job = waiting.popleft()
            return True
        except IndexError:
            pass
        if self._ending or self.total > self._threads_max:
            return False
        idle.append(worker)
        # A job may have come between the look and the append; whoever takes the worker off the list decides.
        self._match()
        if self._ending:
            self.end()
        if not worker.lock.acquire(timeout=self._idle_s):
            try:
                idle.remove(worker)
            except ValueError:
                worker.lock.acquire()  # a job is on its way
            else:
                return False
        return True
