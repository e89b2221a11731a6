"""What the shared page says at one moment, as plain data: for `vivace top`, `ctl status`, /metrics, the dashboard.

`take` reads the page; no process takes part in it, so it tells of one that is stuck or stopped as well. `between` (of
`comparison`) says what happened from one snapshot to the next.

Rules:

* Times in seconds, sizes in bytes, routes by name; JSON can hold all of it.
* `totals` and `routes` count over all places of the page, also those whose worker has ended: a worker's death or a
  reload takes nothing away. `workers` are the living ones only.
* None: it is not known (the server does not measure, or /proc may not be read).
"""

from __future__ import annotations

import json
import os
import time

from vivace.observe.comparison import add
from vivace.observe.comparison import between as between
from vivace.observe.layout import (
    ADAPTIVE_COUNTS,
    BUCKETS,
    CACHE_COUNTS,
    H_DEATHS,
    H_GENERATION,
    H_PID,
    H_STARTED,
    H_STATE,
    H_SUPERVISED,
    H_TARGET,
    LAG,
    LANES,
    PHASES,
    QUEUED,
    R_1XX,
    R_BLOCKED_NS,
    R_BODY_NS,
    R_BYTES_IN,
    R_BYTES_OUT,
    R_COUNT,
    R_CPU_NS,
    R_GONE,
    R_HEAVY,
    R_HIGH,
    R_INLINE,
    R_LANE,
    R_LAST_NS,
    R_LOW,
    R_MAX_NS,
    R_POOL,
    R_QUEUED_NS,
    R_SEND_NS,
    R_SUM_NS,
    ROUTES,
    S_ADAPTIVE,
    S_BUSY,
    S_CONNECTIONS,
    S_GENERATION,
    S_KEPT,
    S_KEPT_BYTES,
    S_KEPT_BYTES_MAX,
    S_MEASURES,
    S_NOW,
    S_PID,
    S_QUEUED,
    S_SEEN,
    S_STARTED,
    S_STATE,
    S_SWITCH_NS,
    S_THREADS,
    S_THREADS_MAX,
    S_TICKED,
    S_TURNS,
    S_WAIT_LIMIT_NS,
    SLOTS,
    STATE_WORDS,
    STATES,
    TIMES,
    W_ADAPTIVE,
    W_CACHE,
    W_CLOSED,
    W_COLLECTING_NS,
    W_COLLECTIONS,
    W_GIL_LATE_NS,
    W_GIL_LOOKS,
    W_LAG_LOOKS,
    W_LAG_NS,
    W_LOST,
    W_OVERTAKES,
    W_REFUSED_4XX,
    W_REFUSED_5XX,
)
from vivace.observe.listeners import listeners
from vivace.observe.processes import process_figures
from vivace.observe.reasons import REASONS
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page
    from vivace.observe.section import Section
    from vivace.observe.threads import Sampler

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
ENDED = "ended"
"""The server's state where its process is gone."""

_COUNTERS = {
    "refused_4xx": W_REFUSED_4XX,
    "refused_5xx": W_REFUSED_5XX,
    "overtakes": W_OVERTAKES,
    "gil_looks": W_GIL_LOOKS,
    "lag_looks": W_LAG_LOOKS,
    "lost": W_LOST,
}
_COUNTED_S = {"gil_late_s": W_GIL_LATE_NS, "lag_s": W_LAG_NS}
_ROUTE_COUNTERS = {
    "count": R_COUNT,
    "bytes_in": R_BYTES_IN,
    "bytes_out": R_BYTES_OUT,
    "gone": R_GONE,
    "inline": R_INLINE,
    "pool": R_POOL,
    "heavy": R_HEAVY,
}
_ROUTE_S = {
    "sum_s": R_SUM_NS,
    "queued_s": R_QUEUED_NS,
    "body_s": R_BODY_NS,
    "cpu_s": R_CPU_NS,
    "blocked_s": R_BLOCKED_NS,
    "send_s": R_SEND_NS,
}


