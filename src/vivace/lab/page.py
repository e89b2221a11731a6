"""Results as one HTML document.

Rules:

* Figures and tables are in the HTML, so that they can be read without a script; the script draws the curves.
* Whatever came from elsewhere (URLs, names of requests) is text, in the HTML and in the JSON.
* A curve ends where the answers end: with n of them, the share 1 - 1/n is the last that is drawn.

Pure but for reading its own files.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from vivace.lab import words
from vivace.lab.document import document
from vivace.lab.plan import OPEN
from vivace.lab.result import SHARES, added
from vivace.lab.words import size, span
from vivace.observe.histogram import middle_s, quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vivace.lab.result import Histogram, Result

    Labelled = tuple[str, Result]

POINTS_MAX = 300
"""Over time; a longer load is shown in longer steps."""
STEP_S = 1.0
"""The shortest of them, unless there would be fewer than STEPS_MIN: a p99 needs answers."""
STEPS_MIN = 20
RESULTS_MAX = 8
"""Colours there are."""
NAMES_MAX = 200
FILES = Path(__file__).parent / "files"

BODY = """<header><h1>{title}</h1><p class="muted">{subtitle}</p>
<div class="controls"><button type="button" id="theme">Dark</button></div></header>
<main>
{told}{verdict}{figures}
<section class="charts" aria-label="Charts">
{charts}
</section>
{tables}
</main>
<footer class="muted">{footer}</footer>"""
CHART = """<figure id="{id}"{wide}><figcaption><h2>{title}</h2>{toggle}<ul class="legend"></ul></figcaption>
<div class="plot" tabindex="0" role="img" aria-label="{title}; the figures are in the tables below"></div></figure>"""
TOGGLE = '<button type="button">Linear</button>'


def page(results: Sequence[Labelled], title: str = "", made: str = "", verdict: str = "") -> str:
    """One HTML document of 1 to RESULTS_MAX (label, result). `made`: when and by what, for the footer; `verdict`: HTML
    that stands before the figures.
    """
    if not 1 <= len(results) <= RESULTS_MAX:
        raise ValueError(f"{len(results)} results; a page shows 1 to {RESULTS_MAX}")
    style, script = (FILES / "page.css").read_text("utf-8"), (FILES / "page.js").read_text("utf-8")
    first = results[0][1]
    charts = [
        CHART.format(id="by-percentile", wide=' class="wide"', title="Latency by percentile", toggle=TOGGLE),
        CHART.format(id="latency", wide="", title="Latency over time", toggle=TOGGLE),
        CHART.format(id="rate", wide="", title="Answers a second", toggle=""),
    ]
    title = title or (first.url if len(results) == 1 else f"{len(results)} loads compared")
    body = BODY.format(
        title=escape(title),
        subtitle=escape(how(first) if len(results) == 1 else ", ".join(label for label, _ in results)),
        told=_told(results),
        verdict=verdict,
        figures=_figures(first) if len(results) == 1 else _overview(results),
        charts="\n".join(charts),
        tables="\n".join([_percentiles(results), *(_details(label, one, len(results) > 1) for label, one in results)]),
        footer=escape(made),
    )
    return document(title, style, body, script, {"results": [_drawn(label, result) for label, result in results]})


# What the script draws.


def _drawn(label: str, result: Result) -> dict[str, Any]:
    total = result.total
    return {
        "label": label,
        "curve": curve(total.latency, total.slowest_s),
        "service": curve(total.service, total.slowest_s) if result.mode == OPEN else [],
        "warmup_s": result.warmup.seconds,
        "ends": round(_end_s(result), 3),
        "slices": over_time(result),
    }


def curve(histogram: Histogram, slowest_s: float) -> list[tuple[float, float]]:
    """(share of the answers, seconds that it does not exceed), ascending, up to the share 1 - 1/n."""
    count = sum(histogram.values())
    points: list[tuple[float, float]] = []
    passed = 0
    for bucket in sorted(histogram):
        value = float(f"{min(middle_s(bucket), slowest_s):.4g}")
        # From the share where this value begins to where it ends.
        both = (passed / count, (passed + histogram[bucket]) / count)
        points += [(round(min(share, 1 - 1 / count), 9), value) for share in both]
        passed += histogram[bucket]
    return [point for number, point in enumerate(points) if not number or point != points[number - 1]]


def over_time(result: Result) -> list[list[float | None]]:
    """[middle of the step, answers/s, p50, p99, slowest, failures/s] each; None for latencies where nothing came."""
    if not result.slices:
        return []
    end_s = _end_s(result)
    together = max(-(-len(result.slices) // POINTS_MAX), int(min(STEP_S, end_s / STEPS_MIN) / result.slice_s + 0.5), 1)
    found: list[list[float | None]] = []
    for number in range(0, len(result.slices), together):
        begin_s = number * result.slice_s
        width_s = min(result.slice_s * together, end_s - begin_s)
        if width_s < result.slice_s * 0.2:
            break  # what came while the load drained
        one = added(result.slices[number : number + together])
        p50, p99 = quantiles(one.latency, (0.5, 0.99))
        times = (min(p50, one.slowest_s), min(p99, one.slowest_s), one.slowest_s) if one.answers else (None,) * 3
        failed = sum(one.errors.values()) + one.statuses.get("5xx", 0)
        row = (begin_s + width_s / 2, one.answers / width_s, *times, failed / width_s)
        found.append([None if value is None else float(f"{value:.5g}") for value in row])
    return found


def _end_s(result: Result) -> float:
    return result.warmup.seconds + result.seconds


# What can be read without it.


def how(result: Result) -> str:
    """How the load was made, in a few words."""
    law = f"open loop at {result.rate_wanted:,.0f}/s" if result.rate_wanted else "open loop, a replay"
    law = law if result.mode == OPEN else "closed loop"
    return f"{law}, {result.connections} connections, {result.seconds:.4g} s measured"


def _told(results: Sequence[Labelled]) -> str:
    """What has to be known before any figure is read."""
    said: list[tuple[str, str]] = []
    for label, result in results:
        who = f"{label}: " if len(results) > 1 else ""
        if result.loader.bottleneck:
            said.append((" bad", f"{who}the loader is the bottleneck: {result.loader.bottleneck}"))
        if result.failed:
            said.append((" bad", f"{who}{result.failed:,} requests failed ({result.failed_share:.2%} of all)"))
        if not result.warmup.steady:
            said.append(("", f"{who}no steady state was found; the warm-up is in the figures"))
    return "".join(f'<p class="told{mood}">{escape(text)}</p>\n' for mood, text in said)


def _figures(result: Result) -> str:
    p50, p99, p999 = result.percentiles((0.5, 0.99, 0.999))
    shown = [
        ("Answers/s", words.number(result.rate)),
        ("p50", span(p50)),
        ("p99", span(p99)),
        ("p99.9", span(p999)),
        ("Slowest", span(result.total.slowest_s)),
        ("Failed", f"{result.failed:,}"),
        ("CPU/request", span(result.server.cpu_us_per_request / 1e6) if result.server else "–"),
        ("Memory", size(result.server.rss_max_bytes) if result.server else "–"),
    ]
    bad = ' class="bad"'
    cells = "".join(
        f"<div{bad if name == 'Failed' and result.failed else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in shown
    )
    return f'<dl class="figures" aria-label="Figures">{cells}</dl>'


def _key(number: int) -> str:
    return f'<span class="key c{number % 8}" aria-hidden="true"></span>'


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table on a card. Heads and cells are HTML."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<section class="card"><h2>{escape(caption)}</h2><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _overview(results: Sequence[Labelled]) -> str:
    rows = []
    for number, (label, one) in enumerate(results):
        server = one.server
        rows.append(
            [
                f"{_key(number)}{escape(label)}",
                f"{one.rate:,.0f}",
                *map(span, one.percentiles((0.5, 0.99))),
                span(one.total.slowest_s),
                f"{one.failed:,}",
                span(server.cpu_us_per_request / 1e6) if server else "–",
                size(server.rss_max_bytes) if server else "–",
                escape(how(one)),
            ]
        )
    return table("Loads", ("", "Answers/s", "p50", "p99", "Slowest", "Failed", "CPU/request", "Memory", "How"), rows)


def _percentiles(results: Sequence[Labelled]) -> str:
    several = len(results) > 1
    heads = ["", *(f"p{share * 100:g}" for share in SHARES), "Slowest", "Mean"]
    rows = []
    for number, (label, one) in enumerate(results):
        times = [*one.percentiles(), one.total.slowest_s, one.mean_s]
        rows.append([f"{_key(number)}{escape(label)}" if several else "latency", *map(span, times)])
        if one.mode == OPEN and one.total.service:
            times = [min(value, one.total.slowest_s) for value in quantiles(one.total.service, SHARES)]
            name = f"{escape(label)}, from the send" if several else "from the send only"
            rows.append([name, *map(span, times), "", ""])
    return table("Percentiles", heads, rows)


def _details(label: str, result: Result, several: bool) -> str:
    """Requests by name, what went wrong, and who did the work."""
    total = result.total
    who = f": {label}" if several else ""
    parts = []
    if any(total.names):
        heads = ("Request", "Answers", "p50", "p90", "p99", "p99.9")
        busiest = sorted(total.names.items(), key=lambda item: -sum(item[1].values()))[:NAMES_MAX]
        rows = [
            [
                escape(name or "(other)"),
                f"{sum(buckets.values()):,}",
                *map(span, quantiles(buckets, (0.5, 0.9, 0.99, 0.999))),
            ]
            for name, buckets in busiest
        ]
        parts.append(table("Requests" + who, heads, rows))
    ended = [(f"{kind} answers", count) for kind, count in sorted(total.statuses.items())]
    ended += [(kind, count) for kind, count in sorted(total.errors.items(), key=lambda item: -item[1]) if count]
    answers = max(1, total.answers + sum(total.errors.values()))
    rows = [[escape(kind), f"{count:,}", f"{count / answers:.2%}"] for kind, count in ended]
    outcomes = table("How requests ended" + who, ("", "Count", "Share"), rows)
    parts.append(f'<div class="pair">{outcomes}{_facts("Load and server" + who, result)}</div>')
    return "\n".join(parts)


def _facts(caption: str, result: Result) -> str:
    loader, server, warmup = result.loader, result.server, result.warmup
    facts = [
        ("Target", result.url),
        ("Load", how(result)),
        (
            "Latency",
            "from the intended send" if result.mode == OPEN else "from the send (closed loop: stalls count once)",
        ),
        (
            "Warm-up",
            (f"{warmup.seconds:.3g} s cut off; " if warmup.seconds else "") + (warmup.method or "none cut off"),
        ),
        ("Received", f"{size(result.total.received)}, {size(result.bytes_rate)}/s"),
        (
            "Loader",
            f"{loader.processes} process{'es' * (loader.processes != 1)}, the busiest on CPU {loader.cpu_share:.0%}, "
            f"waiting for one {loader.waited_share:.0%} of the time; {loader.sent:,} requests sent",
        ),
    ]
    if result.mode == OPEN:
        facts.append(("Late sends", f"p99 {span(loader.late_p99_s)} after their time"))
    if server:
        facts += [
            ("Server", f"process {server.pid}, {server.processes} in all"),
            ("Server CPU", f"{server.cpu_s:.3g} s, {span(server.cpu_us_per_request / 1e6)} a request"),
            ("Server memory", f"{size(server.rss_bytes)} at the end, {size(server.rss_max_bytes)} at most"),
        ]
    else:
        facts.append(("Server", "not on this machine, or not found: no CPU or memory measured"))
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<section class="card"><h2>{escape(caption)}</h2><dl class="facts">{items}</dl></section>'
