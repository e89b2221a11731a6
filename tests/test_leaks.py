"""explain.leaks: leaks, caches that fill and noise told apart, routes named or not."""

from __future__ import annotations

import pytest
from benchmarks.leaks import CASES, Case, planted, row

from vivace.explain.leaks import EVERY, judge, lower_edge, slope, trend

ROUNDS = 3
"""benchmarks.leaks shows a hundred of each."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_planted_is_found(case: Case) -> None:
    verdicts, _, _ = row(case, ROUNDS)
    assert set(verdicts) <= set(case.expected)


def test_a_leak_is_measured_and_its_route_named() -> None:
    told = judge(*planted(Case("leak", ("leak",), ("GET /b",), noise=0.2), 1))
    assert list(told["routes"]) == ["GET /b"]
    found = told["routes"]["GET /b"]
    assert found["low"] <= found["bytes_per_request"] <= found["high"]
    assert found["bytes_per_request"] == pytest.approx(1024, rel=0.03)
    assert found["blocks_per_request"] == pytest.approx(2.0, rel=0.03)
    assert told["bytes_per_request"] == pytest.approx(1024 * 0.3, rel=0.05)
    assert told["bytes_per_s"] == pytest.approx(1024 * 300, rel=0.1)
    assert "in the second half as in the first" in told["reason"]


def test_two_routes_and_all_of_them() -> None:
    two = judge(*planted(Case("two", ("leak",), ("GET /b", "GET /d"), noise=0.2, seconds=40), 1))
    assert set(two["routes"]) == {"GET /b", "GET /d"}
    every = judge(*planted(Case("all", ("leak",), ("GET /a", "GET /b", "GET /c", "GET /d"), noise=0.2), 1))
    assert list(every["routes"]) == [EVERY]


def test_a_mix_that_never_varies_names_nobody() -> None:
    series = [
        [second, 400_000 + second * 600, 60e6 + second * 300_000, 0, {"GET /a": second * 700, "GET /b": second * 300}]
        for second in range(20)
    ]
    told = judge(series)
    assert told["verdict"] == "leak"
    assert told["routes"] == {}


@pytest.mark.parametrize("series", [[], [[0, 1, 1, 0, {}]], [[second, 1, 1, 0, {"a": second}] for second in range(30)]])
def test_too_little_is_unclear(series: list[list[object]]) -> None:
    told = judge(series)
    assert told["verdict"] == "unclear"
    assert "too few" in told["reason"]
    assert told["routes"] == {}


def test_seconds_without_requests_do_not_count() -> None:
    series, collected = planted(Case("leak", ("leak",), ("GET /b",)), 1)
    idle = [[series[-1][0] + second, *series[-1][1:]] for second in range(1, 60)]
    assert judge([*series, *idle], collected)["verdict"] == "leak"


def test_garbage_that_is_not_collected() -> None:
    case = Case("garbage", ("steady",), cycles=0.4, seconds=40)
    series, collected = planted(case, 1)
    assert judge(series)["verdict"] == "leak", "the series alone cannot tell"
    told = judge(series, collected)
    assert told["verdict"] == "steady"
    assert "in cycles" in told["reason"]
    off = judge(series, {**collected, "enabled": False})
    assert off["verdict"] == "leak"
    assert "switched off" in off["reason"]


def test_slopes_do_not_mind_outliers() -> None:
    x = [float(each) for each in range(20)]
    y = [3 * each + (1000 if each in (4, 9, 15) else 0) for each in x]
    assert slope(x, y) == pytest.approx(3.0)
    assert slope([1.0], [1.0]) == 0.0
    assert trend(x, [5.0] * 20, 1.0)["verdict"] == "steady"


def test_the_lower_edge_of_a_saw_tooth() -> None:
    points = [[at, 1000 + at // 5 + at % 5 * 100, 0, at // 5, {}] for at in range(50)]
    edge = lower_edge(points)
    assert [point[1] for point in edge] == [1000 + each for each in range(10)]
    few = points[:20]
    assert lower_edge(few) == few, "four collections are too few to leave all else out"
