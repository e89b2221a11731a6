"""The inquiry into memory and collections of garbage: asks the workers of a server that is under load, and puts what
they say into `evidence["memory"]` and `evidence["gc"]`. Both are plain data; JSON can hold them.

`evidence["memory"]`:

    {"seconds": 20.0,                  how long was watched
     "requests": 20000,                of all workers, meanwhile
     "verdict": "leak",                the gravest one of the workers, of those below
     "reason": "...",                  one sentence on that verdict, with its figures
     "bytes_per_request": 1064.0,      of growth, over all routes; 0.0 unless "leak" or "growing"
     "bytes_per_s": 53000.0,
     "routes": {"GET /leak": {"bytes_per_request": 1064.0, "low": 1010.0, "high": 1110.0, "requests": 5000,
                              "blocks_per_request": 2.0}},
                                       those whose requests grew it, the gravest first; {}: no route stands out
     "workers": {"1234": {"verdict", "reason", "bytes_per_request", "bytes_per_s", "routes", "requests", "seconds",
                          "rss_bytes": [first, last], "blocks": [first, last], "points": 21}},
     "trace": None | {                 what tracemalloc found in one worker; None: it was not switched on
         "pid": 1234, "seconds": 5.0, "requests": 4000, "frames": 1,
         "kept_bytes": 4200000,        allocated meanwhile and alive after a collection
         "lines": [{"file": "/app/shop.py", "line": 12, "function": "remember", "text": "SEEN.append(page)",
                    "bytes": 4100000, "count": 4000, "bytes_per_request": 1025.0, "growing": True,
                    "stack": [["/app/shop.py", 30, "view"], ["/app/shop.py", 12, "remember"]]}],
                                       by bytes. file, line: of the application where the stack has a frame of it;
                                       stack: outermost first. growing: it grew in each part of the time
         "types": [{"type": "shop.Order", "count": 4000, "per_request": 1.0, "text": "shop.SEEN[3999]"}],
                                       those of which more live now than before, of objects that the collector knows;
                                       text: the way to one of the newest, "" if none was found
         "kept_by": [{"chain": ["shop", "SEEN"], "text": "shop.SEEN", "type": "list", "length": 24000,
                      "grew": 4000, "per_request": 1.0, "holds": "bytes", "bound": None}],
                                       containers that grew, and the way to them from a module; the gravest first.
                                       bound: how many it may hold, where that is known (lru_cache, deque, cachetools)
         "note": ""}                   what was left out, and why
    }

* "leak": grows with requests, and does not bend. "growing": it grows, and it bends a little, or the time was too short,
  to tell a leak from a cache that is not full yet. "filling": the growth falls off. "steady": it does not grow.
  "unclear": too little was seen.
* A route called "(every request)" means that all of them leave as much behind: a middleware, a hook, a log.

`evidence["gc"]`:

    {"seconds": 20.0, "requests": 20000,
     "share": 0.062,                   of the time, in collections, of the worker where it is greatest
     "timed": True,                    False: with request_timeout on only counts are known (share and times are None)
     "generations": [{"count": 700, "total_s": 0.05, "longest_s": 0.0004}, {...}, {...}],    meanwhile, all workers
     "routes": {"GET /tree": {"count": 300, "total_s": 1.1, "longest_s": 0.08, "per_request": 0.3}},
                                       collections of 0.2 ms and more, by the route in whose request they began
     "where": [{"file", "line", "function", "generation": 2, "count": 300, "total_s": 1.1, "route", "explicit": True}],
                                       the lines at which those began, by time; explicit: the line calls gc.collect
     "pauses": [[unix time, generation, seconds, route]],       the longest, at most 20
     "workers": {"1234": {"thresholds": [700, 10, 10], "enabled": True, "frozen": 120000, "objects": 81000,
                          "share": 0.062, "generations": [...]}},
     "tried": [{"what": "freeze" | "thresholds", "to": [70000, 10, 10] | None, "pid": 1234,
                "before": {"seconds", "requests", "collections": [a, b, c], "total_s", "share", "longest_s",
                           "s_per_request", "cpu_ms_per_request", "rss_bytes"},
                "after": {the same}, "put_back": True, "note": ""}]
                                       what a change did in one worker, against as long without; [] unless `try_gc`
    }
"""

from __future__ import annotations

import time
from itertools import pairwise

from vivace.explain.leaks import FILLING, GROWING, LEAK, UNCLEAR, VERDICTS, judge
from vivace.explain.source import function_at, text_at
from vivace.observe.collector import is_application

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Data = dict[str, Any]
    Ask = Callable[[Data, float, list[int] | None], dict[int, Data | None]]
    """(question, seconds to wait, processes or None for all workers) -> answers, as `desk.ask` gives them."""

