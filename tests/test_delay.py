"""schedule.delay: how long a thread waited for a core."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from vivace.schedule import delay
from vivace.schedule.delay import run_delay_s

schedstat = pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="this system does not tell")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@schedstat
def test_it_grows_while_two_threads_want_one_core():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("threads cannot be kept on one core")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    code = "print(flush=True)\nwhile True: pass"
    try:
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as rival:
            assert rival.stdout is not None
            rival.stdout.readline()
            ends, before, cpu_s = time.monotonic() + 0.2, run_delay_s(), time.thread_time()
            while time.monotonic() < ends:
                pass
            waited_s, cpu_s = run_delay_s() - before, time.thread_time() - cpu_s
            rival.kill()
    finally:
        os.sched_setaffinity(0, cores)
    assert waited_s > 0.02
    assert waited_s + cpu_s == pytest.approx(0.2, abs=0.08)


@schedstat
def test_sleeping_is_not_waiting_for_a_core():
    before = run_delay_s()
    time.sleep(0.05)
    assert run_delay_s() - before < 0.04


@schedstat
def test_each_thread_has_its_own_and_closes_it():
    run_delay_s()
    before = descriptors()
    seen: list[int] = []

    def ask() -> None:
        run_delay_s()
        run_delay_s()
        seen.append(descriptors())

    for _ in range(3):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert seen == [before + 1] * 3
    assert descriptors() == before


def test_where_the_system_does_not_tell_it_is_nothing(monkeypatch):
    def refuse(path: str, flags: int) -> int:
        raise FileNotFoundError(path)

    monkeypatch.setattr(delay, "_local", threading.local())
    monkeypatch.setattr(delay.os, "open", refuse)
    assert run_delay_s() == 0.0
    assert run_delay_s() == 0.0


@pytest.mark.parametrize("text", [b"", b"12", b"1 x 3"])
def test_what_it_does_not_understand_is_nothing(monkeypatch, text):
    monkeypatch.setattr(delay.os, "pread", lambda fd, size, offset: text)
    assert run_delay_s() == 0.0
