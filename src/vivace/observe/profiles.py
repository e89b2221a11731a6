"""Profiles as plain data: what the profilers of several workers tell (`Profiler.told`), as one of the same shape.

A profile is {"from_s", "to_s" (Unix time), "looks", "cost_s", "late_s", "frames": [[function, file, line]], "stacks":
[[frame numbers, outermost first]], "samples": [[route, state, stack number, seconds]], "workers"}.

Rules: pure. Seconds add up over workers: two threads that wait for a second each are two seconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Profile = dict[str, Any]
    Place = tuple[str, str, int]


def merged(answers: Iterable[Profile]) -> Profile:
    """One profile of all of them; what is none ({"error"}) is left out."""
    told = [answer for answer in answers if "samples" in answer]
    frames: dict[Place, int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    sums: dict[tuple[str, str, int], float] = {}
    for answer in told:
        places = [frames.setdefault((str(f), str(file), int(line)), len(frames)) for f, file, line in answer["frames"]]
        numbers = [
            stacks.setdefault(tuple(places[frame] for frame in stack), len(stacks)) for stack in answer["stacks"]
        ]
        for route, state, stack, seconds in answer["samples"]:
            key = str(route), str(state), numbers[stack]
            sums[key] = sums.get(key, 0.0) + seconds
    return {
        "from_s": min((answer["from_s"] for answer in told), default=0.0),
        "to_s": max((answer["to_s"] for answer in told), default=0.0),
        **{name: sum(answer[name] for answer in told) for name in ("looks", "cost_s", "late_s")},
        "workers": len(told),
        "frames": [list(place) for place in frames],
        "stacks": [list(stack) for stack in stacks],
        "samples": [[*key, seconds] for key, seconds in sums.items()],
    }


def chosen(profile: Profile, wanted: Callable[[str, str], bool]) -> Profile:
    """The samples of which `wanted(route, state)` holds; frames and stacks stay, used or not."""
    samples = [sample for sample in profile["samples"] if wanted(sample[0], sample[1])]
    return {**profile, "samples": samples}
