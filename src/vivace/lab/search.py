"""The highest rate that a server serves while its goals hold.

`Search` decides (pure): rates double until one fails or halve until one holds, then the gap is halved (by its geometric
mean) until it is no wider than `tolerance`. `search` makes the loads and judges them.

What noise does: a rate that fails is tried again, and has failed when two tries have; one that holds at the first try
holds, unless it would be the answer: that one has to hold twice, of three tries. So a neighbour on the machine that
wakes up for a second costs a try and not the answer. Each try is an open loop whose begin is cut off as in any load;
besides the goals, what came back must be at least SERVED of what was sent, for else a queue grows and only the length
of the try says how slow the slowest one is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vivace.lab.goals import missed
from vivace.lab.plan import CLOSED, OPEN, RATE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from vivace.lab.goals import Goal
    from vivace.lab.plan import Load
    from vivace.lab.result import Result

TOLERANCE: Final = 0.05
SERVED: Final = 0.97
RATE_MIN: Final = 0.5
"""Below one request in two seconds there is nothing to search for."""
TRIES_MAX: Final = 40
BEGIN_SHARE: Final = 0.5
"""Of the rate in closed loop, which is more than any that holds a goal for long."""


@dataclass(slots=True)
class Search:
    """Which rate to try next, from how the others went."""

    first: float
    tolerance: float = TOLERANCE
    _held: dict[float, int] = field(default_factory=dict)
    _failed: dict[float, int] = field(default_factory=dict)

    @property
    def low(self) -> float:
        """The highest rate that holds so far, below all that have failed; 0 of none."""
        return max((rate for rate in self._held if rate < self.high and not self._lost(rate)), default=0.0)

    @property
    def high(self) -> float:
        """The lowest rate that has failed."""
        return min((rate for rate in self._failed if self._lost(rate)), default=float("inf"))

    def _lost(self, rate: float) -> bool:
        return self._failed.get(rate, 0) >= 2

    def tell(self, rate: float, held: bool) -> None:
        """How a try went."""
        counts = self._held if held else self._failed
        counts[rate] = counts.get(rate, 0) + 1

    def next(self) -> float | None:
        """The next rate to try; None: `low` is the answer."""
        if sum(self._held.values()) + sum(self._failed.values()) >= TRIES_MAX:
            return None
        for rate, count in self._failed.items():
            if count == 1 and not self._held.get(rate) and rate < self.high:
                return rate  # once more
        low, high = self.low, self.high
        if not low:
            rate = self.first if high == float("inf") else high / 2
            return rate if rate >= RATE_MIN else None
        if high == float("inf"):
            return low * 2 if low * 2 <= RATE_MAX else None
        if high / low > 1 + self.tolerance:
            return float((low * high) ** 0.5)
        return low if self._held[low] < 2 else None


@dataclass(slots=True)
class Try:
    """One rate, as it went."""

    rate: float
    result: Result
    missed: list[str]
    """Why it failed; empty: it holds."""


@dataclass(slots=True)
class Found:
    """What a search came to."""

    rate: float
    """0: none holds."""
    goals: list[str]
    tries: list[Try]
    loader_limited: bool
    """The lowest rate that failed is one that the loader could not make: the server may do more."""

    @property
    def best(self) -> Result | None:
        """The last try of the rate that was found."""
        return next((one.result for one in reversed(self.tries) if one.rate == self.rate and not one.missed), None)


def search(
    fire: Callable[[Load], Result], load: Load, goals: list[Goal], on_try: Callable[[Try], None] = lambda one: None
) -> Found:
    """Makes loads of `load.seconds` each until the answer is known. `fire` makes one."""
    if load.mode == OPEN:
        first = load.rate
    else:
        closed = fire(replace(load, mode=CLOSED, seconds=min(load.seconds, 2.0), warmup_s=None))
        if not closed.total.answers:
            on_try(Try(0.0, closed, missed(goals, closed)))
            return Found(0.0, [goal.text for goal in goals], [Try(0.0, closed, missed(goals, closed))], False)
        first = max(closed.rate * BEGIN_SHARE, RATE_MIN)
    decide = Search(first)
    tries: list[Try] = []
    while (rate := decide.next()) is not None:
        result = fire(replace(load, mode=OPEN, rate=rate))
        why = missed(goals, result)
        sent = result.loader.sent / load.seconds
        if result.rate < SERVED * min(sent, rate):
            why.append(f"only {result.rate:.0f} of {rate:.0f} a second were answered in time")
        decide.tell(rate, not why)
        tries.append(Try(rate, result, why))
        on_try(tries[-1])
    high = decide.high
    limited = any(one.rate == high and one.missed and one.result.loader.bottleneck for one in tries)
    return Found(decide.low, [goal.text for goal in goals], tries, limited)
