"""worker.carrier: a thread that does what may take its time, and is not there before and after."""

from __future__ import annotations

import os
import threading

import pytest

from vivace.worker.access_log import Outlet
from vivace.worker.carrier import WAITING_MAX, Carried, Carrier


@pytest.fixture
def done() -> list[int]:
    """The thread of each job."""
    return []


def test_before_and_after_it_is_done_by_who_posts_it(done: list[int]) -> None:
    carrier = Carrier()
    for _ in range(2):
        assert carrier.post(lambda: done.append(threading.get_ident()), 1)
        assert done.pop() == threading.get_ident()
        carrier.begin()
        assert carrier.post(lambda: done.append(threading.get_ident()), 1)
        carrier.finish()
        assert done.pop() != threading.get_ident()


def test_what_was_posted_is_done_at_the_end_in_order() -> None:
    carrier, found = Carrier(), []
    carrier.begin()
    for number in range(1000):
        carrier.post(lambda number=number: found.append(number), 1)  # type: ignore[misc]
    carrier.finish()
    assert found == list(range(1000))


def test_what_waits_is_bounded_and_nobody_waits_for_it() -> None:
    carrier, go, said = Carrier(), threading.Event(), []
    written: list[str] = []
    carrier.begin()
    carrier.post(go.wait, WAITING_MAX - 10)
    carried = Carried(Outlet(written.append, said.append), carrier)
    for _ in range(3):
        carried.put("12345\n", 1)
    assert written == []
    assert said == ["the access log cannot be written: it takes them too slowly. Lines are lost until it can"]
    go.set()
    carrier.finish()
    assert written == ["12345\n"]
    assert said[1:] == ["the access log is written again; some 2 lines are lost"]


def test_a_job_that_hangs_does_not_keep_the_end_waiting() -> None:
    carrier, go = Carrier(), threading.Event()
    carrier.begin()
    carrier.post(go.wait, 1)
    carrier.finish(0.05)
    go.set()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_thread_behind() -> None:
    carrier = Carrier()
    carrier.begin()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        carrier.post(lambda: os.write(writer, b"x") and None, 1)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    assert os.read(reader, 2) == b"x"
    os.close(reader)
    carrier.finish()
