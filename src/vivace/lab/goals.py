"""Goals of a load: `p99<50ms`, `mean<=5ms`, `errors<0.1%`. Pure.

A goal is about the measured part of one Result. Percentiles are any of 0 to 100, as `p99.9`; `max` and `mean` are
latencies, too; `errors` is the share of requests that failed (`Result.failed_share`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.result import Result

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "%": 0.01}
GOAL = re.compile(r"(p\d{1,2}(?:\.\d{1,3})?|mean|max|errors)\s*<=?\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%)", re.ASCII)
ERRORS_MAX = 0.001
"""The share of failures that is let pass where no goal speaks of them: one that grows with the load is found anyway."""


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` is no more than `limit` (seconds, or a share)."""

    text: str
    figure: str
    limit: float

    def value(self, result: Result) -> float:
        """What the result has for it."""
        if self.figure == "errors":
            return result.failed_share
        if self.figure == "max":
            return result.total.slowest_s
        if self.figure == "mean":
            return result.mean_s
        return result.percentiles((float(self.figure[1:]) / 100,))[0]

    def holds(self, result: Result) -> bool:
        """Whether it is reached. Nothing answered reaches no goal."""
        return bool(result.total.answers) and self.value(result) <= self.limit


def read_goal(text: str) -> Goal:
    """Raises SettingError for what is no goal."""
    found = GOAL.fullmatch(text.strip())
    if found is None or (found[3] == "%") != (found[1] == "errors"):
        raise SettingError(
            f"--goal {text!r}: give a figure and its limit, as 'p99<50ms', 'p99.9<1s', 'mean<5ms' or 'errors<0.1%'"
        )
    return Goal(text.strip(), found[1], float(found[2]) * UNITS[found[3]])


def missed(goals: list[Goal], result: Result) -> list[str]:
    """The goals that the result misses, each with what it has."""
    if not result.total.answers:
        return ["nothing was answered"]
    found = []
    for goal in goals:
        if not goal.holds(result):
            value = goal.value(result)
            shown = f"{value:.2%}" if goal.figure == "errors" else f"{value * 1000:.3g} ms"
            found.append(f"{goal.text}: {shown}")
    if not any(goal.figure == "errors" for goal in goals) and result.failed_share > ERRORS_MAX:
        found.append(f"{result.failed_share:.2%} of the requests failed")
    return found
