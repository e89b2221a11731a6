"""One examination: the evidence with what the rules ask of it again and again. Pure.

Rules: whatever is computed here stands for the stretch of time of the evidence. Per request means: on average over all
requests of all routes, so that what a route would gain and what the server would gain are the same scale.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property

from vivace.explain.gain import Flow, fitted
from vivace.explain.spots import WAITING, Spot, spots_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.evidence import Evidence

LOOP_S = 30e-6
"""What the server itself takes of a processor for a request, about."""
HANDED_OVER = "threads"
"""The state of a thread that waits for the result of others."""
RESULTS = re.compile(r"(?:^|/)(?:concurrent/futures/_base|multiprocessing/pool|asyncio/runners|asgiref/sync)\.py$")
READY_PART = 0.1
"""Where a thread computes for so much of the time that nobody knows about, it waited for a core then."""
IN_REQUEST_MIN = 0.02
SCALE_MAX = 2.0
FITTED_MIN = 0.6


class Case:
    """`evidence` with what follows from it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = replace(evidence, profile=_sorted_out(evidence.profile))
        self.figures: dict[str, Any] = evidence.figures
        self.routes: dict[str, dict[str, Any]] = evidence.figures["routes"]
        self.sources: dict[str, Any] = evidence.sources
        self.rate: float = evidence.figures["rate"]

    @property
    def workers(self) -> int:
        return max(1, len(self.evidence.snapshot["workers"]))

    @property
    def threads_max(self) -> int:
        """Of one worker."""
        return max(1, max((row["threads_max"] for row in self.evidence.snapshot["workers"]), default=1))

    @property
    def cores(self) -> int:
        return max(1, int(self.evidence.machine["cores"]))

    @property
    def cpu_cores(self) -> float:
        """Processors that the workers use together."""
        return float(self.figures["cpu"] or 0.0)

    @cached_property
    def busiest(self) -> float:
        """Of a processor, the worker that uses most of one."""
        return max((row["cpu"] or 0.0 for row in self.figures["workers"]), default=0.0)

    @cached_property
    def waits(self) -> dict[str, float]:
        """Threads in requests, on average, by what they do (`observe.threads.CAUSES`); empty: nobody looked."""
        found: dict[str, float] = {}
        for row in self.evidence.snapshot["workers"]:
            system = row["system"]
            for cause, share in system.get("waits", {}).items():
                found[cause] = found.get(cause, 0.0) + share * system.get("in_request", 0.0)
        if self._handed_over and found.get("lock"):  # seen from outside it is a lock, too
            found["other"] = found.get("other", 0.0) + found["lock"] * self._handed_over
            found["lock"] *= 1.0 - self._handed_over
        return found

    @cached_property
    def _handed_over(self) -> float:
        """Of the time in locks, what is waited for results of the application's own threads."""
        locked, handed = self.sampled_s("lock"), self.sampled_s(HANDED_OVER)
        return handed / (locked + handed) if handed else 0.0

    @property
    def in_request(self) -> float:
        """Threads in requests, on average."""
        return sum(self.waits.values())

    def wait_share(self, *causes: str) -> float:
        """Of the time of threads in requests, what they spend so; 0 where next to none are."""
        if self.in_request < IN_REQUEST_MIN:
            return 0.0
        return sum(self.waits.get(cause, 0.0) for cause in causes) / self.in_request

    # Of a request, on average.

    @property
    def cpu_s(self) -> float:
        return self.cpu_cores / self.rate if self.rate else 0.0

    @cached_property
    def wait_s(self) -> float:
        """Time in calls that wait for something outside of the worker: as threads are seen from outside or, where that
        is more, in the profile, whose lines are what can be saved."""
        if not self.rate:
            return 0.0
        told = self.sampled_s(*WAITING) / self.profile_s / self.rate if self.profile_s else 0.0
        if self.in_request >= IN_REQUEST_MIN:
            return max(told, sum(self.waits.get(cause, 0.0) for cause in WAITING) / self.rate)
        return max(told, float(self.figures["mean_s"] * self.figures["shares"]["blocked"]))

    @cached_property
    def lock_s(self) -> float:
        """How long a request holds the lock that others wait for: all but one of those who want it wait."""
        waiting = self.waits.get("lock", 0.0)
        if not self.rate or self.wait_share("lock") < 0.05:
            return 0.0
        # Of n who want it n - 1 wait. So it is held all the time where more than a few do.
        return min(1.0, waiting) * self.workers / self.rate

    @cached_property
    def clients(self) -> float:
        """Requests in the server or about to be sent."""
        if self.evidence.load is not None and self.evidence.load["clients"]:
            return float(self.evidence.load["clients"])
        return max(float(self.rate * self.figures["mean_s"]), 0.01)

    @cached_property
    def flow(self) -> Flow:
        """The server as it is, for the models."""
        lock_s = self.lock_s
        think_s = 0.0
        if self.evidence.load is not None and self.rate:
            # What lies between else, on a machine with other work, is none of the clients' doing.
            think_s = self.evidence.load.get("think_s", 0.0) + self.evidence.load.get("loader_cores", 0.0) / self.rate
        wait_s = max(0.0, self.wait_s - lock_s) if lock_s else self.wait_s
        flow = Flow(
            clients=self.clients,
            cpu_s=max(self.cpu_s, 1e-6),
            wait_s=wait_s,
            lock_s=lock_s,
            think_s=think_s,
            workers=self.workers,
            threads=self.threads_max,
            cores=self.cores_to_have,
        )
        # A closed loop shows how fast it can be: where processors are short, computing takes longer than its time.
        short = self.busiest + self.waits.get("ready", 0.0) > FITTED_MIN
        return fitted(flow, self.rate) if short and self.evidence.load is not None else flow

    @property
    def cores_to_have(self) -> float:
        """Processors that the workers could use together, with what else runs here: what they use and what is idle; a
        half of all of them where others are in the way, for the system shares them out."""
        return float(max(self.cpu_cores + self.idle_cores, self.cores / 2))

    @property
    def others_cores(self) -> float:
        """Processors that neither the server nor the load uses, and that are busy."""
        loader = float((self.evidence.load or {}).get("loader_cores", 0.0))
        return max(0.0, float(self.evidence.machine.get("busy_cores", 0.0)) - self.cpu_cores - loader)

    @property
    def idle_cores(self) -> float:
        return float(self.evidence.machine.get("idle_cores") or 0.0)

    # The profile.

    @cached_property
    def spots(self) -> list[Spot]:
        """Of all routes; empty where there is no profile."""
        if self.evidence.profile is None:
            return []
        return spots_of(self.evidence.profile, self.sources)

    @cached_property
    def profile_s(self) -> float:
        """How long it was looked."""
        profile = self.evidence.profile
        return max(1e-3, float(profile["to_s"] - profile["from_s"])) if profile is not None else 0.0

    @cached_property
    def scale(self) -> float:
        """Seconds of the processor for one of the profile's: what is quicker than its looks are it sees too little."""
        sampled = self.sampled_s("running") / self.profile_s if self.profile_s else 0.0
        spent = max(0.0, self.cpu_cores - self.rate * LOOP_S)
        return min(SCALE_MAX, max(1.0 / SCALE_MAX, spent / sampled)) if sampled > IN_REQUEST_MIN else 1.0

    def sampled_s(self, *states: str, route: str = "") -> float:
        """Seconds of the profile in these states."""
        if self.evidence.profile is None:
            return 0.0
        rows = self.evidence.profile["samples"]
        return float(sum(row[3] for row in rows if row[1] in states and (not route or row[0] == route)))

    def cpu_of(self, spot: Spot) -> float:
        """What the spot computes for a request, on average over all of them."""
        return self._per_request(spot.in_states("running")) * self.scale

    def wait_of(self, spot: Spot) -> float:
        """... and waits."""
        return self._per_request(spot.in_states(*WAITING))

    def lock_of(self, spot: Spot) -> float:
        """... and waits for locks."""
        return self._per_request(spot.in_states("lock"))

    def _per_request(self, seconds: float) -> float:
        return seconds / self.profile_s / self.rate if self.rate and self.profile_s else 0.0

    def of_its_route(self, route: str) -> float:
        """For one request on average over all: how many of this route. Its inverse makes of the former the latter."""
        return float(self.routes[route]["rate"]) / self.rate if route in self.routes and self.rate else 0.0


def _sorted_out(profile: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same, with "ready" where a thread had no core: at a place where it computes at other times, so it is no wait
    of the application's; and HANDED_OVER where it waits for what it gave to other threads, by a lock that nobody is
    kept from."""
    if profile is None:
        return None
    frames = [tuple(frame) for frame in profile["frames"]]
    places = [tuple(frames[number] for number in stack) for stack in profile["stacks"]]
    computing: dict[tuple[str, Any], float] = {}
    for route, state, stack, seconds in profile["samples"]:
        if state in ("running", "gil"):
            computing[route, places[stack]] = computing.get((route, places[stack]), 0.0) + seconds
    rows = []
    for route, state, stack, seconds in profile["samples"]:
        ready = state == "other" and computing.get((route, places[stack]), 0.0) > seconds * READY_PART
        handed = state == "lock" and any(RESULTS.search(file) for _, file, _ in places[stack])
        rows.append([route, "ready" if ready else HANDED_OVER if handed else state, stack, seconds])
    return {**profile, "samples": rows}
