"""schedule.heavy: the order of the waiting calls, and the book of those that run away."""

from __future__ import annotations

import gc
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.schedule.heavy import BOOK, LONG_S, HeavyQueue


def push_away(queue: HeavyQueue, call: object, share: float, *, key: float = 0.0, cpu_s: float = 0.0) -> None:
    queue.push(key, 0.0, call, share, 1.0, cpu_s)


def started(queue: HeavyQueue, now_s: float = 0.0) -> list[tuple[object, int]]:
    calls = []
    while one := queue.start_away(now_s):
        calls.append(one)
    return calls


def test_inline_calls_come_by_key_and_then_by_arrival():
    queue = HeavyQueue()
    for key, call in [(3.0, "c"), (1.0, "a"), (3.0, "d"), (2.0, "b")]:
        queue.push(key, 0.0, call)
    assert len(queue) == 4
    assert queue.inline
    assert not queue.away
    assert [queue.pop() for _ in range(4)] == ["a", "b", "c", "d"]
    with pytest.raises(IndexError):
        queue.pop()


def test_calls_are_never_compared():
    queue = HeavyQueue()
    for _ in range(3):
        queue.push(1.0, 1.0, object(), 0.5, 1.0)
        queue.push(1.0, 1.0, object())
    assert len(started(queue)) == 2
    queue.pop()


def test_calls_that_only_compute_run_one_at_a_time():
    queue = HeavyQueue()
    for call in "abc":
        push_away(queue, call, 1.0)
    assert queue.away == 3
    [(call, token)] = started(queue)
    assert (call, queue.away) == ("a", 2)
    queue.ended(token)
    assert [call for call, _ in started(queue)] == ["b"]


def test_shares_are_booked_up_to_one():
    queue = HeavyQueue()
    for call in range(10):
        push_away(queue, call, 0.25)
    running = started(queue)
    assert [call for call, _ in running] == [0, 1, 2, 3]
    queue.ended(running[2][1])
    queue.ended(running[2][1])  # once too often does no harm
    assert [call for call, _ in started(queue)] == [4]


def test_on_an_empty_page_any_call_starts():
    queue = HeavyQueue()
    push_away(queue, "whole", 2.0)
    assert len(started(queue)) == 1


def test_a_long_call_does_not_hold_up_short_ones():
    queue = HeavyQueue()
    push_away(queue, "report", 1.0, cpu_s=LONG_S)
    push_away(queue, "another", 1.0, cpu_s=10 * LONG_S)
    assert [call for call, _ in started(queue)] == ["report"]
    push_away(queue, "page", 0.5, cpu_s=LONG_S / 2)
    push_away(queue, "page 2", 0.5, cpu_s=LONG_S / 2)
    assert [call for call, _ in started(queue)] == ["page", "page 2"]


def test_a_call_that_hangs_lapses_from_the_book():
    queue = HeavyQueue()
    queue.push(0.0, 0.0, "hangs", 1.0, 0.5)
    [(_, token)] = started(queue, 10.0)
    assert queue.room_at_s() is None  # nobody waits for it
    queue.push(0.0, 0.0, "waits", 1.0, 0.5)
    assert queue.room_at_s() == 10.5
    assert started(queue, 10.5) == []
    assert [call for call, _ in started(queue, 10.6)] == ["waits"]
    queue.ended(token)
    push_away(queue, "third", 1.0)
    assert started(queue, 10.7) == []  # its late end freed nobody else's booking


def test_rivals():
    queue = HeavyQueue()
    assert queue.rivals(0, leading=True) == 0
    assert queue.rivals(0, leading=False) == 1  # the loop
    push_away(queue, "a", 0.4)
    push_away(queue, "b", 0.4)
    (_, token), _ = started(queue)
    assert queue.rivals(token, leading=False) == 2
    assert queue.rivals(0, leading=False) == 3
    assert queue.rivals(0, leading=True) == math.inf
    queue.ended(token)
    assert queue.rivals(0, leading=False) == 2


def test_expire_takes_the_late_ones_oldest_first():
    queue = HeavyQueue()
    for number in range(6):
        queue.push(-number, float(number), number, 0.5 * (number % 2), 1.0, LONG_S * (number > 3))
    assert queue.expire(4.0) == [0, 1, 2, 3]
    assert (len(queue), queue.away) == (2, 1)
    assert queue.pop() == 4
    assert [call for call, _ in started(queue)] == [5]
    assert queue.expire(100.0) == []


events = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.floats(0, 100), st.floats(0, 1), st.floats(0, 0.05)),
        st.tuples(st.just("start"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 50), st.just(0), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("expire"), st.floats(0, 100), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(events)
def test_nothing_is_lost_doubled_or_overbooked(steps):
    """Invariant: each call comes out exactly once; a page books at most 1, or one call alone; the counts agree."""
    queue = HeavyQueue()
    pushed: list[int] = []
    out: list[int] = []
    shares: dict[int, tuple[float, bool]] = {}
    running: dict[int, int] = {}
    for kind, number, share, cpu_s in steps:
        if kind == "push":
            call = len(pushed)
            pushed.append(call)
            shares[call] = share, cpu_s >= LONG_S
            queue.push(number, number, call, share, 1e9, cpu_s)
        elif kind == "start":
            for call, token in started(queue):
                out.append(call)
                running[token] = call
        elif kind == "end" and running:
            token = sorted(running)[int(number) % len(running)]
            del running[token]
            queue.ended(token)
        elif kind == "pop" and queue.inline:
            out.append(queue.pop())
        elif kind == "expire":
            out += queue.expire(number)
        for page in (False, True):
            booked = [shares[call][0] for call in running.values() if shares[call][1] == page]
            assert len(booked) <= 1 or sum(booked) <= BOOK
        assert len(queue) == len(pushed) - len(out) == len(queue.inline) + queue.away
    assert len(set(out)) == len(out)


def test_bookings_that_end_while_the_book_is_read():
    """A collection may begin at any object that is made, and lets other threads run: here one that ends a booking."""
    queue = HeavyQueue()
    for call in range(400):
        push_away(queue, call, 0.001)
    tokens = [token for _, token in started(queue)]
    push_away(queue, "last", 0.1)

    def on_collection(phase: str, info: object) -> None:
        if tokens:
            queue.ended(tokens.pop())

    kept = [(number, object()) for number in range(5000)]  # so that tuples are made, and not taken from those that were
    thresholds = gc.get_threshold()
    gc.callbacks.append(on_collection)
    gc.set_threshold(1, 1000, 1000)
    try:
        [(call, _)] = started(queue)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(on_collection)
    assert (call, len(kept)) == ("last", 5000)
