"""The highest rate under a goal: found on servers that are formulas, with and without noise."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from vivace.errors import SettingError
from vivace.lab.goals import missed, read_goal
from vivace.lab.plan import CLOSED, OPEN, Load, Shot
from vivace.lab.report import found_lines, try_line
from vivace.lab.result import Loader, Result, Slice
from vivace.lab.search import TOLERANCE, TRIES_MAX, search
from vivace.observe.histogram import bucket_of

if TYPE_CHECKING:
    from collections.abc import Callable

LOAD = Load([Shot()], CLOSED, connections=100, seconds=3)
GOAL = read_goal("p99<50ms")


def result_of(load: Load, latency_s: float, rate: float, bottleneck: str = "") -> Result:
    answers = max(1, round(rate * load.seconds))
    slice_ = Slice(answers, latency={bucket_of(latency_s): answers}, statuses={"2xx": answers}, slowest_s=latency_s)
    loader = Loader(sent=round(load.rate * load.seconds), bottleneck=bottleneck)
    return Result("u", load.mode, load.seconds, 1, load.rate, slice_, loader=loader)


def queue(
    capacity: float, noise: Callable[[], float] = lambda: 1.0, loader_max: float = 1e9
) -> Callable[[Load], Result]:
    """One server of exponential times: p99 of the sojourn is ln(100) / (capacity - rate)."""

    def fire(load: Load) -> Result:
        limit = capacity * noise()
        if load.mode == CLOSED:
            return result_of(load, 0.01, limit)
        served = min(load.rate, limit, loader_max)
        latency_s = 4.605 / (limit - served) if served < limit else 1.5
        if load.rate > loader_max:
            return result_of(load, 1.5, served, "busy")
        return result_of(load, latency_s, served)

    return fire


@pytest.mark.parametrize("capacity", [150.0, 1000.0, 33_333.0])
def test_the_rate_is_found(capacity: float) -> None:
    truth = capacity - 4.605 / 0.05
    found = search(queue(capacity), LOAD, [GOAL])
    assert truth / (1 + TOLERANCE) * 0.99 <= found.rate <= truth * 1.01
    assert found.best is not None
    assert not found.loader_limited
    assert len(found.tries) <= 20


def test_noise_costs_tries_and_not_the_answer() -> None:
    truth = 1000 - 4.605 / 0.05
    for seed in range(50):
        draw = random.Random(seed)
        found = search(queue(1000, lambda draw=draw: 0.5 if draw.random() < 0.1 else 1.0), LOAD, [GOAL])
        assert len(found.tries) <= TRIES_MAX
        assert found.rate <= truth * 1.01
        if seed < 40:
            assert found.rate >= truth * 0.75


def test_it_begins_at_the_rate_that_is_given() -> None:
    found = search(queue(1000), Load([Shot()], OPEN, rate=10), [GOAL])
    assert [one.rate for one in found.tries[:3]] == [10, 20, 40]


def test_no_rate_may_hold() -> None:
    found = search(lambda load: result_of(load, 1.0, 100), LOAD, [GOAL])
    assert (found.rate, found.best) == (0.0, None)
    assert found_lines(found) == ["no rate was found at which p99<50ms holds"]


def test_a_queue_that_grows_fails_though_the_goal_holds() -> None:
    """What is not answered in time has no latency yet."""
    found = search(lambda load: result_of(load, 0.001, min(load.rate or 500, 500)), LOAD, [GOAL])
    assert found.rate == pytest.approx(500, rel=0.06)


def test_it_says_when_the_loader_was_the_limit() -> None:
    found = search(queue(1e6, loader_max=5000), LOAD, [GOAL])
    assert found.loader_limited
    assert found.rate == pytest.approx(5000, rel=0.06)
    assert "the server may do more" in found_lines(found)[0]
    assert any("the loader is the bottleneck" in try_line(one) for one in found.tries)


# Goals.


def test_goals_are_read_and_judged() -> None:
    result = result_of(LOAD, 0.04, 100)
    result.total.errors = {"reset": 300}
    assert GOAL.holds(result)
    assert not read_goal("p99.9 <= 39ms").holds(result)
    assert read_goal("max<0.05s").holds(result)
    assert missed([GOAL, read_goal("errors<60%")], result) == []
    assert missed([read_goal("errors<0.1%")], result) == ["errors<0.1%: 50.00%"]
    assert missed([GOAL], result) == ["50.00% of the requests failed"]
    assert not GOAL.holds(Result("u", OPEN, 1.0, 1))


@pytest.mark.parametrize("text", ["", "p99", "p99>5ms", "p99<5", "p99<5%", "errors<5ms", "speed<5ms", "p100<5ms"])
def test_what_is_no_goal_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--goal"):
        read_goal(text)
