"""The past, as the dashboard shows it: a point a second for the last minutes, coarser ones for the last hours. Pure.

Rules:

* Bounded: LEVELS say how many points there are, ROUTES_MAX how many routes a point has rates of.
* Percentiles of a coarse point come from the histogram of its whole time, not from those of its parts.
* Points are numbered by level, from 1; who has asked before names the last one that it got.
"""

from __future__ import annotations

from collections import deque

from vivace.observe.comparison import SHARES, add
from vivace.observe.histogram import quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LEVELS = ((1, 300), (10, 360), (120, 360))
"""(seconds a point stands for, points): five minutes, an hour, half a day."""

BAND = 64
"""Buckets of a histogram in a band of the heat map: half an octave."""
QUANTILES = ("p50", "p90", "p99", "p999")
ROUTES_MAX = 60
NAMES_MAX = 1024

MEANS = ("rate", "errors", "refused", "queued", "out", "flight", "waiting", "conns", "busy", "cpu", "found", "asked")


class Level:
    """Points of one step."""

    def __init__(self, step: int, size: int) -> None:
        self.step = step
        self.number = 0
        """Of the last point."""
        self.points: deque[dict[str, Any]] = deque(maxlen=size)
        self._parts: list[dict[str, Any]] = []
        self._buckets: dict[int, int] = {}

    def add(self, part: dict[str, Any], buckets: Mapping[int, int]) -> None:
        """One second more."""
        self._parts.append(part)
        add(self._buckets, buckets)
        if len(self._parts) < self.step:
            return
        self.number += 1
        self.points.append(merged(self._parts) | spread(self._buckets))
        self._parts, self._buckets = [], {}

    def since(self, after: int) -> list[dict[str, Any]]:
        """Points with a number above `after`."""
        new = self.number - after
        return list(self.points)[-new:] if new > 0 else []


class History:
    """All levels, and the numbers that routes have in their points."""

    def __init__(self) -> None:
        self.levels = [Level(step, size) for step, size in LEVELS]
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def add(self, snapshot: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """What happened in the last second: see `comparison.between`."""
        busiest = sorted(figures["routes"].items(), key=lambda item: -item[1]["rate"])[:ROUTES_MAX]
        workers = [
            [row["place"], row["pid"], _rounded(figure["cpu"]), row["system"].get("memory_bytes")]
            for row, figure in zip(snapshot["workers"], figures["workers"], strict=True)
        ]
        cache = figures["cache"]
        part = {
            "found": cache["rates"]["hits"] + cache["rates"]["stale"] if cache else None,
            "asked": cache["rate"] + cache["rates"]["bypassed"] if cache else None,
            "t": round(snapshot["time_s"], 2),
            "generation": snapshot["server"]["generation"],
            "deaths": snapshot["server"]["deaths"],
            "rate": figures["rate"],
            "errors": figures["error_rate"],
            "refused": figures["refused_rate"],
            "queued": figures["queued_s"],
            "out": figures["bytes_out_rate"],
            "flight": figures["in_flight"],
            "waiting": figures["queued"],
            "conns": figures["connections"],
            "busy": figures["threads_busy"],
            "cpu": figures["cpu"],
            "workers": workers,
            "routes": {number: row["rate"] for name, row in busiest if (number := self._number(name)) >= 0},
        }
        for level in self.levels:
            level.add(part, figures["buckets"])

    def _number(self, name: str) -> int:
        """The number of a route; -1: there are too many."""
        number = self._numbers.get(name, -1)
        if number < 0 and len(self.names) < NAMES_MAX:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
        return number


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several seconds as one point: means of what is a rate or a level, the last of the rest."""
    found = dict(parts[-1])
    for key in MEANS:
        known = [part[key] for part in parts if part[key] is not None]
        found[key] = _rounded(sum(known) / len(known)) if known else None
    rates: dict[int, float] = {}
    for part in parts:
        for number, rate in part["routes"].items():
            rates[number] = rates.get(number, 0.0) + rate / len(parts)
    found["routes"] = {number: _rounded(rate) for number, rate in rates.items()}
    if len(parts) > 1:
        found["workers"] = [_mean_worker(row, parts) for row in found["workers"]]
    return found


def _mean_worker(row: list[Any], parts: list[dict[str, Any]]) -> list[Any]:
    seen = [cpu for part in parts for place, pid, cpu, _ in part["workers"] if (place, pid) == (row[0], row[1])]
    known = [cpu for cpu in seen if cpu is not None]
    return [row[0], row[1], _rounded(sum(known) / len(known)) if known else None, row[3]]


def spread(buckets: Mapping[int, int]) -> dict[str, Any]:
    """Percentiles, and how many requests fell into each band."""
    heat: dict[int, int] = {}
    for bucket, count in buckets.items():
        heat[bucket // BAND] = heat.get(bucket // BAND, 0) + count
    found: dict[str, Any] = dict.fromkeys(QUANTILES)
    if buckets:
        found = {key: _rounded(value) for key, value in zip(QUANTILES, quantiles(buckets, SHARES), strict=True)}
    return found | {"heat": heat}


def _rounded(value: float | None) -> float | None:
    """To four digits: enough to draw."""
    return None if value is None else float(f"{value:.4g}")
