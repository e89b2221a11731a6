"""lab/stats.py: how often it is wrong and what it finds, in simulated comparisons on a simulated machine."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from vivace.lab.stats import (
    POWER,
    ROUNDS_BARE,
    ROUNDS_LEAST,
    WRONG,
    Round,
    compare,
    compare_halves,
    estimate,
    level_of,
    mirrored,
    narrow,
    rounds_needed,
    smallest_found,
    spread,
    student,
    trimmed,
)


class Machine:
    """Runs with the noise of a shared machine with two cores, as it was measured there with identical servers:
    a coefficient of variation of 10%, most of it from one run to the next, some as a slow drift, and now and then a run
    that a neighbour spoilt.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.drift = self.draw.gauss(0, 0.07)

    def run(self, value: float) -> float:
        self.drift = 0.97 * self.drift + self.draw.gauss(0, 0.07 * math.sqrt(1 - 0.97**2))
        spoilt = self.draw.uniform(0.05, 0.4) if self.draw.random() < 0.05 else 0.0
        return value * math.exp(self.drift + self.draw.gauss(0, 0.06) - spoilt)

    def round(self, order: str, b: float) -> Round:
        runs: dict[str, list[float]] = {"A": [], "B": []}
        for side in order:
            runs[side].append(self.run(1000.0 * (b if side == "B" else 1.0)))
        return Round((runs["A"][0], runs["A"][1]), (runs["B"][0], runs["B"][1]))


def rounds_of(seed: int, count: int, b: float = 1.0) -> list[Round]:
    machine = Machine(seed)
    return [machine.round(order, b) for order in mirrored(count, random.Random(seed))]


def quiet(count: int, b: float, noise: float = 0.001) -> list[Round]:
    draw = random.Random(1)

    def pair(value: float) -> tuple[float, float]:
        return value * math.exp(draw.gauss(0, noise)), value * math.exp(draw.gauss(0, noise))

    return [Round(pair(1.0), pair(b)) for _ in range(count)]


def test_the_simulated_machine_is_as_noisy_as_the_measured_one() -> None:
    values = [Machine(seed).run(1.0) for seed in range(4000)]
    assert 0.097 <= statistics.stdev(values) / statistics.mean(values) <= 0.114


# How often it is wrong, and what it finds.


def test_of_a_thousand_comparisons_of_equals_at_most_one_in_twenty_ends_in_a_verdict() -> None:
    """With as few rounds as there may be and with more: the verdicts, and what the interval alone says."""
    wrong = outside = 0
    for seed in range(1000):
        found = compare(rounds_of(seed, (ROUNDS_LEAST, 10, 14)[seed % 3]), seed=seed, resamples=100)
        wrong += found.differs
        outside += not found.change.low <= 1 <= found.change.high
    assert wrong <= WRONG * 1000
    assert outside <= WRONG * 1000


def planned(seed: int, b: float, find: float) -> list[Round]:
    """As many rounds as the spread of those before asks for."""
    machine, rounds = Machine(seed), []
    orders = iter(mirrored(1000, random.Random(seed)))
    needed = ROUNDS_LEAST
    while len(rounds) < needed:
        rounds += [machine.round(next(orders), b) for _ in range(min(4, needed - len(rounds)))]
        needed = max(ROUNDS_LEAST, rounds_needed(rounds, find))
    return rounds


def test_a_difference_of_three_percent_is_found_in_nine_of_ten_with_the_rounds_that_are_asked_for() -> None:
    found = 0
    for seed in range(100):
        comparison = compare(planned(seed, 1.03, 0.03), seed=seed, resamples=100)
        found += comparison.differs and comparison.change.ratio > 1
    assert found >= POWER * 100


def test_where_one_would_stop_by_the_spread_the_intervals_are_not_always_narrow_enough() -> None:
    early, widths = 0, []
    for seed in range(40):
        rounds = planned(seed, 1.0, 0.03)
        if not narrow(rounds, 0.03):
            early += 1
            widths.append(compare(rounds).change.half_width)
    assert 0 < early < 40
    assert min(widths) > 0.01
    assert narrow(rounds_of(1, 400), 0.03)
    assert not narrow(rounds_of(1, 400), 0.0001)


def test_to_plan_by_the_spread_does_not_make_verdicts_on_equals() -> None:
    """Who looks at the spread after each round, and ends when it is small enough, might."""
    wrong = sum(compare(planned(seed, 1.0, 0.05), seed=seed, resamples=100).differs for seed in range(10_000, 10_100))
    assert wrong <= 5


# The parts.


def test_a_verdict_gives_the_ratio_of_b_to_a() -> None:
    found = compare(quiet(10, 1.5))
    assert found.differs
    assert 1.49 < found.change.low < found.change.ratio < found.change.high < 1.51
    assert found.control.low < 1 < found.control.high
    assert not compare(quiet(10, 1.0)).differs


def test_sides_change_places_without_another_verdict() -> None:
    rounds = rounds_of(3, 12, 1.3)
    there, back = compare(rounds), compare([Round(one.b, one.a) for one in rounds])
    assert there.change.ratio == pytest.approx(1 / back.change.ratio)
    assert there.differs == back.differs is True


def test_one_spoilt_round_does_not_make_a_difference() -> None:
    rounds = quiet(10, 1.0)
    rounds[4] = Round((1.0, 1.0), (5.0, 5.0))
    assert compare(rounds).change.ratio == pytest.approx(1, abs=0.002)


