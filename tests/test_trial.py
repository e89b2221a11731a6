"""Trials of a change: what is kept, what goes back, and how often noise alone passes."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from vivace.schedule.trial import GONE, KEPT, PAIRS_MAX, UNDONE, Trial, Window, gains

if TYPE_CHECKING:
    from collections.abc import Callable

    Made = tuple[int, float]

ROUTE, OTHER = 1, 2


def window(*rows: tuple[int, int, float], seconds: float = 1.0, failed: int = 0) -> Window:
    """`rows`: (route, answers, mean response time)."""
    made = Window()
    made.add(seconds, [(route, count, count * mean_s) for route, count, mean_s in rows], failed)
    return made


def carry_out(trial: Trial, make: Callable[[bool, int], Window]) -> list[float]:
    """Feeds windows until the trial has ended: `make(new, number)`. The values in force, in order."""
    values = []
    while not trial.outcome:
        values.append(trial.value)
        trial.add(make(trial.value == trial.new, len(values)))
    return values


def users(clients: int, rate: float) -> tuple[int, float]:
    """Clients that wait for answers: (answers in a second, what each waited)."""
    return round(rate), clients / rate


def test_pairs_are_mirrored() -> None:
    values = carry_out(Trial(64, 128), lambda new, number: window((ROUTE, *users(100, 500 + number % 3))))
    assert values[:8] == [64, 128, 128, 64, 64, 128, 128, 64]


def test_what_doubles_throughput_is_kept_soon() -> None:
    trial = Trial(64, 128)
    values = carry_out(trial, lambda new, number: window((ROUTE, *users(100, 1000 + number if new else 500 - number))))
    assert trial.outcome == KEPT
    assert trial.value == 128
    assert len(values) <= 6


def test_what_makes_open_arrivals_wait_less_is_kept() -> None:
    """Nothing is full: as many are answered as come, and only the response time tells."""
    trial = Trial(1, 2)
    carry_out(trial, lambda new, number: window((ROUTE, 300 + number % 3, 0.010 if new else 0.015)))
    assert trial.outcome == KEPT


def test_what_halves_throughput_goes_back_after_one_pair() -> None:
    trial = Trial(64, 32)
    assert len(carry_out(trial, lambda new, number: window((ROUTE, *users(100, 250 if new else 500))))) == 2
    assert trial.outcome == UNDONE
    assert trial.value == 64


def test_one_bad_window_does_not_end_what_goes_well() -> None:
    """Other work on the machine took the processors for a moment."""
    trial = Trial(64, 128)
    rates = {True: 1000, False: 500}
    carry_out(trial, lambda new, number: window((ROUTE, *users(100, 300 if number == 3 else rates[new] + number % 3))))
    assert trial.pairs[1] < 0
    assert trial.outcome == KEPT


def test_what_changes_nothing_goes_back() -> None:
    trial = Trial(64, 128)
    carry_out(trial, lambda new, number: window((ROUTE, *users(100, 500))))
    assert trial.outcome == UNDONE
    assert trial.gain == 0.0


def test_what_makes_responses_fail_goes_back_whatever_it_gains() -> None:
    trial = Trial(64, 128)
    values = carry_out(
        trial, lambda new, number: window((ROUTE, *users(100, 1000 if new else 500)), failed=20 if new else 0)
    )
    assert trial.outcome == UNDONE
    assert len(values) == 2
    trial = Trial(64, 128)
    carry_out(trial, lambda new, number: window(failed=50) if new else window((ROUTE, 500, 0.1)))
    assert trial.outcome == UNDONE, "nothing but failures"


def test_nobody_pays_for_the_others() -> None:
    """Eight quick clients gain more than four slow ones lose, but those lose a fifth."""
    trial = Trial(0.2, 0.05)
    values = carry_out(
        trial,
        lambda new, number: window(
            (ROUTE, *users(8, 6000 if new else 3000)), (OTHER, *users(4, 80 if new else 100 + number % 2))
        ),
    )
    assert trial.outcome == UNDONE
    assert trial.gain > 0.5
    assert len(values) == 2 * PAIRS_MAX


def test_a_route_that_few_use_has_no_say() -> None:
    trial = Trial(0.2, 0.05)
    carry_out(
        trial,
        lambda new, number: window(
            (ROUTE, *users(50, 6000 + number if new else 3000)), (OTHER, 20, 0.03 if new else 0.01)
        ),
    )
    assert trial.outcome == KEPT


def test_a_load_that_has_gone_says_nothing() -> None:
    trial = Trial(64, 128)
    assert len(carry_out(trial, lambda new, number: window((ROUTE, 3, 0.1)))) == 2
    assert trial.outcome == GONE
    assert trial.value == 64


@pytest.mark.parametrize("growth", [0.9, 1.1])
def test_a_load_that_changes_steadily_is_taken_for_no_gain(growth: float) -> None:
    trial = Trial(64, 128)
    carry_out(trial, lambda new, number: window((ROUTE, *users(100, 500 * growth**number))))
    assert trial.outcome == UNDONE


def test_a_queue_that_grows_is_not_the_changes_doing() -> None:
    """Each window's answers have waited 0.3 s longer than those before; the change answers half as many again."""
    trial = Trial(64, 128)
    carry_out(trial, lambda new, number: window((ROUTE, 750 if new else 500, 1.0 + 0.3 * number)))
    assert trial.outcome == KEPT


def noisy(rng: Random, gain: float, noise: float) -> str:
    trial = Trial(1, 2)
    carry_out(
        trial,
        lambda new, number: window((ROUTE, *users(50, 2000 * (1 + gain * new) * (1 + rng.gauss(0, noise))))),
    )
    return trial.outcome


def test_noise_alone_passes_rarely_and_a_tenth_is_found() -> None:
    """Windows that differ by 5% at random: a busy machine's."""
    rng = Random(7)
    passed = sum(noisy(rng, 0.0, 0.05) == KEPT for _ in range(1000))
    found = sum(noisy(rng, 0.15, 0.05) == KEPT for _ in range(300))
    assert passed <= 30
    assert found >= 240


def test_gains_weigh_by_who_is_inside() -> None:
    rows = gains(window((ROUTE, *users(8, 100)), (OTHER, 2, 0.1)), window((ROUTE, *users(8, 200)), (OTHER, 2, 0.1)))
    assert [row[0] for row in rows] == [ROUTE], "two answers say nothing"
    assert rows[0][1:] == pytest.approx((8.0, 0.6931, 0.6931), abs=1e-3)
