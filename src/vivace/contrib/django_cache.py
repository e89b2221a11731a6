"""Django: a cache backend whose values lie in the memory of the response cache.

    CACHES = {"default": {"BACKEND": "vivace.contrib.django_cache.Cache", "LOCATION": "a name", "OPTIONS": {...}}}

OPTIONS, beside Django's own: SCOPE, "process" (the default), "machine" or "machines", and PICKLE, True if whoever can
write into the store of "machines" may run code here: see docs/caching.md. LOCATION tells several of them apart.
Memory is bounded in bytes by the server, not in entries, so MAX_ENTRIES and CULL_FREQUENCY have no meaning.
"""

from __future__ import annotations

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache  # type: ignore[import-untyped,import-not-found,unused-ignore]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped,import-not-found,unused-ignore]

from vivace.cache.application import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_MISSING: Any = object()


class Cache(BaseCache):  # type: ignore[misc,unused-ignore]
    """As django.core.cache.backends.locmem, in what it promises. Each value that is got is a copy."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {name.lower(): value for name, value in params.get("OPTIONS", {}).items()}
        try:
            self._store = Store(
                namespace=f"django:{location}",
                scope=options.get("scope", "process"),
                pickle=bool(options.get("pickle", False)),
            )
        except ValueError as error:
            raise ImproperlyConfigured(f"CACHES, {location!r}, OPTIONS: {error}") from None

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> float:
        """Seconds, 0 for ever, negative for not at all: as `Store` takes them."""
        if timeout == DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return 0 if timeout is None else timeout if timeout > 0 else -1

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        return self._store.find(self.make_and_validate_key(key, version=version), default)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._store.set(self.make_and_validate_key(key, version=version), value, self.get_backend_timeout(timeout))

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        key = self.make_and_validate_key(key, version=version)
        return self._store.add(key, value, self.get_backend_timeout(timeout))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return self._store.touch(self.make_and_validate_key(key, version=version), self.get_backend_timeout(timeout))

    def delete(self, key: Any, version: Any = None) -> bool:
        return self._store.delete(self.make_and_validate_key(key, version=version))

    def has_key(self, key: Any, version: Any = None) -> bool:
        return self._store.has(self.make_and_validate_key(key, version=version))

    def incr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Keeps the time that the value has left. Atomic among the threads of a process."""
        key = self.make_and_validate_key(key, version=version)
        with self._store.lock:
            if not self._store.has(key):
                raise ValueError(f"Key '{key}' not found")
            return self._store.inc(key, delta)

    def get_or_set(self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> Any:
        """One thread calls `default`, where it can be called; the others wait for it."""
        name = self.make_and_validate_key(key, version=version)
        if callable(default):
            return self._store.get_or_set(name, default, self.get_backend_timeout(timeout))
        self._store.add(name, default, self.get_backend_timeout(timeout))
        return self._store.find(name, default)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> list[Any]:
        """The keys that could not be kept: too large a value."""
        names = {key: self.make_and_validate_key(key, version=version) for key in data}
        timeout = self.get_backend_timeout(timeout)
        return [key for key, value in data.items() if not self._store.set(names[key], value, timeout)]

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        self._store.delete_many(*[self.make_and_validate_key(key, version=version) for key in keys])

    def clear(self) -> None:
        self._store.clear()
