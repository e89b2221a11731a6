"""A server's processes on this machine, seen from outside: who listens, what they use.

Rules: reads /proc only; a process that ends while it is looked at is not there. Times are seconds of processor time
(user and system, threads that have ended included), sizes bytes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from vivace.observe.descriptors import listening, rows
from vivace.observe.processes import cpu_time_s, resident_bytes
from vivace.procfs import sockets_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.plan import Place

LOCAL_HOSTS = ("127.", "localhost", "::1", "0.0.0.0", "::")
REFRESH_S = 1.0
"""How often the tree is looked for anew: that reads every process of the machine."""


def listener(place: Place) -> int:
    """The process that listens there, of a family its oldest; 0 if it is elsewhere or cannot be seen."""
    if not place.path and not place.host.startswith(LOCAL_HOSTS):
        return 0
    inodes = _inodes(place)
    found = {pid for pid in _pids() if inodes & sockets_of(pid)} if inodes else set()
    parents = _parents()
    # A worker may have inherited the socket from one that has it, too.
    oldest = [pid for pid in found if parents.get(pid) not in found]
    return min(oldest, default=0)


def _inodes(place: Place) -> set[int]:
    if not place.path:
        return listening(place.port)
    path = os.path.abspath(place.path)
    return {int(row[6]) for row in rows(os.getpid(), "unix")[1:] if row[-1] == path}


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (man 5 proc); none if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _parents() -> dict[int, int]:
    found = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            found[pid] = int(fields[1])
    return found


def tree(root: int) -> list[int]:
    """A process and all that came from it."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


@dataclass(frozen=True, slots=True)
class Use:
    """What a tree of processes uses: processor time so far, memory now."""

    cpu_s: float
    rss_bytes: int
    processes: int


@dataclass(slots=True)
class Watch:
    """Looks at a tree of processes again and again. What one used that has ended since the last look stays counted."""

    root: int
    _cpu: dict[int, float] = field(default_factory=dict)
    _pids: list[int] = field(default_factory=list)
    _due_s: float = 0.0

    def look(self) -> Use | None:
        """None when the tree's root is gone."""
        now = time.monotonic()
        if now >= self._due_s:
            self._pids = tree(self.root)
            self._due_s = now + REFRESH_S
        rss = processes = 0
        for pid in self._pids:
            resident = resident_bytes(pid)
            if not resident:
                if pid == self.root:
                    return None
                continue
            self._cpu[pid] = max(cpu_time_s(pid), self._cpu.get(pid, 0.0))
            rss += resident
            processes += 1
        return Use(sum(self._cpu.values()), rss, processes)


def shared_fairly(pids: list[int]) -> int:
    """Memory of processes in bytes, a page that several have mapped divided among them (Pss, proc(5)); 0: not known."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except OSError:
            continue  # gone, or not ours to see
    return total
