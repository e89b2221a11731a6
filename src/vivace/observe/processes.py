"""What a process uses, as the kernel counts it: read from /proc by whoever looks, with nothing run in the process.

Costs and errors were measured on Linux 6.18 with two cores; docs/measures.md has them in one table.

Rules: never raises for a process that has gone, that belongs to another user, or where there is no /proc. Must not
know: workers, the shared page.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CPUCLOCK_SCHED = 2
"""In a clock's number (linux/posix-timers.h): nanoseconds that the scheduler has counted."""
THREADS_MAX = 128
"""Of a process with more threads, the switches and waits of so many are summed up."""


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (proc_pid_statm(5)); 0 where that cannot be read. 15 us.

    The kernel sums it up in batches for each core: it may be off by some hundred KiB (proc_pid_statm(5) calls it
    inaccurate), and pages that it shares with its parent since a fork count in both.
    """
    return _memory(pid)[0]


def cpu_time_s(pid: int) -> float:
    """CPU time that a process has used, exact, with that of threads that have ended; 0 if it has gone. 1 us.

    Linux has a clock for it, of any process: what clock_getcpuclockid(3) computes. /proc tells it in ticks of 10 ms.
    """
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def process_figures(pid: int, *, threads: bool = True) -> dict[str, Any]:
    """The figures of one process; empty if it has gone, or where there is no /proc. 50 us, and 40 us a thread.

    * `cpu_user_s`, `cpu_system_s`: since its start, threads that have ended included. Their sum is exact to a tick of
      10 ms. How it is split is found out at the ticks of the clock (4 ms): a program that always runs between two of
      them is split wrongly.
    * `memory_bytes`: see `resident_bytes`. `private_bytes`: the part of it that is no file's; after a fork, with what
      is still the parent's. What really is its own (smaps_rollup) takes 200 us and more, and holds the process up.
    * `minor_faults`, `major_faults`: exact. A major one waited for a disk.
    * `voluntary_switches`, `involuntary_switches` (it waited for something; another one was put in its place) and
      `run_delay_s` (it could run, and no core was free; what a hypervisor takes away is in it): exact, for the threads
      that live now. So they fall when a thread ends. Left out unless `threads`.
    * `os_threads`, `descriptors`: at this moment. `descriptors` is None where that may not be read.
    * `process_state`: of its first thread, by its letter; T (stopped) is that of all.
    """
    fields = _stat(pid)
    if not fields:
        return {}
    tick = os.sysconf("SC_CLK_TCK")
    resident, private = _memory(pid)
    figures: dict[str, Any] = {
        "cpu_user_s": int(fields[11]) / tick,
        "cpu_system_s": int(fields[12]) / tick,
        "memory_bytes": resident,
        "private_bytes": private,
        "minor_faults": int(fields[7]),
        "major_faults": int(fields[9]),
        "os_threads": int(fields[17]),
        "descriptors": _descriptors(pid),
        "process_state": fields[0].decode("ascii", "replace"),
    }
    if threads:
        voluntary, involuntary, delay_ns = _of_threads(pid)
        figures["voluntary_switches"] = voluntary
        figures["involuntary_switches"] = involuntary
        figures["run_delay_s"] = delay_ns / 1e9
    return figures


def _stat(pid: int) -> list[bytes]:
    """Fields of proc_pid_stat(5) from the third one on: the name before them may hold anything."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields if len(fields) > 20 else []


def _memory(pid: int) -> tuple[int, int]:
    """(resident, of that what is no file's)."""
    words = _read(f"/proc/{pid}/statm").split()
    if len(words) < 3:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    resident, shared = int(words[1]), int(words[2])
    return resident * page, max(0, resident - shared) * page


def _descriptors(pid: int) -> int | None:
    """How many it has open: the size of the folder since Linux 6.2, its entries before."""
    folder = f"/proc/{pid}/fd"
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError:
        return None


def _of_threads(pid: int) -> tuple[int, int, int]:
    """(voluntary switches, involuntary ones, nanoseconds without a core) of the threads that live."""
    voluntary = involuntary = delay_ns = 0
    try:
        threads = os.listdir(f"/proc/{pid}/task")[:THREADS_MAX]
    except OSError:
        return 0, 0, 0
    for thread in threads:
        status = _read(f"/proc/{pid}/task/{thread}/status").rpartition(b"\nvoluntary_ctxt_switches:")[2].split()
        delay = _read(f"/proc/{pid}/task/{thread}/schedstat").split()
        if len(status) == 3:  # a number, the name of the next line, its number
            voluntary += int(status[0])
            involuntary += int(status[2])
        if len(delay) == 3:
            delay_ns += int(delay[1])
    return voluntary, involuntary, delay_ns


def _read(path: str) -> bytes:
    """All of a small file, nothing where it cannot be read: a third of the cost of `open`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 8192)
    except OSError:
        return b""
    finally:
        os.close(fd)
