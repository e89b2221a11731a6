"""Draws docs/benchmarks.svg from the records: a panel of horizontal bars per load. Pure: records in, text
out.

No external resource, no script; colours follow the reader's light or dark theme. Bars are linear and start at
zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from .loads import LOADS, Load
from .metrics import METRICS, written
from .servers import short
from .verdicts import CONTROL, SUBJECT, figure, loader_bound, servers_in

WIDTH, COLUMNS, MARGIN = 1000, 2, 24
PANEL = (WIDTH - MARGIN * (COLUMNS + 1)) // COLUMNS
NAMES, VALUES = 150, 86  # room for labels left of the bars and figures right of them
ROW, BAR, HEADING, GAP = 21, 14, 50, 18
BARS = PANEL - NAMES - VALUES

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-size: 20px; font-weight: 600; }
.heading { font-size: 14px; font-weight: 600; }
.quiet { fill: #59636e; }
.ours { font-weight: 700; }
.ground { fill: #ffffff; }
.track { fill: #eff2f5; }
.bar { fill: #8c96a3; }
.bar.ours { fill: #0a6ebd; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .quiet { fill: #9198a1; }
  .ground { fill: #0d1117; }
  .track { fill: #1c2128; }
  .bar { fill: #6e7681; }
  .bar.ours { fill: #4aa8ff; }
}
"""

Bar = tuple[str, float, bool]  # server, value, limited by the loader


def picture(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole SVG."""
    panels = [(load, bars(load, records[load.name]["rounds"])) for load in LOADS if load.name in records and load.chart]
    shown = [(load, found) for load, found in panels if found]
    top = 64
    body = []
    for start in range(0, len(shown), COLUMNS):
        line = shown[start : start + COLUMNS]
        for number, (load, found) in enumerate(line):
            body.append(panel(load, found, MARGIN + number * (PANEL + MARGIN), top))
        top += HEADING + ROW * max(len(found) for _, found in line) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        f'role="img" aria-labelledby="title">\n<title id="title">vivace and its peers under each load</title>\n'
        f'<style>{STYLE}</style>\n<rect class="ground" width="{WIDTH}" height="{top}" rx="8"/>\n'
        f'<text class="title" x="{MARGIN}" y="38">vivace and its peers, one core serving</text>\n'
        + "".join(body)
        + "</svg>\n"
    )


def bars(load: Load, rounds: list[Mapping[str, Mapping[str, Any]]]) -> list[Bar]:
    """The servers that have the load's figure, best first."""
    assert load.chart is not None
    found = []
    for name in servers_in(rounds):
        value = figure(rounds, name, load.chart)
        if name != CONTROL and value is not None:
            found.append((name, value, loader_bound(rounds, name) and METRICS[load.chart].more_is_better))
    return sorted(found, key=lambda bar: bar[1], reverse=METRICS[load.chart].more_is_better)


def panel(load: Load, found: list[Bar], left: int, top: int) -> str:
    assert load.chart is not None
    metric = METRICS[load.chart]
    better = "more is better" if metric.more_is_better else "less is better"
    lines = [
        f'<text class="heading" x="{left}" y="{top + 14}">{escape(load.title)}</text>\n',
        f'<text class="quiet" x="{left}" y="{top + 32}">{escape(metric.title)}; {better}</text>\n',
    ]
    longest = max(max(value for _, value, _ in found), 1e-9)
    for number, (name, value, bound) in enumerate(found):
        lines.append(_row(load.chart, name, value, bound, longest, left, top + HEADING - 8 + number * ROW))
    return "".join(lines)


def _row(metric: str, name: str, value: float, bound: bool, longest: float, left: int, top: int) -> str:
    ours = " ours" if name == SUBJECT else ""
    start = left + NAMES
    length = max(BARS * max(value, 0.0) / longest, 1.0)
    middle = top + BAR - 3
    text = written(metric, value) + (" (loader)" if bound else "")
    return (
        f'<text class="name{ours}" x="{start - 8}" y="{middle}" text-anchor="end">{escape(short(name))}</text>'
        f'<rect class="track" x="{start}" y="{top}" width="{BARS}" height="{BAR}" rx="3"/>'
        f'<rect class="bar{ours}" x="{start}" y="{top}" width="{length:.1f}" height="{BAR}" rx="3"/>'
        f'<text class="value{ours}" x="{start + BARS + 6}" y="{middle}">{escape(text)}</text>\n'
    )
