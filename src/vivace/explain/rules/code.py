"""What the application's own code does: where it computes, what it waits for, what it does again and again. Pure.

A `Place` is one function of the application and one thing that it does (`frames.KINDS`), on one route, with what it
takes of a request. What is known to be cheaper in another way is an illness from a fifth of the time on; what computes
or waits as it may have to is told where it takes most of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vivace.explain.finding import FAIR, HIGH, MINOR, NOTE, SERIOUS, Finding
from vivace.explain.gain import WARMER, saving
from vivace.explain.remedies import REMEDIES
from vivace.explain.spots import WAITING, Spot, loop_around, short, text_of, where_of
from vivace.lab.words import percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from vivace.explain.case import Case
    from vivace.explain.finding import Gain
    from vivace.explain.remedies import Remedy

    K = TypeVar("K")
    Line = tuple[str, str, int]

LEAST_WEIGHT = 0.05
"""Of the time, what is told at all; it may be noise below."""
SERIOUS_WEIGHT = 0.2
SERIOUS_S = 0.0005
"""Of a request of its route, for what is known to be avoidable."""
LONG_CPU_S, LONG_WAIT_S = 0.010, 0.3
"""Of a request of its route, for what may have to be."""
MINOR_WEIGHT = 0.1


@dataclass(slots=True)
class Place:
    """One function, one thing that it does, one route. Seconds of a request of that route."""

    spot: Spot
    cpu_s: float
    wait_s: float
    share: float
    """Requests of its route, of all requests."""
    looped: bool
    """It is done in a loop of the application."""

    @property
    def seconds(self) -> float:
        return self.cpu_s + self.wait_s


def rule(case: Case) -> list[Finding]:
    """The places where the code takes a good part of the time."""
    found = [finding for place in places(case) if (finding := _finding(case, place)) is not None]
    return [*found, *_series(case, found)]


def places(case: Case) -> list[Place]:
    """The places of all routes; computing and waiting within a library's call are one."""
    merged: dict[tuple[str, str, str, str, str], Spot] = {}
    for spot in case.spots:
        own = "wait" if not spot.kind and spot.state in WAITING else ""
        key = (spot.route, spot.kind, spot.file, spot.function, own)
        if spot.state == "lock":
            continue  # `contention`
        if key in merged:
            _merge(merged[key], spot)
        else:
            merged[key] = spot
    for route, kind, file, function, own in list(merged):
        part_in_python = merged.get((route, "serialisation", file, function, own))
        if kind == "encoding" and part_in_python is not None:
            _merge(part_in_python, merged.pop((route, kind, file, function, own)))
    found = []
    for spot in merged.values():
        share = case.of_its_route(spot.route)
        if share:
            looped = loop_around(spot, case.sources) is not None
            found.append(Place(spot, case.cpu_of(spot) / share, case.wait_of(spot) / share, share, looped))
    return found


def _merge(into: Spot, spot: Spot) -> None:
    _add(into.lines, spot.lines)
    _add(into.states, spot.states)
    _add(into.callees, spot.callees)
    _add(into.callers, spot.callers)
    into.iterated += spot.iterated
    into.template_loop += spot.template_loop


def _add(to: dict[K, float], more: dict[K, float]) -> None:
    for key, seconds in more.items():
        to[key] = to.get(key, 0.0) + seconds


def _finding(case: Case, place: Place) -> Finding | None:
    remedy = _remedy(place)
    parts = remedy.parts
    calls = _calls(case, place)
    if calls > 1.5 and remedy.once:
        # What is asked once for all of it takes as long as a few of those.
        parts = (1.0 - min(0.7, 4.0 / calls), 1.0 - min(0.5, 2.0 / calls), 1.0 - 1.0 / calls)
    gain = saving(case.flow, parts, cpu_s=place.cpu_s * place.share, wait_s=place.wait_s * place.share, warmer=WARMER)
    part = _part(case, place)
    severity = _severity(place, remedy, part)
    if severity is None:
        return None
    where = where_of(place.spot, case.sources)
    return Finding(
        remedy.id,
        remedy.title.format(route=place.spot.route, time=span(place.seconds), function=place.spot.function),
        severity,
        _evidence(case, place, calls),
        remedy.advice,
        route=place.spot.route,
        where=where,
        code=remedy.code,
        gain=gain,
        confidence=HIGH if remedy.avoidable else FAIR,
        weight=part,
        also=[str(where_of_line) for where_of_line in _others(case, place)],
    )


def _remedy(place: Place) -> Remedy:
    spot = place.spot
    waits = place.wait_s > place.cpu_s
    kind = spot.kind or ("wait" if waits else "cpu")
    if kind == "wait" and spot.state in ("sleep", "disk", "child"):
        kind = spot.state
    if place.looped and kind + " loop" in REMEDIES:
        kind += " loop"
    return REMEDIES.get(kind) or REMEDIES["wait" if waits else "cpu"]


def _part(case: Case, place: Place) -> float:
    """Of the time that requests compute or wait outside of the worker, the place's."""
    flow = case.flow
    return place.seconds * place.share / max(flow.cpu_s + flow.wait_s + flow.lock_s, place.seconds * place.share, 1e-9)


