"""observe.histogram: what falls where, and how exactly it can be told again."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.observe import layout
from vivace.observe.histogram import (
    BUCKETS,
    LEAST_S,
    MOST_S,
    binned,
    bucket_of,
    lower_s,
    middle_s,
    quantiles,
)


def test_the_page_has_room_for_all_buckets() -> None:
    assert layout.BUCKETS == BUCKETS


@given(st.floats(LEAST_S * 1.001, MOST_S * 0.999))
def test_a_bucket_holds_what_fell_into_it_and_its_middle_is_near(seconds: float) -> None:
    bucket = bucket_of(seconds)
    near = 1 + 2e-7  # the numbers in the array have 24 bits
    assert lower_s(bucket) / near <= seconds < lower_s(bucket + 1) * near
    assert abs(middle_s(bucket) - seconds) <= 0.004 * seconds


def test_a_microsecond_to_an_hour() -> None:
    assert LEAST_S < 1e-6
    assert MOST_S > 3600
    assert lower_s(0) == LEAST_S
    assert lower_s(BUCKETS) == MOST_S


@pytest.mark.parametrize("seconds", [0.0, -1.0, -1e9, 1e-12, LEAST_S / 2, -0.0])
def test_what_is_too_short_falls_into_the_first(seconds: float) -> None:
    assert bucket_of(seconds) == 0


@pytest.mark.parametrize("seconds", [MOST_S, 1e6, 1e30, math.inf])
def test_what_is_too_long_falls_into_the_last(seconds: float) -> None:
    assert bucket_of(seconds) == BUCKETS - 1


@given(st.lists(st.floats(0, 5000, width=32), min_size=1))
def test_nothing_is_lost(times: list[float]) -> None:
    buckets = binned(array("f", times))
    assert sum(buckets.values()) == len(times)
    assert all(0 <= bucket < BUCKETS for bucket in buckets)


def test_quantiles_are_those_of_the_samples() -> None:
    chance = random.Random(4)
    times = sorted(chance.lognormvariate(-5, 1) for _ in range(20_000))
    shares = (0.5, 0.9, 0.99, 0.999)
    found = quantiles(binned(array("f", times)), shares)
    for share, seconds in zip(shares, found, strict=True):
        exact = times[math.ceil(share * len(times)) - 1]
        assert abs(seconds - exact) < 0.005 * exact
    assert quantiles({}, shares) == [0.0] * 4
    assert quantiles({7: 1}, (0.0, 1.0)) == [middle_s(7)] * 2
