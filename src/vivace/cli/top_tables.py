"""The tables that `vivace top` shows: the columns of each. Pure.

A column: its title, its width (0: what is left; negative: flush left), from which width of the terminal on it is
shown, and what a row has in it.
"""

from __future__ import annotations

import time

from vivace.cli.top_text import percent, rate, size, span
from vivace.observe.layout import PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cli.top_text import Column

WORKERS: tuple[Column, ...] = (
    ("#", 2, 0, lambda row: str(row["place"])),
    ("process", 7, 0, lambda row: str(row["pid"])),
    ("gen", 3, 110, lambda row: str(row["generation"])),
    ("state", -8, 0, lambda row: "STUCK" if row["stuck"] else row["state"]),
    ("age", 6, 100, lambda row: span(row["age_s"])),
    ("req/s", 7, 0, lambda row: rate(row["rate"])),
    ("conns", 5, 0, lambda row: str(row["connections"])),
    ("busy", 6, 0, lambda row: f"{row['threads_busy']}/{row['threads_max'] or '?'}"),
    ("queue", 5, 0, lambda row: str(row["queued"])),
    ("CPU", 5, 0, lambda row: percent(row["cpu"])),
    ("memory", 7, 60, lambda row: size(row["system"].get("memory_bytes"))),
    ("GIL", 7, 70, lambda row: span(row["gil_wait_s"]) if row["gil_wait_s"] is not None else "-"),
    ("lag", 7, 90, lambda row: span(row["lag_s"]) if row["lag_s"] is not None else "-"),
    ("loop", 0, 0, lambda row: row["why_stuck"] or row["route"] or "-"),
)

ROUTES: tuple[Column, ...] = (
    ("", 1, 0, lambda row: row["mark"]),
    ("route", 0, 0, lambda row: row["name"]),
    ("lane", -6, 60, lambda row: row["lane"]),
    ("req/s", 7, 0, lambda row: rate(row["rate"])),
    ("mean", 7, 110, lambda row: span(row["mean_s"])),
    ("p50", 7, 50, lambda row: span(row["p50_s"])),
    ("p90", 7, 90, lambda row: span(row["p90_s"])),
    ("p99", 7, 0, lambda row: span(row["p99_s"])),
    ("p99.9", 7, 70, lambda row: span(row["p999_s"])),
    ("queue", 7, 100, lambda row: span(row["queued_s"])),
    ("err/s", 6, 0, lambda row: rate(row["error_rate"])),
    ("time", 5, 60, lambda row: percent(row["of_time"])),
    ("CPU", 4, 120, lambda row: percent(row["shares"]["cpu"])),
    ("waits", 5, 120, lambda row: percent(row["shares"]["blocked"])),
    ("out/s", 7, 130, lambda row: size(row["bytes_out_rate"])),
    ("longest", 7, 140, lambda row: span(row["max_s"])),
)

IN_PROGRESS: tuple[Column, ...] = (
    ("age", 7, 0, lambda row: span(row["age_s"])),
    ("phase", -11, 0, lambda row: row["phase"]),
    ("process", 7, 0, lambda row: str(row["pid"])),
    ("route", -20, 70, lambda row: row["route"]),
    ("request", 0, 0, lambda row: row["request"]),
)

SLOW: tuple[Column, ...] = (
    ("ended", -8, 0, lambda row: clock(row["ended_s"])),
    ("took", 7, 0, lambda row: span(row["response_s"])),
    ("status", 6, 0, lambda row: str(row["status"] or "-")),
    ("spent on", -12, 50, lambda row: spent_on(row)),
    ("#", 2, 60, lambda row: str(row["worker"])),
    ("request", 0, 0, lambda row: row["request"]),
)


def clock(unix_s: float) -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(unix_s))


def spent_on(row: dict[str, Any]) -> str:
    """What a slow request spent most of its time on."""
    parts = {part: row[f"{part}_s"] for part in PARTS}
    part = max(parts, key=lambda name: float(parts[name]))
    return f"{part} {min(1.0, parts[part] / max(1e-9, row['response_s'])):.0%}"


def in_progress(snapshot: dict[str, Any], route: str = "") -> list[dict[str, Any]]:
    """Every request that is in progress away from the loops, the oldest first."""
    rows = [{"pid": worker["pid"], **row} for worker in snapshot["workers"] for row in worker["in_progress"]]
    return sorted((row for row in rows if route in ("", row["route"])), key=lambda row: -float(row["age_s"]))
