"""What one watched call of the application costs: wall and CPU time, and who else computed meanwhile.

A meter is made only for calls that the policy wants watched: its clocks cost 2 to 3 us in all, where one look at the
wall clock costs 40 ns (measured on Linux, CPython 3.11).
"""

from __future__ import annotations

import time
from itertools import count

from vivace.schedule.delay import run_delay_s
from vivace.schedule.policy import concurrency

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.schedule.heavy import HeavyQueue

clock = time.perf_counter
thread_clock = time.thread_time
process_clock = time.process_time

_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)  # Linux only
_uncounted = count()


def own_waits() -> int:
    """How often the calling thread has given the processor up by itself; ever more where nobody counts."""
    if _THREAD is None:
        return next(_uncounted)
    return resource.getrusage(_THREAD).ru_nvcsw


class Meter:
    """Begins to count when it is made, on the thread of the call."""

    __slots__ = ("_cpu", "_delay_s", "_heavy", "_leading", "_process", "_rivals", "_started", "_token", "_waits")

    def __init__(self, heavy: HeavyQueue, token: int, leading: bool) -> None:
        self._heavy = heavy
        self._token = token
        self._leading = leading
        self._rivals = heavy.rivals(token, leading)
        self._delay_s = run_delay_s() if token else 0.0  # dear, but these calls take milliseconds
        self._waits = own_waits()
        # Where nobody else is known to compute, nobody's computing needs to be told from this call's.
        self._process = process_clock() if self._rivals else 0.0
        self._started = clock()
        self._cpu = thread_clock()

    def read(self, wall_s: float) -> tuple[float, float, float]:
        """(wall, CPU, concurrency), as `Policy.observe` wants them. `wall_s`: that of the call, on its own thread."""
        # No more than the wall clock's: this clock began earlier, and what interrupts the two is no part of the call.
        cpu_s = min(thread_clock() - self._cpu, wall_s)
        if own_waits() == self._waits:
            # It never gave the processor up by itself: whatever it waited for is the machine's other work.
            return cpu_s, cpu_s, 1.0
        others_s = process_clock() - self._process - cpu_s if self._rivals else 0.0
        if self._token:
            wall_s = max(cpu_s, wall_s - (run_delay_s() - self._delay_s))
        rivals = (self._rivals + self._heavy.rivals(self._token, self._leading)) / 2
        return wall_s, cpu_s, concurrency(cpu_s, others_s, rivals)

    def look(self, thread: int) -> tuple[float, float | None, bool]:
        """(elapsed, CPU or None, whether others compute) of a call still running on `thread`. Another thread."""
        elapsed_s = clock() - self._started
        crowded = self._heavy.rivals(self._token, self._leading) > 0
        try:
            return elapsed_s, time.clock_gettime(time.pthread_getcpuclockid(thread)) - self._cpu, crowded
        except (AttributeError, OSError):
            return elapsed_s, None, crowded
