"""One route: its lane, and what the policy remembers of it. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INLINE, POOL, HEAVY, LOOP = 0, 1, 2, 3  # LOOP is preset, not learned: on the loop's thread whatever comes
LANES = ("inline", "pool", "heavy", "loop")

CLEAN_SAMPLES = 16  # cheaper ones in a row that first bring a route down

TWIN_SAMPLES = 8  # before the first trial whether calls that compute can do so side by side


class Route:
    """One route template and what it has cost so far. The loop and the runner read the first five."""

    app: object = None  # what answers instead of the application
    annotated = True  # whether its requests get ids, traces, timings
    logged = True
    __slots__ = (
        "allowance_s",
        "away",
        "became",
        "blocked_s",
        "clean",
        "clean_needed",
        "cpu_s",
        "doubt",
        "frees",
        "ignore",
        "lane",
        "level",
        "name",
        "number",
        "overtakes",
        "peak",
        "renames",
        "samples",
        "share",
        "sources",
        "stats",
        "strikes",
        "suspected",
        "twin_next",
        "twin_trial",
        "twin_wait",
        "wall_s",
        "watch",
    )

    def __init__(self, name: str, allowance_s: float) -> None:
        # read by the loop, the runner and the monitor
        self.name = name
        self.number = 0  # from RouteTable
        self.stats: Any = None  # of whoever counts what it does
        # names that the application gives; see RouteTable.apply_renames
        self.renames: Any = None
        self.became: Route | None = None  # the one with that name, which takes its place
        self.sources: list[Route] | None = None  # of such a one: whose place it took
        self.lane = INLINE
        self.away = 0.0
        """HEAVY only. 0: inline. Else on a pooled thread, and the share of the GIL it books there: 1 is alone."""
        self.watch = True  # whether to read the thread's CPU time around the next call
        self.allowance_s = allowance_s
        """Inline: a call that has run this long is overtaken. Away: it no longer holds up those behind it."""
        # moving averages, seconds
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self.blocked_s = 0.0
        self.samples = 0
        self.share = 0.0  # of the GIL, before what `away` makes of it
        # hysteresis
        self.level = 0
        self.strikes = 0.0  # samples above the level; each other one takes 1 / FORGET_SAMPLES away
        self.suspected = False  # watched because a call was slow while nobody watched
        self.doubt = 0  # slow calls that the next suspicion takes, beyond one
        self.ignore = 0  # ... and how many of them are still to come
        self.overtakes = 0  # calls overtaken since one ended
        self.clean = 0  # samples below the level (at level 0: at it), in a row
        self.peak = 0  # the highest level among those
        self.clean_needed = CLEAN_SAMPLES
        # does its computing release the GIL?
        self.frees = False
        self.twin_wait = self.twin_next = TWIN_SAMPLES  # samples to the next trial, and from there to the one after
        self.twin_trial = 0  # samples left of the present one

    @property
    def settled(self) -> bool:
        """It computes on the loop's thread, and is known for that: the monitor need not look at it more closely."""
        return self.level == 1 and not self.strikes and not self.overtakes

    def rename(self, name: str) -> None:
        """The application knows this route as `name`, "GET /users/<int:id>". Any thread; soon."""
        if self.renames is not None:
            self.renames.append((self, name))

    def __repr__(self) -> str:
        return (
            f"<Route {self.name!r} {LANES[self.lane]} away={self.away:.2f} n={self.samples}"
            f" ms: wall={self.wall_s * 1e3:.3f} cpu={self.cpu_s * 1e3:.3f} blocked={self.blocked_s * 1e3:.3f}>"
        )
