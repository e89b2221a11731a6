"""observe.growth: a series beside the requests of each route, thinned where it is old."""

from __future__ import annotations

import gc
import sys
import time
from itertools import pairwise

import pytest

from vivace.observe import growth
from vivace.observe.growth import FINE, POINTS_MAX, Growth
from vivace.observe.layout import NOT_FOUND, NOT_FOUND_NAME, R_COUNT
from vivace.observe.section import Section


def test_points_say_what_there_is() -> None:
    section = Section.private()
    number = section.number_route("GET /a")
    section.route_counts(number)[R_COUNT] = 7
    section.route_counts(NOT_FOUND)[R_COUNT] = 2
    series = Growth(section)
    collected = gc.get_stats()[2]["collections"]
    series.look(100.0)
    (point,) = series.told({})["series"]
    assert abs(point[0] - time.time()) < 5
    assert point[1] == pytest.approx(sys.getallocatedblocks(), rel=0.1)
    assert point[2] > 1 << 20
    assert point[3] == collected
    assert point[4] == {"GET /a": 7, NOT_FOUND_NAME: 2}


def test_one_point_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "COST_MAX", 1e9)
    series = Growth(Section.private())
    for tenth in range(100):
        series.look(100.0 + tenth / 10)
    assert len(series.told({})["series"]) == 10


def test_what_costs_more_is_done_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "COST_MAX", 1e-9)
    series = Growth(Section.private())
    for second in range(50):
        series.look(100.0 + second)
    assert len(series.told({})["series"]) == 1


def test_what_is_old_is_thinned_and_what_is_new_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "COST_MAX", 1e9)
    clock = [0.0]
    monkeypatch.setattr(growth.time, "time", lambda: clock[0])
    series = Growth(Section.private())
    for second in range(3000):
        clock[0] = float(second)
        series.look(float(second))
    times = [point[0] for point in series.told({})["series"]]
    assert len(times) <= POINTS_MAX
    assert times[-FINE:] == [float(second) for second in range(3000 - FINE, 3000)]
    assert times[0] == 0.0, "the beginning is kept"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps, reverse=True), "the older, the coarser"
    lately = [point[0] for point in series.told({"since_s": 2990})["series"]]
    assert lately == [float(second) for second in range(2990, 3000)]
