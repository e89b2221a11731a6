"""Medians, ratios paired by round, and their bootstrap intervals. Pure: no clock, no file, a fixed seed.

Why pairs: the machine is shared and its speed drifts by 10% and more from minute to minute. Two servers
measured in the same round met nearly the same machine, so their ratio is steadier than either figure.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
ROUNDS_MIN = 3  # fewer say nothing about spread


@dataclass(frozen=True)
class Ratio:
    """Median of the paired ratios, with the limits of its 95% interval (None with fewer than ROUNDS_MIN
    pairs).
    """

    median: float
    low: float | None
    high: float | None
    pairs: int

    def inverse(self) -> Ratio:
        return Ratio(1 / self.median, _over(self.high), _over(self.low), self.pairs)


def _over(value: float | None) -> float | None:
    return None if value is None else 1 / value


def median(values: Sequence[float | None]) -> float | None:
    """The median of the values that exist, None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def paired_ratio(
    numerators: Sequence[float | None], denominators: Sequence[float | None], seed: int = 1
) -> Ratio | None:
    """Ratio round by round; rounds in which one side has no figure, or a figure of zero, are left out."""
    ratios = [
        over / under
        for over, under in zip(numerators, denominators, strict=True)
        if over is not None and under is not None and over > 0 and under > 0
    ]
    if not ratios:
        return None
    low, high = interval(ratios, seed)
    # The geometric median: of an even number of ratios the middle two are joined so that inverse() is exact.
    return Ratio(_median_of_logs(ratios), low, high, len(ratios))


def _median_of_logs(values: Sequence[float]) -> float:
    return math.exp(statistics.median([math.log(value) for value in values]))


def interval(values: Sequence[float], seed: int = 1) -> tuple[float | None, float | None]:
    """Percentile bootstrap of the median: its 2.5% and 97.5% points over RESAMPLES draws."""
    if len(values) < ROUNDS_MIN:
        return None, None
    draw = random.Random(seed)
    logs = [math.log(value) for value in values]
    medians = sorted(statistics.median(draw.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    return math.exp(medians[int(0.025 * RESAMPLES)]), math.exp(medians[int(0.975 * RESAMPLES) - 1])
