"""What an application keeps by itself, parts of pages above all: a key-value store and a decorator over the levels of
the response cache.

    from vivace.cache import cache, cached

    @cached(ttl=60, tags=("prices",))
    def prices(shop: str) -> dict[str, float]: ...

Rules:

* The memory is that of the responses: one bound, one eviction. Keys begin with "app:", as no response's does. Served by
  anything else, in a unit test or with the cache off, there is a small memory of this process's own.
* Scope "process" (the default) is the memory of this worker; "machine" what its workers share; "machines" the store of
  `cache_store`. Where a wider one does not exist, the next narrower one stands in, with the same rules.
* What is got is never the object that was put, unless nobody can change it: see `values`. Into "machines" only plain
  values go (None, bool, int, float, str, bytes), unless `pickle=True` says that whoever can write into that store may
  run code here. Memory of the machine is the same user's, who can do so anyway (ptrace(2)).
* `Store` in a wider scope always asks there, so that what one worker sets every worker gets. `cached` asks its own
  memory first: what it keeps is never set anew, but expires or is purged.
* inc, dec and add are atomic among the threads of a process. Between processes they are not.

Everything is for any thread; the scope "machines" may block for as long as the limits of the store say.
"""

from __future__ import annotations

import threading
from time import time

from vivace.cache.flights import Flights
from vivace.cache.memory import Memory
from vivace.cache.purges import Purge, Purges
from vivace.cache.values import PLAIN, Kept, keep, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta
    from typing import Any, Final, Protocol

    from vivace.cache.flights import Flight

    class Level(Protocol):
        """What lies beyond this process: see `shared` and `redis_store`."""

        def get(self, key: str) -> bytes | None: ...
        def put(self, key: str, packed: bytes, ttl_s: float) -> object: ...
        def remove(self, key: str) -> object: ...
        def claim(self, key: str, ttl_s: float) -> bool: ...
        def release(self, key: str) -> object: ...


PREFIX: Final = "app:"
OWN_BYTES: Final = 16 << 20
OWN_ENTRY_BYTES_MAX: Final = 4 << 20

FOREVER_S: Final = 10 * 365 * 86400.0
"""For what never expires: it may still be evicted."""

SCOPES: Final = ("process", "machine", "machines")


WAIT_S: Final = 30.0
"""So long a thread waits for what another one makes, before it makes it itself."""

_NONE: Final = object()
_locks: dict[tuple[str, str], threading.RLock] = {}

flights = Flights()


class Ground:
    """The levels of this process."""

    def __init__(self) -> None:
        self._memory: Memory | None = None
        self.shared: Level | None = None
        self.remote: Level | None = None
        self.purges = Purges()
        """Those of this process."""
        self.purge: Callable[[str], object] | None = None
        self.purged: Callable[[float, str, Sequence[str]], bool] | None = None

    @property
    def memory(self) -> Memory:
        """Made when it is first needed."""
        memory = self._memory
        if memory is None:
            memory = self._memory = Memory(OWN_BYTES, OWN_ENTRY_BYTES_MAX)
        return memory

    def outer(self, scope: str) -> list[Level]:
        """The levels beyond this process that a scope has, nearest first."""
        levels = [self.shared] if scope != "process" else []
        if scope == "machines":
            levels.append(self.remote)
        return [level for level in levels if level is not None]

    # Memory of this process.

    def look(self, key: str, now: float) -> Kept | None:
        """What is kept here, and still may be used."""
        kept = self.memory.get(key)
        if type(kept) is not Kept:
            return None
        if now < kept.until:
            return kept
        self.memory.pop(key)
        return None

    def lay(self, key: str, kept: Kept) -> bool:
        """Keep it here. False: it is too large."""
        return self.memory.put(key, kept, kept.size)

    # Beyond.

    def ask(self, level: Level, key: str, now: float, trusted: bool) -> Kept | None:
        """What another process has put; `trusted`: may be unpickled."""
        packed = level.get(key)
        kept = read(packed, trusted or level is self.shared) if packed is not None else None
        if kept is None or now >= kept.until:
            return None
        return None if level is self.shared and self.is_purged(key, kept) else kept

    def send(self, level: Level, key: str, kept: Kept, now: float) -> bool:
        """Keep it there, or nothing in its place."""
        packed = write(kept)
        if level is self.remote:
            level.put(key, packed, kept.until - now, kept.tags)  # type: ignore[call-arg]
            return True
        if level.put(key, packed, kept.until - now) is False:
            level.remove(key)
            return False
        return True

    def is_purged(self, key: str, kept: Kept) -> bool:
        """Whether it was made before something that it belongs to was purged."""
        if self.purges.since(kept.made, key, kept.tags):
            return True
        return self.purged is not None and self.purged(kept.made, key, kept.tags)

    def purge_tag(self, tag: str) -> None:
        """Forget what carries `tag`, responses too: here at once, in other processes as fast as purges travel."""
        self.purges.add(Purge("tag", tag, time()))
        for node in self.memory.nodes():
            if type(node.value) is Kept and tag in node.value.tags:
                self.memory.pop(node.key)
        if self.purge is not None:
            self.purge(tag)


