"""schedule.timeslice: what the kernel says of a thread that has asked, and which threads of a server ask."""

from __future__ import annotations

import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from vivace.schedule import timeslice
from vivace.schedule.timeslice import CALLS_S, ask_for
from wire import Client, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def slice_s(thread: int = 0) -> float:
    """The slice of a thread of this process; 0 where the kernel has none."""
    text = Path(f"/proc/self/task/{thread or threading.get_native_id()}/sched").read_text()
    found = [line.split()[-1] for line in text.splitlines() if line.startswith("se.slice")]
    return int(found[0]) / 1e9 if found else 0.0


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="slices are Linux's"),
    pytest.mark.skipif(
        sys.platform == "linux" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12),
        reason="ordinary threads have slices of their own since Linux 6.12",
    ),
]


def on_a_thread(run: Callable[[], Any]) -> Any:
    """What `run` returns on a thread of its own, whose slice goes with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_a_thread_has_the_slice_that_it_asked_for_and_then_the_kernels_own_again() -> None:
    def run() -> list[float]:
        own = slice_s()
        found = [own]
        for seconds in (0.010, 0.0):
            assert ask_for(seconds)
            found.append(slice_s())
        return found

    own, longer, after = on_a_thread(run)
    assert longer == 0.010
    assert own == after < 0.010


def test_niceness_and_policy_stay_as_they_are() -> None:
    def run() -> tuple[int, int]:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        assert ask_for(0.010)
        return os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)

    assert on_a_thread(run) == (5, os.SCHED_BATCH)


def test_a_thread_of_another_policy_is_left_alone() -> None:
    def run() -> tuple[bool, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return ask_for(0.010), os.sched_getscheduler(0)

    assert on_a_thread(run) == (False, os.SCHED_IDLE)


def test_a_machine_without_the_call_serves_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeslice, "NUMBERS", {})
    timeslice._call.cache_clear()
    try:
        assert on_a_thread(lambda: (ask_for(0.010), slice_s() == 0.010)) == (False, False)
    finally:
        timeslice._call.cache_clear()


def test_a_c_library_that_does_not_know_the_policy_serves_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "sched_getscheduler", refuse)
    assert not on_a_thread(lambda: ask_for(0.010))


def test_calls_have_longer_slices_than_the_loop() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        threading.Event().wait(0.02)  # long enough not to be run by the loop once that is known
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{slice_s()} {threading.get_native_id()}".encode()]

    with vivace.background(app, threads=4) as running, Client(running) as client:
        found = []
        for _ in range(10):
            client.send(request("/"))
            own_s, thread = client.read_response().body.split()
            leader = running.server.loop.leader_tid
            if int(thread) != leader:
                found.append((float(own_s), slice_s(leader)))
        assert found
        own_s, leader_s = found[-1]
        assert own_s == CALLS_S > leader_s
