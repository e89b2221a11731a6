"""Where the steady state begins: found on series that were made up, so that the truth is known."""

from __future__ import annotations

import random

import pytest

from vivace.lab.warmup import SLICES_MIN, steady_from


def noisy(levels: list[float], seed: int, spread: float = 0.05) -> list[float | None]:
    draw = random.Random(seed)
    return [level * draw.lognormvariate(0, spread) for level in levels]


SEEDS = range(40)


def test_a_steady_load_is_hardly_cut() -> None:
    found = [steady_from(noisy([1.0] * 100, seed)) for seed in SEEDS]
    assert max(-1 if one is None else one for one in found) <= 2
    assert None not in found


@pytest.mark.parametrize("length", [10, 20, 40])
def test_a_slow_begin_is_cut_off(length: int) -> None:
    for seed in SEEDS:
        found = steady_from(noisy([3.0] * length + [1.0] * (100 - length), seed))
        assert found is not None
        assert length - 1 <= found <= length + 1


def test_a_slope_at_the_begin_is_cut_off_where_it_ends() -> None:
    levels = [max(1.0, 5.0 - index / 5) for index in range(100)]
    for seed in SEEDS:
        found = steady_from(noisy(levels, seed))
        assert found is not None
        assert 12 <= found <= 25


def test_a_stall_is_no_warm_up() -> None:
    """MSER alone would cut off everything before it."""
    for at in (15, 30, 45):
        figures = noisy([1.0] * 100, 1)
        figures[at : at + 5] = [50.0, None, None, None, 900.0]
        found = steady_from(figures)
        assert found is not None
        assert found <= 2


def test_what_gets_slower_all_the_time_is_never_steady() -> None:
    assert [steady_from(noisy([1 + index / 50 for index in range(100)], seed)) for seed in SEEDS] == [None] * len(SEEDS)


def test_what_is_steady_in_the_second_half_only_is_not() -> None:
    assert steady_from(noisy([3.0] * 60 + [1.0] * 40, 1)) is None


def test_little_says_nothing() -> None:
    assert steady_from([9.0] * 5 + [1.0] * (SLICES_MIN - 6)) == 0
    assert steady_from([None] * 100) == 0
