"""What happened between two snapshots (`snapshot`), as rates, percentiles and one line that says how it goes. Pure.

Rules:

* Times in seconds. A percentile is the middle of its bucket in the server's histogram, within 0.4% of the exact one.
* A worker counts once a second, at its tick. Where ticks are known the rates are those from tick to tick, so that a
  look that just missed one does not show half the rate, and the next one half as much again.
* None: it is not known.
"""

from __future__ import annotations

from vivace.observe.histogram import quantiles
from vivace.observe.layout import CACHE_COUNTS, LANES, PARTS
from vivace.observe.verdict import unfetched, verdict, why_stuck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SHARES = (0.5, 0.9, 0.99, 0.999)
QUANTILES = ("p50_s", "p90_s", "p99_s", "p999_s")

TICK_SLACK_S = 1.1


def between(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, Any]:
    """Figures of the time from `older` to `newer`; without `older` (or if that was another server) since the start.

    `workers` are in the order of newer["workers"]. `routes` has those with a request in that time.
    """
    if older is not None and not _same_server(older, newer):
        older = None
    seconds = max(1e-6, _seconds(older, newer))
    before = {} if older is None else older["routes"]
    routes = {name: change for name, row in newer["routes"].items() if (change := _change(before.get(name), row))}
    whole: dict[str, Any] = {"buckets": {}, "status": {}}
    for change in routes.values():
        add(whole, change)
    totals, old_totals = newer["totals"], {} if older is None else older["totals"]
    refused = {key: max(0, totals[key] - old_totals.get(key, 0)) for key in ("refused_4xx", "refused_5xx")}
    workers = newer["workers"]
    known = {(row["place"], row["pid"]): row for row in (older["workers"] if older is not None else ())}
    threads_max = sum(row["threads_max"] for row in workers)
    found = _figures(whole, seconds)
    found |= {
        "seconds": seconds,
        "error_rate": found["error_rate"] + refused["refused_5xx"] / seconds,
        "refused_rate": sum(refused.values()) / seconds,
        "refused_5xx_rate": refused["refused_5xx"] / seconds,
        "accept_rate": max(0, totals["accepted"] - old_totals.get("accepted", 0)) / seconds,
        "in_flight": sum(row["in_flight"] for row in workers),
        "connections": sum(row["connections"] for row in workers),
        "queued": sum(row["queued"] for row in workers),
        "threads_busy": sum(row["threads_busy"] for row in workers),
        "threads_max": threads_max,
        "busy_share": sum(row["threads_busy"] for row in workers) / threads_max if threads_max else None,
        "cache": _cache(older, newer, seconds),
        "workers": [_worker(known.get((row["place"], row["pid"])), row, seconds) for row in workers],
        "routes": {
            name: _figures(change, seconds) | _present(newer["routes"][name]) for name, change in routes.items()
        },
    }
    found["cpu"] = _sum_of([row["cpu"] for row in {row["pid"]: row for row in found["workers"]}.values()])
    waits = newer.get("waits", {}).get("routes", {})
    for name, row in found["routes"].items():
        row["waits"] = waits.get(name)
    found["verdict"] = (unfetched(older, newer) if older is not None else "") or verdict(newer, found)
    return found


def add(to: dict[Any, Any], more: Mapping[Any, Any]) -> None:
    """Adds counts, key by key, those of a dict within one by one; what is no number is left out."""
    for key, value in more.items():
        if isinstance(value, (int, float)):
            to[key] = to.get(key, 0) + value
        elif isinstance(value, dict):
            add(to.setdefault(key, {}), value)


def _same_server(older: dict[str, Any], newer: dict[str, Any]) -> bool:
    return bool(
        older["server"]["pid"] == newer["server"]["pid"]
        and older["totals"]["requests"] <= newer["totals"]["requests"]
        and older["totals"]["accepted"] <= newer["totals"]["accepted"]
    )


def _seconds(older: dict[str, Any] | None, newer: dict[str, Any]) -> float:
    """How long the counts took to come together."""
    if older is None:
        return float(newer["server"]["age_s"])
    seconds = float(newer["monotonic_s"] - older["monotonic_s"])
    ticked = {(row["place"], row["pid"]): row["ticked_s"] for row in older["workers"]}
    both = [
        seconds - row["ticked_s"] + ticked[key]
        for row in newer["workers"]
        if (key := (row["place"], row["pid"])) in ticked
    ]
    mean = sum(both) / len(both) if both else seconds
    return mean if mean > 0 and abs(mean - seconds) < TICK_SLACK_S else seconds


