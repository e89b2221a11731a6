"""schedule.admission: who is let into a queue. Pure; the last part runs the simulation, in virtual time."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.schedule.admission import RETRY_S_MAX, RETRY_S_MIN, Admission
from vivace.schedule.heavy import HeavyQueue

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.simulate_schedule import SWITCH_S, computing, page, sleeper
from benchmarks.simulated_machine import Machine
from benchmarks.simulated_server import Server, Stream

TIMEOUTS = st.floats(0.001, 86400)


@pytest.mark.parametrize(("timeout_s", "limit_s"), [(0.2, 0.1), (2.0, 1.0), (10.0, 9.0), (60.0, 59.0)])
def test_who_is_expected_to_begin_shortly_before_the_deadline_is_let_in(timeout_s: float, limit_s: float) -> None:
    assert Admission(timeout_s, 4).limit_s == pytest.approx(limit_s)


@given(st.integers(0, 100_000), st.floats(0, 3600))
def test_without_a_deadline_nobody_is_refused(waiting: int, wall_s: float) -> None:
    admission = Admission(0.0, 4)
    admission.submitted(wall_s)
    assert not admission.pool_wait_s(waiting) > admission.limit_s


@given(TIMEOUTS, st.lists(st.floats(0, 3600), max_size=20))
def test_where_nobody_waits_nobody_is_refused(timeout_s: float, walls: list[float]) -> None:
    """Whatever was measured before, and also when the threads hang."""
    admission = Admission(timeout_s, 4)
    for wall_s in walls:
        admission.submitted(wall_s)
        admission.ran_inline(0.0, wall_s, 1)
    admission.expired()
    assert admission.pool_wait_s(0) == admission.inline_wait_s(0) == 0.0


@given(TIMEOUTS, st.integers(0, 100_000))
def test_what_is_not_known_refuses_nobody(timeout_s: float, waiting: int) -> None:
    admission = Admission(timeout_s, 4)
    assert admission.pool_wait_s(waiting) == admission.inline_wait_s(waiting) == 0.0


def known(timeout_s: float, threads: int, wall_s: float) -> Admission:
    admission = Admission(timeout_s, threads)
    for _ in range(100):
        admission.submitted(wall_s)
    return admission


def test_the_wait_for_a_thread() -> None:
    """16 threads, 20 ms each: 80 waiting ones are a tenth of a second."""
    admission = known(0.2, 16, 0.02)
    assert admission.pool_wait_s(79) < admission.limit_s < admission.pool_wait_s(81)


def test_slow_reports_wait_for_a_minute() -> None:
    """Four threads, reports of 20 s: eleven people may stand behind those who are served."""
    admission = known(60.0, 4, 20.0)
    assert admission.pool_wait_s(11) < admission.limit_s < admission.pool_wait_s(12)


def test_threads_that_hang() -> None:
    """Someone waited in vain: now no more wait than there are threads, until one of them begins something."""
    admission = known(0.2, 4, 0.001)
    admission.expired()
    assert admission.pool_wait_s(3) < admission.limit_s
    assert admission.pool_wait_s(4) > admission.limit_s
    admission.began()
    assert admission.pool_wait_s(4) < admission.limit_s


def test_the_pace_of_the_loops_own_queue() -> None:
    """From one begin to the next while some wait, with all that the loop does between; else the call alone."""
    admission = Admission(0.2, 4)
    for number in range(100):
        admission.ran_inline(number * 0.003, number * 0.003 + 0.002, 5)
    assert admission.inline_pace_s == pytest.approx(0.003, rel=0.01)
    for number in range(100):
        admission.ran_inline(10 + number, 10 + number + 0.002, 0)
    assert admission.inline_pace_s == pytest.approx(0.002, rel=0.01)


def test_a_pause_of_the_machine_counts_little() -> None:
    """And is forgotten, although nobody waits any more because of it."""
    admission = Admission(0.2, 4)
    for number in range(100):
        admission.ran_inline(number * 0.002, number * 0.002 + 0.002, 5)
    admission.ran_inline(5.0, 5.002, 0)
    assert admission.inline_pace_s < 0.005
    for number in range(30):
        admission.ran_inline(6.0 + number, 6.002 + number, 0)
    assert admission.inline_pace_s == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize(
    ("turn_s", "events", "connections", "saturated"),
    [
        (0.009, 200, 20_000, False),
        (0.011, 200, 200, True),
        (0.009, 256, 256, False),
        (0.009, 256, 1000, True),  # three more batches may be ready
    ],
)
def test_when_the_loop_is_saturated(turn_s: float, events: int, connections: int, saturated: bool) -> None:
    assert Admission(0.2, 4).saturated(turn_s, events, 256, connections) is saturated


def test_by_default_the_loop_is_hardly_ever_saturated() -> None:
    """A quick call takes 0.5 ms at most: 256 of them are no reason yet."""
    assert not Admission(60.0, 64).saturated(256 * 0.0005, 256, 256, 10_000)


@given(st.floats(0, 1e6))
def test_retry_after_is_small(wait_s: float) -> None:
    admission = Admission(0.2, 4)
    assert {admission.retry_after_s(wait_s) for _ in range(100)} <= set(range(1, RETRY_S_MAX + 1))


def test_retry_after_spreads_those_who_are_refused_together() -> None:
    """Evenly over the time that the queue takes, a few seconds at least."""
    for wait_s, longest_s in ((0.1, RETRY_S_MIN), (10.0, 10), (1e6, RETRY_S_MAX)):
        admission = Admission(0.2, 4)
        told = Counter(admission.retry_after_s(wait_s) for _ in range(3000))
        assert set(told) == set(range(1, longest_s + 1))
        assert max(told.values()) < 1.1 * 3000 / longest_s


# The heavy lane's pages.


def test_what_waits_ahead_on_a_page() -> None:
    """The booked time of those with a smaller key; the other page and those behind do not count."""
    queue = HeavyQueue()
    for number in range(10):
        queue.push(float(number), 0.0, number, away=0.5, allowance_s=1.0, cpu_s=0.01, wall_s=0.04)
        queue.push(float(number), 0.0, number, away=1.0, allowance_s=1.0, cpu_s=0.001, wall_s=9.0)
    assert queue.ahead_s(5.0, cpu_s=0.01) == pytest.approx(5 * 0.02)
    assert queue.ahead_s(0.0, cpu_s=0.01) == 0.0
    assert queue.ahead_s(99.0, cpu_s=0.001) == pytest.approx(90.0)


def test_many_are_not_counted_one_by_one() -> None:
    queue = HeavyQueue()
    for number in range(10_000):
        queue.push(float(number), 0.0, number, away=1.0, cpu_s=0.01, wall_s=0.01)
    assert queue.ahead_s(1e9, cpu_s=0.01) == pytest.approx(100.0, rel=0.02)


def test_a_page_that_empties_more_slowly_than_it_was_booked() -> None:
    """Others compute as well: the measured pace corrects the bookings."""
    queue = HeavyQueue()
    for number in range(400):
        queue.push(0.0, 0.0, number, away=1.0, allowance_s=9.0, cpu_s=0.01, wall_s=0.01)
    for number in range(300):
        started = queue.start_away(number * 0.03)
        assert started is not None
        queue.ended(started[1])
    assert queue.ahead_s(1.0, cpu_s=0.01) == pytest.approx(100 * 0.03, rel=0.05)


# In simulation: the policy, the queues and the admission together. docs/overload.md has the figures of the machine.

SECONDS, WARM_S = 3.0, 1.0


def overload(stream: Stream, threads: int = 16, queue_timeout_s: float = 0.2) -> Stream:
    machine = Machine(2, SWITCH_S)
    server = Server(machine, cores=2, threads=threads, queue_timeout_s=queue_timeout_s)
    from random import Random

    stream.start(machine, server, Random(1), WARM_S)
    machine.run(SECONDS)
    return stream


def pages(rate: float) -> Stream:
    stream = page(4, 0.2, 0.8, 0)
    stream.rate = rate
    return stream


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize(
    ("stream", "capacity"),
    [
        (lambda times: sleeper(0, rate=750 * times), 750),
        (lambda times: computing(2, rate=490 * times), 490),
        (lambda times: computing(10, rate=98 * times), 98),
        (lambda times: pages(820 * times), 820),
    ],
    ids=["waits 20 ms", "computes 2 ms", "computes 10 ms", "page"],
)
def test_overload(times: int, stream: object, capacity: float) -> None:
    """As much as ever is served, in time; the rest hear it at once."""
    found = overload(stream(times))  # type: ignore[operator]
    took_s, refused_s = sorted(found.took_s), sorted(found.refused_after_s)
    assert len(took_s) / (SECONDS - WARM_S) > 0.94 * capacity
    assert took_s[int(0.99 * len(took_s))] < 0.5
    assert len(refused_s) / (SECONDS - WARM_S) > 0.8 * (times - 1) * capacity
    assert refused_s[int(0.98 * len(refused_s))] < 0.01


def test_load_below_the_capacity_is_refused_nothing() -> None:
    assert overload(sleeper(0, rate=600)).refused == 0
    assert overload(computing(2, rate=350)).refused == 0


def test_with_more_threads_who_waits_waits_less() -> None:
    admission = Admission(60.0, 4)
    for _ in range(200):
        admission.submitted(1.0)
    before_s = admission.pool_wait_s(8)
    admission.resize(8)
    assert admission.pool_wait_s(8) == pytest.approx(before_s / 2)


def test_what_was_counted_goes_before_what_is_expected() -> None:
    """Calls that wait for something they share are answered more slowly than so many threads would answer them."""
    admission = Admission(60.0, 4)
    for _ in range(200):
        admission.submitted(1.0)
    admission.measured_pace_s = 0.5
    assert admission.pool_wait_s(8) == pytest.approx(4.0)
