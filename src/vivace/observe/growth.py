"""How much memory this process has used, second by second, beside what it has served: a series that stays small.

The number of blocks that Python has allocated (`sys.getallocatedblocks`: objects of up to 512 bytes, exactly) and the
resident memory (everything, in pages), beside the requests of each route. A route whose requests leave something behind
shows in it long before memory is short; `explain.leaks` reads it.

Rules: the last minutes are kept second by second, what is older more and more coarsely; POINTS_MAX points at most. To
count blocks takes 0.5 us, and milliseconds in a process of gigabytes: then it is done more rarely. Must not know: who
asks, settings.

Threads: `look` by the leader, `told` by any.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from array import array

from vivace.observe.layout import NOT_FOUND, R_COUNT, ROUTE_WORDS, ROUTES
from vivace.observe.processes import resident_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.section import Section

    Point = tuple[float, int, int, int, array[int]]
    """(Unix time, blocks, resident bytes, collections of the oldest generation, requests by the number of the route)"""

PERIOD_S = 1.0
COST_MAX = 0.001
"""Of a core. Looks that cost more come less often."""
POINTS_MAX = 360
FINE = 120
"""So many of the last points are never thinned out."""


class Growth:
    """The series of the worker whose section is `section`."""

    __slots__ = ("_due_s", "_points", "_section")

    def __init__(self, section: Section) -> None:
        self._section = section
        self._due_s = 0.0
        self._points: list[Point] = []

    def look(self, now: float) -> None:
        """Notes how it is, once a second. `now` is the loop's clock, in seconds."""
        if now < self._due_s:
            return
        began = time.thread_time()
        points = [*self._points, self._point()]
        if len(points) > POINTS_MAX:
            points = points[:-FINE:2] + points[-FINE:]
        self._points = points  # a new list: who reads the old one is not disturbed
        self._due_s = now + max(PERIOD_S * 0.95, (time.thread_time() - began) / COST_MAX)

    def _point(self) -> Point:
        counts = self._section.counts[R_COUNT::ROUTE_WORDS].tolist()
        used = counts[:NOT_FOUND]
        while used and not used[-1]:
            used.pop()
        found = array("Q", counts[NOT_FOUND:] + used)  # numbers are given from the lowest on
        return time.time(), sys.getallocatedblocks(), resident_bytes(os.getpid()), _oldest(), found

    def told(self, question: dict[str, Any]) -> dict[str, Any]:
        """The topic "memory". {"since_s": Unix time} leaves off what is older.

        {"series": [[Unix time, blocks, resident bytes, collections of the oldest generation, {route: requests}]]}, the
        oldest first. Requests count from the first worker in this place of the page.
        """
        since_s = float(question.get("since_s", 0.0))
        points = self._points
        names: dict[int, str] = {}
        series = []
        for at, blocks, resident, oldest, counts in points:
            if at < since_s:
                continue
            routes: dict[str, int] = {}
            for place, count in enumerate(counts):
                if count:
                    number = (place + NOT_FOUND) % ROUTES
                    name = names.get(number) or names.setdefault(number, self._section.route(number))
                    routes[name] = routes.get(name, 0) + count
            series.append([round(at, 3), blocks, resident, oldest, routes])
        return {"series": series}


def _oldest() -> int:
    return int(gc.get_stats()[2]["collections"])