ground = Ground()


def use(
    memory: Memory,
    *,
    shared: Level | None = None,
    remote: Level | None = None,
    purge: Callable[[str], object] | None = None,
    purged: Callable[[float, str, Sequence[str]], bool] | None = None,
) -> None:
    """The levels of this process's response cache are the application's from now on.

    `purge(tag)` has a tag purged in all of them, on all workers and machines. `purged(made_s, key, tags)`: whether what
    was made at that Unix time has been purged since; asked for what comes from `shared`. Both are needed with `shared`.
    """
    ground._memory = memory
    ground.shared, ground.remote = shared, remote
    ground.purge, ground.purged = purge, purged


def leave(memory: Memory) -> None:
    """The response cache with this `memory` ends: the application has its own again, if it used that one."""
    if ground._memory is memory:
        use(Memory(OWN_BYTES, OWN_ENTRY_BYTES_MAX))


def check_scope(scope: str) -> None:
    """Raises ValueError."""
    if scope not in SCOPES:
        raise ValueError(f"there is no scope {scope!r}; give process, machine or machines")


def check_value(scope: str, pickle: bool, value: object) -> None:
    """Raises TypeError: it may not leave the machine."""
    if scope == "machines" and not pickle and type(value) not in PLAIN:
        raise TypeError(
            f"{type(value).__qualname__} would have to be pickled to be shared between machines, and whoever can write "
            "into that store could then run code here; make bytes or a str of it (json.dumps), or give pickle=True"
        )


