"""What was purged, and what that concerns. Pure.

A purge is remembered, not only done: what another worker or machine kept before it, or an application was making while
it came, may turn up afterwards. Kinds: `all`; `tag`, what carries it (Surrogate-Key, Cache-Tag); `path`, every response
of a path, whatever its host and query, or with `*` at its end every path that begins so; with a query, that one alone;
`key`, one key of the cache and what varies under it.
"""

from __future__ import annotations

from _thread import allocate_lock

from vivace.cache.keys import path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeVar

    from vivace.cache.memory import Node

    Pair = tuple["Purge | None", "Purge | None"]
    Place = TypeVar("Place", str, tuple[str, str])

PURGES_MAX = 8192
PREFIXES_MAX = 128
"""Patterns; those that end in * are looked through one by one. Older ones are remembered as one of everything that was
kept before them."""

NONE: Pair = (None, None)

KINDS = ("path", "tag", "all", "key")


class Purge:
    """One purge, at Unix time `time_s`. `soft`: what it concerns is stale now, and not gone."""

    __slots__ = ("kind", "number", "pattern", "soft", "time_s")

    def __init__(self, kind: str, pattern: str, time_s: float, *, soft: bool = False, number: int = 0) -> None:
        self.kind = kind
        self.pattern = pattern
        self.time_s = time_s
        self.soft = soft
        self.number = number

    def fits(self, key: str, tags: Sequence[str]) -> bool:
        """Whether it concerns what is kept under `key` ("GET https://host/path?query") with these `tags`."""
        kind, pattern = self.kind, self.pattern
        if kind == "all":
            return True
        if kind == "tag":
            return pattern in tags
        if kind == "key":
            return key == pattern or key.startswith(pattern + "\n")
        if not key.startswith("GET "):
            return False  # what the application keeps itself
        target = path_of(key)
        if pattern.endswith("*"):
            return target.startswith(pattern[:-1])
        return target == pattern or ("?" not in pattern and target.partition("?")[0] == pattern)

    def chosen(self, nodes: Iterable[Node]) -> list[Node]:
        """Those that it concerns. There may be very many, so few are looked at closely."""
        kind, pattern = self.kind, self.pattern
        if kind == "tag":
            return [node for node in nodes if pattern in getattr(node.value, "tags", ())]
        part = "" if kind == "all" else pattern.removesuffix("*") if kind == "path" else pattern
        return [node for node in nodes if part in node.key and self.fits(node.key, ())]


class Purges:
    """The last ones, by what they concern: however many there were, a look takes a few microseconds. Any thread."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._exact: dict[tuple[str, str], Pair] = {}
        """(kind, pattern) -> the newest hard and the newest soft one, in the order of the newest of both."""
        self._prefixes: dict[str, Pair] = {}
        """The same of paths that end in *. Replaced as a whole."""
        self._all: Pair = (None, None)

    def add(self, purge: Purge) -> None:
        """Remembers one."""
        with self._lock:
            if purge.kind == "all":
                self._all = _joined(self._all, purge)
            elif purge.kind == "path" and purge.pattern.endswith("*"):
                self._prefixes = self._with(self._prefixes, purge.pattern, purge, PREFIXES_MAX)
            else:
                place = (purge.kind, purge.pattern)
                exact = self._exact
                if len(exact) >= PURGES_MAX and place not in exact:
                    self._exact = self._with(exact, place, purge, PURGES_MAX)
                else:
                    exact[place] = _joined(exact.pop(place, (None, None)), purge)

    def _with(self, pairs: dict[Place, Pair], place: Place, purge: Purge, pairs_max: int) -> dict[Place, Pair]:
        """A copy with one more; if there are too many, the older half counts as one of everything."""
        pairs = dict(pairs)
        pair = _joined(pairs.pop(place, (None, None)), purge)
        if len(pairs) >= pairs_max:
            for old in list(pairs)[: pairs_max // 2]:
                for each in pairs.pop(old):
                    if each is not None:
                        self._all = _joined(self._all, Purge("all", "", each.time_s))
        pairs[place] = pair
        return pairs

    def since(self, time_s: float, key: str, tags: Sequence[str]) -> Purge | None:
        """One that concerns what was kept at Unix time `time_s`, a hard one if there is any; or None."""
        pairs = [self._all]
        exact = self._exact
        if exact:
            at = key.find("\n")
            pairs += [exact.get(("key", key), NONE), *[exact.get(("tag", tag), NONE) for tag in tags]]
            while at >= 0:
                pairs.append(exact.get(("key", key[:at]), NONE))
                at = key.find("\n", at + 1)
        if (exact or self._prefixes) and key.startswith("GET "):
            target = path_of(key)
            pairs += [exact.get(("path", target), NONE), exact.get(("path", target.partition("?")[0]), NONE)]
            pairs += [pair for start, pair in self._prefixes.items() if target.startswith(start[:-1])]
        for is_soft in (0, 1):
            for pair in pairs:
                purge = pair[is_soft]
                if purge is not None and purge.time_s >= time_s:
                    return purge
        return None


def _joined(pair: Pair, purge: Purge) -> Pair:
    """Of hard and of soft ones the newest counts."""
    old = pair[purge.soft]
    if old is not None and old.time_s > purge.time_s:
        return pair
    return (pair[0], purge) if purge.soft else (purge, pair[1])
