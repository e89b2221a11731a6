"""How long a thread was ready to run and had to wait for a core.

What a call waited for is wall time less CPU time. On a busy machine much of that is waiting for a core, which has
nothing to do with the call; Linux counts it for each thread (the second number of /proc/PID/task/TID/schedstat, ns).

Rules: never raises; 0.0 wherever the system does not tell. One open file for each thread that asks, closed with it.
"""

from __future__ import annotations

import os
import threading


class _File:
    """The calling thread's schedstat, open as long as the thread lives."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        try:
            self.fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


_local = threading.local()


def run_delay_of(native: int) -> float:
    """Seconds that a thread of this process, by its system's number, has waited for a core so far. 10 us."""
    try:
        with open(f"/proc/self/task/{native}/schedstat", "rb", 0) as file:
            return int(file.read().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return 0.0


def run_delay_s() -> float:
    """Seconds the calling thread has waited for a core so far. 0.8-1.2 us."""
    try:
        file = _local.file
    except AttributeError:
        file = _local.file = _File()
    if file.fd < 0:
        return 0.0
    try:
        return int(os.pread(file.fd, 64, 0).split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return 0.0
