"""Whether a change pays: the old value and the new one in turn, in mirrored pairs of windows. Pure: no clock.

A window is a stretch of time under one value. A pair is two windows side by side, old and new; every second pair is the
other way round (A B, B A, A B ...), so that a load that grows or falls steadily treats both alike. What a pair says is
one number, its *gain*: for each route the logarithm of throughput by response time (Kleinrock's power), new less old,
weighted by how many requests were inside. Where clients wait for their answers before they ask again the two move
together; where they come by themselves, and nothing is full, the response time moves alone.

Rules
* Kept is what is shown: the mean gain of the pairs is above GAIN_MIN and its lower bound above 0. All else goes back.
* A change that harms ends its trial at once: a pair that lost HARM of its throughput, where those before it do not
  outweigh that; responses that failed; or two pairs that lost as much in all. One alone would say that of any change,
  where a queue grows: it is waited longer for the answers of the second window.
* A change may not help some at the cost of others: no route with a part of those inside may have lost ROUTE_HARM,
  which is 7% of its throughput where clients wait for answers.
* Where nothing is shown within PAIRS_MAX, or nothing is to be seen after PAIRS_SEEN, the answer is no.

The bound is Student's, one-sided, 99% at each look: it is looked at up to seven times. `tests/test_trial.py` has what
that gives: how often noise alone passes, and how often a gain of a tenth is found.
"""

from __future__ import annotations

from math import log, sqrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Counts = tuple[int, float]

PAIRS_MIN, PAIRS_SEEN, PAIRS_MAX = 2, 4, 8
STUDENT = {2: 31.8, 3: 6.96, 4: 4.54, 5: 3.75, 6: 3.36, 7: 3.14, 8: 3.0}
"""By pairs: the quantile 0.99 of Student's distribution with one degree of freedom less."""
GRAIN = 0.01  # windows that agree better than this are not infinitely certain
GAIN_MIN = 0.04
"""What is too small to be worth a change: 2% more throughput, where clients wait for answers."""
HARM = 0.25  # a fifth
FAILED = 0.01  # part of the responses that failed, more than under the old value
FAILED_MIN = 3  # ... and at least so many
ROUTE_HARM = 0.15
ROUTE_PART = 0.05
COUNT_MIN = 5  # requests of a route in a window; fewer say nothing

KEPT, UNDONE, GONE = "kept", "undone", "gone"


class Window:
    """What happened in a stretch of time. `routes`: by number, how many were answered and the sum of their response
    times in seconds."""

    __slots__ = ("answers", "failed", "routes", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.routes: dict[int, Counts] = {}
        self.answers = self.failed = 0

    def add(self, seconds: float, routes: Iterable[tuple[int, int, float]], failed: int) -> None:
        """More of it: (route, answers, response times), and how many failed or were refused."""
        self.seconds += seconds
        self.failed += failed
        for number, count, response_s in routes:
            had, had_s = self.routes.get(number, (0, 0.0))
            self.routes[number] = had + count, had_s + response_s
            self.answers += count

    @property
    def failed_share(self) -> float:
        return self.failed / max(1, self.answers + self.failed)


def gains(old: Window, new: Window) -> list[tuple[int, float, float, float]]:
    """Of each route that both windows know: (route, how many requests were inside on average, its gain in throughput,
    and in response time)."""
    found = []
    for number, (count, response_s) in old.routes.items():
        other, other_s = new.routes.get(number, (0, 0.0))
        if min(count, other) >= COUNT_MIN and min(response_s, other_s) > 0.0:
            inside = (response_s / old.seconds + other_s / new.seconds) / 2
            faster = log(other / new.seconds) - log(count / old.seconds)
            found.append((number, inside, faster, log(response_s / count) - log(other_s / other)))
    return found


class Trial:
    """One change on trial. `value` is what is to be in force in the next window."""

    __slots__ = ("_routes", "_window", "new", "old", "outcome", "pairs")

    def __init__(self, old: float, new: float) -> None:
        self.old, self.new = old, new
        self.pairs: list[float] = []
        """Their gains."""
        self.outcome = ""
        """KEPT, UNDONE, or GONE: the load has gone. "": it goes on."""
        self._window: Window | None = None  # the first of the present pair
        self._routes: dict[int, tuple[float, float]] = {}  # inside, inside * gain

    @property
    def _new_first(self) -> bool:
        return len(self.pairs) % 2 == 1

    @property
    def value(self) -> float:
        """Old or new; the old one once the trial has ended without success."""
        if self.outcome:
            return self.new if self.outcome == KEPT else self.old
        return self.new if self._new_first == (self._window is None) else self.old

    def add(self, window: Window) -> None:
        """A window under `value` has ended."""
        first, self._window = self._window, None
        if first is None:
            self._window = window
            return
        old, new = (window, first) if self._new_first else (first, window)
        found = gains(old, new)
        inside = sum(part for _, part, _, _ in found)
        if not inside:
            self.outcome = UNDONE if new.failed_share > old.failed_share + FAILED else GONE
            return
        for number, part, faster, sooner in found:
            had, had_gain = self._routes.get(number, (0.0, 0.0))
            self._routes[number] = had + part, had_gain + part * (faster + sooner)
        self.pairs.append(sum(part * (faster + sooner) for _, part, faster, sooner in found) / inside)
        self.outcome = self._judge(old, new, sum(part * faster for _, part, faster, _ in found) / inside)

    @property
    def gain(self) -> float:
        """The mean of the pairs."""
        return sum(self.pairs) / len(self.pairs) if self.pairs else 0.0

    @property
    def reach(self) -> float:
        """How far the bound of the mean is from it."""
        count = len(self.pairs)
        if count < PAIRS_MIN:
            return float("inf")
        mean = self.gain
        spread = sqrt(sum((pair - mean) ** 2 for pair in self.pairs) / (count - 1)) + GRAIN
        return STUDENT[count] * spread / sqrt(count)

    def _judge(self, old: Window, new: Window, faster: float) -> str:
        if new.failed >= FAILED_MIN and new.failed_share > old.failed_share + FAILED:
            return UNDONE
        mean, reach, count = self.gain, self.reach, len(self.pairs)
        if mean < 0.0 and (faster < -HARM or (count > 1 and mean < -HARM)):
            return UNDONE
        if mean > GAIN_MIN and mean - reach > 0.0:
            if not self._harmed():
                return KEPT
            return UNDONE if count >= PAIRS_MAX else ""  # a route has fewer answers, so more noise, than all of them
        if count >= PAIRS_MAX or mean + reach < GAIN_MIN or (count >= PAIRS_SEEN and mean < GAIN_MIN):
            return UNDONE
        return ""

    def _harmed(self) -> bool:
        """Whether a route pays for the others."""
        whole = sum(inside for inside, _ in self._routes.values())
        return any(
            inside > ROUTE_PART * whole and weighed < -ROUTE_HARM * inside for inside, weighed in self._routes.values()
        )
