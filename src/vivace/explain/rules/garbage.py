"""Memory that grows, and the collector's pauses. Pure.

What the workers say of their memory is judged in `leaks`; here it becomes findings.
"""

from __future__ import annotations

from vivace.explain.finding import FAIR, HIGH, LOW, MEMORY, MINOR, NOTE, SERIOUS, Finding, Gain, Where
from vivace.explain.gain import WARMER_UNCOLLECTED, saving
from vivace.explain.spots import short
from vivace.lab.words import number, percent, size, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.case import Case

COLLECTING = 0.05
COLLECTING_MINOR = 0.02
"""Of a worker's time."""
LEAK_WEIGHT = 0.5
"""A leak ends a server, however slowly; so it stands among what takes half of the time."""
GROWING_BYTES = 64.0
KEPT_EACH = 0.5
REQUESTS_MIN = 1000
"""Growth over fewer of them is told as a note."""
FULL_BYTES = 1 << 30
TOLD_MAX = 3
DAY_S = 86400.0


def rule(case: Case) -> list[Finding]:
    return [*_growth(case), *_pauses(case)]


# Memory.


def _growth(case: Case) -> list[Finding]:
    memory = case.evidence.memory
    if memory is None or memory["verdict"] not in ("leak", "growing"):
        return []
    per_request = memory["bytes_per_request"]
    leak = memory["verdict"] == "leak" or _unbounded(memory)
    if not leak and per_request < GROWING_BYTES:
        return []
    route = next(iter(memory["routes"]), "")
    trace = memory["trace"] or {}
    line = _line(trace)
    per_day = per_request * case.rate * DAY_S
    evidence = [
        memory["reason"],
        f"{size(per_request)} a request stay; at {number(case.rate)} requests/s that is {size(FULL_BYTES)} in "
        f"{span(FULL_BYTES / max(per_request * case.rate, 1e-9))}, {size(per_day)} a day",
    ]
    evidence += [
        f"{size(row['bytes_per_request'])} for each request of {name}"
        for name, row in [*memory["routes"].items()][:TOLD_MAX]
    ]
    evidence += _traced(trace)
    return [
        Finding(
            "leak",
            f"memory grows by {size(per_request)} with each request{' of ' + route if route else ''}",
            SERIOUS if leak else MINOR if memory["requests"] >= REQUESTS_MIN else NOTE,
            evidence,
            "Let go of what is kept: bound the container (an LRU, a deque with maxlen, weak references), or take it "
            "out of what lives for ever, as a module, a class or a default argument. --max-requests renews workers "
            "until that is done.",
            route=route,
            where=line,
            code="SEEN = collections.deque(maxlen=1000)    # or functools.lru_cache(maxsize=1000)",
            gain=Gain(MEMORY, 0.0, 0.0, 0.1, "what grows stays where it is"),
            confidence=HIGH if leak and line else FAIR if leak else LOW,
            weight=LEAK_WEIGHT,
        )
    ]


def _unbounded(memory: dict[str, Any]) -> bool:
    """Something without a bound keeps an entry for every request, or for every other one."""
    rows = (memory["trace"] or {}).get("kept_by", [])
    return any(row.get("per_request", 0.0) >= KEPT_EACH and not row.get("bound") for row in rows)


def _line(trace: dict[str, Any]) -> Where | None:
    """The line that allocates what stays."""
    rows = trace.get("lines", [])
    row = next((row for row in rows if row["growing"]), rows[0] if rows else None)
    return Where(row["file"], row["line"], row["function"], row["text"]) if row else None