class Store:
    """A key-value store with the methods of cachelib.BaseCache, their arguments and what they return.

    Times are seconds or a timedelta; None is `default_timeout`, 0 never expires. Keys of two stores meet only if
    they have one namespace.
    """

    def __init__(
        self,
        default_timeout: float | timedelta = 300,
        ignore_delete_many_errors: bool = True,
        *,
        namespace: str = "",
        scope: str = "process",
        pickle: bool = False,
    ) -> None:
        """Raises ValueError: there is no such scope."""
        check_scope(scope)
        self.default_timeout = _seconds(default_timeout)
        self.ignore_delete_many_errors = ignore_delete_many_errors
        self.namespace = namespace
        self.scope = scope
        self.pickle = pickle
        self._prefix = f"{PREFIX}{namespace}:"
        self.lock = _locks.setdefault((scope, self._prefix), threading.RLock())
        """Held while a value is looked at and changed: by all stores that have it in common."""

    # As the name says.

    def get(self, key: str) -> Any:
        """The value; None if there is none."""
        return self.find(key, None)

    def find(self, key: str, default: object) -> Any:
        """The value, which may be None; `default` if there is none. (Not of cachelib.)"""
        kept = self._look(key)
        if kept is None:
            return default
        try:
            return kept.value
        except Exception:  # of another version of the application, or a class that is gone
            self.delete(key)
            return default

    def get_or_set(
        self, key: str, make: Callable[[], Any], timeout: float | timedelta | None = None, tags: Iterable[str] = ()
    ) -> Any:
        """The value, or what `make()` returns, which is kept. One thread makes it, others wait. (Not of cachelib.)"""
        value = self.find(key, _NONE)
        if value is not _NONE:
            return value

        def fly(flight: Flight) -> Any:
            found = self.find(key, _NONE)  # it may just have landed
            began = time()
            value = make() if found is _NONE else found
            check_value(self.scope, self.pickle, value)
            flight.made = made = keep(value, began, self._lasting(timeout), 0.0, tags)
            if found is _NONE and not ground.is_purged(self._prefix + key, made):
                self.set(key, value, timeout, made.tags)
            return value

        return flights.share(self._prefix + key, fly, WAIT_S)

    def has(self, key: str) -> bool:
        """Whether there is a value."""
        return self._look(key) is not None

    def set(
        self, key: str, value: Any, timeout: float | timedelta | None = None, tags: Iterable[str] = ()
    ) -> bool | None:
        """Keep `value`. False: it is too large. Raises what pickling raises; TypeError for what may not leave."""
        check_value(self.scope, self.pickle, value)
        now = time()
        tags = tags if self.scope == "process" else (*tags, self._prefix)
        kept = keep(value, now, self._lasting(timeout), 0.0, tags)
        if self._level() is not None:
            return self._put(key, kept, now)  # which may wait
        with self.lock:
            return self._put(key, kept, now)

    def add(self, key: str, value: Any, timeout: float | timedelta | None = None, tags: Iterable[str] = ()) -> bool:
        """As `set`, unless there is a value: then False."""
        with self.lock:
            return not self.has(key) and bool(self.set(key, value, timeout, tags))

    def delete(self, key: str) -> bool:
        """Whether there was a value, and now is none."""
        with self.lock:
            found = self.has(key)
            self._drop(key)
        return found

    def touch(self, key: str, timeout: float | timedelta | None = None) -> bool:
        """A new time for a value; False if there is none. (Not of cachelib.)"""
        now = time()
        with self.lock:
            kept = self._look(key)
            if kept is None:
                return False
            until = now + self._lasting(timeout)
            return self._put(key, Kept(kept.data, kept.pickled, now, until, until, kept.tags), now)

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number, 0 if there is none; the sum. None: it could not be kept."""
        with self.lock:
            kept = self._look(key)
            value: Any = (self.get(key) or 0) + delta
            timeout = None if kept is None else kept.until - time()
            return value if self.set(key, value, timeout) else None

    def dec(self, key: str, delta: int = 1) -> int | None:
        """As `inc`, downwards."""
        return self.inc(key, -delta)

    # Several, and all.

    def get_many(self, *keys: str) -> list[Any]:
        """A list of what `get` returns."""
        return [self.get(key) for key in keys]

    def get_dict(self, *keys: str) -> dict[str, Any]:
        """The same as a dict: None for what is not there."""
        return dict(zip(keys, self.get_many(*keys), strict=True))

    def set_many(
        self, mapping: dict[str, Any], timeout: float | timedelta | None = None, tags: Iterable[str] = ()
    ) -> list[Any]:
        """The keys that were set."""
        tags = tuple(tags)
        return [key for key, value in mapping.items() if self.set(key, value, timeout, tags)]

    def delete_many(self, *keys: str) -> list[Any]:
        """The keys that have no value now: all of them."""
        for key in keys:
            self.delete(key)
        return list(keys)

    def clear(self) -> bool:
        """Forget everything of this namespace, on all that its scope spans."""
        with self.lock:
            for key, *_ in ground.memory.items():
                if key.startswith(self._prefix):
                    ground.memory.pop(key)
        if self._level() is not None:
            ground.purge_tag(self._prefix)
        return True

    def purge(self, *tags: str) -> None:
        """Forget whatever carries one of `tags`: values of every store, calls that were cached, and responses."""
        for tag in tags:
            ground.purge_tag(tag)

    # Where it lies.

    def _level(self) -> Level | None:
        levels = ground.outer(self.scope)
        return levels[-1] if levels else None

    def _look(self, key: str) -> Kept | None:
        now, level = time(), self._level()
        if level is None:
            return ground.look(self._prefix + key, now)
        return ground.ask(level, self._prefix + key, now, self.pickle)

    def _put(self, key: str, kept: Kept, now: float) -> bool:
        if kept.until <= now:
            self._drop(key)
            return True
        level = self._level()
        if level is None:
            return ground.lay(self._prefix + key, kept)
        return ground.send(level, self._prefix + key, kept, now)

    def _drop(self, key: str) -> None:
        level = self._level()
        if level is None:
            ground.memory.pop(self._prefix + key)
        else:
            level.remove(self._prefix + key)

    def _lasting(self, timeout: float | timedelta | None) -> float:
        return (self.default_timeout if timeout is None else _seconds(timeout)) or FOREVER_S


def _seconds(timeout: float | timedelta) -> float:
    return timeout if isinstance(timeout, int | float) else timeout.total_seconds()


cache = Store()
"""For values of this process that need no namespace."""