def take(page: Page, sampler: Sampler | None = None) -> dict[str, Any]:
    """All that the page says now, and what the kernel says of its processes. See the rules above for the units.

    With a `sampler` that looks at this page, `system` of each worker and `waits` also say what threads in requests did
    since the last snapshot (`Sampler.take`).
    """
    waits = sampler.take() if sampler is not None else {"workers": {}, "routes": {}}
    now_ns = time.monotonic_ns()
    sections = [(place, page.section(place)) for place in range(page.sections)]
    used = [
        (place, section) for place, section in sections if section.words[S_STARTED] or any(section.words[STATE_WORDS:])
    ]
    living = [(place, section) for place, section in used if section.words[S_PID]]
    routes: dict[str, dict[str, Any]] = {}
    for _, section in used:
        _add_routes(routes, section)
    slow = [row for place, section in used for row in _slow(place, section)]
    errors = [row for place, section in used for row in _errors(place, section)]
    pid = page.words[H_PID]
    return {
        "time_s": time.time(),
        "monotonic_s": now_ns / 1e9,
        "server": _server(page, now_ns, any(section.words[S_MEASURES] for _, section in living)),
        "workers": [_worker(place, section, now_ns, waits["workers"]) for place, section in living],
        "totals": _totals([section for _, section in used], routes),
        "routes": routes,
        "listeners": listeners(pid),
        "waits": {"routes": waits["routes"]},
        "slow": sorted(slow, key=lambda row: -row["ended_s"]),
        "errors": sorted(errors, key=lambda row: -row["time_s"]),
    }


def from_json(text: str | bytes) -> dict[str, Any]:
    """A snapshot that was written as JSON, where the numbers of buckets are strings. Raises ValueError, KeyError."""
    found: dict[str, Any] = json.loads(text)
    for holder in (*found["workers"], found["totals"]):
        holder["lag_buckets"] = {int(bucket): count for bucket, count in holder["lag_buckets"].items()}
    for route in found["routes"].values():
        route["buckets"] = {int(bucket): count for bucket, count in route["buckets"].items()}
    return found


# The page's part.


def _server(page: Page, now_ns: int, measures: bool) -> dict[str, Any]:
    words = page.words
    pid = words[H_PID]
    state = process_figures(pid, threads=False).get("process_state", "" if os.path.isdir("/proc/self") else "?")
    return {
        "pid": pid,
        "state": STATES[words[H_STATE] % len(STATES)] if state and state not in "ZX" else ENDED,
        "supervised": bool(words[H_SUPERVISED]),
        "measures": measures,
        "age_s": (now_ns - words[H_STARTED]) / 1e9,
        "generation": words[H_GENERATION],
        "target": words[H_TARGET],
        "deaths": words[H_DEATHS],
        "note": page.note,
        "version": __version__,
    }


def _worker(place: int, section: Section, now_ns: int, waits: dict[int, dict[str, Any]]) -> dict[str, Any]:
    words = section.words
    pid = words[S_PID]
    system = process_figures(pid)
    if pid in waits:
        system |= {"waits": waits[pid]["causes"], "in_request": waits[pid]["in_flight"], "waits_on": waits[pid]["on"]}
    route = section.route(words[S_NOW])
    waiting = [
        {
            "request": text,
            "age_s": _ago_s(now_ns, began_ns),
            "phase": PHASES[phase % len(PHASES)],
            "route": section.route(number),
            "thread": thread,
        }
        for began_ns, phase, number, thread, text in section.in_progress()
    ]
    return {
        "place": place,
        "pid": pid,
        "generation": words[S_GENERATION],
        "state": STATES[words[S_STATE] % len(STATES)],
        "age_s": _ago_s(now_ns, words[S_STARTED]),
        "ticked_s": _ago_s(now_ns, words[S_TICKED] or words[S_STARTED]),
        "requests": words[S_SEEN],
        "connections": words[S_CONNECTIONS],
        **_load(words, route, waiting),
        "threads": words[S_THREADS],
        "threads_max": words[S_THREADS_MAX],
        "turns": words[S_TURNS],
        "route": route,
        **_counters(section),
        "kept": {"entries": words[S_KEPT], "bytes": words[S_KEPT_BYTES], "bytes_max": words[S_KEPT_BYTES_MAX]},
        "adaptive": _adaptive(section),
        "in_progress": waiting,
        "system": system,
    }


def _adaptive(section: Section) -> dict[str, Any] | None:
    """What a server chose whose settings follow what is measured; None: they do not."""
    words = section.words
    if not words[S_ADAPTIVE]:
        return None
    return {
        "switch_interval_s": words[S_SWITCH_NS] / 1e9,
        "wait_limit_s": words[S_WAIT_LIMIT_NS] / 1e9 or None,
        "news": section.adapted,
    }


def _load(words: memoryview, route: str, waiting: list[dict[str, Any]]) -> dict[str, int]:
    """What runs and what waits at this moment; where there are more requests than slots, as it was at the last tick."""
    on_loop = bool(route) and not any(row["thread"] and row["route"] == route for row in waiting)
    busy = sum(bool(row["thread"]) for row in waiting) + on_loop
    queued = sum(row["phase"] == PHASES[QUEUED] for row in waiting)
    if len(waiting) >= SLOTS:
        busy, queued = max(busy, words[S_BUSY]), max(queued, words[S_QUEUED])
    return {"threads_busy": busy, "queued": queued, "in_flight": len(waiting) + on_loop}


