"""What a process uses, against what it is known to have done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from vivace.observe import processes
from vivace.observe.processes import process_figures, resident_bytes
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

if not os.path.exists("/proc/self/stat"):
    pytest.skip("this system does not tell", allow_module_level=True)

NOBODY = 2**22 + 1
"""More than the greatest process number of Linux."""


class Child:
    """A process that does one line of Python at a time, and answers each."""

    def __init__(self) -> None:
        code = "import sys\nfor line in sys.stdin:\n    exec(line)\n    print('done', flush=True)"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.do("import os, threading, time")

    @property
    def pid(self) -> int:
        return self.process.pid

    def do(self, line: str) -> dict[str, Any]:
        """The figures after it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"
        return process_figures(self.pid)


@contextmanager
def children() -> Iterator[Child]:
    child = Child()
    try:
        yield child
    finally:
        child.process.kill()
        child.process.communicate(timeout=TIMEOUT_S)


def test_cpu_time_grows_with_computing_and_not_with_sleeping() -> None:
    with children() as child:
        before = child.do("pass")
        slept = child.do("time.sleep(0.2)")
        burnt = child.do("end = time.process_time() + 0.2; all(time.process_time() < end for _ in iter(int, 1))")
    assert cpu_s(slept) - cpu_s(before) <= 0.03
    assert 0.18 <= cpu_s(burnt) - cpu_s(slept) <= 0.25


def cpu_s(figures: dict[str, Any]) -> float:
    return float(figures["cpu_user_s"] + figures["cpu_system_s"])


def test_memory_and_faults_grow_with_what_is_touched() -> None:
    size = 40 << 20
    with children() as child:
        before = child.do("pass")
        after = child.do(f"kept = bytearray(b'x' * 1) * {size}")
        freed = child.do("del kept")
    pages = size / os.sysconf("SC_PAGE_SIZE")
    for name in ("memory_bytes", "private_bytes"):
        assert 0.95 * size < after[name] - before[name] < 1.1 * size
        assert freed[name] - before[name] < 0.1 * size
    assert after["minor_faults"] - before["minor_faults"] < 1.1 * pages + 100, "huge pages make them fewer"
    assert after["minor_faults"] > before["minor_faults"]
    assert after["major_faults"] == before["major_faults"]


def test_what_is_a_files_is_not_private() -> None:
    figures = process_figures(os.getpid())
    assert 0 < figures["private_bytes"] < figures["memory_bytes"] == pytest.approx(resident_bytes(os.getpid()), rel=0.1)


def test_a_wait_is_a_voluntary_switch() -> None:
    with children() as child:
        before = child.do("pass")
        after = child.do("[time.sleep(0.001) for _ in range(100)]")
    assert 100 <= after["voluntary_switches"] - before["voluntary_switches"] <= 110


def test_who_shares_a_core_is_switched_and_waits_for_it() -> None:
    core = min(os.sched_getaffinity(0))
    burn = f"os.sched_setaffinity(0, {{{core}}}); end = time.monotonic() + 0.3; "
    burn += "all(time.monotonic() < end for _ in iter(int, 1))"
    with children() as child, children() as other:
        before = child.do("pass")
        rival = threading.Thread(target=other.do, args=(burn,))
        rival.start()
        after = child.do(burn)
        rival.join()
    assert after["involuntary_switches"] - before["involuntary_switches"] >= 5
    assert after["run_delay_s"] - before["run_delay_s"] > 0.05


def test_threads_and_descriptors_are_counted() -> None:
    with children() as child, tempfile.TemporaryFile():
        before = child.do("files = [open(os.devnull) for _ in range(10)]; event = threading.Event()")
        after = child.do("[threading.Thread(target=event.wait, daemon=True).start() for _ in range(4)]; del files")
    assert (before["os_threads"], after["os_threads"]) == (1, 5)
    assert before["descriptors"] - after["descriptors"] == 10
    assert after["voluntary_switches"] >= 4, "of all threads"


def test_a_folder_without_a_size_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 6.2."""
    expected = process_figures(os.getpid())["descriptors"]

    class Sizeless:
        st_size = 0

    monkeypatch.setattr(processes.os, "stat", lambda path: Sizeless)
    assert process_figures(os.getpid())["descriptors"] - expected in (0, 1), "the listing has one of its own"


def test_states() -> None:
    with children() as child:
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: process_figures(child.pid)["process_state"] in ("T", "t"))
        os.kill(child.pid, signal.SIGCONT)
        until(lambda: process_figures(child.pid)["process_state"] == "S")


def test_without_threads_less_is_told() -> None:
    assert "run_delay_s" not in process_figures(os.getpid(), threads=False)


def test_nobody() -> None:
    assert process_figures(NOBODY) == {}
    assert resident_bytes(NOBODY) == 0 == processes.cpu_time_s(NOBODY)
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: process_figures(child.pid).get("process_state") == "Z")
    assert process_figures(child.pid)["memory_bytes"] == 0, "dead, and not buried"
    child.wait()


def test_another_users_process_tells_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> Any:
        raise PermissionError

    monkeypatch.setattr(processes.os, "stat", refused)
    assert process_figures(os.getpid())["descriptors"] is None


def test_it_is_cheap() -> None:
    began = time.process_time()
    for _ in range(100):
        process_figures(os.getpid())
    assert (time.process_time() - began) / 100 < 0.005
