"""A comparison as text for a person, and as what JSON can say for a program. Pure.

Rules: every figure stands beside its A/A control. A row without a verdict says how large a difference would have been
found, as "no difference shown" is no proof that there is none.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from vivace.lab.gates import FAILED, UNDECIDED
from vivace.lab.stats import WRONG
from vivace.lab.words import number, percent, size, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.compare import Outcome, Row
    from vivace.lab.stats import Estimate

COLUMNS = "{:<20} {:>10} {:>10}   {:<26} {:<26} {}"


def lines_of(outcome: Outcome, conditions: str) -> list[str]:
    """The report. `conditions`: how it was measured, in a line."""
    lines = [f"{side}  {label}" for side, label in outcome.labels.items()]
    lines += [conditions, ""]
    if outcome.rows:
        lines.append(COLUMNS.format("", "A", "B", "B : A", "control, A : A and B : B", "").rstrip())
        lines += [_row(row) for row in outcome.rows]
        lines += ["", how_sure(outcome, outcome.rows[0].comparison.level)]
    lines += [f"note: {note}" for note in outcome.notes]
    if not outcome.sound:
        lines.append("The two cannot be compared, so there is no verdict.")
    for gate, became in outcome.gates:
        more = "; more rounds would tell" if became == UNDECIDED else ""
        lines.append(f"{'FAILED' if became == FAILED else became:<10} fail if {gate.text}{more}")
    return lines


def how_sure(outcome: Outcome, level: float) -> str:
    """What the intervals mean."""
    rounds = len(outcome.rounds)
    return (
        f"{rounds} round{'s' * (rounds != 1)}. In brackets: {level * 100:.3g}% intervals, so wide that of twenty "
        f"comparisons of equals at most {WRONG * 20:.0f} ends with any verdict at all."
    )


def _row(row: Row) -> str:
    figure, comparison = row.figure, row.comparison
    verdict = row.verdict
    if not row.differs and not row.withheld and math.isfinite(comparison.change.high):
        verdict += f"; {percent(row.smallest)} would be found"
    return COLUMNS.format(
        figure.title,
        quantity(row.a, figure.unit),
        quantity(row.b, figure.unit),
        ratio(comparison.change),
        ratio(comparison.control),
        verdict,
    )


def ratio(estimate: Estimate) -> str:
    """With its interval, where there is one."""
    if not math.isfinite(estimate.high):
        return f"{estimate.ratio:.3f}x"
    return f"{estimate.ratio:.3f}x [{estimate.low:.3f}, {estimate.high:.3f}]"


def quantity(value: float, unit: str) -> str:
    """A number in the unit of its figure, as a person reads it."""
    if unit == "bytes":
        return size(value)
    return span(value * (1e-6 if unit == "us" else 1.0)) if unit in ("s", "us") else number(value)


def as_json(outcome: Outcome, conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything, with the figures of each run. An interval that is infinitely wide is None."""
    return {
        "sides": outcome.labels,
        "conditions": conditions,
        "sound": outcome.sound,
        "notes": outcome.notes,
        "figures": {row.figure.name: _figure(row) for row in outcome.rows},
        "gates": [{"condition": gate.text, "became": became} for gate, became in outcome.gates],
        "rounds": [
            {"order": order, **{side: [result.summary() for result in runs[side]] for side in ("A", "B")}}
            for order, runs in zip(outcome.orders, outcome.rounds, strict=True)
        ],
    }


def _figure(row: Row) -> dict[str, Any]:
    return {
        "A": row.a,
        "B": row.b,
        "unit": row.figure.unit,
        "change": _finite(row.comparison.change),
        "control": _finite(row.comparison.control),
        "level": row.comparison.level,
        "differs": row.differs,
        "verdict": row.verdict,
        "smallest": row.smallest if math.isfinite(row.smallest) else None,
    }


def _finite(estimate: Estimate) -> dict[str, float | None]:
    wide = not math.isfinite(estimate.high)
    return {key: None if wide and key != "ratio" else value for key, value in asdict(estimate).items()}
