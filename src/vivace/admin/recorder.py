"""Looks at the shared page once a second and remembers: the figures of now, the last minute, the past.

It alone takes snapshots here. What it returns of them is the caller's own, to be changed at will.
"""

from __future__ import annotations

import os
import time
from collections import deque

from vivace.admin.history import History
from vivace.admin.samples import (
    Chosen,
    Continued,
    adaptive_samples,
    cache_samples,
    listener_samples,
    route_samples,
    server_samples,
    with_created,
    worker_samples,
)
from vivace.observe.comparison import SHARES, add
from vivace.observe.desk import ask
from vivace.observe.histogram import quantiles
from vivace.observe.layout import H_STATE, OTHERS_NAME, S_CONNECTIONS, S_PID, S_STATE, S_TICKED, SERVING, STOPPING
from vivace.observe.profiles import merged
from vivace.observe.slow import slow_requests
from vivace.observe.snapshot import between, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from vivace.admin.exposition import Sample
    from vivace.observe.page import Page
    from vivace.observe.threads import Sampler

PERIOD_S = 1.0
PATIENCE_S = 0.8
SWEEP_S = 0.25
"""A look waits so long for workers that have not written their counts since the last one, and is tried so often: else
one that comes just before theirs would show no requests, and the next one twice as many."""
ASK_S = 0.5
"""Workers are waited for so long, and nobody else is answered meanwhile."""
RECENT_LOOKS, RECENT = 2, 6
"""The figures of "now" are those of the last ten seconds: every second look is kept, six of them."""
MINUTE_LOOKS, MINUTE = 5, 12
"""The last minute, in parts of five seconds."""
SHOWN_MAX = 20
"""Slow requests, failures and requests in progress that the dashboard is told of."""


