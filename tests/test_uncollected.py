"""observe/uncollected.py: the collector is on again after the last look, whoever looks."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from vivace.observe import uncollected


@pytest.mark.parametrize("on", [True, False])
def test_looks_that_overlap_leave_it_as_it_was(on: bool) -> None:
    if not on:
        gc.disable()
    try:
        uncollected.begin()
        uncollected.begin()  # another one, which finds it switched off
        assert (gc.isenabled(), uncollected.is_on()) == (False, on)
        uncollected.end()
        assert not gc.isenabled()
        uncollected.end()
        assert (gc.isenabled(), uncollected.is_on()) == (on, on)
    finally:
        gc.enable()


def test_looks_of_many_threads() -> None:
    def look() -> None:
        for _ in range(2000):
            uncollected.begin()
            uncollected.end()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_has_nobody_who_looks() -> None:
    uncollected.begin()
    try:
        pid = os.fork()
        if not pid:
            os._exit(0 if gc.isenabled() and uncollected.is_on() else 1)
    finally:
        uncollected.end()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