ANSWER_S = 10.0
"""So long workers have for an answer that takes no time by itself: a collection of a large heap is in it."""
LONGER = 3.0
"""What was seen before counts, too, where it is so many times as many requests."""
SHARE_MIN = 0.02
"""From this share of the time on it is tried what would make collections cheaper."""
OBJECTS_MIN = 20_000
"""With fewer objects there is nothing to freeze."""
WIDE = (50_000, 20, 50)
"""The thresholds that are tried: Python's own are 700, 10, 10, or 2000, 10, 0."""
TOLD_MAX = 20
EXPLAINS_MIN = 0.5
"""A bounded cache explains the growth if it has so much of what grew, and lines of the application, of what grows."""
TRACED_FRAMES = (1, 8)
CONFIRMS_MIN = 0.2
"""Lines that grow confirm it if they have so much of it."""
SURE_S = 60.0
"""What no line confirms is a leak only if it went on for so long: malloc settles within seconds."""
LITTLE_BYTES = 1 << 20
"""Growth of no more than that is a leak only after `SURE_S`, too, unless somebody keeps it: lines confirm what caches
of statements, of sockets and of malloc hold."""
TRACED_MIN = 100
"""With fewer requests nothing follows from what was not seen."""


class Inquiry:
    """One look at a server under load: `begin`, then let time pass, then `finish`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._began_s = 0.0
        self._collections: dict[int, Data] = {}

    def begin(self) -> None:
        """From now on counts. Each worker collects its garbage once, so that it does not count as growth."""
        self._answers({"ask": "memory", "since_s": time.time(), "collect": True})
        self._collections = self._answers({"ask": "gc"})
        self._began_s = time.time()

    def finish(self, *, trace_s: float = 5.0, try_gc: bool = False, try_s: float = 5.0) -> Data:
        """{"memory": ..., "gc": ...}, without what no worker answered. It needs the load still to be there: if memory
        grows one worker is traced for `trace_s` (0: not), and with `try_gc` another setting is tried for twice
        `try_s`, if collections take long."""
        told: Data = {}
        now = self._answers({"ask": "gc"})
        answers = self._answers({"ask": "memory", "collect": True})
        if answers:
            told["memory"] = self._memory(answers, trace_s)
        if now:
            told["gc"] = collections_between(self._collections, now, self._began_s)
            if try_gc:
                told["gc"]["tried"] = self._tried(told["gc"], try_s)
        return told

    def _answers(self, question: Data, wait_s: float = 0.0, pids: list[int] | None = None) -> dict[int, Data]:
        found = self._ask(question, ANSWER_S + wait_s, pids)
        return {pid: answer for pid, answer in found.items() if answer is not None and "error" not in answer}

    def _memory(self, answers: dict[int, Data], trace_s: float) -> Data:
        workers = {pid: verdict_on(answer, self._began_s) for pid, answer in answers.items()}
        told = summed_up(workers)
        told["trace"] = None
        if told["verdict"] in (LEAK, GROWING) and trace_s > 0:
            grows_most = max(workers, key=lambda pid: (_rank(workers[pid]), workers[pid]["bytes_per_s"]))
            told["trace"] = self._trace(grows_most, trace_s)
            if told["trace"] is not None:
                _weigh(told)
        return told

    def _trace(self, pid: int, trace_s: float) -> Data | None:
        """What one worker finds by tracing: with one frame of each allocation, which costs least; if those are lines of
        libraries, once more with enough of them to see who called."""
        found: Data | None = None
        for frames in TRACED_FRAMES:
            question = {"ask": "tracemalloc", "for_s": trace_s, "frames": frames}
            trace = self._answers(question, trace_s * 3, [pid]).get(pid)
            if trace is None:
                break
            found = completed(trace, pid)
            growing = [row for row in found["lines"] if row["growing"]]
            theirs = sum(row["bytes"] for row in growing if is_application(row["file"]))
            if theirs >= EXPLAINS_MIN * sum(row["bytes"] for row in growing):
                break
        return found

    def _tried(self, found: Data, try_s: float) -> list[Data]:
        """What other thresholds and freezing do in the worker that collects most."""
        share = found["share"]
        if share is None or share < SHARE_MIN:
            return []
        pid, worker = max(found["workers"].items(), key=lambda item: item[1]["share"])
        questions: list[Data] = [{"ask": "gc", "try": "thresholds", "to": list(WIDE), "for_s": try_s}]
        if worker["objects"] >= OBJECTS_MIN:
            questions.append({"ask": "gc", "try": "freeze", "for_s": try_s})
        answers = [self._answers(question, try_s * 2, [int(pid)]) for question in questions]
        return [{**answer, "pid": int(pid)} for found in answers for answer in found.values()]


def inquire(ask: Ask, *, watch_s: float = 20.0, trace_s: float = 5.0, try_gc: bool = False) -> Data:
    """The whole inquiry: watches for `watch_s`. See `Inquiry`."""
    inquiry = Inquiry(ask)
    inquiry.begin()
    time.sleep(watch_s)
    return inquiry.finish(trace_s=trace_s, try_gc=try_gc)


# Memory. Pure from here on, but for source files.


def verdict_on(answer: Data, began_s: float) -> Data:
    """On one worker, by its answer to "memory": on what it did since `began_s`, and before."""
    series, collected = answer["series"], answer.get("collected")
    lately = judge([point for point in series if point[0] >= began_s], collected)
    ever = judge(series)
    longer = ever["requests"] >= LONGER * max(1, lately["requests"])
    if lately["verdict"] == LEAK or not longer or ever["verdict"] == UNCLEAR:
        return lately
    return ever


def summed_up(workers: dict[int, Data]) -> Data:
    """The evidence by the verdicts on the workers."""
    worst = min(workers.values(), key=lambda told: (_rank(told), -told["bytes_per_s"]))
    alike = [told for told in workers.values() if told["verdict"] == worst["verdict"]]
    requests = sum(told["requests"] for told in alike)
    routes: dict[str, Data] = {}
    for told in sorted(alike, key=lambda told: -told["requests"]):
        for route, row in told["routes"].items():
            routes.setdefault(route, row)
    weighed = sum(told["bytes_per_request"] * told["requests"] for told in alike)
    return {
        "seconds": max(told["seconds"] for told in workers.values()),
        "requests": sum(told["requests"] for told in workers.values()),
        "verdict": worst["verdict"],
        "reason": worst["reason"],
        "bytes_per_request": round(weighed / requests, 1) if requests else 0.0,
        "bytes_per_s": round(sum(told["bytes_per_s"] for told in alike), 1),
        "routes": routes,
        "workers": {str(pid): told for pid, told in workers.items()},
    }


def completed(trace: Data, pid: int) -> Data:
    """What a worker found by tracing, with the names of functions and the text of lines."""
    lines = []
    served = [later - earlier for earlier, later in pairwise([0, *trace["parts"]])]
    for row in trace["lines"]:
        grew = [later - earlier for earlier, later in pairwise([0, *row["parts"]])]
        usual = row["bytes"] / max(1, trace["requests"])
        lines.append(
            {
                **{name: value for name, value in row.items() if name != "parts"},
                "function": function_at(row["file"], row["line"]),
                "text": text_at(row["file"], row["line"]),
                "growing": len(grew) > 1 and all(a >= usual * b / 3 for a, b in zip(grew, served, strict=True)),
                "stack": [[file, line, function_at(file, line)] for file, line in row["stack"]],
            }
        )
    kept = {name: value for name, value in trace.items() if name != "parts"}
    return {**kept, "pid": pid, "lines": lines}


def _weigh(told: Data) -> None:
    """A cache with a bound that it has not reached is no leak, however it grows; nor is what no line confirms."""
    trace, kept_by = told["trace"], told["trace"]["kept_by"]
    seen = sum(row["bytes_per_request"] for row in trace["lines"] if row["growing"])
    unconfirmed = trace["requests"] >= TRACED_MIN and seen < CONFIRMS_MIN * told["bytes_per_request"]
    little = told["bytes_per_request"] * told["requests"] < LITTLE_BYTES and not kept_by
    if unconfirmed:
        told["reason"] += (
            f"; but of what Python allocated in {trace['requests']} traced requests {seen:.0f} bytes a request stayed: "
            "the server's own caches, what extensions allocate and pages that malloc keeps grow so, too"
        )
        if told["verdict"] == GROWING:
            told["verdict"] = UNCLEAR
    if (unconfirmed or little) and told["verdict"] == LEAK and told["seconds"] < SURE_S:
        told["verdict"] = GROWING
        told["reason"] += f"; a longer look ({SURE_S:.0f} s) would tell"
    grew = sum(row["grew"] for row in kept_by)
    for row in kept_by:
        if row["bound"] and row["length"] <= row["bound"] and row["grew"] >= EXPLAINS_MIN * grew:
            told["verdict"] = FILLING
            told["reason"] = (
                f"{row['text']} fills: it holds {row['length']} of at most {row['bound']}, and {row['grew']} of them "
                f"came in the {told['trace']['requests']} requests that were traced"
            )


def _rank(told: Data) -> int:
    return VERDICTS.index(told["verdict"])


# Collections.


def collections_between(before: dict[int, Data], now: dict[int, Data], began_s: float) -> Data:
    """The evidence by the workers' answers to "gc" at the beginning and at the end."""
    workers: dict[str, Data] = {}
    where: dict[tuple[Any, ...], list[float]] = {}
    pauses: list[list[Any]] = []
    generations = [{"count": 0, "total_s": 0.0, "longest_s": 0.0} for _ in range(3)]
    seconds, requests = 0.0, 0
    served: dict[str, int] = {}
    for pid, answer in now.items():
        earlier = before.get(pid, _NOTHING)
        passed = answer["at_s"] - (earlier["at_s"] or began_s)
        lately = [pause for pause in answer["pauses"] if pause[0] >= began_s]
        pauses.extend(lately)
        own = _generations(earlier["generations"], answer["generations"], lately)
        for whole, part in zip(generations, own, strict=True):
            whole["count"] += part["count"]
            whole["total_s"] += part["total_s"]
            whole["longest_s"] = max(whole["longest_s"], part["longest_s"])
        known = {tuple(row[:6]): row[6:8] for row in earlier["places"]}
        for row in answer["places"]:
            then = known.get(tuple(row[:6]), [0, 0.0])
            sums = where.setdefault(tuple(row[:6]), [0, 0.0])
            sums[0] += row[6] - then[0]
            sums[1] += row[7] - then[1]
        seconds, requests = max(seconds, passed), requests + answer["requests"] - earlier["requests"]
        for route, count in answer.get("routes", {}).items():
            served[route] = served.get(route, 0) + count - earlier.get("routes", {}).get(route, 0)
        share = sum(part["total_s"] for part in own) / passed if answer["timed"] and passed > 0 else None
        kept = {name: answer[name] for name in ("thresholds", "enabled", "frozen", "objects")}
        workers[str(pid)] = {**kept, "share": share, "generations": own}
    shares = [worker["share"] for worker in workers.values() if worker["share"] is not None]
    places = [_place(key, sums) for key, sums in where.items() if sums[0] > 0]
    return {
        "seconds": round(seconds, 3),
        "requests": requests,
        "share": max(shares, default=None),
        "timed": bool(shares),
        "generations": generations,
        "routes": _by_route(places, pauses, served),
        "where": sorted(places, key=lambda place: -place["total_s"])[:TOLD_MAX],
        "pauses": sorted(pauses, key=lambda pause: -pause[2])[:TOLD_MAX],
        "workers": workers,
        "tried": [],
    }


