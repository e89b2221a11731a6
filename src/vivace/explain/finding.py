"""What the doctor says: findings, and what each would gain. Plain values. Pure.

Rules: a figure stands with what it is of. A gain is a ratio, after by before, with the range it is expected in; a
finding whose gain is not known says so by having none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SERIOUS, MINOR, NOTE = "serious", "minor", "note"
SEVERITIES = (SERIOUS, MINOR, NOTE)
"""Serious: a good part of the time, or of the memory, or a danger. Minor: worth an hour. Note: to be known."""

RATE, RESPONSE, BYTES, MEMORY = "requests/s", "response time", "bytes sent", "memory"
"""What a gain is of. Of the first more is better, of the others less."""

HIGH, FAIR, LOW = "high", "fair", "low"
"""How sure it is. High: measured, and nothing else explains it. Low: a sign."""


@dataclass(frozen=True, slots=True)
class Where:
    """A line of code."""

    file: str
    line: int
    function: str = ""
    text: str = ""
    """The line itself, where it could be read."""

    @property
    def at(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return self.at + (f", in {self.function}" if self.function else "")


@dataclass(frozen=True, slots=True)
class Gain:
    """After by before: `low` and `high` as far as they may be expected, `likely` between them."""

    what: str
    low: float
    likely: float
    high: float
    how: str = ""
    """What it was computed from."""
    measured: float = 0.0
    """What it was when it was tried; 0: it was not."""

    @property
    def weight(self) -> float:
        """0 to 1, to compare gains by: the part that would be saved."""
        ratio = self.likely if self.what == RATE else 1.0 / max(self.likely, 1e-9)
        return max(0.0, 1.0 - 1.0 / max(ratio, 1e-9))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or could be better."""

    id: str
    """Of the table `table.KINDS`."""
    title: str
    severity: str
    evidence: list[str]
    """What was measured, a line each."""
    advice: str
    """The change to try."""
    route: str = ""
    """"": it concerns all of them."""
    where: Where | None = None
    code: str = ""
    """The change, as code or as lines of a settings file."""
    options: tuple[str, ...] = ()
    """The change where it is one of vivace's own settings: can be tried by starting it so."""
    gain: Gain | None = None
    confidence: str = FAIR
    weight: float = 0.0
    """By which findings of one severity are ordered; of the gain, unless something else is said."""
    also: list[str] = field(default_factory=list)
    """Other lines of code that take part in it."""

    @property
    def order(self) -> tuple[int, float]:
        """Ascending: the first is to be seen to first."""
        return SEVERITIES.index(self.severity), -self.weighs

    @property
    def weighs(self) -> float:
        """0 to 1: its own weight or, where it has none, that of its gain."""
        return self.weight or (self.gain.weight if self.gain else 0.0)

    def to_json(self) -> dict[str, Any]:
        """All of it, with `where` and `gain` as objects or None."""
        found = asdict(self)
        found["weight"] = self.weighs
        return found


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination came to."""

    findings: list[Finding]
    """The first is to be seen to first."""
    ruled_out: list[tuple[str, str]]
    """(id, what was seen instead) of what was looked for and is not there."""
    unseen: list[tuple[str, str]]
    """(id, why) of what could not be looked for."""

    @property
    def serious(self) -> list[Finding]:
        return [one for one in self.findings if one.severity == SERIOUS]

    def to_json(self) -> dict[str, Any]:
        return {
            "findings": [one.to_json() for one in self.findings],
            "ruled_out": [{"id": one, "text": text} for one, text in self.ruled_out],
            "not_looked_at": [{"id": one, "why": why} for one, why in self.unseen],
        }