def _traced(trace: dict[str, Any]) -> list[str]:
    """What tracemalloc found, in words."""
    if not trace:
        return []
    found = [f"traced for {span(trace['seconds'])} in one worker: {size(trace['kept_bytes'])} stayed"]
    found += [
        f"{size(row['bytes_per_request'])} a request at {short(row['file'])}:{row['line']}  {row['text']}".rstrip()
        for row in trace["lines"][:TOLD_MAX]
    ]
    found += [
        f"{row['per_request']:.1f} more {row['type']} objects a request"
        for row in trace["types"][:TOLD_MAX]
        if row["per_request"] >= 0.1
    ]
    found += [
        f"kept by {row['text']}, a {row['type']} of {row['length']:,} entries that grew by {row['grew']:,}"
        for row in trace["kept_by"][:TOLD_MAX]
    ]
    return [*found, *([trace["note"]] if trace.get("note") else [])]


# The collector.


def _pauses(case: Case) -> list[Finding]:
    told = case.evidence.gc
    shares = [row["collecting"] for row in case.figures["workers"] if row["collecting"] is not None]
    share = max(shares, default=0.0)
    if share < COLLECTING_MINOR or not case.rate:
        return []
    per_request_s = sum(shares) / case.rate
    # Pauses are told by the clock: where cores are short a part of each is spent waiting for one, as of all computing.
    computing = max(share, case.busiest + case.waits.get("ready", 0.0) / case.workers)
    saved_s = min(per_request_s, case.cpu_s * share / computing)
    evidence = [
        f"the collector takes {percent(share)} of a worker's time, {span(per_request_s)} a request",
        *_counts(case),
    ]
    where = route = None
    explicit = False
    if told is not None:
        if told["where"]:
            first = told["where"][0]
            explicit = bool(first["explicit"]) and first["total_s"] > 0.3 * sum(row["total_s"] for row in told["where"])
            route = first["route"]
            if explicit:
                where = Where(first["file"], first["line"], first["function"])
                evidence.append(f"{first['count']} of them were asked for by {where}")
        evidence += _tried(told["tried"])
    advice, code = _advice(explicit)
    return [
        Finding(
            "gc",
            f"collections of garbage take {percent(share)} of a worker's time",
            SERIOUS if share >= COLLECTING else MINOR,
            evidence,
            advice,
            route=route or "",
            where=where,
            code=code,
            gain=saving(case.flow, (0.5, 0.95, 1.0), cpu_s=saved_s, warmer=WARMER_UNCOLLECTED)
            if explicit  # after each request, so each finds the caches emptied
            else saving(case.flow, (0.5, 0.85, 1.0), cpu_s=saved_s),
            confidence=HIGH,
            also=[where.at] if where is not None else [],
        )
    ]


def _advice(explicit: bool) -> tuple[str, str]:
    if explicit:
        return (
            "Take gc.collect() out of the request: it goes through every object there is. The collector comes by "
            "itself when it is worth it.",
            "# gc.collect()    not in a request",
        )
    return (
        "Freeze what lives for long once it is loaded (gc.collect(), then gc.freeze()), so that it is not looked at "
        "again; raise the threshold of the first generation; make fewer objects that refer to each other in a request.",
        "gc.collect()\ngc.freeze()                      # once, after everything is loaded\n"
        "gc.set_threshold(50_000, 20, 100)",
    )


def _counts(case: Case) -> list[str]:
    machine = case.evidence.machine
    rows = zip(machine.get("collections", []), machine.get("collecting_s", []), strict=True)
    return [
        f"generation {generation}: {count:,} collections, {span(took_s / count)} each"
        for generation, (count, took_s) in enumerate(rows)
        if count
    ]


def _tried(rows: list[dict[str, Any]]) -> list[str]:
    """What was tried in a worker, and what it did."""
    found = []
    for row in rows:
        before, after = row["before"], row["after"]
        if not before or not after or before.get("share") is None or after.get("share") is None:
            continue
        what = "gc.freeze()" if row["what"] == "freeze" else f"thresholds of {row['to']}"
        found.append(
            f"tried for {span(after['seconds'])} in one worker: with {what} {percent(after['share'])} of the time "
            f"instead of {percent(before['share'])}"
        )
    return found
