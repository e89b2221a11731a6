"""Starts, pins, watches and stops the server under measurement; reads CPU and memory of its whole process
tree from /proc.

Rules: every wait is bounded. A server runs in its own session, and only the processes of that session are
ever ended. Knows nothing of loads or reports.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from .clients import Request, ask

START_LIMIT_S = 20.0
STOP_LIMIT_S = 2.0
DESCRIPTORS = 65536
POLL_S = 0.0005  # between two tries to connect: the resolution of start_ms
CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Unfit(Exception):
    """The server could not be measured under this load; the words stand in the report."""


def cores() -> tuple[int, int]:
    """The server's core and the loader's: the first two that this process may use (the same one twice if
    there is one).
    """
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


def cores_busy_s(numbers: Container[int]) -> float:
    """CPU seconds that these cores were not idle, stolen time included, since the machine started."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words and words[0][:3] == "cpu" and words[0][3:].isdigit() and int(words[0][3:]) in numbers:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
            busy += user + nice + system + irq + softirq + steal
    return busy * CLOCK_TICK_S


def raise_descriptor_limit() -> int:
    """Raises RLIMIT_NOFILE as far as allowed, for this process and its children; returns the limit reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, DESCRIPTORS), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
            return wanted
    return soft


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A server process and its children, as a context manager: ended on exit whatever happened."""

    def __init__(self, argv: Sequence[str], folder: str, environment: Mapping[str, str], port: int, core: int):
        self.address = ("127.0.0.1", port)
        self._output = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exc: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_LIMIT_S)
        self._output.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def url(self, path: str) -> str:
        return f"http://{self.address[0]}:{self.address[1]}{path}"

    def wait_ready(self, request: Request) -> float:
        """Asks until the first answer; returns the seconds since exec. Raises Unfit."""
        deadline = self.started + START_LIMIT_S
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                raise Unfit(f"it stopped at once: {self.last_words()}")
            try:
                answer = ask(self.address, request, timeout_s=START_LIMIT_S / 4)
            except OSError:
                time.sleep(POLL_S)
                continue
            if answer.status != 200:
                raise Unfit(f"it answered {answer.status}: {self.last_words()}")
            return time.perf_counter() - self.started
        raise Unfit(f"no answer within {START_LIMIT_S:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        """The last line it printed, without paths."""
        self._output.seek(0)
        lines = self._output.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        line = lines[-1][:160] if lines else "it printed nothing"
        return " ".join(word for word in line.split() if "/" not in word)

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        return tree(self.process.pid)

    def cpu_s(self) -> float:
        """CPU seconds used by the tree so far; the difference of two calls counts what ran between them."""
        return sum(cpu_s(pid) for pid in self.pids())


def tree(root: int) -> list[int]:
    """`root` and its descendants, by the parent that each /proc/PID/stat names."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int(_stat_fields(int(entry))[1])
                children.setdefault(parent, []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold spaces: [0] is the state, [1] the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, ended threads included: its CPU clock (nanoseconds), else /proc/PID/stat
    (clock ticks).
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), CPUCLOCK_SCHED
    except OSError:
        pass
    try:
        fields = _stat_fields(pid)
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * CLOCK_TICK_S


def memory_kib(pids: Sequence[int]) -> dict[str, float]:
    """RSS and PSS of all processes together, and the RSS of the largest."""
    rss = [_rollup(pid) for pid in pids]
    return {
        "rss": float(sum(one[0] for one in rss)),
        "pss": float(sum(one[1] for one in rss)),
        "largest_rss": float(max((one[0] for one in rss), default=0)),
    }


def _rollup(pid: int) -> tuple[int, int]:
    """(RSS, PSS) in KiB of one process, zeros if it is gone."""
    found = {"Rss:": 0, "Pss:": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            words = line.split()
            if words[0] in found:
                found[words[0]] = int(words[1])
    return found["Rss:"], found["Pss:"]
