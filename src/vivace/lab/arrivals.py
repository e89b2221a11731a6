"""When each request is due, and which one it is. Pure but for the seeded draw.

Rules: a plan is an iterator of (due, shot): seconds on the clock of the generator, or 0.0 for "as soon as a connection
is free" (closed loop). It ends with (inf, the last shot), which is never due. The same load, seed and process give the
same plan.
"""

from __future__ import annotations

from itertools import cycle, repeat
from math import inf
from random import Random

from vivace.lab.plan import CLOSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeVar

    from vivace.lab.plan import Load

    Kind = TypeVar("Kind")

DRAWN = 10_007
"""Choices by weight that are drawn once and go round: a prime, so as not to fall in step with the connections.
More where there are more shots than that: of a log's mix each should have its turn."""


def planned(load: Load, shots: Sequence[Kind], begin_s: float, process: int = 0) -> Iterator[tuple[float, Kind]]:
    """The plan of one of the load's processes; `shots` are those of the load, prepared by the caller."""
    draw = Random(load.seed * 1009 + process)
    if load.at_times:
        return _replayed(load, shots, begin_s, process)
    weights = [shot.weight for shot in load.shots]
    drawn = cycle(draw.choices(shots, weights, k=max(DRAWN, 4 * len(shots) + 1)) if len(shots) > 1 else shots)
    if load.mode == CLOSED:
        return zip(repeat(0.0), drawn, strict=False)
    return _arriving(load, drawn, begin_s, process, draw)


def _replayed(load: Load, shots: Sequence[Kind], begin_s: float, process: int) -> Iterator[tuple[float, Kind]]:
    for at_s, index in load.at_times[process :: load.processes]:
        if at_s >= load.seconds:
            break
        yield begin_s + at_s, shots[index]
    yield inf, shots[0]


def _arriving(
    load: Load, drawn: Iterator[Kind], begin_s: float, process: int, draw: Random
) -> Iterator[tuple[float, Kind]]:
    rate = load.rate / load.processes
    end_s = begin_s + load.seconds
    if load.arrivals == "even":
        # The processes take turns.
        due_s, count = begin_s + process / load.rate, 0
        while due_s < end_s:
            yield due_s, next(drawn)
            count += 1
            due_s = begin_s + process / load.rate + count / rate
    else:
        due_s = begin_s + draw.expovariate(rate)
        while due_s < end_s:
            yield due_s, next(drawn)
            due_s += draw.expovariate(rate)
    yield inf, next(drawn)