def _severity(place: Place, remedy: Remedy, part: float) -> str | None:
    if part < LEAST_WEIGHT:
        return None
    if remedy.avoidable:
        if part >= SERIOUS_WEIGHT and place.seconds >= SERIOUS_S:
            return SERIOUS
    else:
        long_s = LONG_WAIT_S if place.wait_s > place.cpu_s else LONG_CPU_S
        if part >= 0.5 and place.seconds >= long_s:
            return SERIOUS
    if part >= MINOR_WEIGHT and place.seconds >= SERIOUS_S:
        return MINOR
    return NOTE if remedy.avoidable else None


def _evidence(case: Case, place: Place, calls: float) -> list[str]:
    spot = place.spot
    found = [
        f"{span(place.seconds)} of each request of {spot.route} ({percent(_part(case, place))} of what all take): "
        + ", ".join(
            f"{span(seconds)} {what}"
            for what, seconds in (("computing", place.cpu_s), ("waiting", place.wait_s))
            if seconds > place.seconds * 0.05
        )
    ]
    if calls > 1.5:
        found.append(f"{calls:.0f} calls a request, counted in one of them")
    loop = loop_around(spot, case.sources)
    if loop is not None:
        found.append(f"in the loop at {loop}" + (f": {loop.text}" if loop.text else ""))
    elif spot.template_loop > spot.seconds / 2:
        found.append("in a loop of the template")
    if len(spot.lines) > 1:
        total = sum(spot.lines.values())
        rows = [
            f"line {line}: {percent(seconds / total)}  {text_of(case.sources, spot.file, line)}".rstrip()
            for line, seconds in spot.most_lines()
            if seconds > total * 0.05
        ]
        found += rows if len(rows) > 1 else []
    called = [name for name in spot.most_called() if spot.callees[name] > spot.seconds * 0.1]
    if called:
        found.append("where it calls " + "; ".join(called))
    on = (case.routes.get(spot.route, {}).get("waits") or {}).get("on", [])
    if place.wait_s > place.cpu_s and on:
        found.append("threads wait " + "; ".join(f"{percent(row['share'])} {row['text']}" for row in on[:3]))
    return found


def _calls(case: Case, place: Place) -> float:
    """How often a request does what is done there, counted in one; 0: it is not known."""
    calls = case.evidence.calls or {}
    counts = calls.get(place.spot.route) or calls.get("") or {}
    return float(counts.get(place.spot.kind, 0))


def _others(case: Case, place: Place) -> list[str]:
    """The lines of the application that call it, the innermost first."""
    callers = sorted(place.spot.callers.items(), key=lambda row: -row[1])
    return [
        f"{file}:{line}, in {function}"
        for (function, file, line), seconds in callers[:3]
        if seconds > place.spot.seconds / 2
    ]


def _series(case: Case, found: list[Finding]) -> list[Finding]:
    """Routes that wait at several lines, one after the other."""
    series = []
    for route in {place.spot.route for place in places(case)}:
        waits: dict[tuple[str, str, int], float] = {}
        for spot in case.spots:
            if spot.route == route and spot.state in ("io", "other", "child") and spot.kind != "database":
                for line, seconds in spot.lines.items():
                    waits[spot.file, spot.function, line] = waits.get((spot.file, spot.function, line), 0.0) + seconds
        total = sum(waits.values())
        rows = [(row, seconds) for row, seconds in waits.items() if seconds > total * 0.1]
        share = case.of_its_route(route)
        if len(rows) < 2 or not share:
            continue
        scale = 1.0 / case.profile_s / case.rate / share
        longest_s, all_s = max(seconds for _, seconds in rows) * scale, total * scale
        gain = saving(case.flow, (0.6, 0.95, 1.0), wait_s=(all_s - longest_s) * share)
        part = (all_s - longest_s) * share / max(case.flow.cpu_s + case.flow.wait_s, 1e-9)
        if part < MINOR_WEIGHT or all_s - longest_s < 0.001:
            continue
        series.append(_in_series(case, route, rows, scale, gain, part))
    return series


def _in_series(
    case: Case, route: str, rows: list[tuple[Line, float]], scale: float, gain: Gain, part: float
) -> Finding:
    remedy = REMEDIES["series"]
    rows = sorted(rows, key=lambda row: -row[1])
    (file, function, line), _ = rows[0]
    lines = [
        f"{span(seconds * scale)} at {short(at[0])}:{at[2]}  {text_of(case.sources, at[0], at[2])}".rstrip()
        for at, seconds in rows
    ]
    spot = Spot(route, "", file, function, {line: 1.0})
    return Finding(
        remedy.id,
        remedy.title.format(route=route, time="", function=function),
        SERIOUS if part >= SERIOUS_WEIGHT else MINOR,
        [f"each request waits at {len(rows)} lines, one after the other:", *lines],
        remedy.advice,
        route=route,
        where=where_of(spot, case.sources),
        code=remedy.code,
        gain=gain,
        weight=part,
    )