def _change(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, Any]:
    """What one route has counted since; empty: nothing."""
    if older is None:
        return newer
    if newer["count"] <= older["count"]:
        return {}
    found: dict[str, Any] = {}
    for key, value in newer.items():
        if isinstance(value, dict):
            was = older[key]
            found[key] = {inner: more for inner, count in value.items() if (more := count - was.get(inner, 0)) > 0}
        elif isinstance(value, (int, float)):
            found[key] = max(0, value - older[key])
    return found


def _figures(change: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Rates, percentiles and parts of what was counted in so many seconds."""
    count = change.get("count", 0)
    parts = {part: change.get(f"{part}_s", 0.0) for part in PARTS}
    spent_s = sum(parts.values())
    status = change.get("status", {})
    return {
        "count": count,
        "rate": count / seconds,
        "error_rate": status.get("5xx", 0) / seconds,
        "gone_rate": change.get("gone", 0) / seconds,
        "mean_s": change.get("sum_s", 0.0) / count if count else 0.0,
        **dict(zip(QUANTILES, quantiles(change["buckets"], SHARES), strict=True)),
        "queued_s": change.get("queued_s", 0.0) / count if count else 0.0,
        "bytes_in_rate": change.get("bytes_in", 0) / seconds,
        "bytes_out_rate": change.get("bytes_out", 0) / seconds,
        "time_share": change.get("sum_s", 0.0) / seconds,
        "shares": {part: value / spent_s if spent_s else 0.0 for part, value in parts.items()},
        "status": dict(status),
        "lanes": {lane: change.get(lane, 0) / seconds for lane in LANES},
        "buckets": change["buckets"],
    }


def _cache(older: dict[str, Any] | None, newer: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    """What the workers' caches did, as rates, and what they keep; None: there is none.

    `hit_rate`: of the requests that a cache may answer (`rate` of them) those that were answered without another call
    of the application; None: there was no such request.
    """
    whole: dict[str, Any] = dict.fromkeys(("entries", "bytes", "bytes_max"), 0)
    for row in newer["workers"]:
        add(whole, row.get("kept", {}))
    if not whole["bytes_max"]:
        return None
    now, was = newer["totals"]["cache"], {} if older is None else older["totals"].get("cache", {})
    rates = {name: max(0, now[name] - was.get(name, 0)) / seconds for name in CACHE_COUNTS}
    found = rates["hits"] + rates["stale"]
    rate = found + rates["missed"] + rates["unavailable"]
    return {**whole, "rate": rate, "hit_rate": found / rate if rate else None, "rates": rates}


def _present(route: dict[str, Any]) -> dict[str, Any]:
    return {key: route[key] for key in ("lane", "max_s", "last_s")}


def _worker(older: dict[str, Any] | None, newer: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Figures of one worker; since its start where `older` does not have it."""
    system, was = newer["system"], {} if older is None else older["system"]
    if older is None:
        seconds = max(1e-6, newer["age_s"])
    cpu = None
    if "cpu_user_s" in system:
        cpu_s = system["cpu_user_s"] + system["cpu_system_s"]
        cpu = max(0.0, cpu_s - was.get("cpu_user_s", 0.0) - was.get("cpu_system_s", 0.0)) / seconds
    # A place counts on from worker to worker: without a look at this one before there is no difference to take.
    why = why_stuck(newer, older)
    return {
        "place": newer["place"],
        "pid": newer["pid"],
        "counted": older is not None,
        "rate": max(0, newer["requests"] - (older["requests"] if older is not None else 0)) / seconds,
        "cpu": cpu,
        "gil_wait_s": _mean(older, newer, "gil_late_s", "gil_looks"),
        "lag_s": _mean(older, newer, "lag_s", "lag_looks"),
        "run_delay": _grown(was, system, "run_delay_s", seconds),
        "collecting": max(0.0, sum(newer["collecting_s"]) - sum(older["collecting_s"])) / seconds if older else None,
        "in_request": system.get("in_request", 0.0),
        "waits": system.get("waits"),
        "stuck": bool(why),
        "why_stuck": why,
    }


def _mean(older: dict[str, Any] | None, newer: dict[str, Any], time: str, looks: str) -> float | None:
    """The mean of what was seen at the looks since; None: there was none."""
    if older is None or newer[looks] <= older[looks]:
        return None
    return max(0.0, float(newer[time] - older[time]) / float(newer[looks] - older[looks]))


def _grown(older: dict[str, Any], newer: dict[str, Any], name: str, seconds: float) -> float | None:
    """By how much a second; None: it is not known. Threads that ended take theirs away with them."""
    return max(0.0, newer[name] - older[name]) / seconds if name in older and name in newer else None


def _sum_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
