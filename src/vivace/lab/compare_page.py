"""A comparison as the page of its two loads (`page`), with the verdicts on top. Pure but for what `page` reads."""

from __future__ import annotations

import math
from html import escape

from vivace.lab.compare_text import how_sure, quantity, ratio
from vivace.lab.gates import FAILED
from vivace.lab.page import page, table
from vivace.lab.result import together
from vivace.lab.words import percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.compare import Outcome, Row

HEADS = ("", "A", "B", "B : A", "control", "")


def comparison_page(outcome: Outcome, conditions: str, made: str) -> str:
    """One HTML document. `conditions`: how it was measured, in a line; `made`: by what, for the footer."""
    sides = [
        (f"{side}: {label}", together([result for runs in outcome.rounds for result in runs[side]]))
        for side, label in outcome.labels.items()
    ]
    title = f"{outcome.labels['A']} and {outcome.labels['B']} compared"
    return page(sides, title, made, _told(outcome) + _verdicts(outcome, conditions) + _rounds(outcome))


def _told(outcome: Outcome) -> str:
    said = [(" bad" if not outcome.sound else "", note) for note in outcome.notes]
    if not outcome.sound:
        said.append((" bad", "The two cannot be compared, so there is no verdict."))
    said += [(" bad" * (became == FAILED), f"{became}: fail if {gate.text}") for gate, became in outcome.gates]
    return "".join(f'<p class="told{mood}">{escape(text)}</p>\n' for mood, text in said)


def _verdicts(outcome: Outcome, conditions: str) -> str:
    if not outcome.rows:
        return ""
    found = table("B against A", HEADS, [_row(row) for row in outcome.rows])
    sure = how_sure(outcome, outcome.rows[0].comparison.level)
    return f'{found}<p class="muted">{escape(conditions)}. {escape(sure)}</p>\n'


def _row(row: Row) -> list[str]:
    comparison = row.comparison
    verdict = escape(row.verdict)
    if row.differs:
        verdict = f"<b>{verdict}</b>"
    elif not row.withheld and math.isfinite(comparison.change.high):
        verdict += f"; {percent(row.smallest)} would be found"
    unit = row.figure.unit
    figures = quantity(row.a, unit), quantity(row.b, unit), ratio(comparison.change), ratio(comparison.control)
    return [escape(row.figure.title), *map(escape, figures), verdict]


def _rounds(outcome: Outcome) -> str:
    """Every run, so that nothing hides in a mean."""
    rows = []
    for number, (order, runs) in enumerate(zip(outcome.orders, outcome.rounds, strict=True), 1):
        cells = [str(number), order]
        for side in ("A", "B"):
            cells.append(", ".join(f"{one.rate:,.0f}" for one in runs[side]))
            cells.append(", ".join(quantity(one.percentiles((0.99,))[0], "s") for one in runs[side]))
        rows.append(cells)
    return table("Rounds", ("", "Order", "A: answers/s", "A: p99", "B: answers/s", "B: p99"), rows)
