"""What `vivace top` shows: a snapshot and the figures since an older one become lines of text. Pure.

Rules: a line is (style, text); a style is a hint for a terminal that has it, and never says what the text does not.
`screen` gives at most `height` lines of at most `width` cells, `report` all there is, for a reader without a screen.
"""

from __future__ import annotations

from vivace.cli import top_route
from vivace.cli.top_keys import HELP, SORTS
from vivace.cli.top_tables import IN_PROGRESS, ROUTES, SLOW, WORKERS, clock, in_progress
from vivace.cli.top_text import clean, clip, folded, percent, rate, shared_out, size, span, table
from vivace.observe.comparison import QUANTILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cli.top_keys import View
    from vivace.cli.top_text import Column, Line

    Section = tuple[str, tuple[Column, ...], list[Any]]
    """Title, columns, rows."""

PLAIN, TITLE, STRONG, BAD, CHOSEN, FAINT = "", "title", "strong", "bad", "chosen", "faint"

REPORT_ROWS_MAX = 200
ADAPTIVE_ROWS_MAX = 4

# The parts of the page.


def heading(snapshot: dict[str, Any], figures: dict[str, Any], width: int, note: str = "") -> list[Line]:
    """The server, the verdict (or `note`, where there is nothing new to judge), and the figures of the whole."""
    server, workers = snapshot["server"], snapshot["workers"]
    if server["supervised"]:
        crew = f"generation {server['generation']}, {len(workers)}/{server['target']} workers"
    else:
        crew = f"{len(workers)} server{'s' * (len(workers) != 1)} in this process"
    died = f", {server['deaths']} died" if server["deaths"] else ""
    wrong = bool(note) or server["state"] == "ended" or any(row["stuck"] for row in figures["workers"])
    title = (
        f"{clock(snapshot['time_s'])} vivace, process {server['pid']}, {server['state']}, up {span(server['age_s'])}: "
        f"{crew}{died}, version {server['version']}"
    )
    texts = [(TITLE, [title]), (BAD if wrong else STRONG, (note or figures["verdict"]).split(" "))]
    texts += [(PLAIN, part) for part in _whole(snapshot, figures)]
    if snapshot["listeners"]:
        most = max(row.get("overflows") or 0 for row in snapshot["listeners"])  # the kernel counts them all together
        lost = [f"full accept queues on this machine: {most}"] if most else []
        texts.append((PLAIN, [_listening(row) for row in snapshot["listeners"]] + lost))
    if server["note"]:
        texts.append((BAD, [f"last failure: {server['note']}"]))
    return [
        (style, line)
        for style, items in texts
        for line in folded([clean(item) for item in items], width, " " if style in (BAD, STRONG) else "  ")
    ]


def _whole(snapshot: dict[str, Any], figures: dict[str, Any]) -> list[list[str]]:
    """Figures of all workers: lines, in pieces that stay in one."""
    memory = {row["pid"]: row["system"].get("memory_bytes") for row in snapshot["workers"]}
    known = [held for held in memory.values() if held is not None]
    times = zip(("p50", "p90", "p99", "p99.9", "mean"), (*QUANTILES, "mean_s"), strict=True)
    return [
        [f"{rate(figures['rate'])} req/s", *(f"{name} {span(figures[key])}" for name, key in times)],
        [
            f"errors {rate(figures['error_rate'])}/s",
            f"refused {rate(figures['refused_rate'])}/s",
            f"gone {rate(figures['gone_rate'])}/s",
            f"out {size(figures['bytes_out_rate'])}/s",
            f"CPU {percent(figures['cpu'])}",
            f"memory {size(sum(known) if known else None)}",
        ],
        [
            *(f"{lane} {rate(value)}/s" for lane, value in figures["lanes"].items()),
            f"queued {figures['queued']}",
            f"in flight {figures['in_flight']}",
            f"connections {figures['connections']}",
        ],
        *([_caching(figures["cache"])] if figures["cache"] else []),
        *[_adaptive(row) for row in snapshot["workers"] if row.get("adaptive")][:ADAPTIVE_ROWS_MAX],
    ]


def _adaptive(row: dict[str, Any]) -> list[str]:
    """What a worker chose whose settings follow what is measured."""
    chosen, trials = row["adaptive"], row["trials"]
    limit_s = chosen["wait_limit_s"]
    return [
        f"#{row['place']} adapts: {row['threads_max']} threads",
        f"switch interval {span(chosen['switch_interval_s'])}",
        *([f"waits up to {span(limit_s)}"] if limit_s else []),
        f"{trials['tried']} tried, {trials['kept']} kept, {trials['undone']} taken back",
        *([chosen["news"]] if chosen["news"] else []),
    ]


