"""The slow requests of a worker: the last that have ended, and those that run, with what each spends its time on.

The shared page has a short record of each, which outlives the worker (`tally`). What is more than that is kept here and
told at the desk: who asked, the request's id, collections of garbage that held it up, and what the profiler saw of it.

Rules:

* Slow is what took `slow_s`; and, where that is wanted, what took longer than 99 of 100 requests of its route: of those
  at most one every PAUSE_S is kept, or a route with many requests would leave no room for others.
* Bounded: KEPT_MAX requests, and ROUTE_KEPT_MAX more of each route; TREES_MAX times a second the profiler is asked, for
  under overload every request is slow.

Threads: `note` and `renew` by the leader, `told` by any.
"""

from __future__ import annotations

import time
from collections import deque

from vivace.connection.meter import clock
from vivace.observe.histogram import quantiles
from vivace.observe.layout import NOT_FOUND, R_COUNT, R_HIGH, R_LOW, S_LEADER, S_NOW, TIMES
from vivace.schedule.route import LANES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.ending import Ending
    from vivace.connection.rows import Row

    Told = dict[str, Any]
    TreeOf = Callable[[int, int, int], list[Told]]
    """(thread, begin, end), the latter in nanoseconds of the monotonic clock; end 0: it still runs. See
    `observe.call_tree`."""

KEPT_MAX = 64
ROUTE_KEPT_MAX = 4
PAUSE_S = 1.0
COUNT_MIN = 500
"""So many requests of a route have to be known before one in a hundred means anything."""
GROWN = 1.1
"""The percentile is found anew when there are so many times as many requests."""
TREES_MAX = 10
NODES_MAX = 150
"""Of one tree, about."""
DEPTH_MAX = 80


