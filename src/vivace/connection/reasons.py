"""Counts why connections close: the list of reasons is `observe.reasons`.

Every connection that closes increments exactly one counter, once.
"""

from __future__ import annotations

import threading

from vivace.observe.reasons import REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEW_MAX = 256
"""Reasons that wait to be counted."""


class CloseCounts:
    """One counter a reason; `add` may be called by any thread."""

    __slots__ = ("_counts", "_guard", "_new", "_told")

    def __init__(self) -> None:
        self._counts = dict.fromkeys(REASONS, 0)
        self._new: list[str] = []
        """Not counted yet: an append is atomic, and a sixth of the price of a lock."""
        self._guard = threading.Lock()
        self._told = dict(self._counts)

    def add(self, reason: str) -> None:
        self._new.append(reason)
        if len(self._new) >= NEW_MAX:
            self._count()

    def tell(self, words: Any) -> None:
        """Adds what has been counted since the last call to `words`, in the order of REASONS."""
        counts = self.snapshot()
        if counts != self._told:
            for at, (reason, count) in enumerate(counts.items()):
                words[at] += count - self._told[reason]
            self._told = counts

    def snapshot(self) -> dict[str, int]:
        """Counts by reason, since the start."""
        self._count()
        return dict(self._counts)

    def _count(self) -> None:
        with self._guard:
            for _ in range(len(self._new)):
                self._counts[self._new.pop()] += 1
