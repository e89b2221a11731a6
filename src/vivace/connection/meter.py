"""What one watched call of the application costs: wall and CPU time, and who else computed meanwhile.

A meter is made only for calls that the policy wants watched: its clocks cost 3 to 4 us in all, where one look at the
wall clock costs 40 ns (measured on Linux, CPython 3.11).

Waiting for a core is none of the call's doing, and on a busy machine it is most of what a quick call waits for: it is
not counted. Where the call had to wait for one, others had to as well, and one of them may have had the GIL.
"""

from __future__ import annotations

import time
from itertools import count

from vivace.schedule.delay import run_delay_of, run_delay_s
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

SCARCE_S = 0.0001
"""A call that has waited longer for a core ran where these are scarce."""


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
        self._delay_s = run_delay_s()
        self._waits = own_waits()
        self._process = process_clock()
        self._started = clock()
        self._cpu = thread_clock()

    def read(self, wall_s: float) -> tuple[float, float, float]:
        """(wall, CPU, concurrency), as `Policy.observe` wants them. `wall_s`: that of the call, on its own thread."""
        # No more than the wall clock's: this clock began earlier, and what interrupts the two is no part of the call.
        cpu_s = min(thread_clock() - self._cpu, wall_s)
        if own_waits() == self._waits:
            # It never gave the processor up by itself: whatever it waited for is the machine's other work.
            return cpu_s, cpu_s, 1.0
        others_s = process_clock() - self._process - cpu_s
        delay_s = run_delay_s() - self._delay_s
        rivals = (self._rivals + self._heavy.rivals(self._token, self._leading)) / 2
        if delay_s > SCARCE_S:
            rivals = max(1.0, rivals)  # if it is only the thread that watches
        return max(cpu_s, wall_s - delay_s), cpu_s, concurrency(cpu_s, others_s, rivals)

    def look(self, thread: int, native: int) -> tuple[float, float | None, bool]:
        """(elapsed, CPU or None, whether others compute) of a call still running on `thread`, `native` to the system.
        Another thread."""
        delay_s = max(0.0, run_delay_of(native) - self._delay_s)
        elapsed_s = max(0.0, clock() - self._started - delay_s)
        crowded = self._heavy.rivals(self._token, self._leading) > 0 or delay_s > SCARCE_S
        try:
            return elapsed_s, time.clock_gettime(time.pthread_getcpuclockid(thread)) - self._cpu, crowded
        except (AttributeError, OSError):
            return elapsed_s, None, crowded
