"""A thread that brings log lines to where somebody may keep them waiting: a syslog, the handlers of Python's logging.

It exists only where one of these is configured, and only while requests are served: before and after, and in a process
that never serves (a supervisor, which must fork without threads), what is posted is done at once, by whoever posts it.

Rules: what waits is bounded; nobody who posts ever waits. A job does not raise.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.worker.access_log import Outlet

    Job = Callable[[], None]

WAITING_MAX = 8 << 20
"""Characters: some 50,000 lines, which are a second of the most that a worker can serve."""

FINISH_S = 2.0
"""So long may the last lines take when the server stops."""


class Carrier:
    """`post` hands a job to the thread, or does it. Any thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Job | None, int]] = SimpleQueue()
        self._waiting = 0
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0  # of the process that the thread is in: a fork leaves it behind

    def begin(self) -> None:
        """From now on a thread does the jobs. In the process that serves."""
        self._jobs, self._waiting, self._guard = SimpleQueue(), 0, threading.Lock()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="vivace-log", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float = FINISH_S) -> None:
        """What was posted is done, if that takes no longer than `timeout_s`; the thread ends."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._jobs.put((None, 0))
            thread.join(timeout_s)

    def post(self, job: Job, size: int) -> bool:
        """Has `job`, which is about `size` characters, done; False: too much is waiting, and it is not."""
        if self._thread is None or self._pid != os.getpid():
            job()
            return True
        with self._guard:
            if self._waiting + size > WAITING_MAX:
                return False
            self._waiting += size
        self._jobs.put((job, size))
        return True

    def _run(self) -> None:
        jobs, guard = self._jobs, self._guard
        while True:
            job, size = jobs.get()
            if job is None:
                return
            job()
            with guard:
                self._waiting -= size


class Carried:
    """An outlet of the access log (see `access_log.Outlet`) at the end of `carrier`."""

    def __init__(self, outlet: Outlet, carrier: Carrier) -> None:
        self._outlet = outlet
        self._carrier = carrier

    def put(self, text: str, count: int) -> None:
        """Any thread; never raises, never waits."""
        if not self._carrier.post(lambda: self._outlet.put(text, count), len(text)):
            self._outlet.lose(count, "it takes them too slowly")
