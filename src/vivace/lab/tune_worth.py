"""The nouns of a tuning: what is to be better, what a run gave, what a change is worth, what a search came to. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vivace.lab.tune_knobs import BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vivace.lab.stats import Comparison, Round
    from vivace.lab.tune_knobs import Candidate

ALIKE = 0.01
"""Shares of statuses that differ by more are another answer."""
LEAST_ALSO = 0.05
"""Of processor time or memory, where the goal is not reached any better."""
HARM_MOST = 0.1
"""... and as far as the interval for the goal may reach below what it was."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is to be better: a figure of samples. `better`: 1, more of it is; -1, less of it."""

    figure: str
    title: str
    better: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `figures`: more than 0 each; `statuses`: shares of the answers by class; `failed`: of the requests."""

    figures: dict[str, float]
    statuses: dict[str, float]
    failed: float = 0.0
    bottleneck: str = ""


@dataclass(slots=True)
class Worth:
    """A change, and what became of it."""

    candidate: Candidate
    score: float = 1.0
    """Ratio in the screening, more than 1 is better; of `runs` runs."""
    runs: int = 0
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    smallest: float = 0.0
    """The gain that would have been found in nine of ten duels."""
    adopted: bool = False
    figure: str = ""
    """What it was taken for."""
    why_not: str = ""
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    """Of the duel so far, by figure."""
    others: dict[str, float] = field(default_factory=dict)
    """Other figures in the screening, as ratios to what they were."""

    def ratio(self, objective: Objective) -> float:
        """In the duel; more than 1 is better."""
        return self.comparisons[objective.figure].change.ratio ** objective.better


@dataclass(slots=True)
class Outcome:
    """All of a search."""

    objective: Objective
    chosen: dict[str, Any] = field(default_factory=dict)
    worths: list[Worth] = field(default_factory=list)
    """In the order in which they were decided; what never came to a duel comes last."""
    left: dict[str, str] = field(default_factory=dict)
    """Knobs that were not tried, and why."""
    total: Comparison | None = None
    runs: int = 0
    seconds: float = 0.0
    bottlenecks: int = 0
    """Runs in which the load was what limited the rate."""
    interrupted: bool = False
    base: dict[str, float] = field(default_factory=dict)
    """Figures of the settings as they were, means of their runs; of what was chosen: `tuned`."""
    tuned: dict[str, float] = field(default_factory=dict)


def means(samples: Sequence[Sample]) -> dict[str, float]:
    """Of each figure that all of them have, the geometric mean."""
    names = set.intersection(*({*sample.figures} for sample in samples)) if samples else set()
    return {name: math.exp(sum(math.log(sample.figures[name]) for sample in samples) / len(samples)) for name in names}


def saves(candidate: Candidate, ratio: float, goal: float) -> bool:
    """Whether as much of what it is also for seems to be saved as would count, at no harm that would forbid it."""
    return candidate.also not in ("", BYTES) and ratio < 1 - LEAST_ALSO / 2 and goal > 1 - HARM_MOST


def otherwise(sample: Sample, base: Sample) -> str:
    """Why a run does not count: it fails, or says something else; "" if it does."""
    if sample.failed > base.failed + ALIKE:
        return f"{sample.failed:.1%} of the requests failed"
    for key in sorted({*sample.statuses, *base.statuses}):
        share, before = sample.statuses.get(key, 0.0), base.statuses.get(key, 0.0)
        if abs(share - before) > ALIKE:
            return f"it answers otherwise: {share:.0%} are {key}, {before:.0%} before"
    return ""
