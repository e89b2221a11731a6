"""What a look of the profiler (`sampling`) finds of one thread, and what share of that moment the thread ran."""

from __future__ import annotations

import os
import threading
import time

from vivace.observe import waits
from vivace.observe.waits import CAUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from vivace.observe.stack_table import Position

RUNNING, GIL = CAUSES[waits.RUNNING], CAUSES[waits.GIL]
UNKNOWN = CAUSES[waits.OTHER]
NOT_TOLD = "not told"
"""The system does not say what threads wait for."""


class Seen:
    """One thread in a request, at one moment."""

    __slots__ = ("began", "cpu_ns", "frame", "positions", "route", "running", "seen_ns", "stack", "state", "thread")

    def __init__(self, thread: int, began: int, route: str, cpu: int, stack: int, state: str) -> None:
        self.thread = thread
        self.began = began
        """When the request entered its slot, 0 if it has none."""
        self.route = route
        self.cpu_ns = self.seen_ns = cpu
        """CPU time of the thread then."""
        self.stack = stack
        self.state = state
        """One of CAUSES' values or NOT_TOLD; "" as long as nobody has looked."""
        self.frame: FrameType | None = None
        self.positions: list[Position] = []
        """Its innermost frame, and where that and those around it were; only during the look."""
        self.running = 0.0
        """Its share of this moment."""


def divide(seen: list[Seen], used: dict[int, int], busy: dict[int, float], all_ns: int, length_ns: int) -> None:
    """Says of each thread which share of this moment it was running.

    `used`: CPU time of threads at the beginning of the second step, which took `length_ns`; `all_ns`: that of all
    threads in it, but for the sampler's. `busy`: shares of a core of threads before that.
    """
    waiting = []
    for one in seen:
        if one.state not in (RUNNING, GIL, NOT_TOLD):
            continue
        before_ns = used.get(one.thread, -1)
        spent_ns = max(0, one.seen_ns - before_ns) if before_ns >= 0 else -1
        if one.state == RUNNING:
            # It computes without the GIL, or waits for a core: as one that computes, or because it was just woken.
            one.running = 1.0 if spent_ns else busy.get(one.thread, 1.0)
            all_ns -= max(0, spent_ns)
        else:
            waiting.append((one, spent_ns))
    held_ns = min(length_ns, max(all_ns, sum(spent_ns for _, spent_ns in waiting if spent_ns > 0)))
    for one, spent_ns in waiting:
        if spent_ns >= 0 and held_ns > 0:
            one.running = min(1.0, spent_ns / held_ns)
        elif one.state == GIL:
            one.running = 1.0 / len(waiting)


def cpu_ns(thread: int) -> int:
    """CPU time of a thread of this process, by the system's number; -1 if it has ended.

    The clock's number is that of Linux: include/linux/posix-timers_types.h, CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED.
    """
    try:
        return time.clock_gettime_ns(~thread << 3 | 6)
    except OSError:
        return -1


def chance() -> float:
    """At random, from 0 up to 1. The module `random` would take a millisecond to import."""
    return int.from_bytes(os.urandom(4), "little") / 4294967296


def sharpen() -> None:
    """Has the calling thread wake up when it wants to, and not 50 us later (proc_pid_timerslack_ns(5))."""
    try:
        fd = os.open(f"/proc/{threading.get_native_id()}/timerslack_ns", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"1")
    except OSError:
        pass
    finally:
        os.close(fd)