class Recorder:
    """Reads what `current_page` gives; None: nothing serves yet."""

    def __init__(self, current_page: Callable[[], Page | None], routes_max: int, *, own_address: str = "") -> None:
        """`own_address`: the listener that is not one of the application's."""
        self._current_page = current_page
        self.sampler: Sampler | None = None
        """What tells what threads wait for, where somebody keeps one; its shares are those from look to look."""
        self._own_address = own_address
        self._due_s = 0.0
        self._ticks: dict[int, int] = {}
        """Place -> when its worker had written its counts last, at the last look."""
        self._boot = f"{os.getpid()}-{time.time():.0f}"
        self._chosen = Chosen(routes_max)
        self._continued = Continued()
        self._history = History()
        self._looks = 0
        self._accepted = 0
        self._last: dict[str, Any] | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._figures: dict[str, Any] | None = None
        self._minute_from: dict[str, Any] | None = None
        self._minute: deque[dict[str, dict[int, int]]] = deque(maxlen=MINUTE - 1)
        """Route -> bucket -> count, of five seconds each."""

    def look_when_due(self, now: float) -> None:
        """Every SWEEP_S: looks once a second, when the workers have written their counts."""
        page = self._current_page()
        if page is None or now < self._due_s:
            return
        ticks = ticks_of(page)
        if now < self._due_s + PATIENCE_S and any(self._ticks.get(place) == tick for place, tick in ticks.items()):
            return
        self._due_s = now + PERIOD_S - SWEEP_S / 2
        self._ticks = ticks
        self.look()

    def look(self) -> None:
        """Once a second."""
        snapshot = self._take(self.sampler)
        if snapshot is None:
            return
        if self._last is not None:
            share_unchanged(self._last, snapshot)
            self._history.add(snapshot, between(self._last, snapshot))
        self._last = snapshot
        if self._looks % RECENT_LOOKS == 0:
            self._recent.append(snapshot)
        if self._looks % MINUTE_LOOKS == 0:
            if self._minute_from is not None:
                self._minute.append(_counted(self._minute_from, snapshot))
            self._minute_from = snapshot
        self._looks += 1
        self._figures = between(self._recent[0], snapshot)

    def slow_requests(self) -> dict[str, Any]:
        """What the workers tell of slow requests, and of those that run: see `observe.slow`. They are asked now."""
        page = self._current_page()
        return {} if page is None else slow_requests(page, ASK_S)

    def profile(self, last_s: float) -> dict[str, Any]:
        """What the workers have sampled in the last `last_s`: see `observe.profiles`. They are asked now."""
        page = self._current_page()
        if page is None:
            return merged(())
        question = {"ask": "profile", "since_s": time.time() - last_s}
        return merged(answer for answer in ask(page, question, ASK_S).values() if answer is not None)

    def _take(self, sampler: Sampler | None = None) -> dict[str, Any] | None:
        page = self._current_page()
        if page is None:
            return None
        snapshot = take(page, sampler)
        snapshot["listeners"] = [row for row in snapshot["listeners"] if row["address"] != self._own_address]
        # Counted from two words that are not written at once: it may seem to go back for a moment.
        self._accepted = snapshot["totals"]["accepted"] = max(self._accepted, snapshot["totals"]["accepted"])
        for worker in snapshot["workers"]:
            self._continued.note(worker["place"], worker["pid"], worker["system"])
        return snapshot

    def snapshot(self) -> dict[str, Any]:
        """A new one; {} where nothing serves."""
        return self._take() or {}

    def why_not_ready(self) -> str:
        """Why no request should be sent to the server now; "" if one may."""
        page = self._current_page()
        if page is None:
            return "starting"
        if page.words[H_STATE] == STOPPING:
            return "stopping"
        stuck = {row["pid"] for row in self._figures["workers"] if row["stuck"]} if self._figures else set()
        serving = set()
        for place in range(page.sections):
            words = page.section(place).words
            if words[S_STATE] == SERVING:
                serving.add(words[S_PID])
        if serving - stuck:
            return ""
        return "every worker is stuck" if serving else "no worker serves"

    # /metrics.

    def samples(self) -> Iterator[Sample]:
        """All of /metrics."""
        snapshot = self._take()
        if snapshot is None:
            return
        routes = self._chosen.choose(snapshot["routes"])
        since_s = snapshot["time_s"] - snapshot["server"]["age_s"]
        yield from with_created(server_samples(snapshot), since_s)
        yield from with_created(route_samples(routes), since_s)
        yield from with_created(cache_samples(snapshot), since_s)
        yield from with_created(adaptive_samples(snapshot), since_s)
        yield from listener_samples(snapshot["listeners"])
        yield from worker_samples(snapshot["workers"], self._continued)
        yield from self._minute_samples(snapshot, routes)

    def _minute_samples(self, snapshot: dict[str, Any], routes: dict[str, Any]) -> Iterator[Sample]:
        parts = [*self._minute, _counted(self._minute_from, snapshot)]
        whole: dict[int, int] = {}
        by_route: dict[str, dict[int, int]] = {}
        for part in parts:
            for name, buckets in part.items():
                add(whole, buckets)
                add(by_route.setdefault(name if name in routes else OTHERS_NAME, {}), buckets)
        for name, buckets in (("", whole), *sorted(by_route.items())):
            for share, value in zip(SHARES, quantiles(buckets, SHARES), strict=True):
                labels = (("quantile", f"{share:g}"), *((("route", name),) if name else ()))
                yield "vivace_response_quantile_seconds", "", labels, value if buckets else float("nan")

    # The dashboard.

    def history(self, level: int, after: int, since_s: float) -> dict[str, Any]:
        """Points of a level, and what is new since: see `AdminApp`. Raises IndexError for a level there is not."""
        if not 0 <= level < len(self._history.levels):
            raise IndexError(level)
        kept = self._history.levels[level]
        points = kept.since(after)
        used = sorted({number for point in points for number in point["routes"]})
        found = {
            "boot": self._boot,
            "level": level,
            "step_s": kept.step,
            "number": kept.number,
            "points": points,
            "names": {number: self._history.names[number] for number in used},
        }
        if self._last is None or self._figures is None:
            return found
        return found | self._now(self._last, self._figures, since_s)

    def _now(self, snapshot: dict[str, Any], figures: dict[str, Any], since_s: float) -> dict[str, Any]:
        plain = {key: value for key, value in figures.items() if not isinstance(value, dict | list)}
        workers = []
        for row, figure in zip(snapshot["workers"], figures["workers"], strict=True):
            kept = {key: row[key] for key in WORKER_KEYS if key in row}
            in_progress = [dict(each) for each in row["in_progress"][:SHOWN_MAX]]
            workers.append({**kept, **figure, "memory": row["system"].get("memory_bytes"), "in_progress": in_progress})
        routes = []
        for name, row in snapshot["routes"].items():
            now = figures["routes"].get(name, {})
            kept = {key: now.get(key) for key in ROUTE_KEYS}
            waits = snapshot["waits"]["routes"].get(name, {}).get("causes")
            routes.append({"name": name, "count": row["count"], "lane": row["lane"], "waits": waits, **kept})
        return {
            "time_s": snapshot["time_s"],
            "server": snapshot["server"],
            "now": plain | {"shares": figures["shares"], "cache": figures["cache"]},
            "workers": workers,
            "routes": routes,
            "listeners": snapshot["listeners"],
            "slow": [dict(row) for row in snapshot["slow"] if row["ended_s"] > since_s][:SHOWN_MAX],
            "errors": [dict(row) for row in snapshot["errors"] if row["time_s"] > since_s][:SHOWN_MAX],
        }


WORKER_KEYS = (
    *("place", "pid", "generation", "state", "age_s", "requests", "connections", "threads", "threads_busy"),
    *("threads_max", "queued", "route", "ticked_s", "adaptive", "trials"),
)
ROUTE_KEYS = ("rate", "error_rate", "p50_s", "p99_s", "mean_s", "queued_s", "time_share", "shares", "max_s")


def _counted(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, dict[int, int]]:
    """What was added to each route's histogram; nothing where there is nothing to compare with."""
    if older is None:
        return {}
    return {name: row["buckets"] for name, row in between(older, newer)["routes"].items()}


def ticks_of(page: Page) -> dict[int, int]:
    """When each worker that has something to do wrote its counts last."""
    found = {}
    for place in range(page.sections):
        words = page.section(place).words
        if words[S_PID] and words[S_CONNECTIONS]:
            found[place] = words[S_TICKED]
    return found


def share_unchanged(older: dict[str, Any], newer: dict[str, Any]) -> None:
    """Routes without a new request keep the row that they had: the snapshots that are held take less memory."""
    routes = newer["routes"]
    for name, row in older["routes"].items():
        if name in routes and routes[name]["count"] == row["count"]:
            routes[name] = row
