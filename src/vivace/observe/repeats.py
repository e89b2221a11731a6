"""How often the same work is done again: what a cache would have answered, simulated while the requests pass. Pure.

For each request target the digest of the last response is kept, and for each time to live what a cache would hold. It
is done twice: shared by all clients, and apart for each owner (Cookie and Authorization).

Rules:

* A request that comes while its target is held is a hit; it is an outdated one if the application made other bytes.
  A cache fetches what it does not hold: the first request is never a hit.
* Memory is bounded. With more than TARGETS_MAX targets a share of them is followed, chosen by their hash, and what is
  found of those stands for all (spatial sampling, as in SHARDS, FAST '15). Owners and clients beyond OWNERS_MAX are not
  remembered: their requests count as the first of their kind, so what is told is at least so much.
* `now` is an argument. Hashes and digests are any integers.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TTLS = (1.0, 10.0, 60.0)
"""Seconds. The last kind of cache, "all", keeps until the end."""
NAMES = ("1", "10", "60", "all")
ENDLESS = float("inf")

TARGETS_MAX = 4096
OWNERS_MAX = 16384


class Views:
    """What was found of one route: a caller's, who tells it."""

    __slots__ = ("changed", "changed_private", "looked", "private", "same", "same_private", "shared", "targets")

    def __init__(self) -> None:
        self.looked = self.targets = 0
        self.same = self.changed = self.same_private = self.changed_private = 0
        self.shared = [[0, 0, 0.0] for _ in NAMES]
        """Of each kind: hits, outdated ones among them, seconds that the application spent on the hits."""
        self.private = [[0, 0, 0.0] for _ in NAMES]

    def told(self, window_s: float) -> dict[str, Any]:
        """As plain data; a time to live longer than the window could not show itself."""
        kinds = [number for number, name in enumerate(NAMES) if name == "all" or TTLS[number] <= window_s]
        return {
            "looked": self.looked,
            "targets": self.targets,
            "same": self.same,
            "changed": self.changed,
            "same_private": self.same_private,
            "changed_private": self.changed_private,
            "shared": {NAMES[number]: self.shared[number] for number in kinds},
            "private": {NAMES[number]: self.private[number] for number in kinds},
        }


class Held:
    """Of one target, for one owner or all."""

    __slots__ = ("digest", "held", "until_s")

    def __init__(self, digest: int) -> None:
        self.digest = digest
        self.held = [0] * len(NAMES)
        self.until_s = [0.0] * len(NAMES)


class Repeats:
    """Follows the targets of one process."""

    def __init__(self, targets_max: int = TARGETS_MAX, owners_max: int = OWNERS_MAX) -> None:
        self._targets_max = targets_max
        self._owners_max = owners_max
        self._mask = 0
        self._shared: dict[int, Held] = {}
        self._private: dict[tuple[int, int], Held] = {}
        self._clients: dict[tuple[int, int], int] = {}

    @property
    def share(self) -> float:
        """Of the targets that are followed."""
        return 1 / (self._mask + 1)

    def follows(self, target: int) -> bool:
        """Whether this target is among those that are followed."""
        return not target & self._mask

    def note(
        self, views: Views, target: int, owner: int, client: int, digest: int | None, seconds: float, now: float
    ) -> bool:
        """A response to a followed target; counts it in `views`. True: this client has had the same bytes before.

        `digest`: None for one that says "as before" (304). `seconds`: what the application took.
        """
        views.looked += 1
        found = self._shared.get(target)
        if found is None:
            if digest is None:
                return False
            found = self._shared[target] = Held(digest)
            views.targets += 1
            self._hold(found, digest, now)
        elif self._again(found, views.shared, digest, seconds, now):
            views.same += 1
        else:
            views.changed += 1
        self._note_owner(views, (target, owner), digest, seconds, now)
        if len(self._shared) > self._targets_max:
            self._thin_out()
        key = target, client
        if digest is None:
            return False
        before = self._clients.get(key)
        if before is not None or len(self._clients) < self._owners_max:
            self._clients[key] = digest
        return before == digest

    def _note_owner(self, views: Views, key: tuple[int, int], digest: int | None, seconds: float, now: float) -> None:
        found = self._private.get(key)
        if found is not None:
            if self._again(found, views.private, digest, seconds, now):
                views.same_private += 1
            else:
                views.changed_private += 1
        elif digest is not None and len(self._private) < self._owners_max:
            found = self._private[key] = Held(digest)
            self._hold(found, digest, now)

    def _again(self, found: Held, kinds: list[list[Any]], digest: int | None, seconds: float, now: float) -> bool:
        """Counts what each kind of cache would have done, and whether the response is the one before."""
        if digest is None:
            digest = found.digest
        held, until_s = found.held, found.until_s
        for number, counts in enumerate(kinds):
            if now < until_s[number]:
                counts[0] += 1
                counts[1] += held[number] != digest
                counts[2] += seconds
            else:
                held[number] = digest
                until_s[number] = now + TTLS[number]
        same = found.digest == digest
        found.digest = digest
        return same

    @staticmethod
    def _hold(found: Held, digest: int, now: float) -> None:
        found.held = [digest] * len(NAMES)
        found.until_s = [*(now + ttl_s for ttl_s in TTLS), ENDLESS]

    def _thin_out(self) -> None:
        """Follows half of the targets from now on, or fewer."""
        while len(self._shared) > self._targets_max:
            self._mask = self._mask * 2 + 1
            self._shared = {target: held for target, held in self._shared.items() if not target & self._mask}
        self._private = {key: held for key, held in self._private.items() if not key[0] & self._mask}
        self._clients = {key: digest for key, digest in self._clients.items() if not key[0] & self._mask}
