"""Requests under Python's deterministic profiler: asked of the workers, as pstats, as text, and as a picture.

What a deterministic profiler keeps is who called whom how often, not whole stacks. For a picture these are made up:
what a function took is divided among its callers by what it took for each, which is right but where it depends on the
path.
"""

from __future__ import annotations

import marshal

from vivace.errors import SettingError
from vivace.observe.desk import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vivace.observe.page import Page

    Function = tuple[str, int, str]
    """(file, line, function), as pstats has them."""
    Times = tuple[int, int, float, float]
    """(primitive calls, calls, own seconds, seconds)"""
    Stats = dict[Function, tuple[int, int, float, float, dict[Function, Times]]]

MORE_S = 10.0
SMALL = 0.002
"""What takes less of the whole is left out of the picture."""
DEPTH_MAX = 60
LINES_MAX = 25


def ask_calls(page: Page, route: str, count: int, for_s: float) -> tuple[list[float], Stats]:
    """(seconds of each request, stats) of at most `count` requests of each worker. Raises SettingError if none came."""
    answers = ask(page, {"ask": "cprofile", "route": route, "count": count, "for_s": for_s}, for_s + MORE_S)
    told = [answer for answer in answers.values() if answer is not None]
    seconds = [one for answer in told for one in answer.get("requests", ())]
    if not seconds:
        errors = sorted({str(answer["error"]) for answer in told if "error" in answer})
        what = f" of a route {route!r}" if route else ""
        raise SettingError(f"profile: no request{what} came within {for_s:g} s" + "".join(f"; {one}" for one in errors))
    return seconds, added(answer["functions"] for answer in told if "functions" in answer)


def added(answers: Iterable[list[list[Any]]]) -> Stats:
    """The stats of several workers together."""
    stats: Stats = {}
    for functions in answers:
        for file, line, name, *times, rows in functions:
            key = (file, line, name)
            before = stats.get(key)
            callers = before[4] if before else {}
            for caller_file, caller_line, caller_name, *of_caller in rows:
                caller = (caller_file, caller_line, caller_name)
                callers[caller] = _sum(callers.get(caller), of_caller)
            stats[key] = (*_sum(before[:4] if before else None, times), callers)
    return stats


def _sum(before: Times | None, more: list[Any]) -> Times:
    calls, all_calls, own_s, total_s = more
    if before is None:
        return calls, all_calls, own_s, total_s
    return before[0] + calls, before[1] + all_calls, before[2] + own_s, before[3] + total_s


def pstats_file(stats: Stats) -> bytes:
    """What `pstats.Stats(file)`, snakeviz and their like read."""
    return marshal.dumps(stats)


def table(stats: Stats, seconds: list[float]) -> str:
    """What takes longest, callees included."""
    total_s = sum(seconds)
    rows = sorted(stats.items(), key=lambda item: -item[1][3])
    lines = [f"{len(seconds)} requests, {total_s:.4g} s under the profiler", "   calls       own  with callees"]
    for (file, line, name), (_, calls, own_s, with_s, _) in rows[:LINES_MAX]:
        where = f"  {file}:{line}" if line else ""
        lines.append(f"{calls:>8}  {own_s:>8.4f}      {with_s:>8.4f}  {name}{where}")
    return "\n".join(lines)


def as_profile(stats: Stats, seconds: list[float], route: str) -> dict[str, Any]:
    """A profile as `observe.profiles` describes it, all of it "running": a profiler of calls does not tell waiting."""
    callees: dict[Function, dict[Function, float]] = {}
    for callee, (_, _, _, _, callers) in stats.items():
        for caller, times in callers.items():
            callees.setdefault(caller, {})[callee] = times[3]
    frames: dict[tuple[str, str, int], int] = {}
    stacks: list[list[int]] = []
    samples: list[list[Any]] = []
    least_s = SMALL * sum(row[2] for row in stats.values())

    def add(function: Function, share: float, path: tuple[Function, ...]) -> None:
        _, _, own_s, _, _ = stats[function]
        path = (*path, function)
        if own_s * share > 0.0:
            places = [(name, file if line else "", line) for file, line, name in path]
            stacks.append([frames.setdefault(place, len(frames)) for place in places])
            samples.append([route, "running", len(stacks) - 1, own_s * share])
        for callee, for_this_s in callees.get(function, {}).items():
            total_s = stats[callee][3]
            if callee not in path and len(path) < DEPTH_MAX and for_this_s * share > least_s and total_s:
                add(callee, min(1.0, for_this_s / total_s) * share, path)

    for function, row in stats.items():
        if not row[4]:
            add(function, 1.0, ())
    return {
        "from_s": 0.0,
        "to_s": sum(seconds),
        "looks": len(seconds),
        "cost_s": 0.0,
        "late_s": 0.0,
        "workers": 1,
        "frames": [list(place) for place in frames],
        "stacks": stacks,
        "samples": samples,
    }