_NOTHING: Data = {
    "at_s": 0.0,
    "requests": 0,
    "places": [],
    "generations": [{"count": 0, "total_s": 0.0, "longest_s": 0.0}] * 3,
}
"""Of a worker that was not there at the beginning."""


def _generations(before: list[Data], now: list[Data], pauses: list[list[Any]]) -> list[Data]:
    found = []
    for number, (earlier, later) in enumerate(zip(before, now, strict=True)):
        count = later["count"] - earlier["count"]
        total_s = (later["total_s"] or 0.0) - (earlier["total_s"] or 0.0)
        longest_s = max((pause[2] for pause in pauses if pause[1] == number), default=total_s / count if count else 0.0)
        found.append({"count": count, "total_s": total_s, "longest_s": longest_s})
    return found


def _place(key: tuple[Any, ...], sums: list[float]) -> Data:
    file, line, function, generation, route, asked = key
    return {
        "file": file,
        "line": line,
        "function": function,
        "generation": generation,
        "count": sums[0],
        "total_s": sums[1],
        "route": route,
        "explicit": asked,
    }


def _by_route(places: list[Data], pauses: list[list[Any]], served: dict[str, int]) -> dict[str, Data]:
    routes: dict[str, Data] = {}
    for place in places:
        row = routes.setdefault(place["route"], {"count": 0, "total_s": 0.0, "longest_s": 0.0, "per_request": None})
        row["count"] += place["count"]
        row["total_s"] += place["total_s"]
    for route, row in routes.items():
        row["longest_s"] = max((pause[2] for pause in pauses if pause[3] == route), default=0.0)
        if served.get(route):
            row["per_request"] = round(row["count"] / served[route], 3)
    routes.pop("", None)
    return dict(sorted(routes.items(), key=lambda item: -item[1]["total_s"]))