class SlowRequests:
    """Those of one loop. `slow_s` 0: there is no such limit. `by_route`: who is slower than its route is kept, too."""

    def __init__(self, loop: Ending, slow_s: float, *, by_route: bool) -> None:
        self._loop = loop
        self.slow_s = slow_s or float("inf")
        self.limits: dict[int, float] = {}
        """Route -> what is longer than this is noted; a route that is in a pause is not in it."""
        self.tree_of: TreeOf | None = None
        """What the profiler has seen, where there is one."""
        self._by_route = by_route
        self._known: dict[int, tuple[int, float]] = {}
        """Route -> how many requests the percentile is of, percentile."""
        self._renewed_s = self._trees_since_s = 0.0
        self._trees = 0
        self._kept: deque[Told] = deque(maxlen=KEPT_MAX)
        self._of_routes: dict[int, deque[Told]] = {}

    # The leader.

    def is_slow(self, response_s: float, number: int) -> bool:
        """Whether a request of route `number` took long, for its route."""
        return response_s > self.limits.get(number, float("inf"))

    def renew(self, now: float) -> None:
        """Once a second or so: what counts as slow of each route."""
        if not self._by_route or now < self._renewed_s + PAUSE_S:
            return
        self._renewed_s = now
        section = self._loop.section
        for number in range(1, NOT_FOUND):
            counts = section.route_counts(number)
            count = counts[R_COUNT]
            if count < COUNT_MIN:
                continue
            of, limit_s = self._known.get(number, (0, 0.0))
            if count >= of * GROWN or count < of:
                low, high = counts[R_LOW], counts[R_HIGH]
                buckets = {low + at: few for at, few in enumerate(section.histogram(number)[low:high].tolist()) if few}
                limit_s = quantiles(buckets, (0.99,))[0]
                self._known[number] = count, limit_s
            self.limits[number] = limit_s

    def note(self, ended_ns: int, times_ns: tuple[int, ...], status: int, number: int, request: str, row: Row) -> None:
        """A request has been slow: times as in TIMES, Unix time of its end, number of its route, method and target."""
        is_slow = times_ns[0] >= self.slow_s * 1e9
        told: Told = {
            "ended_s": ended_ns / 1e9,
            "request": request,
            "route": self._loop.section.route(number),
            "status": status,
            **{f"{name}_s": time_ns / 1e9 for name, time_ns in zip(TIMES, times_ns, strict=True)},
            "limit_s": self.slow_s if is_slow else self.limits.pop(number, 0.0),
            "by": "slow_request" if is_slow else "p99",
            "request_id": row.request_id,
            "client": row.client,
            "lane": LANES[row.lane],
            "gc_s": self._collected_s(ended_ns / 1e9 - (row.done - row.started), ended_ns / 1e9),
        }
        tree = self._tree(row.thread, row.started, row.returned) if self._may_ask() else []
        states = states_of(tree)
        told |= _waited(states, told["application_s"], told["cpu_s"])
        told |= {"states": states, "tree": smaller(tree)}
        if is_slow:
            self._kept.append(told)
        else:
            self._of_routes.setdefault(number, deque(maxlen=ROUTE_KEPT_MAX)).append(told)

    def _may_ask(self) -> bool:
        now = clock()
        if now >= self._trees_since_s + 1.0:
            self._trees_since_s, self._trees = now, 0
        self._trees += 1
        return self._trees <= TREES_MAX

    # Any thread.

    def told(self, question: Told) -> Told:
        """The answer to {"ask": "slow", "route": name or ""}:

        {"slow_s": limit or None, "by_route", "sampled": whether a profiler looks, "finished": [a request, the last one
        first], "running": [a request, the oldest first]}. Lengths of time in seconds; None: it is not known.

        One that has ended: {"ended_s" (Unix time), "request", "route", "status", "response_s", "queued_s", "body_s",
        "cpu_s", "blocked_s", "send_s", "application_s", "limit_s", "by" ("slow_request" or "p99"), "request_id",
        "client", "lane", "gc_s", "gil_s" and "ready_s" (of the application's time: for the GIL, for a core), "states":
        {state: seconds, as sampled}, "tree": see `observe.call_tree`}.

        One that runs: {"request", "route", "phase", "age_s", "queued_s", "thread", "request_id", "client", "at":
        [function, file, line] or None, "waits", "gc_s", "states", "tree"}.
        """
        route = str(question.get("route") or "")
        finished = [*self._kept, *(one for some in list(self._of_routes.values()) for one in list(some))]
        finished.sort(key=lambda one: -float(one["ended_s"]))
        running = sorted(self._running(), key=lambda one: -float(one["age_s"]))
        return {
            "slow_s": self.slow_s if self.slow_s < float("inf") else None,
            "by_route": self._by_route,
            "sampled": self.tree_of is not None,
            "finished": [one for one in finished if route in ("", one["route"])],
            "running": [one for one in running if route in ("", one["route"])],
        }

    def written(self, thread: int, began: float) -> list[str]:
        """What was seen of a request that still runs, as lines of text; none where nothing was."""
        tree = smaller(self._tree(thread, began, 0.0))
        if not tree:
            return []
        from vivace.observe.call_tree import written

        return written(tree)

    def _running(self) -> list[Told]:
        from vivace.connection.passage import running

        section = self._loop.section
        found = []
        seen = set()
        for began_ns, phase, number, thread, text in section.in_progress():
            seen.add(thread)
            found.append(running(thread, section.route(number), phase, text, began_ns / 1e9))
        number, leader = section.words[S_NOW], section.words[S_LEADER]
        if number and leader and leader not in seen:
            found.append(running(leader, section.route(number), 0, "", 0.0))
        told = []
        for one, thread, began in found:
            tree = self._tree(thread, began, 0.0) if began else []
            now_s = time.time()
            gc_s = self._collected_s(now_s - (clock() - began), now_s) if began else None
            told.append({**one, "gc_s": gc_s, "states": states_of(tree), "tree": smaller(tree)})
        return told

    def _tree(self, thread: int, began: float, ended: float) -> list[Told]:
        if self.tree_of is None or not thread:
            return []
        return self.tree_of(thread, int(began * 1e9), int(ended * 1e9))

    def _collected_s(self, from_s: float, to_s: float) -> float | None:
        """For how long collections of garbage held everything up between these moments (Unix time)."""
        collector = self._loop.collector
        if collector is None or not collector.timed:
            return None
        pauses = list(collector.pauses)
        return sum((max(0.0, min(to_s, at_s) - max(from_s, at_s - long_s)) for at_s, _, long_s, _ in pauses), 0.0)


def _waited(states: dict[str, float], application_s: float, cpu_s: float) -> Told:
    """How long it waited for the GIL, and for a core: what ran and used no processor time."""
    total_s = sum(states.values())
    if not total_s:
        return {"gil_s": None, "ready_s": None}
    ran_s = application_s * states.get("running", 0.0) / total_s
    return {"gil_s": application_s * states.get("gil", 0.0) / total_s, "ready_s": max(0.0, ran_s - cpu_s)}


def states_of(tree: list[Told]) -> dict[str, float]:
    """State -> seconds, of all nodes of a tree together."""
    found: dict[str, float] = {}
    left = list(tree)
    while left:
        node = left.pop()
        left += node["children"]
        for state, seconds in node["states"].items():
            found[state] = found.get(state, 0.0) + seconds
    return found


def smaller(tree: list[Told]) -> list[Told]:
    """The heaviest nodes of a tree, NODES_MAX or a few more, DEPTH_MAX deep."""
    seconds = []
    left = list(tree)
    while left:
        node = left.pop()
        seconds.append(node["seconds"])
        left += node["children"]
    if len(seconds) <= NODES_MAX:
        return tree
    return _lighter(tree, sorted(seconds, reverse=True)[NODES_MAX - 1], DEPTH_MAX)


def _lighter(tree: list[Told], least_s: float, depth: int) -> list[Told]:
    return [
        {**node, "children": _lighter(node["children"], least_s, depth - 1) if depth else []}
        for node in tree
        if node["seconds"] >= least_s
    ]
