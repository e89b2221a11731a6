"""The calls waiting in the heavy lane, and what those already started have booked. Pure: nobody's clock.

Two heaps, because two kinds wait for different things: an inline call for its turn on the loop's thread, one that
runs away (on a pooled thread) for room in the book. A long one must not hold up a short one.

The book: each call that starts away books its share of the GIL (1 for one that only computes) until it ends, and
starts only if the shares come to no more than 1; with an empty book any call starts. A call that runs far longer
than its like lapses from the book: one that hangs must not close the lane.

Must not know: what a call is. It hands back what it was given.

Threads: only the thread that leads the loop, but for `ended`, which any thread may call.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

BOOK = 1.001  # shares booked at most, with room for rounding


class HeavyQueue:
    """Waiting heavy calls, smallest key first; equal keys in order of arrival.

    `inline` and `away` are the heaps; the loop tests them for truth and changes them only through the methods.
    """

    __slots__ = ("_book", "_count", "away", "inline")

    def __init__(self) -> None:
        # (key, sequence, arrived_s, share, allowance_s, call)
        self.inline: list[tuple[float, int, float, float, float, Any]] = []
        self.away: list[tuple[float, int, float, float, float, Any]] = []
        self._count = 0
        self._book: dict[int, tuple[float, float]] = {}  # token -> (share, lapses_s)

    def __len__(self) -> int:
        return len(self.inline) + len(self.away)

    def push(self, key: float, arrived_s: float, call: Any, away: float = 0.0, allowance_s: float = 0.0) -> None:
        """Adds `call`. `key` from Policy.heavy_key; `away` and `allowance_s` from its route."""
        self._count += 1
        heap = self.away if away else self.inline
        heappush(heap, (key, self._count, arrived_s, away, allowance_s, call))

    def pop(self, away: bool) -> Any:
        """The next call of that kind, whatever the book says; IndexError if none waits."""
        return heappop(self.away if away else self.inline)[-1]

    def start_away(self, now_s: float) -> tuple[Any, int] | None:
        """The next call for a pooled thread, if the book has room for it, and the token to end it with."""
        heap = self.away
        if not heap or not self._fits(heap[0][3], now_s):
            return None
        _, token, _, share, allowance_s, call = heappop(heap)
        self._book[token] = (share, now_s + allowance_s)
        return call, token

    def ended(self, token: int) -> None:
        """The call that was started with `token` has ended. Any thread; wake the loop if `away` is not empty."""
        self._book.pop(token, None)

    def room_at_s(self) -> float | None:
        """When the next booking lapses, if calls wait for room: the loop looks again then."""
        if not self.away:
            return None
        return min([lapses_s for _, lapses_s in list(self._book.values())], default=None)

    def expire(self, arrived_before_s: float) -> list[Any]:
        """Takes out every waiting call that arrived before `arrived_before_s`, oldest first."""
        late: list[tuple[float, int, float, float, float, Any]] = []
        for heap in (self.inline, self.away):
            gone = [entry for entry in heap if entry[2] < arrived_before_s]
            if gone:
                late += gone
                heap[:] = [entry for entry in heap if entry[2] >= arrived_before_s]
                heapify(heap)
        late.sort(key=lambda entry: (entry[2], entry[1]))
        return [entry[-1] for entry in late]

    def _fits(self, share: float, now_s: float) -> bool:
        booked = 0.0
        for token, (other, lapses_s) in list(self._book.items()):
            if lapses_s < now_s:
                self._book.pop(token, None)
            else:
                booked += other
        return booked == 0.0 or booked + share <= BOOK
