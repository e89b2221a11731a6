"""One route, as `vivace top` shows it: what its time is spent on, how its response times are distributed. Pure."""

from __future__ import annotations

from vivace.cli.top_tables import IN_PROGRESS, SLOW, in_progress
from vivace.cli.top_text import bar, clean, folded, percent, rate, shared_out, size, span, table
from vivace.observe.comparison import QUANTILES, SHARES, between
from vivace.observe.histogram import lower_s, quantiles
from vivace.observe.layout import PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cli.top_text import Line

NAMES = ("p50", "p90", "p99", "p99.9")
MEANINGS = {
    "queued": "waited to start",
    "body": "came in (body)",
    "cpu": "computed",
    "blocked": "waited in the app",
    "send": "went out",
}
BAR = 30
ROWS_LEAST = 6
STEPS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""So many buckets may make up a line of the distribution: from a thirty-second of a power of two on."""


def lines(name: str, snapshot: dict[str, Any], figures: dict[str, Any], width: int, room: int) -> list[Line]:
    """At most `room` lines on this route."""
    since = f"last {span(figures['seconds'])}"
    route = figures["routes"].get(name)
    if route is None:
        whole = between(None, snapshot)
        route, since = whole["routes"].get(name), "since the start"
    if route is None:
        return [("bad", f"no request of route {clean(name)} has been counted")]
    found: list[Line] = [("title", clean(f"ROUTE {name}, {since}: {route['count']:,} requests, lane {route['lane']}"))]
    found += [("", text) for text in _figures(route, width)]
    running = in_progress(snapshot, name)
    slow = [row for row in snapshot["slow"] if row["route"] == name]
    left = room - len(found) - len(PARTS) - len(_waits(route, width)) - 4
    rows, first, second = shared_out([ROWS_LEAST * 3, len(running), len(slow)], max(ROWS_LEAST, left))
    found += [("title", "TIME"), *(("", text) for text in _parts(route) + _waits(route, width))]
    found += [("title", "RESPONSE TIMES"), *(("", text) for text in distribution(route["buckets"], max(1, rows)))]
    for title, columns, items, most in (
        (f"IN PROGRESS ({len(running)})", IN_PROGRESS, running, first),
        (f"LAST SLOW REQUESTS ({len(slow)})", SLOW, slow, second),
    ):
        found.append(("title", title))
        found += [("", text) for text in table(columns, items[:most], width)[1:]]
    return found[:room]


def _figures(route: dict[str, Any], width: int) -> list[str]:
    times = [f"{name} {span(route[key])}" for name, key in zip(NAMES, QUANTILES, strict=True)]
    status = [f"{kind} {count:,}" for kind, count in route["status"].items() if count]
    lanes = [f"{lane} {rate(value)}/s" for lane, value in route["lanes"].items() if value]
    rates = [f"in {size(route['bytes_in_rate'])}/s", f"out {size(route['bytes_out_rate'])}/s"]
    whole = [f"mean {span(route['mean_s'])}", f"longest ever {span(route['max_s'])}"]
    return [
        *folded([f"{rate(route['rate'])} req/s", *times, *whole], width),
        *folded([*status, f"gone {rate(route['gone_rate'])}/s", *rates, *lanes], width),
    ]


def _parts(route: dict[str, Any]) -> list[str]:
    """What a mean response time consists of."""
    found = []
    for part in PARTS:
        share = route["shares"][part]
        text = f"  {MEANINGS[part]:<18} {span(share * route['mean_s']):>7} {percent(share):>5}  {bar(share, BAR)}"
        found.append(text.rstrip())
    return found


def _waits(route: dict[str, Any], width: int) -> list[str]:
    """What its threads were seen doing in the last moment, from outside; nothing where nobody looked."""
    seen = route.get("waits")
    if not seen:
        return []
    items = [f"{cause} {percent(share)}" for cause, share in seen["causes"].items()]
    items += [f"{clean(row['text'])} {percent(row['share'])}" for row in seen["on"]]
    return folded(["  its threads now:", *items], width)


def distribution(buckets: dict[int, int], most: int) -> list[str]:
    """The buckets as a histogram of at most `most` lines, with the percentiles where they fall."""
    total = sum(buckets.values())
    if not total:
        return []
    low, high = min(buckets), max(buckets)
    step = next((step for step in STEPS if high // step - low // step < most), STEPS[-1])
    counts = dict.fromkeys(range(low // step, high // step + 1), 0)
    for bucket, count in buckets.items():
        counts[bucket // step] += count
    marks: dict[int, list[str]] = {}
    for name, value in zip(NAMES, quantiles(buckets, SHARES), strict=True):
        row = next(row for row in counts if value < lower_s((row + 1) * step) or row == high // step)
        marks.setdefault(row, []).append(name)
    largest = max(counts.values())
    return [
        f"  {span(lower_s(row * step)):>7} - {span(lower_s((row + 1) * step)):>7} {count:>10,} {count / total:>6.1%}  "
        f"{bar(count / largest, BAR):<{BAR}} {' '.join(marks.get(row, []))}".rstrip()
        for row, count in counts.items()
    ]
