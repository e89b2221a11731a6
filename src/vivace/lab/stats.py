"""Whether two things differ, from rounds in which both were measured twice. Pure: the seed is an argument.

A round is four runs in a mirrored order, A B B A or B A A B, so that a machine that grows steadily slower or faster
treats both alike. It gives two figures, each a difference of logarithms:

* the *difference*: the mean of B's two runs less that of A's;
* the *control*: A's first run less its second, and the same of B, in one sum with the same weight for each run. It
  compares everything with itself: whatever it shows is noise, and as much of it as is in the difference.

Both are estimated by the same method: the mean of the rounds without the lowest and the highest fifth (a trimmed mean:
like the median it does not care how far off a bad round was, and it needs half the rounds of a median), and its
bootstrap-t interval, symmetric, after Wilcox, Introduction to Robust Estimation and Hypothesis Testing, section 4.4.
A percentile bootstrap of ten rounds would be too narrow.

Rules: a verdict needs an interval that excludes "no difference", and a difference larger than half the width of the
control's interval. Of several figures that are judged at once each has a higher level, so that *all* of the verdicts
together are wrong in at most one comparison of twenty (Bonferroni). How many rounds are needed is derived from the
spread alone, never from the difference: who stops when he likes what he sees finds differences everywhere.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from operator import mul
from statistics import NormalDist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG = 0.05
"""How often a comparison of equals may end in a verdict, over all figures."""
POWER = 0.9
"""How often a difference of the size asked for is to be found."""
TRIMMED = 0.2
"""Of each end; the usual choice (Wilcox, section 3.3)."""
RESAMPLES = 2000
GRAIN = 0.0025
"""What the figures do not tell apart: the buckets of a histogram are 0.8% wide (as a standard deviation: 0.23%), the
kernel counts memory in batches. Rounds that agree to the last digit are not infinitely certain.
"""
REACH_MOST = 2
ROUNDS_BARE = 5
"""With fewer there is no interval."""
ROUNDS_LEAST = 8
"""With fewer the spread itself is a guess."""
ROUNDS_MOST = 100_000
SLACK = 1.25
"""More rounds than the spread asks for, as it is itself an estimate, at its lowest where one would stop."""


@dataclass(frozen=True, slots=True)
class Round:
    """One figure of the four runs of a round, in the order of time for each side. All more than 0."""

    a: tuple[float, float]
    b: tuple[float, float]

    @property
    def difference(self) -> float:
        """Logarithm of B by A."""
        return (math.log(self.b[0]) + math.log(self.b[1]) - math.log(self.a[0]) - math.log(self.a[1])) / 2

    @property
    def control(self) -> float:
        """The same of nothing but noise. A and B with opposite signs: most of a steady drift falls out."""
        return (math.log(self.a[0]) - math.log(self.a[1]) - math.log(self.b[0]) + math.log(self.b[1])) / 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio and its interval; infinitely wide where the rounds say nothing."""

    ratio: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """In logarithms."""
        return math.log(self.high / self.ratio) if math.isfinite(self.high) else math.inf


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of A and B, compared."""

    change: Estimate
    """B by A."""
    control: Estimate
    """A by A and B by B."""
    differs: bool
    """The verdict."""
    rounds: int
    level: float
    """Of each of the intervals."""


def level_of(figures: int) -> float:
    """The level of each interval, where so many figures are judged together."""
    return 1 - WRONG / max(1, figures)


def compare(rounds: Sequence[Round], figures: int = 1, seed: int = 1, resamples: int = RESAMPLES) -> Comparison:
    """The verdict on one figure out of `figures` that are judged. Needs at least one round."""
    level = level_of(figures)
    draw = random.Random(seed)
    change = estimate([one.difference for one in rounds], level, draw, resamples)
    # Which run comes first is no property of anything: a random sign keeps what is left of a drift out of the middle.
    control = estimate([one.control * draw.choice((-1, 1)) for one in rounds], level, draw, resamples)
    shown = change.low > 1 or change.high < 1
    beyond = abs(math.log(change.ratio)) > control.half_width
    return Comparison(change, control, shown and beyond, len(rounds), level)


def compare_halves(rounds: Sequence[Round], figures: int = 1, seed: int = 1) -> tuple[Comparison, float]:
    """The same where rounds are few: each half of a round (A B, or B A) counts for itself. Of four rounds that is eight
    differences instead of four, and an interval half as wide from the same runs. The price: a drift within a round no
    longer falls out, it widens the interval; the middle is free of it either way. The interval is Student's (Yuen
    1974): of eight values the bootstrap draws the same one so often that it makes twice as much of it, and the trimmed
    mean holds its level without. Also returns the difference that so many rounds find in POWER of all comparisons.
    """
    level = level_of(figures)
    draw = random.Random(seed)
    differences = [math.log(one.b[half]) - math.log(one.a[half]) for one in rounds for half in (0, 1)]
    controls = [
        draw.choice((-1, 1)) * (math.log(side[0]) - math.log(side[1])) for one in rounds for side in (one.a, one.b)
    ]
    change, control = yuen(differences, level), yuen(controls, level)
    shown = change.low > 1 or change.high < 1
    beyond = abs(math.log(change.ratio)) > control.half_width
    error = trimmed(sorted(controls))[1]
    reach = student((1 + level) / 2, _freedom(len(differences))) + NormalDist().inv_cdf(POWER)
    smallest = math.expm1(min(700.0, reach * error))
    return Comparison(change, control, shown and beyond, len(rounds), level), smallest


def estimate(logs: Sequence[float], level: float, draw: random.Random, resamples: int = RESAMPLES) -> Estimate:
    """The trimmed mean of logarithms as a ratio, with its bootstrap-t interval: at least as wide as Student's t has it,
    since of a handful of rounds the bootstrap knows no tails; and at most REACH_MOST times that, since it sometimes
    draws the same round again and again, and divides by next to nothing.
    """
    count = len(logs)
    middle, near = _near(logs)
    mean, error = trimmed(sorted(near))
    if count < ROUNDS_BARE:
        return Estimate(math.exp(middle + mean), 0.0, math.inf)
    choices = draw.choices
    found = []
    for _ in range(resamples):
        again, its_error = trimmed(sorted(choices(near, k=count)))
        found.append(abs(again - mean) / its_error)
    found.sort()
    reach = found[min(resamples - 1, math.ceil(level * (resamples + 1)) - 1)]
    least = student((1 + level) / 2, _freedom(count))
    return _estimate(middle + mean, error * min(max(reach, least), REACH_MOST * least))


def yuen(logs: Sequence[float], level: float) -> Estimate:
    """The trimmed mean of logarithms as a ratio, with the interval that Student's t gives it (Yuen 1974)."""
    count = len(logs)
    middle, near = _near(logs)
    mean, error = trimmed(sorted(near))
    if count < ROUNDS_BARE:
        return Estimate(math.exp(middle + mean), 0.0, math.inf)
    return _estimate(middle + mean, error * student((1 + level) / 2, _freedom(count)))


