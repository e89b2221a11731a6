"""From a snapshot to the samples of /metrics.

Rules:

* A counter never goes back: what the page counts goes on by itself; what the kernel counts of a process is summed here
  over the processes in one place (`Continued`).
* Label sets are bounded: routes by `Chosen`, workers by the places of the page, the rest by their nature.
"""

from __future__ import annotations

import sys
from bisect import bisect_left

from vivace.observe.comparison import add
from vivace.observe.histogram import middle_s
from vivace.observe.layout import LANES, OTHERS_NAME, PARTS
from vivace.observe.metrics import METRICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from vivace.admin.exposition import Labels, Sample

BOUNDS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Those of Prometheus's client libraries, with some more at both ends."""

WORKER_COUNTERS = {
    "vivace_worker_cpu_seconds": ("mode", {"user": "cpu_user_s", "system": "cpu_system_s"}),
    "vivace_worker_page_faults": ("kind", {"minor": "minor_faults", "major": "major_faults"}),
    "vivace_worker_context_switches": (
        "kind",
        {"voluntary": "voluntary_switches", "involuntary": "involuntary_switches"},
    ),
}
WORKER_GAUGES = {
    "vivace_worker_age_seconds": "age_s",
    "vivace_worker_turned_seconds": "ticked_s",
    "vivace_worker_connections": "connections",
    "vivace_worker_threads": "threads",
    "vivace_worker_threads_max": "threads_max",
    "vivace_worker_threads_busy": "threads_busy",
    "vivace_worker_queued": "queued",
}
CACHE_RESULTS = {"hits": "hit", "stale": "stale", "missed": "miss", "bypassed": "bypass", "unavailable": "unavailable"}
CACHE_PLAIN = {
    "vivace_cache_known": "known",
    "vivace_cache_not_modified": "not_modified",
    "vivace_cache_collapsed": "collapsed",
    "vivace_cache_refreshes": "refreshed",
}
CACHE_LABELLED = {
    "vivace_cache_responses": ("result", ("stored", "unstored", "revalidated")),
    "vivace_cache_found": ("level", ("shared", "remote")),
    "vivace_cache_removed": ("reason", ("evicted", "invalidated")),
}
CACHE_GAUGES = {
    "vivace_cache_entries": "entries",
    "vivace_cache_memory_bytes": "bytes",
    "vivace_cache_memory_limit_bytes": "bytes_max",
}
ADAPTIVE_GAUGES = {
    "vivace_worker_switch_interval_seconds": "switch_interval_s",
    "vivace_worker_wait_limit_seconds": "wait_limit_s",
}
SYSTEM_GAUGES = {"vivace_worker_resident_memory_bytes": "memory_bytes", "vivace_worker_open_fds": "descriptors"}


class Chosen:
    """Which routes have series of their own: those with the most requests when there first are too many; for good."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: set[str] = set()

    def choose(self, routes: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The routes to show, the rest of them as OTHERS_NAME."""
        room = self._most - len(self._names)
        if room > 0:
            new = [name for name in routes if name not in self._names and name != OTHERS_NAME]
            self._names.update(sorted(new, key=lambda name: -routes[name]["count"])[:room])
        shown = {name: route for name, route in routes.items() if name in self._names}
        for name, route in routes.items():
            if name not in self._names:
                add(shown.setdefault(OTHERS_NAME, {}), route)
        return shown


class Continued:
    """Counts of processes that succeed each other in a place."""

    def __init__(self) -> None:
        self._pids: dict[int, int] = {}
        self._before: dict[tuple[int, str], float] = {}
        self._last: dict[tuple[int, str], float] = {}

    def note(self, place: int, pid: int, system: Mapping[str, Any]) -> None:
        """What the kernel says of the process in a place now."""
        if self._pids.get(place) != pid:
            self._pids[place] = pid
            for key in [key for key in self._last if key[0] == place]:
                self._before[key] = self._before.get(key, 0) + self._last.pop(key)
        for _, names in WORKER_COUNTERS.values():
            for name in names.values():
                if name in system:
                    key = (place, name)
                    self._last[key] = max(self._last.get(key, 0), system[name])

    def counts(self) -> Iterator[tuple[int, str, float]]:
        """(place, name, count)."""
        for key in sorted(self._before.keys() | self._last.keys()):
            yield (*key, self._before.get(key, 0) + self._last.get(key, 0))


