"""The past of the dashboard: bounded, numbered, and right when it gets coarser."""

from __future__ import annotations

from typing import Any

import pytest

from vivace.admin.history import LEVELS, NAMES_MAX, ROUTES_MAX, History
from vivace.observe.histogram import bucket_of


def second(at: int, rate: float = 10.0, buckets: dict[int, int] | None = None, **more: Any) -> tuple[Any, Any]:
    """(snapshot, figures) of one second."""
    figures = {
        **dict.fromkeys(("error_rate", "refused_rate", "queued_s", "bytes_out_rate"), 0.0),
        **dict.fromkeys(("in_flight", "queued", "connections", "threads_busy"), 0),
        "rate": rate,
        "cache": None,
        "cpu": 0.5,
        "routes": {"GET /": {"rate": rate}},
        "buckets": buckets or {},
        "workers": [{"cpu": 0.5}],
        **more,
    }
    server = {"generation": 1, "deaths": 0}
    worker = {"place": 0, "pid": 7, "system": {"memory_bytes": 1000 + at}}
    return {"time_s": 1000.0 + at, "server": server, "workers": [worker]}, figures


def test_points_are_numbered_and_only_new_ones_are_told() -> None:
    history = History()
    for at in range(5):
        history.add(*second(at))
    level = history.levels[0]
    assert level.number == 5
    assert [point["t"] for point in level.since(3)] == [1003.0, 1004.0]
    assert level.since(5) == level.since(99) == []
    assert len(level.since(0)) == 5


def test_everything_is_bounded() -> None:
    history = History()
    step, size = LEVELS[0]
    routes = {f"GET /{number}": {"rate": float(number)} for number in range(2 * ROUTES_MAX)}
    for at in range(step * size + 50):
        history.add(*second(at))
    for at in range(30):
        history.add(*second(at, routes={f"{name}{at}": row for name, row in routes.items()}))
    assert len(history.levels[0].points) == size
    assert len(history.levels[0].points[-1]["routes"]) <= ROUTES_MAX
    assert len(history.names) == NAMES_MAX
    assert history.levels[0].number == step * size + 80


def test_a_coarse_point_is_the_mean_of_its_seconds_with_percentiles_of_the_whole() -> None:
    history = History()
    quick, slow = bucket_of(0.001), bucket_of(1.0)
    for at in range(10):
        history.add(*second(at, rate=float(at), buckets={slow: 1} if at == 9 else {quick: 9}))
    [point] = history.levels[1].points
    assert point["rate"] == pytest.approx(4.5)
    assert point["routes"] == {0: pytest.approx(4.5)}
    assert point["t"] == 1009.0
    assert point["workers"] == [[0, 7, 0.5, 1009]]
    assert point["p50"] == pytest.approx(0.001, rel=0.01)
    assert point["p999"] == pytest.approx(1.0, rel=0.01)
    assert sum(point["heat"].values()) == 82


def test_a_second_without_requests_has_no_percentiles() -> None:
    history = History()
    history.add(*second(0))
    [point] = history.levels[0].points
    assert (point["p50"], point["heat"]) == (None, {})
