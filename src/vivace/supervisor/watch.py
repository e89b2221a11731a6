"""What the supervisor sees of one worker from outside: its size, its age, how busy it is.

Everything is read from /proc and from the shared page; no code runs in the worker for it.
"""

from __future__ import annotations

import os
import signal

from vivace.observe.layout import S_BUSY, S_NOW, S_SEEN, S_TURNS
from vivace.observe.processes import cpu_time_s, resident_bytes
from vivace.observe.processors import processors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings
    from vivace.observe.section import Section

LIFETIME_SPREAD = 0.1
"""Workers started together do not grow old together."""

STUCK_GRACE_S = 5.0
"""A worker whose loop has not turned for this much longer than request_timeout is ended: it cannot help itself."""


def workers_wanted(text: str) -> tuple[int, int]:
    """(least, most) of the setting `workers`."""
    low, colon, high = text.partition(":")
    least = processors() if low == "auto" else int(low)
    most = (processors() if high == "auto" else int(high)) if colon else least
    return min(least, most), most


class Bounds:
    """After what a worker is replaced or ended; 0 where there is no such limit."""

    __slots__ = ("jitter", "lifetime_s", "memory_hard", "memory_soft", "requests", "timeout_s")

    def __init__(self, settings: Settings) -> None:
        self.requests = settings.max_requests
        most = settings.max_requests_jitter
        self.jitter = settings.max_requests // 10 if most < 0 else most
        self.lifetime_s = settings.max_lifetime_s
        self.memory_soft = settings.memory_soft_bytes
        self.memory_hard = settings.memory_hard_bytes
        self.timeout_s = settings.request_timeout_s

    @property
    def any(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.requests or self.lifetime_s or self.memory_soft or self.memory_hard or self.timeout_s)


class Watch:
    """Keeps what was seen last of one worker."""

    def __init__(self, bounds: Bounds, now_s: float) -> None:
        self._bounds = bounds
        self._requests = bounds.requests + int(_chance() * (bounds.jitter + 1)) if bounds.requests else 0
        spread = 1 + LIFETIME_SPREAD * (2 * _chance() - 1)
        self._ends_s = now_s + bounds.lifetime_s * spread if bounds.lifetime_s else 0.0
        self._cpu_s = 0.0
        self._looked_s = now_s
        self._turns = -1
        self._turned_s = now_s
        self._abort_s = 0.0

    def verdict(self, pid: int, section: Section, now_s: float) -> tuple[str, int]:
        """(why the worker should go, the signal that ends it at once or 0); ("", 0): it may stay."""
        words = section.words
        if self._bounds.timeout_s and (number := self._stuck(section, now_s)):
            route = section.route(words[S_NOW])
            return f"has not turned its loop for {now_s - self._turned_s:.0f} s, in {route or 'no route'},", number
        if self._bounds.memory_hard or self._bounds.memory_soft:
            size = resident_bytes(pid)
            if self._bounds.memory_hard and size > self._bounds.memory_hard:
                return f"has {size >> 20} MiB of resident memory, more than memory_hard,", signal.SIGKILL
            if self._bounds.memory_soft and size > self._bounds.memory_soft:
                return f"it has {size >> 20} MiB of resident memory (memory_soft)", 0
        if self._requests and words[S_SEEN] >= self._requests:
            return f"it has had {words[S_SEEN]} requests (max_requests)", 0
        if self._ends_s and now_s >= self._ends_s:
            return "it is old enough (max_lifetime)", 0
        return "", 0

    def busy(self, pid: int, section: Section, now_s: float, threads: int) -> float:
        """How much of what it can do the worker did since the last look, 0 to 1: of one processor or its threads."""
        cpu_s = cpu_time_s(pid)
        share = (cpu_s - self._cpu_s) / max(0.001, now_s - self._looked_s)
        self._cpu_s, self._looked_s = cpu_s, now_s
        return min(1.0, max(share, section.words[S_BUSY] / threads if threads > 1 else 0.0))

    def _stuck(self, section: Section, now_s: float) -> int:
        """The signal to end it with, where nothing in the worker itself can run any more: C code holds the GIL."""
        words = section.words
        if words[S_TURNS] != self._turns or not words[S_NOW]:
            self._turns, self._turned_s, self._abort_s = words[S_TURNS], now_s, 0.0
            return 0
        if now_s - self._turned_s < self._bounds.timeout_s + STUCK_GRACE_S:
            return 0
        if not self._abort_s:
            self._abort_s = now_s
            return signal.SIGABRT  # faulthandler writes the stacks
        return signal.SIGKILL


def _chance() -> float:
    """From 0 to 1, without importing random, which takes as long as the rest of the start."""
    return int.from_bytes(os.urandom(4), "little") / 2**32
