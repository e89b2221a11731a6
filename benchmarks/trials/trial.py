"""What the trials share: a server to try, figures, verdicts. Knows no trial."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .. import clients, servers
from ..processes import Running, cores, cores_busy_s, free_port
from ..run import loops_per_ms

CPU_MS = 2.0  # of the route /cpu in apps/trials.py
SLEEPER = """
import select, sys, time
late = []
while not select.select([sys.stdin], [], [], 0)[0]:
    before = time.perf_counter()
    time.sleep(0.01)
    late.append(time.perf_counter() - before - 0.01)
late.sort()
print(late[int(0.95 * len(late))] * 1e3 if late else 0)
"""
BURNER = "while True: pass"
WAITER = """
import sys, time
late = []
for line in sys.stdin:
    late.append(time.monotonic() - float(line))
late.sort()
print(late[int(0.99 * len(late))] * 1e3)
"""
WAKES = 1000
NOISE = 0.15  # of the two cores: more of other work than this makes figures doubtful


@dataclass(frozen=True)
class Target:
    """One thing that must hold, what was found, and whether it does."""

    words: str
    found: str
    met: bool


@dataclass
class Result:
    """What a trial found. `rows` are further figures: (what, figure)."""

    name: str
    title: str
    how: str
    targets: list[Target] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)
    foreign: float = 0.0
    """Cores that other work took meanwhile."""
    late_ms: float = 0.0
    """By how much an idle process on the server's core was woken late, at the 95th percentile: no server answers
    faster."""

    def target(self, words: str, found: str, met: bool) -> None:
        self.targets.append(Target(words, found, met))

    def row(self, what: str, figure: str) -> None:
        self.rows.append((what, figure))


class HasCpu(Protocol):
    """A server, or several."""

    def cpu_s(self) -> float: ...


class Setup:
    """How long, on which cores, and how to start a server."""

    def __init__(self, seconds: float, quick: bool, say: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.quick = quick
        self.say = say
        self.server_core, self.loader_core = cores()
        os.sched_setaffinity(0, {self.loader_core})
        self.loops = round(loops_per_ms() * CPU_MS)

    def woken_late_ms(self) -> float:
        """How late a process on the server's core is woken by what it waits for, at the 99th percentile, while another
        one computes there: what a thread that waits beside one that computes can hope for, without a GIL."""
        core = {self.server_core}
        with _python(BURNER, core) as burner:
            try:
                with _python(WAITER, core) as waiter:
                    assert waiter.stdin is not None
                    for _ in range(WAKES):
                        time.sleep(0.002 + 0.004 * random.random())
                        waiter.stdin.write(f"{time.monotonic()}\n")
                        waiter.stdin.flush()
                    return float(waiter.communicate()[0])
            finally:
                burner.kill()

    @contextmanager
    def serving(self, *settings: str, app: str = "trials") -> Iterator[Running]:
        """vivace with `settings`, pinned, serving apps/`app`.py; it has answered and met every route once."""
        port = free_port()
        argv = [sys.executable, "-m", "vivace", f"{app}:app", "--bind", f"127.0.0.1:{port}", *settings]
        environment = {**servers.environment(servers.SERVERS[0]), "BENCH_LOOPS": str(self.loops)}
        folder = str(servers.HERE / "apps")
        with Running(argv, folder, environment, port, self.server_core) as running:
            running.wait_ready(clients.Request())
            yield running

    @contextmanager
    def watched(self, result: Result, server: HasCpu) -> Iterator[None]:
        """Notes in `result` how much of the two cores neither this process and its children nor `server` took."""
        pair = {self.server_core, self.loader_core}
        busy, began, ours = cores_busy_s(pair), time.perf_counter(), _own_cpu_s() + server.cpu_s()
        with _python(SLEEPER, {self.server_core}) as sleeper:
            yield
            result.late_ms = max(result.late_ms, float(sleeper.communicate()[0] or 0))
        taken = cores_busy_s(pair) - busy - (_own_cpu_s() + server.cpu_s() - ours)
        result.foreign = max(result.foreign, taken / (time.perf_counter() - began))


def _python(program: str, cores: set[int]) -> subprocess.Popen[str]:
    """A Python of its own, on these cores."""
    return subprocess.Popen(
        [sys.executable, "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def log_of(server: Running) -> str:
    """What the server has written so far."""
    server._output.seek(0)
    return server._output.read().decode("utf-8", "replace")


def worker_of(server: Running) -> int:
    """The process that serves: the last child, or the server itself where it has none."""
    return server.pids()[-1]


def threads_of(server: Running) -> int:
    return len(os.listdir(f"/proc/{worker_of(server)}/task"))


def descriptors_of(server: Running) -> int:
    return len(os.listdir(f"/proc/{worker_of(server)}/fd"))


def size_bytes(server: Running) -> int:
    """Address space."""
    return int(Path(f"/proc/{worker_of(server)}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.perf_counter() + limit_s
    while not condition():
        if time.perf_counter() > deadline:
            return False
        time.sleep(0.02)
    return True
