"""Which share of a moment each thread was running."""

from __future__ import annotations

import os
import threading
import time

import pytest

from vivace.observe.seen import GIL, NOT_TOLD, RUNNING, Seen, chance, cpu_ns, divide


def shares(*threads: tuple[str, int, int], all_ns: int = 0, length_ns: int = 100, **busy: float) -> list[float]:
    """Of (state, CPU time before, CPU time then), -1: not known."""
    seen = [Seen(number, 0, "route", then, 1, state) for number, (state, _, then) in enumerate(threads)]
    used = {number: before for number, (_, before, _) in enumerate(threads) if before >= 0}
    divide(seen, used, {int(name[1:]): share for name, share in busy.items()}, all_ns, length_ns)
    return [one.running for one in seen]


def test_the_one_that_waits_for_the_gil_alone_was_running() -> None:
    assert shares((GIL, 0, 90), all_ns=90) == [1.0]


def test_those_who_wait_for_the_gil_share_by_what_they_have_used() -> None:
    assert shares((GIL, 0, 75), (GIL, 10, 35), ("sleep", 5, 5), all_ns=100) == [0.75, 0.25, 0.0]


def test_what_others_have_computed_is_theirs() -> None:
    """The loop's own thread, say: so these two had the GIL for half of the time only."""
    assert shares((GIL, 0, 25), (GIL, 0, 25), all_ns=100) == [0.25, 0.25]


def test_but_more_than_the_whole_time_nobody_can_have_had_it() -> None:
    assert shares((GIL, 0, 50), all_ns=400) == [0.5]


def test_who_computes_without_the_gil_takes_nothing_from_the_others() -> None:
    assert shares((RUNNING, 0, 100), (GIL, 0, 100), all_ns=200) == [1.0, 1.0]


def test_who_was_just_woken_and_waits_for_a_core_runs_as_much_as_it_did_before() -> None:
    assert shares((RUNNING, 7, 7), (RUNNING, 7, 7), all_ns=0, _0=0.1) == [0.1, 1.0]


def test_those_of_whom_nothing_is_known_share_evenly() -> None:
    assert shares((GIL, -1, 50), (GIL, -1, 10)) == [0.5, 0.5]
    assert shares((NOT_TOLD, -1, 10)) == [0.0]
    assert shares((NOT_TOLD, 0, 50), all_ns=50) == [1.0]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="no clocks of threads by number")
def test_the_cpu_time_of_another_thread_and_of_one_that_has_ended() -> None:
    found: list[int] = []
    go = threading.Event()

    def compute() -> None:
        found.append(threading.get_native_id())
        while time.thread_time() < 0.01:
            sum(range(100))
        go.set()
        assert over.wait(20)

    over = threading.Event()
    thread = threading.Thread(target=compute)
    thread.start()
    assert go.wait(20)
    assert 0.01 <= cpu_ns(found[0]) / 1e9 < 0.1
    over.set()
    thread.join()
    deadline = time.monotonic() + 20
    while cpu_ns(found[0]) >= 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert cpu_ns(found[0]) == -1


def test_chances_are_even() -> None:
    drawn = [chance() for _ in range(4000)]
    assert 0.0 <= min(drawn) < 0.01 < 0.99 < max(drawn) < 1.0
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.03
