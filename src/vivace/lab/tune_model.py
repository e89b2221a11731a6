"""What is known of an application before anything is tried, and what follows from that for other settings. Pure.

The prediction is an upper bound by operational analysis (Denning and Buzen, The Operational Analysis of Queueing
Network Models, 1978): with D seconds of processor time and Z seconds of waiting in a request, N requests in flight, W
workers of T threads, and L seconds of the loader's processor time beside them on C processors

    X <= N / (D + Z)          nobody waits for anybody
    X <= W T / (D + Z)        every thread is in a request
    X <= min(W, C) / D        every worker computes, one thread of it at a time (the GIL)
    X <= C / (D + L)          every processor is busy, the loader's part included

and the ratio of two such bounds is what a change is predicted to be worth. It orders what is tried, and is shown beside
what was measured. It decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.usl import Usl

WAITS_SHARE = 0.2
"""Of a request's time: below, what looks like waiting is the machine's other work and the hand-off."""
WAITS_S = 0.0003
HIT_S = 12e-6
"""Processor time of an answer from the cache, the kernel's part included: an order of magnitude, not measured here."""


@dataclass(slots=True)
class Answer:
    """How one request was answered, asked once."""

    target: str
    status: int
    fields: dict[str, str]
    """By lower-case name; of several of a name the last one."""
    body_bytes: int


@dataclass(slots=True)
class RouteCost:
    """Of the application, one request at a time: shares of the requests, seconds of each."""

    name: str
    share: float
    mean_s: float
    cpu_s: float
    blocked_s: float


@dataclass(slots=True)
class Profile:
    """What was seen with the settings as they were."""

    cpu_s: float
    """Processor time of the server's processes for a request."""
    wait_s: float
    """What a request waits for within the application."""
    loader_s: float = 0.0
    """Processor time of the load for a request."""
    connections: int = 1
    processors: int = 1
    """Of the machine, the load's part included."""
    gil: bool = True
    rate: float = 0.0
    """With all connections."""
    levels: list[tuple[int, float]] = field(default_factory=list)
    """(in flight, answers a second)."""
    usl: Usl | None = None
    collecting: float = 0.0
    """Share of the processor time that went into collections of garbage."""
    objects: bool = True
    """Whether that is known."""
    answers: list[Answer] = field(default_factory=list)
    routes: list[RouteCost] = field(default_factory=list)
    request_bytes: int = 0
    """Of the longest request body."""
    closes: bool = False
    """Connections end with each answer."""
    bottleneck: str = ""
    """Why the load is what limits it, or ""."""

    @property
    def waits(self) -> bool:
        """Whether requests wait for something long enough to let others run meanwhile."""
        return self.wait_s > WAITS_S and self.wait_s > WAITS_SHARE * (self.wait_s + self.cpu_s)

    @property
    def threads_wanted(self) -> int:
        """So many keep one processor busy: 1 + wait / CPU."""
        return math.ceil(1 + self.wait_s / max(self.cpu_s, 1e-6)) if self.waits else 1

    def bound(self, workers: int, threads: int, cpu_scale: float = 1.0, hits: float = 0.0) -> float:
        """The most answers a second. `hits`: the share that a cache would answer."""
        cpu_s = max(1e-7, (1 - hits) * self.cpu_s * cpu_scale + hits * HIT_S)
        wait_s = (1 - hits) * self.wait_s if self.waits else 0.0
        whole_s = cpu_s + wait_s
        at_once = self.processors if not self.gil else min(workers, self.processors)
        return min(
            self.connections / whole_s,
            workers * threads / whole_s if wait_s else math.inf,
            at_once / cpu_s,
            self.processors / (cpu_s + self.loader_s),
        )
