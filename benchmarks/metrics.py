"""THE table of figures: the key under which a figure stands in the JSON, its title, unit, digits and
direction.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    title: str  # column heading
    words: str  # in a sentence: "CPU per request"
    unit: str  # after a value in a sentence
    digits: int  # after the point
    more_is_better: bool = False


METRICS: dict[str, Metric] = {
    "rate": Metric("requests/s", "requests/s", "requests/s", 0, True),
    "cpu_us": Metric("CPU per request, µs", "CPU per request", "µs", 1),
    "p50_ms": Metric("p50, ms", "p50", "ms", 2),
    "p99_ms": Metric("p99, ms", "p99", "ms", 2),
    "server_core": Metric("server's core", "share of the server's core", "", 2),
    "loader_core": Metric("loader's core", "share of the loader's core", "", 2),
    "mb_s": Metric("MB/s", "throughput", "MB/s", 0, True),
    "slow_rate": Metric("slow route, requests/s", "slow route", "requests/s", 0, True),
    "slow_share": Metric("slow route, of ideal", "slow route's share of the ideal rate", "", 3, True),
    "quick_rate": Metric("quick route, requests/s", "quick route", "requests/s", 0, True),
    "quick_p50_ms": Metric("quick p50, ms", "quick route's p50", "ms", 2),
    "quick_p99_ms": Metric("quick p99, ms", "quick route's p99", "ms", 2),
    "work_ms": Metric("work done, ms of CPU a second", "work done", "ms of CPU a second", 0, True),
    "kib_each": Metric("memory each, KiB (RSS)", "memory of each idle connection", "KiB", 2),
    "pss_kib_each": Metric("memory each, KiB (PSS)", "memory of each idle connection (PSS)", "KiB", 2),
    "rate_alone": Metric("requests/s without", "rate without idle connections", "requests/s", 0, True),
    "rate_beside": Metric("requests/s with", "rate with idle connections", "requests/s", 0, True),
    "rate_kept": Metric("rate kept", "share of the rate kept", "", 3, True),
    "connections": Metric("connections held", "connections held", "", 0, True),
    "calls": Metric("calls per request", "system calls per request", "", 2),
    "toggles": Metric("mode toggles and locks", "calls that toggle a mode or take a contended lock", "", 2),
    "alone_ms": Metric("request alone, ms", "a request alone", "ms", 2),
    "beside_ms": Metric("request beside them, ms", "a request beside them", "ms", 2),
    "delay_ms": Metric("delay, ms", "delay", "ms", 2),
    "start_ms": Metric("start to first answer, ms", "start to first answer", "ms", 0),
    "rss_mib": Metric("largest process, MiB (RSS)", "memory of the worker", "MiB", 1),
    "pss_mib": Metric("all processes, MiB (PSS)", "memory of all processes (PSS)", "MiB", 1),
}


def written(key: str, value: float | None) -> str:
    """`value` as the report shows it, "-" if there is none."""
    return "-" if value is None else f"{value:,.{METRICS[key].digits}f}"
