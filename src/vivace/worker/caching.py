"""The response cache that the settings want: its levels, its rules, and who may ask it.

Imported only where the cache is on.
"""

from __future__ import annotations

from vivace.cache import application
from vivace.cache.control import Control
from vivace.cache.levels import Levels
from vivace.cache.memory import Memory
from vivace.cache.rules import Rules, read_rule
from vivace.cache.shared import Shared
from vivace.connection.plan import CachePlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings
    from vivace.worker.console import Console

ALONE = ("0", "1")
"""Numbers of workers that have nobody to share with."""

ENTRY_MORE_BYTES = 64 << 10
"""What an entry may take beside its body."""


class Common:
    """What the workers of a server have in common. Made before the first of them is forked."""

    __slots__ = ("control", "shared")

    def __init__(self, settings: Settings, console: Console) -> None:
        self.control: Control | None = None
        self.shared: Shared | None = None
        try:
            self.control = Control.create()
            if settings.workers not in ALONE:
                self.shared = Shared.create(settings.cache_memory_bytes)
        except (OSError, AttributeError) as error:
            console.warn(f"the cache is each worker's own, and vivace cache cannot reach it: no memory file ({error})")

    def close(self) -> None:
        """The server that it was made for has ended."""
        if self.control is not None:
            self.control.close()
        if self.shared is not None:
            self.shared.close()


def make_cache(settings: Settings, common: Common | None, console: Console) -> CachePlan:
    """What the loop needs of it. In the process that serves. Raises SettingError."""
    own = common is None
    common = common or Common(settings, console)
    remote = None
    if settings.cache_store:
        from vivace.cache.redis_store import RedisStore

        remote = RedisStore(settings.cache_store, warn=console.warn)
    memory = Memory(settings.cache_memory_bytes, settings.cache_entry_bytes_max + ENTRY_MORE_BYTES)
    plan = CachePlan()
    plan.levels = levels = Levels(memory, common.shared, common.control, remote)
    application.use(
        memory,
        shared=common.shared,
        remote=remote,
        purge=lambda tag: levels.purge("tag", tag),
        purged=levels.purged,
    )
    if own:
        plan.on_end = common.close
    plan.rules = Rules(
        [read_rule(text) for text in settings.cache_rule], settings.cache_ignore_params, settings.cache_ignore_cookies
    )
    plan.entry_bytes_max = settings.cache_entry_bytes_max
    plan.wait_s = settings.cache_wait_s
    plan.status_field = settings.cache_status
    return plan


def leave_cache(plan: CachePlan) -> None:
    """The loop has ended: what it kept is nobody's, and the application has its own memory again."""
    application.leave(plan.levels.memory)
    plan.levels.end()
    if plan.on_end is not None:
        plan.on_end()
