"""The profiler of a worker: what samples its requests, and what is told of that at the desk."""

from __future__ import annotations

from threading import Lock

from vivace.observe.desk import aside
from vivace.observe.sampling import Profiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.loop import Loop
    from vivace.worker.call_profile import CallProfiles


def make_profiler(loop: Loop) -> Profiler:
    """What samples the requests of `loop`, which answers the topics "profile", "cprofile" and "slow" by it."""
    profiler = Profiler(loop.section, loop.monitor)
    loop.plan.topics["profile"] = aside(profiler.told)
    loop.plan.topics["cprofile"] = aside(_calls(loop))
    loop.slow.tree_of = profiler.tree_of
    return profiler


def _calls(loop: Loop) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What answers the topic "cprofile"; imported when that is asked."""
    made: list[CallProfiles] = []
    guard = Lock()

    def told(question: dict[str, Any]) -> dict[str, Any]:
        from vivace.worker.call_profile import CallProfiles

        with guard:
            if not made:
                made.append(CallProfiles(loop))
        return made[0].told(question)

    return told