def _caching(cache: dict[str, Any]) -> list[str]:
    rates = cache["rates"]
    return [
        f"cache {percent(cache['hit_rate'])} of {rate(cache['rate'])}/s",
        f"stale {rate(rates['stale'])}/s",
        f"waited {rate(rates['collapsed'])}/s",
        f"passed by {rate(rates['bypassed'])}/s",
        f"{cache['entries']:,} kept in {size(cache['bytes'])} of {size(cache['bytes_max'])}",
    ]


def _listening(row: dict[str, Any]) -> str:
    limit = f" of {row['backlog']}" if row.get("backlog") is not None else ""
    lost = f", {row['drops']} dropped" if row.get("drops") else ""
    return f"{row['address']}: accept queue {row['queue']}{limit}{lost}"


def routes_of(view: View, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes in the order that is wanted."""
    whole = sum(row["time_share"] for row in figures["routes"].values()) or 1.0
    rows = [
        {"name": name, "mark": ">" if name == view.chosen else "", "of_time": row["time_share"] / whole, **row}
        for name, row in figures["routes"].items()
    ]
    if view.sort == "name":
        return sorted(rows, key=lambda row: str(row["name"]))
    key = SORTS[view.sort]
    return sorted(rows, key=lambda row: (-float(row[key]), str(row["name"])))


def _sections(view: View, snapshot: dict[str, Any], figures: dict[str, Any]) -> list[Section]:
    waiting, slow = in_progress(snapshot), snapshot["slow"]
    routes = routes_of(view, figures)
    since = "since the start" if view.window_s == 0 else f"last {span(figures['seconds'])}"
    workers = [{**row, **more} for row, more in zip(snapshot["workers"], figures["workers"], strict=True)]
    return [
        ("WORKERS" if snapshot["server"]["supervised"] else "SERVERS", WORKERS, workers),
        (f"ROUTES ({len(routes)}) by {view.sort}, {since}", ROUTES, routes),
        (f"IN PROGRESS ({len(waiting)})", IN_PROGRESS, waiting),
        (f"LAST SLOW REQUESTS ({len(slow)})", SLOW, slow),
    ]


def _section(section: Section, most: int, first: int, width: int) -> list[Line]:
    """Title, names of columns and at most `most` rows, from number `first` on."""
    title, columns, rows = section
    shown = rows[first : first + most]
    if len(shown) < len(rows):
        title += f", {first + 1} to {first + len(shown)}" if shown else ""
    if not rows:
        return [(TITLE, title)]
    names, *lines = table(columns, shown, width)
    styles = [BAD if row.get("stuck") else CHOSEN if row.get("mark") else PLAIN for row in shown]
    return [(TITLE, title), (FAINT, names), *zip(styles, lines, strict=True)]


# The whole.


def screen(
    view: View, snapshot: dict[str, Any] | None, figures: dict[str, Any] | None, width: int, height: int, note: str = ""
) -> list[Line]:
    """What fits on a screen. `note`: why there is nothing new to show."""
    room = max(0, height - 1)
    if view.help:
        lines = [(PLAIN, text) for text in HELP]
    elif snapshot is None or figures is None:
        lines = [(BAD, clean(note) or "nothing was read yet")]
    elif view.route:
        lines = heading(snapshot, figures, width, note)[:2] + top_route.lines(
            view.route, snapshot, figures, width, room - 2
        )
    else:
        head = heading(snapshot, figures, width, note)
        lines = head + _shared(view, _sections(view, snapshot, figures), width, room - len(head))
    lines = lines[:room] + [(PLAIN, "")] * (room - len(lines)) + [_foot(view)] * (height > 0)
    return [(style, clip(clean(text), width)) for style, text in lines]


def _shared(view: View, sections: list[Section], width: int, room: int) -> list[Line]:
    """The sections, each with its part of `room` lines; the chosen route is among those shown."""
    titles = [1 + bool(rows) for _, _, rows in sections]
    given = shared_out([len(rows) for _, _, rows in sections], room - sum(titles))
    found: list[Line] = []
    for section, most in zip(sections, given, strict=True):
        marked = next((at for at, row in enumerate(section[2]) if row.get("mark")), 0)
        found += _section(section, most, max(0, marked - most + 1), width)
    return found


def _foot(view: View) -> Line:
    window = "since the start" if view.window_s == 0 else f"{view.window_s:g} s"
    paused = "PAUSED  " if view.paused else ""
    keys = "Esc back" if view.route or view.help else "Enter route"
    return (FAINT, f"{paused}q quit  p pause  s sort: {view.sort}  w window: {window}  j k choose  {keys}  h help")


def report(view: View, snapshot: dict[str, Any], figures: dict[str, Any], width: int) -> list[str]:
    """All of it, for a pipe or a file."""
    lines = heading(snapshot, figures, width)
    if view.route:
        lines += top_route.lines(view.route, snapshot, figures, width, REPORT_ROWS_MAX)
    else:
        for section in _sections(view, snapshot, figures):
            lines += [(PLAIN, ""), *_section(section, REPORT_ROWS_MAX, 0, width)]
    return [clean(text) for _, text in lines]