def server_samples(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    """What is said of the server as a whole."""
    server, totals, workers = snapshot["server"], snapshot["totals"], snapshot["workers"]
    python = ".".join(map(str, sys.version_info[:3]))
    yield "vivace_build_info", "", (("version", server["version"]), ("python", python)), 1
    yield "process_start_time_seconds", "", (), snapshot["time_s"] - server["age_s"]
    yield "vivace_generation", "", (), server["generation"]
    for state in ("starting", "serving", "draining"):
        yield "vivace_workers", "", (("state", state),), sum(worker["state"] == state for worker in workers)
    yield "vivace_workers_wanted", "", (), server["target"]
    yield "vivace_worker_deaths", "_total", (), server["deaths"]
    yield "vivace_requests_in_progress", "", (), sum(len(worker["in_progress"]) for worker in workers)
    for status in ("4xx", "5xx"):
        yield "vivace_refused_requests", "_total", (("status", status),), totals[f"refused_{status}"]
    yield "vivace_connections", "", (), sum(worker["connections"] for worker in workers)
    yield "vivace_connections_accepted", "_total", (), totals["accepted"]
    for reason, count in totals["closed"].items():
        yield "vivace_connections_closed", "_total", (("reason", reason),), count
    yield from histogram("vivace_loop_lag_seconds", (), totals["lag_buckets"], totals["lag_s"])
    yield "vivace_gil_wait_seconds", "_sum", (), totals["gil_late_s"]
    yield "vivace_gil_wait_seconds", "_count", (), totals["gil_looks"]
    yield "vivace_overtakes", "_total", (), totals["overtakes"]
    for generation in range(3):
        labels = (("generation", str(generation)),)
        yield "vivace_gc_collections", "_total", labels, totals["collections"][generation]
        yield "vivace_gc_pause_seconds", "_total", labels, totals["collecting_s"][generation]


def cache_samples(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    """What the response caches did; nothing where there are none. A server that has one has counted its requests."""
    counts = snapshot["totals"]["cache"]
    caches = [(str(row["place"]), row["kept"]) for row in snapshot["workers"] if row["kept"]["bytes_max"]]
    if not caches and not any(counts.values()):
        return
    for name, result in CACHE_RESULTS.items():
        yield "vivace_cache_requests", "_total", (("result", result),), counts[name]
    for metric, name in CACHE_PLAIN.items():
        yield metric, "_total", (), counts[name]
    for metric, (label, names) in CACHE_LABELLED.items():
        for name in names:
            yield metric, "_total", ((label, name),), counts[name]
    for metric, name in CACHE_GAUGES.items():
        for place, kept in caches:
            yield metric, "", (("worker", place),), kept[name]


def adaptive_samples(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    """What servers chose whose settings follow what is measured; nothing where there are none."""
    found = [(str(row["place"]), row["adaptive"]) for row in snapshot["workers"] if row["adaptive"] is not None]
    trials = snapshot["totals"]["trials"]
    if not found and not any(trials.values()):
        return
    for result, count in trials.items():
        yield "vivace_adaptive_trials", "_total", (("result", result),), count
    for metric, name in ADAPTIVE_GAUGES.items():
        for place, values in found:
            if values[name] is not None:
                yield metric, "", (("worker", place),), values[name]


def listener_samples(listeners: list[dict[str, Any]]) -> Iterator[Sample]:
    """The queues in front; overflows and drops are the kernel's, of all listeners of the machine together."""
    for listener in listeners:
        labels = (("address", listener["address"]),)
        for key in ("queue", "backlog"):
            if listener.get(key) is not None:
                yield f"vivace_listener_{key}", "", labels, listener[key]
    for key in ("overflows", "drops"):
        known = [listener[key] for listener in listeners if listener.get(key) is not None]
        if known:
            yield f"vivace_listener_{key}", "_total", (), max(known)


def route_samples(routes: Mapping[str, dict[str, Any]]) -> Iterator[Sample]:
    """What is counted by route."""
    for name, route in routes.items():
        label = ("route", name)
        for status, count in route["status"].items():
            if count:
                yield "vivace_requests", "_total", (label, ("status", status)), count
        yield from histogram("vivace_response_seconds", (label,), route["buckets"], route["sum_s"])
        for phase in PARTS:
            yield "vivace_request_phase_seconds", "_total", (label, ("phase", phase)), route[f"{phase}_s"]
        for lane in LANES:
            if route[lane]:
                yield "vivace_request_lanes", "_total", (label, ("lane", lane)), route[lane]
        yield "vivace_request_bytes", "_total", (label,), route["bytes_in"]
        yield "vivace_response_bytes", "_total", (label,), route["bytes_out"]
        yield "vivace_clients_gone", "_total", (label,), route["gone"]


def worker_samples(workers: list[dict[str, Any]], continued: Continued) -> Iterator[Sample]:
    """What is said of each worker."""
    for worker in workers:
        labels = (("worker", str(worker["place"])),)
        for metric, key in WORKER_GAUGES.items():
            yield metric, "", labels, worker[key]
        for metric, key in SYSTEM_GAUGES.items():
            if worker["system"].get(key) is not None:
                yield metric, "", labels, worker["system"][key]
    named = {
        name: (metric, label, text)
        for metric, (label, names) in WORKER_COUNTERS.items()
        for text, name in names.items()
    }
    for place, name, count in continued.counts():
        metric, label, text = named[name]
        yield metric, "_total", (("worker", str(place)), (label, text)), count


def histogram(name: str, labels: Labels, buckets: Mapping[int, int], sum_s: float) -> Iterator[Sample]:
    """A histogram with the bounds that Prometheus gets; `buckets` are our own, which are finer."""
    counts = [0] * (len(BOUNDS_S) + 1)
    for bucket, count in buckets.items():
        counts[bisect_left(BOUNDS_S, middle_s(bucket))] += count
    passed = 0
    for bound_s, count in zip((*BOUNDS_S, float("inf")), counts, strict=True):
        passed += count
        yield name, "_bucket", (*labels, ("le", "+Inf" if bound_s == float("inf") else repr(bound_s))), passed
    yield name, "_sum", labels, sum_s
    yield name, "_count", labels, passed


def with_created(samples: Iterator[Sample], since_s: float) -> Iterator[Sample]:
    """`samples`, and behind each series that counts since `since_s` one that says so (OpenMetrics 1.0, _created)."""
    for sample in samples:
        yield sample
        name, suffix, labels, _ = sample
        if suffix in ("_total", "_count") and METRICS[name].created:
            yield name, "_created", labels, since_s
