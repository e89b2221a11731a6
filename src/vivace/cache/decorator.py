"""`cached`: keeps what a function returns, and has one thread compute it while the others wait.

Rules:

* Who computes gets what the function returned; everybody else a copy (see `values`). None is kept like anything else.
* An exception is not kept. It reaches those who wait for that very call, too (see `flights`).
* After `ttl` and for `stale` seconds more, one caller computes anew and the others get the old value at once.
* In a wider scope one process computes, and the others wait for it as threads do, for at most `wait_s`.

For applications; nothing that serves imports this.
"""

from __future__ import annotations

from functools import update_wrapper
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, overload

from vivace.cache.application import PREFIX, WAIT_S, check_scope, check_value, flights, ground
from vivace.cache.calls import Namer
from vivace.cache.purges import Purge
from vivace.cache.values import Kept, keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from typing import Any, Final

    from vivace.cache.application import Level
    from vivace.cache.flights import Flight

P = ParamSpec("P")
R = TypeVar("R")

CALLS: Final = PREFIX + "()"

LOOK_S_MIN: Final = 0.002
LOOK_S_MAX: Final = 0.02
"""Memory of the machine is looked at so often for what another worker computes."""

CO_OTHERS: Final = 0x20 | 0x80 | 0x200
"""In code.co_flags: generators, coroutines, asynchronous generators (inspect.CO_GENERATOR and so on)."""


class Cached(Generic[P, R]):
    """A function whose results are kept."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        ttl: float | timedelta,
        key: Callable[..., object] | str | None,
        tags: Iterable[str] | Callable[..., Iterable[str]],
        stale: float | timedelta,
        scope: str,
        pickle: bool,
        wait_s: float,
    ) -> None:
        """Raises TypeError: what `function` returns can be read only once. ValueError: there is no such scope, time."""
        check_scope(scope)
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & CO_OTHERS:
            raise TypeError(f"{function.__qualname__}: what a generator or coroutine returns can be used only once")
        self._function = function
        self._ttl_s = _seconds(ttl)
        if self._ttl_s <= 0:
            raise ValueError(f"{function.__qualname__}: ttl is {ttl}; give the seconds for which a result may be used")
        self._stale_s = _seconds(stale)
        self._tags = tags if callable(tags) else (tags,) if isinstance(tags, str) else tuple(tags)
        self._scope = scope
        self._pickle = pickle
        self._wait_s = wait_s
        own = key if isinstance(key, str) else f"{function.__module__}.{function.__qualname__}"
        self._all = CALLS + own
        self._namer = Namer(function, own, None if isinstance(key, str) else key)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        name = CALLS + self._namer.name(args, kwargs)
        now = time()
        kept = self._find(name, now)
        if kept is not None and now < kept.fresh_until:
            return kept.value  # type: ignore[return-value]
        if kept is None:
            return flights.share(name, lambda flight: self._make(name, flight, args, kwargs), self._wait_s)  # type: ignore[no-any-return]
        flight = flights.begin(name)
        if flight is None:
            return kept.value  # type: ignore[return-value]
        return flights.fly(name, flight, lambda flight: self._renew(name, kept, flight, args, kwargs))  # type: ignore[no-any-return]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else Bound(self, instance)

    def purge(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget what this call returned: here at once, elsewhere as fast as purges travel."""
        name = CALLS + self._namer.name(args, kwargs)
        ground.purges.add(Purge("key", name, time()))
        ground.memory.pop(name)
        levels = ground.outer(self._scope)
        for level in levels:
            level.remove(name)
        if levels and ground.purge is not None:
            ground.purge(name)

    def purge_all(self) -> None:
        """Forget what every call returned."""
        ground.purge_tag(self._all)

    # What is kept.

    def _find(self, name: str, now: float) -> Kept | None:
        """Of the nearest level that has it, in memory of this process from now on."""
        kept = ground.look(name, now)
        if kept is not None:
            return kept
        for level in ground.outer(self._scope):
            kept = ground.ask(level, name, now, self._pickle)
            if kept is not None and self._readable(kept):
                ground.lay(name, kept)
                return kept
        return None

    def _readable(self, kept: Kept) -> bool:
        """Not if it was pickled by another version of the application."""
        try:
            return (kept.value, True)[1]
        except Exception:
            return False

    def _renew(self, name: str, old: Kept, flight: Flight, args: Any, kwargs: Any) -> R:
        """What is kept is stale, and this thread is to see to it."""
        levels = ground.outer(self._scope)
        now = time()
        for level in levels:
            kept = ground.ask(level, name, now, self._pickle)
            if kept is not None and now < kept.fresh_until and self._readable(kept):
                break
        else:
            if not levels or levels[-1].claim(name, self._wait_s):
                return self._compute(name, flight, args, kwargs)
            kept = old  # another process sees to it
        flight.made = kept
        ground.lay(name, kept)
        return kept.value  # type: ignore[return-value]

    def _make(self, name: str, flight: Flight, args: Any, kwargs: Any) -> R:
        """Nothing is kept, as far as this process knew, and this thread is to see to it."""
        levels = ground.outer(self._scope)
        kept = self._find(name, time())  # it may just have landed
        if kept is None and levels and not levels[-1].claim(name, self._wait_s):
            kept = self._wait(levels[-1], name)
        if kept is None or time() >= kept.fresh_until:
            return self._compute(name, flight, args, kwargs)
        flight.made = kept
        ground.lay(name, kept)
        return kept.value  # type: ignore[return-value]

    def _wait(self, level: Level, name: str) -> Kept | None:
        """Another process computes it."""
        wait = getattr(level, "wait", None)
        if wait is not None:
            wait(name, self._wait_s)
        else:
            deadline, pause_s = monotonic() + self._wait_s, LOOK_S_MIN
            while level.get(name) is None and not level.claim(name, self._wait_s) and monotonic() < deadline:
                sleep(pause_s)
                pause_s = min(pause_s * 1.5, LOOK_S_MAX)
        return self._find(name, time())

    def _compute(self, name: str, flight: Flight, args: Any, kwargs: Any) -> R:
        """Calls the function, and keeps what it returns on all levels."""
        levels = ground.outer(self._scope)
        try:
            began = time()
            result = self._function(*args, **kwargs)
            check_value(self._scope, self._pickle, result)
            tags = [*(self._tags(*args, **kwargs) if callable(self._tags) else self._tags), self._all]
            if levels:
                tags.append(name)  # by which it is purged elsewhere
            kept = keep(result, began, self._ttl_s, self._stale_s, tags)
            now = time()
            kept.fresh_until += now - began
            kept.until += now - began
            if ground.is_purged(name, kept):
                return result
            for level in reversed(levels):
                ground.send(level, name, kept, now)
        finally:
            for level in levels[-1:]:
                level.release(name)
        flight.made = kept
        ground.lay(name, kept)
        return result


