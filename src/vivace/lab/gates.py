"""Conditions that fail a build: `p99 > 1.05x`, `rate < 0.97x`, `p99 > 50ms`, `errors > 0.1%`. Pure.

Rules: with `x` it is about the ratio of B to A, and holds or fails by the whole interval: it *failed* where all of the
interval meets the condition, it *holds* where none does, and between the two it is *undecided*. Anything else is about
B alone, and about the median of its runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.stats import Estimate

HOLDS, FAILED, UNDECIDED = "holds", "failed", "undecided"

TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
SIZES = {"KB": 1e3, "KiB": 2.0**10, "MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "GiB": 2.0**30}
UNITS = {
    "rate": {"": 1.0},
    "cpu": {"us": 1.0, "ms": 1e3},
    "p50": TIMES,
    "p99": TIMES,
    "memory": SIZES,
    "errors": {"%": 0.01, "": 1.0},
}
GATE = re.compile(r"\s*([a-z0-9]+)\s*([<>])\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Gate:
    """`more`: it fails above the limit, else below. `relative`: of B by A. Limits in the unit of the figure."""

    text: str
    figure: str
    more: bool
    limit: float
    relative: bool

    def judge_ratio(self, ratio: Estimate) -> str:
        """HOLDS, FAILED or UNDECIDED."""
        if ratio.low > self.limit if self.more else ratio.high < self.limit:
            return FAILED
        return HOLDS if (ratio.high <= self.limit if self.more else ratio.low >= self.limit) else UNDECIDED

    def judge_value(self, value: float) -> str:
        return FAILED if (value > self.limit if self.more else value < self.limit) else HOLDS


def read_gate(text: str) -> Gate:
    """Raises SettingError for what is no condition."""
    found = GATE.fullmatch(text)
    figure, sign, number, unit = found.groups() if found else ("", "", "", "")
    if figure not in UNITS:
        raise SettingError(
            f"--fail-if {text!r}: give a condition as 'p99 > 1.05x' (of B by A) or 'p99 > 50ms' (of B), about one of "
            f"{', '.join(UNITS)}"
        )
    relative = unit == "x"
    if relative and figure == "errors":
        raise SettingError(f"--fail-if {text!r}: errors have no ratio; give a share, as 'errors > 0.1%'")
    if not relative and unit not in UNITS[figure]:
        units = " or ".join(word or "no unit" for word in UNITS[figure])
        raise SettingError(f"--fail-if {text!r}: {figure} has {units}, or x for the ratio of B to A")
    return Gate(text.strip(), figure, sign == ">", float(number) * (1.0 if relative else UNITS[figure][unit]), relative)
