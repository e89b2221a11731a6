"""What was sampled, kept in bounds: sums by slices of time, and the last that each thread did."""

from __future__ import annotations

import pytest

from vivace.observe import slices
from vivace.observe.slices import Slices

S = 1_000_000_000


def test_samples_add_up_by_route_state_and_stack() -> None:
    kept = Slices(0)
    for seconds in (0.5, 0.25):
        kept.add("GET /", "running", 7, seconds)
    kept.add("GET /", "sleep", 7, 1.0)
    assert kept.present.sums == {("GET /", "running", 7): 0.75, ("GET /", "sleep", 7): 1.0}


def test_a_question_gets_the_slices_that_reach_beyond_its_time() -> None:
    kept = Slices(0)
    kept.add("a", "running", 1, 1.0)
    assert not kept.is_due(9 * S)
    assert kept.is_due(10 * S)
    kept.cut(10 * S)
    kept.add("b", "running", 1, 1.0)
    kept.cut(20 * S)
    assert [list(one.sums) for one in kept.since(5 * S)] == [[("a", "running", 1)], [("b", "running", 1)], []]
    assert [one.began_ns for one in kept.since(10 * S)] == [10 * S, 20 * S]
    assert [one.began_ns for one in kept.since(99 * S)] == [20 * S]


def test_the_oldest_slices_go(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Slices(0)
    for number in range(1, 100):
        kept.add("route", "running", number, 1.0)
        kept.cut(number * 10 * S)
    assert len(kept.slices) == slices.SLICES_MAX
    assert kept.slices[0].began_ns == (99 - slices.SLICES_MAX + 1) * 10 * S
    monkeypatch.setattr(slices, "SUMS_MAX", 3)
    kept.cut(2000 * S)
    assert sum(len(one.sums) for one in kept.slices) <= 3
    assert kept.present.began_ns == 2000 * S


def test_the_present_slice_stays_however_much_there_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SUMS_MAX", 3)
    kept = Slices(0)
    for number in range(10):
        kept.add("route", "running", number, 1.0)
    kept.cut(S)
    assert len(kept.slices) == 1
    assert kept.present.sums == {}


def test_a_request_is_told_by_its_thread_and_its_time() -> None:
    kept = Slices(0)
    kept.follow(9, 1 * S, "running", 1, 2 * S, 0.5)
    kept.follow(9, 1 * S, "sleep", 2, 3 * S, 0.5)
    kept.follow(9, 4 * S, "running", 3, 5 * S, 0.5)
    kept.follow(8, 4 * S, "running", 4, 5 * S, 0.5)
    assert kept.request_of(9, 1 * S, 3 * S) == {("running", 1): 0.5, ("sleep", 2): 0.5}
    assert kept.request_of(9, 4 * S) == {("running", 3): 0.5}
    assert kept.request_of(7, 0) == {}


def test_a_request_that_had_waited_has_nothing_of_the_one_before_it() -> None:
    """Its slot is as old as its wait: its thread did something else then."""
    kept = Slices(0)
    kept.follow(9, 2 * S, "running", 1, 3 * S, 0.5)
    kept.follow(9, 1 * S, "running", 2, 5 * S, 0.5)
    assert kept.request_of(9, 1 * S) == {("running", 2): 0.5}


def test_the_first_sample_of_a_request_stands_for_no_more_than_it_has_run() -> None:
    kept = Slices(0)
    kept.follow(9, 10 * S, "running", 1, 10 * S + S // 10, 5.0)
    kept.follow(9, 10 * S, "running", 1, 15 * S, 4.5)
    assert kept.request_of(9, 10 * S) == {("running", 1): pytest.approx(4.6)}


def test_of_a_request_without_a_slot_no_more_is_told_than_it_took() -> None:
    kept = Slices(0)
    kept.follow(9, 0, "running", 1, 10 * S, 0.02)
    kept.follow(9, 0, "running", 1, 10 * S + S // 1000, 0.02)
    assert kept.request_of(9, 10 * S, 10 * S + S // 100) == {("running", 1): pytest.approx(0.01)}
    assert kept.request_of(9, 10 * S + 1, 10 * S + S // 10) == {("running", 1): pytest.approx(0.02)}


def test_threads_that_are_not_seen_are_forgotten_and_there_are_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Slices(0)
    monkeypatch.setattr(slices, "THREADS_MAX", 2)
    for thread in (1, 2, 3):
        kept.follow(thread, 1, "running", thread, S, 1.0)
    assert kept.request_of(1, 0) == {}
    assert kept.stacks() == {2, 3}
    kept.follow(3, 1, "sleep", 4, 100 * S, 1.0)
    kept.cut(120 * S)
    assert kept.request_of(2, 0) == {}
    assert kept.stacks() == {3, 4}