def _near(logs: Sequence[float]) -> tuple[float, list[float]]:
    """The median, and what is left of each without it: so that `trimmed` loses no digits."""
    middle = sorted(logs)[len(logs) // 2]
    return middle, [value - middle for value in logs]


def _estimate(mean: float, width: float) -> Estimate:
    width = min(700.0, width)  # math.exp ends at 709
    return Estimate(math.exp(mean), math.exp(mean - width), math.exp(mean + width))


def trimmed(values: Sequence[float]) -> tuple[float, float]:
    """Trimmed mean of sorted values around 0, and its standard error from the winsorised variance (Tukey and
    McLaughlin 1963): what is cut off counts as if it were equal to what is not. GRAIN is added to it.
    """
    count = len(values)
    cut = int(TRIMMED * count)
    kept = values[cut : count - cut]
    total = sum(kept)
    mean = total / len(kept)
    if count < 2:
        return mean, math.inf
    low, high = kept[0], kept[-1]
    squares = sum(map(mul, kept, kept)) + cut * (low * low + high * high)
    total += cut * (low + high)
    variance = max(0.0, squares - total * total / count) / (count - 1) + GRAIN * GRAIN
    return mean, math.sqrt(variance / count) / (1 - 2 * TRIMMED)


def _freedom(count: int) -> int:
    """Degrees of freedom of a trimmed mean (Yuen 1974)."""
    return max(1, count - 2 * int(TRIMMED * count) - 1)


def spread(rounds: Sequence[Round]) -> float:
    """The standard error that one round would have, in logarithms: from differences and controls together, the
    differences taken from their own middle, so that it knows nothing of how large they are.
    """
    differences = [one.difference for one in rounds]
    median = sorted(differences)[len(rounds) // 2]
    middle = median + trimmed(sorted([value - median for value in differences]))[0]
    values = sorted([value - middle for value in differences] + [one.control for one in rounds])
    return trimmed(values)[1] * math.sqrt(len(values))


def rounds_needed(rounds: Sequence[Round], smallest: float, figures: int = 1) -> int:
    """How many rounds find a difference of `smallest` (0.03: 3%) in POWER of all comparisons, from the spread of those
    that were made.
    """
    if len(rounds) < 2:
        return ROUNDS_LEAST
    unit = SLACK * (spread(rounds) / math.log1p(smallest)) ** 2
    needed = ROUNDS_LEAST
    for _ in range(50):
        reach = student((1 + level_of(figures)) / 2, _freedom(needed)) + NormalDist().inv_cdf(POWER)
        before, needed = needed, min(ROUNDS_MOST, max(ROUNDS_LEAST, math.ceil(unit * reach * reach)))
        if needed == before:
            break
        needed = max(needed, (needed + before) // 2)
    return needed


def narrow(rounds: Sequence[Round], smallest: float, figures: int = 1) -> bool:
    """Whether the intervals themselves have become narrow enough for that. `rounds_needed` knows the spread alone, and
    where one stops when it is met, the spread looks smaller than it is: of twelve comparisons that stopped so, five did
    not show the 3% that they were made for.
    """
    found = compare(rounds, figures)
    widest = max(found.change.half_width, found.control.half_width)
    reach = student((1 + level_of(figures)) / 2, _freedom(len(rounds)))
    return widest * (1 + NormalDist().inv_cdf(POWER) / reach) <= math.log1p(smallest)


def smallest_found(rounds: Sequence[Round], figures: int = 1) -> float:
    """The difference (0.03: 3%) that so many rounds find in POWER of all comparisons."""
    count = len(rounds)
    reach = student((1 + level_of(figures)) / 2, _freedom(count)) + NormalDist().inv_cdf(POWER)
    return math.expm1(min(700.0, reach * spread(rounds) * math.sqrt(SLACK / count)))


def student(share: float, freedom: int) -> float:
    """Quantile of Student's t (Abramowitz and Stegun, 26.7.5): within 1% from five degrees of freedom on."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


def mirrored(rounds: int, draw: random.Random) -> list[str]:
    """The order of runs for each round: "ABBA" or "BAAB", at random, each in half of all."""
    orders = ["ABBA", "BAAB"] * ((rounds + 1) // 2)
    for at in range(0, len(orders), 2):
        if draw.random() < 0.5:
            orders[at], orders[at + 1] = orders[at + 1], orders[at]
    return orders[:rounds]
