"""Which workers to start, drain and end. Pure: it looks at a roster and says what to do; it acts on nothing.

Rules:

* A worker that is to go (of an older generation, or asked to be replaced) goes when another one serves in its place.
  While that is under way there are at most `surge` workers more than wanted.
* At the start one worker comes first; the others follow when it serves. So what is wrong with the application is said
  once.
* A generation whose first worker cannot start is given up: the older ones serve on (`Roster.give_up`).
* Workers that die young are started again at once the first time, then ever more slowly.
* Scaling follows how busy the workers are: up soon, down late, one at a time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BOOTING = "booting"
SERVING = "serving"
DRAINING = "draining"

YOUNG_S = 1.0
"""A worker that dies before it has served this long may be in a crash loop."""

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 30.0

BUSY_UP = 0.75
"""Workers busier than this on average get help (uWSGI's cheaper-busyness-max is 50%, of threads)."""
BUSY_DOWN = 0.5
"""Fewer workers would still be less busy than this: one may go."""
UP_AFTER_S = 2.0
DOWN_AFTER_S = 30.0


class Member:
    """One worker, as the policy sees it."""

    __slots__ = ("generation", "leaving", "number", "since_s", "state")

    def __init__(self, number: int, generation: int, since_s: float, state: str = BOOTING) -> None:
        self.number = number
        self.generation = generation
        self.since_s = since_s
        """When it came into its state."""
        self.state = state
        self.leaving = ""
        """Why it is to be replaced, if it is."""


class Step:
    """What to do next: `kind` is "start", "drain", or "" for nothing."""

    __slots__ = ("kind", "member", "reason")

    def __init__(self, kind: str = "", member: Member | None = None, reason: str = "") -> None:
        self.kind = kind
        self.member = member
        self.reason = reason


class Roster:
    """The workers there are and the number there should be."""

    def __init__(self, target: int, generation: int = 1) -> None:
        self.target = target
        self.generation = generation
        self.newest = generation
        """The highest generation so far; that which was given up included."""
        self.members: dict[int, Member] = {}
        self.served = False
        """Whether any worker ever served."""
        self.crashes = 0
        self.not_before_s = 0.0
        """No worker is started before this: the last ones died young."""

    @property
    def live(self) -> list[Member]:
        """Those that take requests or soon will."""
        return [member for member in self.members.values() if member.state != DRAINING]

    def outdated(self, member: Member) -> bool:
        """Whether it is to be replaced."""
        return bool(member.leaving) or member.generation != self.generation

    def next_step(self, now_s: float) -> Step:
        """One step towards the target; ask again until there is none."""
        live = self.live
        current = [member for member in live if not self.outdated(member)]
        serving = [member for member in current if member.state == SERVING]
        old = [member for member in live if self.outdated(member)]
        # 1. Too many of the right ones: the youngest go.
        if len(current) > self.target:
            member = max(current, key=lambda one: (one.state == BOOTING, one.since_s))
            return Step("drain", member, "there are more workers than wanted")
        # 2. An old one has its successor.
        if old and (len(serving) + len(old) > self.target or len(serving) >= self.target):
            member = min(old, key=lambda one: (one.state == SERVING, one.since_s))
            return Step("drain", member, member.leaving or "a newer generation serves")
        # 3. Too few.
        room = len(live) < self.target + self.surge(bool(old))
        if len(current) < self.target and room and now_s >= self.not_before_s and (serving or not current):
            return Step("start")
        return Step()

    def surge(self, replacing: bool) -> int:
        """How many more than wanted there may be while some are replaced."""
        return max(1, self.target // 4) if replacing else 0

    def started(self, number: int, now_s: float) -> Member:
        """A worker has been started in place `number`."""
        member = self.members[number] = Member(number, self.generation, now_s)
        return member

    def serves(self, number: int, now_s: float) -> None:
        """The worker says that it serves."""
        member = self.members[number]
        if member.state == BOOTING:
            member.state, member.since_s = SERVING, now_s
        self.served = True

    def drains(self, number: int, now_s: float) -> None:
        """The worker was told to stop, or said that it does."""
        member = self.members[number]
        member.state, member.since_s = DRAINING, now_s

    def died(self, number: int, now_s: float) -> bool:
        """The worker is gone; whether it was a crash that counts towards a crash loop."""
        member = self.members.pop(number)
        if member.state == DRAINING:
            return False
        if member.state == SERVING and now_s - member.since_s >= YOUNG_S:
            self.crashes = 0
            return False
        self.crashes += 1
        if self.crashes > 1:
            self.not_before_s = now_s + self.backoff_s()
        return True

    def backoff_s(self) -> float:
        """How long to wait before the next start."""
        return float(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self.crashes - 2, 20)))

    def reload(self) -> None:
        """Everybody is to be replaced by a new generation."""
        self.newest += 1
        self.generation = self.newest
        self.crashes = 0
        self.not_before_s = 0.0

    @property
    def reloading(self) -> bool:
        """Whether workers of an older generation still take requests."""
        return any(member.generation != self.generation for member in self.live)

    def give_up(self) -> bool:
        """After a failed start: goes back to the older generation, if it serves; whether it did."""
        older = [member.generation for member in self.live if member.generation < self.generation]
        if not older or any(one.generation == self.generation and one.state == SERVING for one in self.live):
            return False
        self.generation = max(older)
        self.crashes = 0
        self.not_before_s = 0.0
        return True

    def wait_s(self, now_s: float) -> float | None:
        """How long until a start that was put off may be tried; None: nothing is put off."""
        return self.not_before_s - now_s if self.not_before_s > now_s else None


class Scaler:
    """From how busy the workers are to how many there should be."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most
        self._up_since_s: float | None = None
        self._down_since_s: float | None = None

    def target(self, now_s: float, target: int, busy: Iterable[float]) -> int:
        """The new target. `busy`: of each serving worker, from 0 to 1. Called about once a second."""
        shares = list(busy)
        if len(shares) < target or self.least == self.most:
            self._up_since_s = self._down_since_s = None
            return target
        load = sum(shares)
        up = load / len(shares) > BUSY_UP and target < self.most
        down = target > self.least and load / (target - 1) < BUSY_DOWN
        self._up_since_s = (self._up_since_s if self._up_since_s is not None else now_s) if up else None
        self._down_since_s = (self._down_since_s if self._down_since_s is not None else now_s) if down else None
        if self._up_since_s is not None and now_s - self._up_since_s >= UP_AFTER_S:
            self._up_since_s = None
            return target + 1
        if self._down_since_s is not None and now_s - self._down_since_s >= DOWN_AFTER_S:
            self._down_since_s = now_s
            return target - 1
        return target
