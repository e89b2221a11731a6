"""Threads that run calls for the loop: started on demand, the most recently used first.

Rules:

* The idle thread that worked last works next: warm caches, and as few per-thread resources (database connections) as
  the load needs. A thread idle for `idle_s` ends.
* A thread waits on a lock of its own, so waking one wakes exactly one and takes no contended lock.
* One thread *leads* the loop. Leading is a job like any other: `promote()` gives it to an idle thread, or starts
  one, even above `threads_max` (a loop without a leader would serve nobody).
* A job is whatever `perform` takes. `perform` and `lead` must not raise; what they raise ends up in `on_crash`.

Threads: `submit` and `promote` by the leader or by the thread that overtakes it; everything shared is a list or deque
whose single operations are atomic.
"""

from __future__ import annotations

import threading
from collections import deque

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
    """At most `threads_max` threads (one more while all of them are inside calls, to lead the loop)."""

    def __init__(
        self,
        perform: Callable[[Any], None],
        lead: Callable[[], None],
        on_crash: Callable[[BaseException], None],
        *,
        threads_max: int,
        idle_s: float,
        name: str = "vivace",
    ) -> None:
        self.waiting: deque[Any] = deque()
        """Jobs that no thread has taken yet, oldest first."""
        self.total = 0
        self._perform = perform
        self._lead = lead
        self._on_crash = on_crash
        self._threads_max = threads_max
        self._idle_s = idle_s
        self._name = name
        self._idle: list[_Worker] = []
        self._guard = threading.Lock()
        self._ending = False
        self._started = 0

    @property
    def busy(self) -> int:
        """Threads that are not idle: in a call, or leading."""
        return self.total - len(self._idle)

    @property
    def crowded(self) -> bool:
        """No idle thread, and no room for another."""
        return not self._idle and self.total >= self._threads_max

    def submit(self, job: Any) -> None:
        """Runs `job` on the warmest idle thread, on a new one, or when one becomes free."""
        try:
            worker = self._idle.pop()
        except IndexError:
            if self.total < self._threads_max and self._start(job):
                return
            self.waiting.append(job)
            # A thread may have looked for work just before the append and gone idle just after.
            if self._idle:
                self._pass_on()
            return
        worker.job = job
        worker.lock.release()

    def promote(self) -> bool:
        """Has another thread lead. False: all are busy, and one was started above the limit for leading alone."""
        try:
            worker = self._idle.pop()
        except IndexError:
            room = self.total < self._threads_max
            if not self._start(_LEAD):
                self.waiting.appendleft(_LEAD)
            return room
        worker.job = _LEAD
        worker.lock.release()
        return True

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

    def _pass_on(self) -> None:
        try:
            job = self.waiting.popleft()
        except IndexError:
            return
        self.submit(job)

    def _start(self, job: Any) -> bool:
        with self._guard:
            self.total += 1
            self._started += 1
        name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, args=(_Worker(job),), name=name, daemon=True).start()
        except RuntimeError:  # the system gives no more threads: those there are must do
            with self._guard:
                self.total -= 1
            return False
        return True

    def _work(self, worker: _Worker) -> None:
        idle, waiting = self._idle, self.waiting
        while True:
            job, worker.job = worker.job, None
            try:
                if job is _LEAD:
                    self._lead()
                elif job is not _END:
                    self._perform(job)
            except BaseException as error:
                self._on_crash(error)
            del job
            try:
                worker.job = waiting.popleft()
                continue
            except IndexError:
                pass
            if self._ending or self.total > self._threads_max:
                break
            idle.append(worker)
            if waiting or self._ending:
                # Something came between the look and the append: whoever takes this worker off the list acts.
                try:
                    idle.remove(worker)
                except ValueError:
                    pass
                else:
                    worker.job = _END if not waiting else None
                    try:
                        worker.job = waiting.popleft()
                    except IndexError:
                        if self._ending:
                            break
                        worker.job = _END
                    continue
            if not worker.lock.acquire(timeout=self._idle_s):
                try:
                    idle.remove(worker)
                except ValueError:
                    worker.lock.acquire()  # a job is on its way
                else:
                    break
        with self._guard:
            self.total -= 1
