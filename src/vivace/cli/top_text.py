"""How `vivace top` writes numbers, tables and bars. Pure.

Rules: ASCII only, so that every terminal has the characters. What came from a client or an application is made
harmless (`clean`) before it is shown: a terminal obeys control characters.
"""

from __future__ import annotations

import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Line = tuple[str, str]
    """Style and text."""
    Column = tuple[str, int, int, Callable[[Any], str]]
    """Title, width (0: what is left; negative: flush left), from which width of the terminal on, value of a row."""

UNKNOWN = "?"
REST_LEAST = 8
"""The column that takes the rest has at least this width."""


def clean(text: str) -> str:
    """`text` on one line, each character one cell wide."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() and unicodedata.east_asian_width(char) not in "WF" and not unicodedata.combining(char)
        else "?"
        for char in text
    )


def clip(text: str, width: int) -> str:
    """At most `width` cells of `text`; ".." where something is left off."""
    if len(text) <= width:
        return text
    return text[: width - 2] + ".." if width > 4 else text[: max(0, width)]


def folded(items: list[str], width: int, gap: str = "  ") -> list[str]:
    """The items on as few lines as they need, none of them broken."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(gap) + len(item) <= width:
            lines[-1] += gap + item
        else:
            lines.append(item)
    return lines


def span(seconds: float | None) -> str:
    """A length of time in at most seven characters."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.0000005:
        return "0 ms"
    if seconds < 0.9995:
        return f"{three(seconds * 1e3)} ms"
    if seconds < 99.95:
        return f"{three(seconds)} s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def three(value: float) -> str:
    """Three digits, thousands with a comma."""
    if value >= 99.95:
        return f"{value:,.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}"


def rate(value: float | None) -> str:
    """So many a second."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    return "<0.01" if value < 0.01 else three(value)


def size(count: float | None) -> str:
    """Bytes."""
    if count is None:
        return UNKNOWN
    for unit, least in (("G", 2**30), ("M", 2**20), ("k", 2**10)):
        if count >= least:
            return f"{three(count / least)} {unit}B"
    return f"{count:.0f} B"


def percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.0%}"


def bar(share: float, width: int) -> str:
    """Of `width` cells as many as `share` says; at least one for what is there at all."""
    return "#" * max(1 if share > 0 else 0, min(width, round(share * width)))


def table(columns: tuple[Column, ...], rows: list[Any], width: int) -> list[str]:
    """Title and rows, each at most `width` cells; columns that do not fit this width are left off."""
    shown = [column for column in columns if width >= column[2]]
    fixed = sum(abs(cells) + 1 for _, cells, _, _ in shown if cells)
    rest = max(REST_LEAST, width - fixed)

    def line(values: list[str]) -> str:
        parts = []
        for (_, cells, _, _), value in zip(shown, values, strict=True):
            wide = abs(cells) or rest
            parts.append(f"{clip(value, wide):>{wide}}" if cells > 0 else f"{clip(value, wide):<{wide}}")
        return clip(" ".join(parts).rstrip(), width)

    return [line([title for title, _, _, _ in shown])] + [
        line([clean(value(row)) for _, _, _, value in shown]) for row in rows
    ]


def shared_out(wanted: list[int], room: int) -> list[int]:
    """How many lines each gets of `room`: what it wants, as far as all others can have as much."""
    given = [0] * len(wanted)
    while room > 0 and given != wanted:
        for at, most in enumerate(wanted):
            if given[at] < most and room > 0:
                given[at] += 1
                room -= 1
    return given
