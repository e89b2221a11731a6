"""What this worker tells of its memory and its collections: the topics "memory", "gc" and "tracemalloc".

Only the series of "memory" is kept all the time; what the others need is imported when they are asked. One inquiry at a
time: two would measure each other.
"""

from __future__ import annotations

import gc
import sys
from threading import Lock

from vivace.observe import uncollected
from vivace.observe.desk import aside
from vivace.observe.growth import Growth
from vivace.observe.layout import R_COUNT, ROUTE_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.loop import Loop
    from vivace.observe.collector import CollectorWatch

    Told = dict[str, Any]


def add_memory_topics(loop: Loop, watch: CollectorWatch) -> None:
    """Has `loop` keep the series, and its plan answer."""
    growth = loop.growth = Growth(loop.section)
    guard = Lock()

    def one(answer: Callable[[Told], Told]) -> Callable[[Told], Told]:
        def alone(question: Told) -> Told:
            if not guard.acquire(blocking=False):
                return {"error": "it is busy with another inquiry into its memory; ask again when that is over"}
            try:
                return answer(question)
            finally:
                guard.release()

        return alone

    def memory(question: Told) -> Told:
        return {**growth.told(question), **(_collected() if question.get("collect") else {})}

    def collections(question: Told) -> Told:
        from vivace.observe.collecting import answer

        return answer(question, watch, loop.section, lambda: served(loop))

    def allocations(question: Told) -> Told:
        from vivace.observe.allocations import trace

        return trace(question, lambda: sum(served(loop)))

    loop.plan.topics.update(
        {"memory": aside(one(memory)), "gc": aside(one(collections)), "tracemalloc": aside(one(allocations))}
    )


def served(loop: Loop) -> list[int]:
    """Requests so far of each route by its number, those included that are not counted in the page yet. Any thread."""
    counts: list[int] = loop.section.counts[R_COUNT::ROUTE_WORDS].tolist()
    if loop.tally is not None:
        for row in loop.tally.rows.copy():
            counts[(row.route.became or row.route).number] += 1
        for route in list(loop.routes.templates.values()):
            counts[route.number] += route.stats.count
    return counts


def _collected() -> Told:
    """What a collection takes away, now."""
    before = sys.getallocatedblocks()
    garbage = gc.collect()
    return {
        "collected": {"enabled": uncollected.is_on(), "blocks": [before, sys.getallocatedblocks()], "garbage": garbage}
    }
