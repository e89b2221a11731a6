"""Whether memory grows with requests, and with those of which route: a verdict on a series of the topic "memory". Pure.

A leak and a cache that fills look alike for a while. What tells them apart is the bend: a leak grows in the second half
of the time as it did in the first, a cache less and less. Where collections leave a saw-tooth, its lower edge counts.
Slopes are those of Theil and Sen (the median over all pairs), which a third of bad points does not move.

Which route it is, the mix of requests tells as it varies: of all routes the one whose count explains the growth best,
and another one beside it if that explains much more. Where several explain it alike, as they do when the mix never
varies, none is named.

Rules: two measures are looked at, blocks (exact, but of objects of up to 512 bytes) and resident memory (everything, in
steps); growth of either counts. Times are in seconds, sizes in bytes. The limits below were set with the planted leaks
and caches of the tests; benchmarks/leaks.py prints how often each verdict is right.
"""

from __future__ import annotations

from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Series = Sequence[Sequence[Any]]
    """[[Unix time, blocks, resident bytes, collections of the oldest generation, {route: requests}], ...]"""
    Verdict = dict[str, Any]

LEAK, GROWING, FILLING, STEADY, UNCLEAR = VERDICTS = ("leak", "growing", "filling", "steady", "unclear")
"""The gravest first."""

AT, BLOCKS, RSS, OLDEST, ROUTES = range(5)
BLOCK_BYTES = 64.0
"""What a block of growth stands for where resident memory does not show it."""

POINTS_MIN = 6
REQUESTS_MIN = 200
LEAK_POINTS_MIN = 8
LEAK_REQUESTS_MIN = 1000
"""With fewer it is `growing` and not yet a leak."""
PAIRS_POINTS_MAX = 150
"""Of a longer series every nth point is looked at: the median of all pairs is quadratic."""

FLOOR_BYTES = 3 << 20
"""Growth of less resident memory is none: threads, arenas and pages come and go."""
FLOOR_BLOCKS = 3000
FLOOR_SPREADS = 4.0
"""Nor is growth of less than so many median deviations from the line."""
KEPT_MIN = 0.85
"""So much of the slope of the first half is left in the second half of a leak."""
KEPT_MAX = 2.5
"""And no more than that: what only begins to grow may end as soon."""
RISING_MIN = 0.8
"""Such a share of the pairs of points has to rise."""
FILLED_MAX = 0.35
"""With less than that a cache fills."""
WARM = 4
"""What bends is looked at again without the first quarter: a process that has just begun fills caches of all kinds."""
GARBAGE_MIN = 0.8
"""If a collection frees so much of what grew, it was garbage."""

COMPACTIONS_MIN = 8
"""With so many collections of the oldest generation the lower edge is looked at."""
RIVAL_MIN = 2.0
"""So much more has to be left unexplained by any other route than by the one that is named."""
SECOND_MAX = 0.6
"""And so much less by two routes than by one for the second one to be named."""
MAIN_SHARE = 0.95
"""A route with so many of the requests is named without a rival."""
EVERY = "(every request)"


def judge(series: Series, collected: dict[str, Any] | None = None) -> Verdict:
    """The verdict on one worker: see `explain.memory` for its fields.

    `collected`: what a collection at the end did: {"enabled": whether the collector is on, "blocks": [before, after]}.
    """
    first, last = (series[0], series[-1]) if series else (None, None)
    told: Verdict = {
        "verdict": UNCLEAR,
        "reason": "",
        "bytes_per_request": 0.0,
        "bytes_per_s": 0.0,
        "routes": {},
        "requests": _total(last) - _total(first) if first and last else 0,
        "seconds": round(last[AT] - first[AT], 3) if first and last else 0.0,
        "rss_bytes": [first[RSS], last[RSS]] if first and last else [0, 0],
        "blocks": [first[BLOCKS], last[BLOCKS]] if first and last else [0, 0],
        "points": len(series),
    }
    points = _busy(series)
    if len(points) < POINTS_MIN or told["requests"] < REQUESTS_MIN:
        told["reason"] = (
            f"{told['requests']} requests in {told['seconds']:.0f} s with {len(points)} points are too few to judge by"
        )
        return told
    points = lower_edge(points)
    served = [float(_total(point)) for point in points]
    rss = _trend_when_warm(served, [float(point[RSS]) for point in points], FLOOR_BYTES)
    blocks = _trend_when_warm(served, [float(point[BLOCKS]) for point in points], FLOOR_BLOCKS)
    told["verdict"] = min(rss["verdict"], blocks["verdict"], key=VERDICTS.index)
    by_bytes = rss["verdict"] in (LEAK, GROWING)
    garbage = _garbage(points, collected) if told["verdict"] in (LEAK, GROWING) else ""
    if garbage and collected and collected["enabled"]:
        told["verdict"], told["reason"] = STEADY, garbage
        return told
    if told["verdict"] in (LEAK, GROWING):
        per_request = rss["slope"] if by_bytes else blocks["slope"] * BLOCK_BYTES
        told["bytes_per_request"] = round(per_request, 1)
        seconds = points[-1][AT] - points[0][AT]
        told["bytes_per_s"] = round(per_request * (served[-1] - served[0]) / max(1e-9, seconds), 1)
        told["routes"] = _routes(points, by_bytes=by_bytes, also_blocks=blocks["verdict"] in (LEAK, GROWING))
    told["reason"] = _reason(told, rss, blocks)
    if garbage:
        told["reason"] += f"; {garbage}, and the collector is switched off"
    return told


