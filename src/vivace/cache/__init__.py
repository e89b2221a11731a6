"""What is remembered of responses: what may be reused and when (pure), and where it lies.

For applications: `cache` and `Store`, what they keep themselves, and `cached`, a decorator. See docs/caching.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.cache.application import Store, cache
    from vivace.cache.decorator import cached

__all__ = ["Store", "cache", "cached"]


def __getattr__(name: str) -> object:
    """Imported when it is asked for: a server that keeps responses needs none of it."""
    if name == "cached":
        from vivace.cache.decorator import cached

        return cached
    if name in ("Store", "cache"):
        from vivace.cache import application

        return getattr(application, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