def _ago_s(now_ns: int, then_ns: int) -> float:
    return max(0, now_ns - then_ns) / 1e9


def _counters(section: Section) -> dict[str, Any]:
    """What a place has counted, over all its workers."""
    words = section.words
    found: dict[str, Any] = {name: words[word] for name, word in _COUNTERS.items()}
    found |= {name: words[word] / 1e9 for name, word in _COUNTED_S.items()}
    found["collections"] = words[W_COLLECTIONS : W_COLLECTIONS + 3].tolist()
    found["collecting_s"] = [nanoseconds / 1e9 for nanoseconds in words[W_COLLECTING_NS : W_COLLECTING_NS + 3]]
    found["closed"] = {reason: words[W_CLOSED + at] for at, reason in enumerate(REASONS)}
    found["cache"] = dict(zip(CACHE_COUNTS, words[W_CACHE : W_CACHE + len(CACHE_COUNTS)].tolist(), strict=True))
    trials = words[W_ADAPTIVE : W_ADAPTIVE + len(ADAPTIVE_COUNTS)].tolist()
    found["trials"] = dict(zip(ADAPTIVE_COUNTS, trials, strict=True))
    found["lag_buckets"] = _buckets(section, LAG, 0, BUCKETS) if words[W_LAG_LOOKS] else {}
    return found


def _totals(sections: list[Section], routes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((*_COUNTERS, *_COUNTED_S), 0)
    found |= {"collections": [0] * 3, "collecting_s": [0.0] * 3, "closed": dict.fromkeys(REASONS, 0), "lag_buckets": {}}
    found["cache"] = dict.fromkeys(CACHE_COUNTS, 0)
    found["trials"] = dict.fromkeys(ADAPTIVE_COUNTS, 0)
    accepted = 0
    for section in sections:
        counters = _counters(section)
        # The last worker's connections stand in a place until the next one clears it, and are counted as lost then.
        accepted += sum(counters["closed"].values()) + counters["lost"] + section.words[S_CONNECTIONS]
        add(found, counters)
        for name in ("collections", "collecting_s"):
            found[name] = [one + other for one, other in zip(found[name], counters[name], strict=True)]
    return {"requests": sum(route["count"] for route in routes.values()), "accepted": accepted, **found}


def _add_routes(routes: dict[str, dict[str, Any]], section: Section) -> None:
    """Adds what has been counted in one place to `routes`, by name: numbers differ from place to place."""
    for number in range(1, ROUTES):
        name = section.route(number)
        counts = section.route_counts(number).tolist() if name else [0]
        if not counts[R_COUNT]:
            continue
        route = routes.get(name)
        if route is None:
            route = routes[name] = dict.fromkeys((*_ROUTE_COUNTERS, *_ROUTE_S), 0)
            route |= {"status": dict.fromkeys(CLASSES, 0), "lane": "", "max_s": 0.0, "last_s": 0.0, "buckets": {}}
        for key, word in _ROUTE_COUNTERS.items():
            route[key] += counts[word]
        for key, word in _ROUTE_S.items():
            route[key] += counts[word] / 1e9
        for at, key in enumerate(CLASSES):
            route["status"][key] += counts[R_1XX + at]
        last_s = counts[R_LAST_NS] / 1e9
        if last_s >= route["last_s"]:
            route["last_s"], route["lane"] = last_s, LANES[counts[R_LANE] % len(LANES)]
        route["max_s"] = max(route["max_s"], counts[R_MAX_NS] / 1e9)
        add(route["buckets"], _buckets(section, number, counts[R_LOW], min(counts[R_HIGH], BUCKETS)))


def _buckets(section: Section, number: int, low: int, high: int) -> dict[int, int]:
    """Bucket -> count, those that are not empty."""
    return {low + at: count for at, count in enumerate(section.histogram(number)[low:high].tolist()) if count}


def _slow(place: int, section: Section) -> list[dict[str, Any]]:
    found = []
    for ended_ns, times_ns, status, route, text in section.records():
        times = {f"{name}_s": time_ns / 1e9 for name, time_ns in zip(TIMES, times_ns, strict=True)}
        row = {"ended_s": ended_ns / 1e9, "request": text, "route": section.route(route), "status": status}
        found.append({**row, **times, "worker": place})
    return found


def _errors(place: int, section: Section) -> list[dict[str, Any]]:
    return [
        {"time_s": at_ns / 1e9, "route": section.route(route), "text": text, "worker": place}
        for at_ns, route, text in section.errors()
    ]