def _garbage(points: Series, collected: dict[str, Any] | None) -> str:
    """A sentence if what grew was garbage in cycles, as a collection at the end showed."""
    if collected is None:
        return ""
    left = collected["blocks"][1] - points[0][BLOCKS]
    rise = max(point[BLOCKS] for point in points) - points[0][BLOCKS]
    if rise < FLOOR_BLOCKS or left > (1 - GARBAGE_MIN) * rise:
        return ""
    return f"of {rise} objects that had come {max(0, left)} were left after a collection, the others were in cycles"


def _trend_when_warm(x: Sequence[float], y: Sequence[float], floor: float) -> dict[str, Any]:
    told = trend(x, y, floor)
    cold = len(x) // WARM
    if told["verdict"] in (GROWING, FILLING) and len(x) - cold >= LEAK_POINTS_MIN:
        warm = trend(x[cold:], y[cold:], floor)
        return warm if warm["verdict"] == LEAK else told
    return told


def trend(x: Sequence[float], y: Sequence[float], floor: float) -> dict[str, Any]:
    """How `y` grows with `x`: {"verdict", "slope" (of the second half), "early", "late", "rise"}."""
    step = max(1, len(x) // PAIRS_POINTS_MAX)
    x, y = x[::-step][::-1], y[::-step][::-1]
    half = len(x) // 2
    middle = (x[0] + x[-1]) / 2
    half = min(max(3, sum(1 for each in x if each <= middle)), len(x) - 3)
    early, late = slope(x[: half + 1], y[: half + 1]), slope(x[half - 1 :], y[half - 1 :])
    length = x[-1] - x[half - 1]
    spread = _median([abs(value - line) for value, line in zip(y[half:], _line(x[half:], y[half:], late), strict=True)])
    rise = late * length
    needed = max(floor / 2, FLOOR_SPREADS * spread)
    told = {"slope": late, "early": early, "late": late, "rise": y[-1] - y[0], "verdict": STEADY}
    if rise < needed or _rising(y[half - 1 :]) < RISING_MIN:
        if early * (x[half - 1] - x[0]) >= floor:
            told["verdict"] = FILLING
        return told
    kept = late / early if early > 0 else KEPT_MAX + 1
    if kept < FILLED_MAX:
        told["verdict"] = FILLING
    elif not KEPT_MIN <= kept <= KEPT_MAX or len(x) < LEAK_POINTS_MIN or x[-1] - x[0] < LEAK_REQUESTS_MIN:
        told["verdict"] = GROWING
    else:
        told["verdict"] = LEAK
    return told


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The median of the slopes of all pairs of points (Theil 1950, Sen 1968); 0 where there is none."""
    slopes = [
        (y[right] - y[left]) / (x[right] - x[left])
        for right in range(1, len(x))
        for left in range(right)
        if x[right] > x[left]
    ]
    return _median(slopes)


def lower_edge(points: list[Sequence[Any]]) -> list[Sequence[Any]]:
    """One point for each time between two collections of the oldest generation, that with the fewest blocks; the points
    themselves where those collections are few."""
    edges: list[Sequence[Any]] = []
    for point in points:
        if edges and edges[-1][OLDEST] == point[OLDEST]:
            if point[BLOCKS] < edges[-1][BLOCKS]:
                edges[-1] = point
        else:
            edges.append(point)
    return edges if COMPACTIONS_MIN <= len(edges) < len(points) else points


def _busy(points: Series) -> list[Sequence[Any]]:
    """Without the points between which nothing was served."""
    found = list(points[:1])
    for before, point in pairwise(points):
        if _total(point) > _total(before):
            found.append(point)
    return found


def _total(point: Sequence[Any] | None) -> int:
    return sum(point[ROUTES].values()) if point else 0


def _median(values: Sequence[float]) -> float:
    found = sorted(values)
    if not found:
        return 0.0
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2


def _line(x: Sequence[float], y: Sequence[float], grade: float) -> list[float]:
    start = _median([value - grade * at for at, value in zip(x, y, strict=True)])
    return [start + grade * at for at in x]


def _rising(y: Sequence[float]) -> float:
    """The share of pairs in which the later one is not less: 0.5 for noise (after Mann and Kendall)."""
    pairs = [(y[right] > y[left]) + 0.5 * (y[right] == y[left]) for right in range(len(y)) for left in range(right)]
    return sum(pairs) / len(pairs) if pairs else 0.5


# Which route.


def _routes(points: Series, *, by_bytes: bool, also_blocks: bool) -> dict[str, dict[str, Any]]:
    """The routes whose requests grew it: blocks tell more exactly which, resident memory how much."""
    found: dict[str, dict[str, Any]] = {}
    for which, wanted in ((BLOCKS, also_blocks), (RSS, by_bytes)):
        if not wanted or (found and which == RSS):
            continue
        for name, (each, error, number) in blame(points, which).items():
            scale = 1.0 if which == RSS else BLOCK_BYTES
            found[name] = {
                "bytes_per_request": round(each * scale, 1),
                "low": round((each - 2 * error) * scale, 1),
                "high": round((each + 2 * error) * scale, 1),
                "requests": number,
                "blocks_per_request": round(each, 2) if which == BLOCKS else None,
            }
    if by_bytes and also_blocks and len(found) == 1:  # how much of it is resident memory, is known better
        ((name, row),) = found.items()
        each, error = fit(points, RSS, [name])[1][0]
        if each > 0:
            row |= {
                "bytes_per_request": round(each, 1),
                "low": round(each - 2 * error, 1),
                "high": round(each + 2 * error, 1),
            }
    return dict(sorted(found.items(), key=lambda item: -item[1]["bytes_per_request"] * item[1]["requests"]))


def blame(points: Series, which: int) -> dict[str, tuple[float, float, int]]:
    """Route -> (growth of the measure `which` a request, its standard error, requests); empty: it cannot be told."""
    counts = {name: number - points[0][ROUTES].get(name, 0) for name, number in points[-1][ROUTES].items()}
    total = sum(counts.values())
    names = [name for name, number in counts.items() if number >= max(20, 0.002 * total)]
    main = max(names, key=lambda name: counts[name], default="")
    if main and counts[main] >= MAIN_SHARE * total:
        ((each, error),) = fit(points, which, [main])[1]
        return {main: (each, error, counts[main])}
    ranked = sorted((fit(points, which, [name])[0], name) for name in [*names, EVERY])
    if len(ranked) < 2:
        return {}
    left, best = ranked[0]
    chosen = [best]
    if best != EVERY:
        pairs = sorted((fit(points, which, [best, name])[0], name) for name in names if name != best)
        if pairs and pairs[0][0] <= SECOND_MAX * left:
            (also_left, second), rest = pairs[0], pairs[1:]
            found = fit(points, which, [best, second])[1]
            if all(each > 3 * error for each, error in found) and (not rest or rest[0][0] >= RIVAL_MIN * also_left):
                chosen = [best, second]
    if len(chosen) == 1 and ranked[1][0] <= RIVAL_MIN * left:
        return {}
    found = fit(points, which, chosen)[1]
    counts[EVERY] = total
    return {
        name: (each, error, counts[name])
        for name, (each, error) in zip(chosen, found, strict=True)
        if each > 0 and each > 3 * error
    }


def fit(points: Series, which: int, names: Sequence[str]) -> tuple[float, list[tuple[float, float]]]:
    """Least squares of a measure on the counts of one or two routes: (what it leaves, [(slope, its error)])."""
    y = _centred([float(point[which]) for point in points])
    columns = [
        _centred([float(_total(point) if name == EVERY else point[ROUTES].get(name, 0)) for point in points])
        for name in names
    ]
    a = _dot(columns[0], columns[0])
    if len(columns) == 1:
        inverse = [[1.0 / a if a else 0.0]]
    else:
        b, c = _dot(columns[0], columns[1]), _dot(columns[1], columns[1])
        of = a * c - b * b
        alike = of <= 1e-9 * a * c
        inverse = [[1.0 / a if a else 0.0, 0.0], [0.0, 0.0]] if alike else [[c / of, -b / of], [-b / of, a / of]]
    sums = [_dot(column, y) for column in columns]
    slopes = [sum(part * each for part, each in zip(row, sums, strict=True)) for row in inverse]
    rest = [
        value - sum(each * column[place] for each, column in zip(slopes, columns, strict=True))
        for place, value in enumerate(y)
    ]
    left = _dot(rest, rest)
    spread = left / max(1, len(y) - 1 - len(names))
    return left, [(each, (spread * inverse[place][place]) ** 0.5) for place, each in enumerate(slopes)]


def _centred(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))


# In words.


def _reason(told: Verdict, rss: dict[str, Any], blocks: dict[str, Any]) -> str:
    seen = f"over {told['requests']} requests in {told['seconds']:.0f} s"
    grew = f"{told['bytes_per_request']:.0f} bytes a request {seen}"
    if told["verdict"] == LEAK:
        return f"memory grows by {grew}, in the second half as in the first"
    if told["verdict"] == GROWING:
        return f"memory grows by {grew}, which is too little to tell a leak from a cache that is not full yet"
    rise = (rss if rss["verdict"] == FILLING else blocks)["rise"]
    if told["verdict"] == FILLING:
        much = f"{rise / 1e6:.1f} MB" if rss["verdict"] == FILLING else f"{rise:.0f} objects"
        return f"memory grew by {much} {seen}, and less and less: a cache that fills"
    return f"memory does not grow {seen}"
