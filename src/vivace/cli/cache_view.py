"""What `vivace cache` shows: the answers of several workers as one, and as lines of text. Pure.

The shapes of answers stand in `connection.cache_desk`.
"""

from __future__ import annotations

from vivace.cli.top_text import clean, percent, size, span, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Answer = dict[str, Any]
    Answers = list[tuple[int, Answer]]

COUNTERS = (
    ("hits", "fresh"),
    ("known", "  of these known by the request's bytes"),
    ("stale", "stale, renewed behind it"),
    ("not_modified", "  of both, with 304"),
    ("missed", "by the application"),
    ("bypassed", "by the application, not for a cache"),
    ("unavailable", "with 504, as only what is kept was wanted"),
)
"""Counter, how requests were answered."""
BESIDE = (
    ("collapsed", "waited for the response to another request"),
    ("revalidated", "found right by the application"),
    ("shared", "found in what the workers share"),
    ("remote", "found in what machines share"),
    ("refreshed", "renewed in the background"),
    ("invalidated", "made invalid by requests"),
    ("stored", "responses kept"),
    ("unstored", "responses not kept"),
)
FROM_CACHE = ("hits", "stale")
SUMS = ("entries", "bytes", "bytes_max", "evictions")
OWN_SHARED = ("hits", "misses", "torn", "busy")
"""What each worker counts of the memory that they share; the rest of it is the same for all."""

WORKERS_MAX = 6
"""Columns of more workers than these would not fit."""

SORTS: dict[str, Callable[[Answer], Any]] = {
    "hits": lambda row: -row["hits"],
    "size": lambda row: -row["bytes"],
    "age": lambda row: -row["age_s"],
    "ttl": lambda row: -row["ttl_s"],
    "key": lambda row: row["key"],
}


# Several answers as one.


def merged_stats(answers: list[Answer]) -> Answer:
    """The whole server's figures. `hit_rate`: of the requests that a cache may answer; None before the first."""
    total: Answer = {name: sum(answer.get(name, 0) for answer in answers) for name in SUMS}
    for part in ("counters", "missed", "unstored"):
        total[part] = _added([answer.get(part, {}) for answer in answers])
    shared = [answer["shared"] for answer in answers if answer.get("shared")]
    if shared:
        total["shared"] = {
            name: sum(each[name] for each in shared) if name in OWN_SHARED else max(each[name] for each in shared)
            for name in shared[0]
        }
    total["hit_rate"] = hit_rate(total["counters"])
    return total


def _added(parts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def hit_rate(counters: dict[str, int]) -> float | None:
    """The share that was answered without another call of the application."""
    found = sum(counters.get(name, 0) for name in FROM_CACHE)
    asked = found + counters.get("missed", 0) + counters.get("unavailable", 0)
    return found / asked if asked else None


def merged_entries(answers: list[Answer], sort: str, limit: int) -> Answer:
    """What is kept anywhere, once each: with all hits, and in how many workers it lies."""
    rows: dict[str, Answer] = {}
    for answer in answers:
        for row in answer.get("entries", ()):
            known = rows.get(row["key"])
            if known is None:
                rows[row["key"]] = {**row, "workers": 1}
                continue
            newer = row if row["age_s"] < known["age_s"] else known
            rows[row["key"]] = {**newer, "hits": row["hits"] + known["hits"], "workers": known["workers"] + 1}
    return {"entries": sorted(rows.values(), key=SORTS[sort])[:limit], "count": sum(a.get("count", 0) for a in answers)}


def merged_lines(answers: Answers) -> list[str]:
    """Each worker's sentences; those that say the same say it once."""
    said: dict[tuple[str, ...], list[int]] = {}
    for pid, answer in answers:
        said.setdefault(tuple(clean(line) for line in answer.get("lines", ())), []).append(pid)
    if len(said) == 1:
        return list(next(iter(said)))
    lines = []
    for text, pids in said.items():
        lines.append(f"worker{'s' * (len(pids) > 1)} {', '.join(map(str, pids))}:")
        lines += [f"  {line}" for line in text]
    return lines


# Text.


def stats_text(pid: int, total: Answer, answers: Answers) -> list[str]:
    """A column for the whole, and one for each worker where there are several, but not too many."""
    columns = [total] + ([answer for _, answer in answers] if 1 < len(answers) <= WORKERS_MAX else [])
    titles = ["total", *(str(worker) for worker, _ in answers)]

    def line(title: str, values: list[str]) -> str:
        return f"{title:<44}" + "".join(f" {value:>10}" for value in values[: len(columns)])

    def counts(part: str, name: str, title: str) -> str:
        return line(title, [f"{column.get(part, {}).get(name, 0):,}" for column in columns])

    lines = [line(f"vivace, process {pid}: requests answered", titles)]
    lines += [counts("counters", name, f"  {title}") for name, title in COUNTERS if _any(total, name)]
    lines += [line("answered without another call", [percent(hit_rate(column["counters"])) for column in columns])]
    lines += [counts("missed", reason, f"  asked because: {clean(reason)}") for reason in _by_count(total["missed"])]
    lines += [counts("counters", name, title) for name, title in BESIDE if _any(total, name)]
    lines += [counts("unstored", reason, f"  because: {clean(reason)}") for reason in _by_count(total["unstored"])]
    lines += [line("kept now", [f"{column['entries']:,}" for column in columns])]
    lines += [line("memory", [size(column["bytes"]) for column in columns])]
    lines += [line("  of at most", [size(column["bytes_max"]) for column in columns])]
    lines += [line("had to make room", [f"{column['evictions']:,}" for column in columns])]
    shared = total.get("shared")
    if shared:
        memory = f"{size(shared['bytes'])} of {size(shared['bytes_max'])}"
        lines.append(f"shared by the workers: {shared['entries']:,} entries, {memory}")
    return lines


def _any(total: Answer, name: str) -> bool:
    return bool(total["counters"].get(name)) or name in ("hits", "missed", "stored")


def _by_count(reasons: dict[str, int]) -> list[str]:
    return sorted(reasons, key=lambda reason: -reasons[reason])


def entries_text(total: Answer, width: int = 160) -> list[str]:
    """A line for each entry."""
    if not total["entries"]:
        return ["nothing is kept"]
    columns = (
        ("size", 8, 0, lambda row: size(row["bytes"])),
        ("age", 7, 0, lambda row: span(row["age_s"])),
        ("fresh for", 9, 0, lambda row: span(row["ttl_s"]) if row["ttl_s"] > 0 else "stale"),
        ("hits", 9, 0, lambda row: f"{row['hits']:,}"),
        ("status", 6, 0, lambda row: str(row["status"])),
        ("workers", 7, 0, lambda row: str(row["workers"])),
        ("key", 0, 0, _named),
    )
    lines = table(columns, total["entries"], width)
    left = total["count"] - sum(row["workers"] for row in total["entries"])
    return [*lines, f"and {left:,} more; see --limit"] if left > 0 else lines


def _named(row: Answer) -> str:
    """The key on one line, what it varies by, and its tags."""
    text = str(row["key"]).partition("\n")[0]
    if row.get("vary"):
        text += f"  varies by {', '.join(row['vary']) if isinstance(row['vary'], list) else row['vary']}"
    return text + (f"  tags {' '.join(row['tags'])}" if row.get("tags") else "")
