"""The calls waiting in the heavy lane, and what those already started have booked. Pure: nobody's clock.

Three heaps, because a long call must not hold up a short one: inline calls wait for their turn on the loop's thread;
calls that run away (on pooled threads) wait for room in the book, which has a page for those that compute for less
than LONG_S and one for the others.

The book: a call that starts away books its share of the GIL (1 for one that only computes) until it ends, and starts
only if the shares on its page come to no more than 1; on an empty page any call starts. A call that runs far longer
than its like lapses from the book: one that hangs must not close the lane.

Must not know: what a call is. It hands back what it was given.

Threads: only the thread that leads the loop, but for `ended`, which any thread may call.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    Entry = tuple[float, int, float, float, float, float, Any]

LONG_S = 0.005  # as policy.AWAY_S
INFINITE = float("inf")
BOOK = 1.001  # shares on a page at most, with room for rounding
LOOKS_MAX = 64  # entries looked at to say how much work waits
ALPHA = 0.05  # weight of the newest start in the pace of a page


class _Pace:
    """How fast one page empties: seconds between two starts while some wait, and what those had booked."""

    __slots__ = ("booked_s", "gap_s", "last_cost_s", "last_s")

    def __init__(self) -> None:
        self.gap_s = self.booked_s = 0.0
        self.last_s = self.last_cost_s = 0.0

    def started(self, now_s: float, cost_s: float, waiting: bool) -> None:
        if self.last_s:
            self.gap_s += (now_s - self.last_s - self.gap_s) * ALPHA
            self.booked_s += (self.last_cost_s - self.booked_s) * ALPHA
        self.last_s = now_s if waiting else 0.0
        self.last_cost_s = cost_s

    @property
    def stretch(self) -> float:
        """How much longer the page is taken than its bookings say: the other page and the loop want the GIL as well."""
        return self.gap_s / self.booked_s if self.booked_s > 0.0 else 1.0


class HeavyQueue:
    """Waiting heavy calls, smallest key first; equal keys in order of arrival.

    The loop tests `inline` and `away` for truth; it changes them only through the methods.
    """

    __slots__ = ("_book", "_count", "_paces", "_pages", "away", "inline")

    def __init__(self) -> None:
        self.inline: list[Entry] = []  # (key, token, arrived_s, share, allowance_s, cost_s, call)
        self.away = 0
        """How many calls wait for a pooled thread."""
        self._pages: tuple[list[Entry], list[Entry]] = ([], [])  # away: short, long
        self._book: tuple[dict[int, tuple[float, float]], ...] = ({}, {})  # token -> (share, lapses_s)
        self._paces = (_Pace(), _Pace())
        self._count = 0

    def __len__(self) -> int:
        return len(self.inline) + self.away

    def push(
        self,
        key: float,
        arrived_s: float,
        call: Any,
        away: float = 0.0,
        allowance_s: float = 0.0,
        cpu_s: float = 0.0,
        wall_s: float = 0.0,
    ) -> None:
        """Adds `call`. `key` from Policy.heavy_key; `away`, `allowance_s`, `cpu_s` and `wall_s` from its route."""
        self._count += 1
        heap = self.inline
        if away:
            heap = self._pages[cpu_s >= LONG_S]
            self.away += 1
        heappush(heap, (key, self._count, arrived_s, away, allowance_s, away * wall_s, call))

    def pop(self) -> Any:
        """The next inline call; IndexError if none waits."""
        return heappop(self.inline)[-1]

    def start_away(self, now_s: float) -> tuple[Any, int] | None:
        """The next call for a pooled thread that the book has room for, and the token to end it with."""
        for heap, book, pace in zip(self._pages, self._book, self._paces, strict=True):
            if heap and _fits(book, heap[0][3], now_s):
                _, token, _, share, allowance_s, cost_s, call = heappop(heap)
                book[token] = (share, now_s + allowance_s)
                pace.started(now_s, cost_s, bool(heap))
                self.away -= 1
                return call, token
        return None

    def ahead_s(self, key: float, cpu_s: float) -> float:
        """How long a call of this key that runs away would wait for those before it on its page: about, if many are.

        A call that books a share for a time keeps the page from others for their product.
        """
        heap = self._pages[cpu_s >= LONG_S]
        step = len(heap) // LOOKS_MAX + 1
        booked_s = step * sum(entry[5] for entry in heap[::step] if entry[0] < key)
        return booked_s * self._paces[cpu_s >= LONG_S].stretch

    def ended(self, token: int) -> None:
        """The call that was started with `token` has ended. Any thread; wake the loop if `away` is not 0."""
        for book in self._book:
            book.pop(token, None)

    def rivals(self, token: int, leading: bool) -> float:
        """For policy.concurrency: how many other threads a call may have waited for. Any thread.

        `token`: that of the call, 0 if it is not booked. `leading`: whether it is on the loop's thread. There it may
        have lost the GIL at any moment, for as long as the others computed; elsewhere it waits for those with a
        booking and for the loop, in turn.
        """
        booked = len(self._book[0]) + len(self._book[1])
        if leading:
            return INFINITE if booked else 0.0
        return booked - (token > 0) + 1.0

    def room_at_s(self) -> float | None:
        """When the next booking lapses, if calls wait for room: the loop looks again then."""
        lapses = [
            lapses_s
            for heap, book in zip(self._pages, self._book, strict=True)
            if heap
            for _, lapses_s in list(book.values())
        ]
        return min(lapses, default=None)

    def expire(self, arrived_before_s: float) -> list[Any]:
        """Takes out every waiting call that arrived before `arrived_before_s`, oldest first."""
        late: list[Entry] = []
        for heap in (self.inline, *self._pages):
            gone = [entry for entry in heap if entry[2] < arrived_before_s]
            if gone:
                late += gone
                heap[:] = [entry for entry in heap if entry[2] >= arrived_before_s]
                heapify(heap)
        self.away = len(self._pages[0]) + len(self._pages[1])
        late.sort(key=lambda entry: (entry[2], entry[1]))
        return [entry[-1] for entry in late]


def _fits(book: dict[int, tuple[float, float]], share: float, now_s: float) -> bool:
    """Whether a share fits on the page, once the bookings that have lapsed are struck out."""
    booked = 0.0
    # A copy, in one step: making the tuples of a list of items may set off a collection, and that lets others run.
    for token, (other, lapses_s) in book.copy().items():
        if lapses_s < now_s:
            book.pop(token, None)
        else:
            booked += other
    return booked == 0.0 or booked + share <= BOOK