class Bound(Generic[P, R]):
    """A cached method of an object."""

    __slots__ = ("_cached", "_instance")

    def __init__(self, cached: Cached[P, R], instance: object) -> None:
        self._cached: Any = cached
        self._instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._cached(self._instance, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cached, name)

    def purge(self, *args: Any, **kwargs: Any) -> None:
        """As `Cached.purge`, for this object."""
        self._cached.purge(self._instance, *args, **kwargs)


@overload
def cached(ttl: Callable[P, R]) -> Cached[P, R]: ...


@overload
def cached(
    ttl: float | timedelta = 60.0,
    *,
    key: Callable[..., object] | str | None = None,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    stale: float | timedelta = 0.0,
    scope: str = "process",
    pickle: bool = False,
    wait_s: float = WAIT_S,
) -> Callable[[Callable[P, R]], Cached[P, R]]: ...


def cached(
    ttl: Any = 60.0,
    *,
    key: Callable[..., object] | str | None = None,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    stale: float | timedelta = 0.0,
    scope: str = "process",
    pickle: bool = False,
    wait_s: float = WAIT_S,
) -> Any:
    """A decorator: what the function returns is kept for `ttl` seconds and not computed again for equal arguments.

    `key(*args, **kwargs)` tells calls apart where the arguments do not say it themselves; a str is a name for the
    function in place of its own. `tags`, or what `tags(*args, **kwargs)` returns: to be purged by. `stale`: see the
    module. `scope`, `pickle`: see `application`. Other threads wait for at most `wait_s`, then compute it themselves.
    """
    if callable(ttl):
        return cached()(ttl)
    options: Any = {"key": key, "tags": tags, "stale": stale, "scope": scope, "pickle": pickle, "wait_s": wait_s}
    return lambda function: Cached(function, ttl=ttl, **options)


def _seconds(time_s: float | timedelta) -> float:
    return time_s if isinstance(time_s, int | float) else time_s.total_seconds()