def test_a_steady_drift_treats_both_alike() -> None:
    rounds, speed = [], 1.0
    for order in mirrored(10, random.Random(1)):
        runs: dict[str, list[float]] = {"A": [], "B": []}
        for side in order:
            runs[side].append(speed)
            speed *= 1.01
        rounds.append(Round((runs["A"][0], runs["A"][1]), (runs["B"][0], runs["B"][1])))
    found = compare(rounds)
    assert found.change.ratio == pytest.approx(1, abs=1e-9)
    assert not found.differs


def test_a_difference_within_the_noise_of_the_control_is_none() -> None:
    """The differences agree with each other, the runs of one side do not."""
    rounds = [Round((1.0, 1.0 + at % 3), ((1.0 + at % 3) * 1.01, 1.01)) for at in range(12)]
    found = compare(rounds)
    assert found.change.low > 1
    assert abs(math.log(found.change.ratio)) < found.control.half_width
    assert not found.differs


def test_too_few_rounds_say_nothing() -> None:
    for count in (1, 2, ROUNDS_BARE - 1):
        found = compare(quiet(count, 1.5, 0.01))
        assert found.change.ratio == pytest.approx(1.5, rel=0.05)
        assert not found.differs
        assert math.isinf(found.change.high)


def test_runs_without_any_spread_are_no_division_by_zero() -> None:
    found = compare([Round((2.0, 2.0), (3.0, 3.0))] * 8)
    assert found.change.ratio == pytest.approx(1.5)
    assert 1.48 < found.change.low < 1.5  # the figures are not finer than that
    assert found.differs
    assert not compare([Round((2.0, 2.0), (2.0, 2.0))] * 8).differs


def test_more_figures_need_wider_intervals() -> None:
    assert level_of(1) == 0.95
    assert level_of(5) == pytest.approx(0.99)
    rounds = rounds_of(1, 20)
    one, five = compare(rounds, 1), compare(rounds, 5)
    assert one.change.half_width < five.change.half_width
    assert rounds_needed(rounds, 0.03, 1) < rounds_needed(rounds, 0.03, 5)


def test_the_rounds_needed_do_not_depend_on_the_difference() -> None:
    equal, apart = rounds_of(5, 20), rounds_of(5, 20, 1.5)
    assert spread(equal) == pytest.approx(spread(apart))
    assert rounds_needed(equal, 0.03) == rounds_needed(apart, 0.03)


def test_half_the_difference_needs_four_times_the_rounds() -> None:
    rounds = rounds_of(2, 40)
    assert rounds_needed(rounds, 0.01) / rounds_needed(rounds, 0.02) == pytest.approx(4, rel=0.1)
    assert rounds_needed(quiet(10, 1.0, 1e-5), 0.03) == ROUNDS_LEAST
    assert rounds_needed(rounds[:1], 0.03) == ROUNDS_LEAST


def test_what_would_be_found_agrees_with_how_many_rounds_that_needs() -> None:
    rounds = rounds_of(7, 40)
    assert rounds_needed(rounds, smallest_found(rounds)) == pytest.approx(40, abs=1)


def test_a_trimmed_mean_and_its_error() -> None:
    """The winsorised values: each that is cut off counts as the next one that is not."""
    mean, error = trimmed([-90.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 99.0])
    kept = [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert mean == statistics.mean(kept)
    winsorised = [3.0, 3.0, *kept, 8.0, 8.0]
    assert error == pytest.approx(statistics.stdev(winsorised) / math.sqrt(10) / 0.6)


def test_an_interval_is_the_same_for_the_same_seed() -> None:
    logs = [one.difference for one in rounds_of(4, 10)]
    assert estimate(logs, 0.95, random.Random(1)) == estimate(logs, 0.95, random.Random(1))
    assert estimate(logs, 0.95, random.Random(1)) != estimate(logs, 0.95, random.Random(2))


@pytest.mark.parametrize(
    ("share", "freedom", "value"), [(0.975, 5, 2.571), (0.975, 30, 2.042), (0.995, 10, 3.169), (0.9, 7, 1.415)]
)
def test_quantiles_of_student_s_t(share: float, freedom: int, value: float) -> None:
    """From any table of them."""
    assert student(share, freedom) == pytest.approx(value, rel=0.01)


def test_orders_are_mirrored_and_in_equal_parts() -> None:
    orders = mirrored(100, random.Random(1))
    assert orders.count("ABBA") == orders.count("BAAB") == 50
    assert orders != mirrored(100, random.Random(2))
    assert len(mirrored(7, random.Random(1))) == 7


def test_halves_of_few_rounds_find_more_and_err_no_more_often() -> None:
    """Four rounds with 3% noise in each run: 30% more is found, and of equals at most one in twenty is told apart."""
    draw = random.Random(5)

    def some(ratio: float) -> list[Round]:
        return [
            Round(*[tuple(side * math.exp(draw.gauss(0, 0.03)) for _ in range(2)) for side in (1.0, ratio)])  # type: ignore[arg-type]
            for _ in range(4)
        ]

    assert sum(compare_halves(some(1.0))[0].differs for _ in range(200)) <= 10
    assert all(compare_halves(some(1.3))[0].differs for _ in range(20))
    assert not any(compare(some(1.3), resamples=100).differs for _ in range(5)), "four are too few for it"
    found, smallest = compare_halves(some(1.3))
    assert found.change.low < 1.3 < found.change.high
    assert found.rounds == 4
    assert 0.03 < smallest < 0.2


@pytest.mark.parametrize("count", [4, 8, 16])
def test_halves_of_equals_on_a_shared_machine(count: int) -> None:
    """With drift and spoilt runs: at most one in twenty is told apart, by each level."""
    for figures, most in ((1, 0.05), (15, 0.05 / 15)):
        wrong = sum(compare_halves(rounds_of(seed, count), figures)[0].differs for seed in range(600))
        assert wrong <= 600 * most + 3, (count, figures)
