"""Whether a request may join a queue, or is refused at once. Pure: `now` and every measurement are arguments.

A client that is to be refused should hear it at once, while it can still do something about it, and a request that is
refused late has taken a place in the queue for nothing. So the wait is predicted when a request would join a queue.

Rules
* Nobody is refused where nobody waits, and nobody because of what is only guessed: a queue whose pace is not known yet
  takes whoever comes. What was predicted too short is caught by the deadline (`policy.overdue`) all the same.
* wait = what waits ahead * pace of the queue. The paces are moving averages, of what the calls of the pool and of the
  heavy lane's pages take, and of the time between two calls that the loop itself runs.
* Admitted is who is expected to begin HEADROOM before the deadline, so that a prediction that is a little wrong does
  not become a refusal after all, and the slowest of those served stay well below it.
* Where a request has waited in vain until its deadline and nothing has begun since, the threads hang. Then no more wait
  than there are threads: enough to use the first moment at which they come back.

Simulated (a deadline of a fifth of the goal, or a queue of twice the threads, gave 98 to 99% of
capacity; limits that adapt to latency gave less, or no more). docs/overload.md has what this gives.

Must not know: sockets, clocks, threads, requests. It never acts; `connection` does.

Threads: the leader's, but for `began`, which stores one constant.
"""

from __future__ import annotations

HEADROOM_S = 1.0
HEADROOM_PART = 0.5
"""So much before the deadline, or that part of it, whichever is less."""

ALPHA = 0.1  # weight of the newest sample in a pace
CLIP, CLIP_S = 8.0, 0.01  # which counts for no more than so many times the pace, and a little

RETRY_S_MIN = 3
RETRY_S_MAX = 30
"""Retry-After is drawn between 1 and the wait, within these. A client told the same second as all others comes back
with all others; and one told more than half a minute is a person who has gone. RFC 9110 section 10.2.3 has whole
seconds only."""
GOLDEN = 0.6180339887498949  # draws that spread better than random ones do (additive recurrence)

BATCH_MIN = 16
"""So many requests ready at once are worth a look at how long the loop takes for them."""
TURN_PART = 0.1
"""Part of the longest wait that one turn of the loop may take; above it the loop is saturated."""


class Admission:
    """The decisions of one server. `timeout_s`: queue_timeout_s, 0 refuses nobody; `threads`: those of the pool."""

    __slots__ = (
        "_draw",
        "_inline_since_s",
        "_pool_pace_s",
        "_threads",
        "_timeout_s",
        "inline_pace_s",
        "limit_s",
        "measured_pace_s",
        "stuck",
    )

    def __init__(self, timeout_s: float, threads: int) -> None:
        self._timeout_s = timeout_s
        self._threads = threads
        self.limit_s = timeout_s - min(HEADROOM_S, timeout_s * HEADROOM_PART) if timeout_s else float("inf")
        """The longest wait that a request is let in with."""
        self.inline_pace_s = 0.0
        """Seconds from one call of the loop's own queue to the next, while some wait."""
        self.measured_pace_s = 0.0
        """Of the pool, from what it has answered while some waited: known where somebody counts that, else 0."""
        self.stuck = False
        """A request has waited in vain, and nothing has begun since."""
        self._pool_pace_s = 0.0
        self._inline_since_s = 0.0  # when the last one began; 0: nobody waited then
        self._draw = 0.0

    def resize(self, threads: int) -> None:
        """The pool has so many threads from now on."""
        self._pool_pace_s *= self._threads / threads
        self._threads = threads

    # What happens.

    def submitted(self, wall_s: float) -> None:
        """A call that is expected to take `wall_s` goes to the pool."""
        self._pool_pace_s += (wall_s / self._threads - self._pool_pace_s) * ALPHA

    def began(self) -> None:
        """A pooled thread begins a call. Any thread."""
        self.stuck = False

    def ran_inline(self, began_s: float, ended_s: float, waiting: int) -> None:
        """The loop ran a call of its own queue, in which `waiting` were left when it began."""
        since_s = self._inline_since_s or began_s - (ended_s - began_s)
        more_s = CLIP * self.inline_pace_s + CLIP_S
        self.inline_pace_s += (min(began_s - since_s, more_s) - self.inline_pace_s) * ALPHA
        self._inline_since_s = began_s if waiting else 0.0

    def expired(self) -> None:
        """A request has waited until its deadline."""
        self.stuck = True

    # What follows.

    def pool_wait_s(self, waiting: int) -> float:
        """The wait of one more behind `waiting` jobs of the pool."""
        if self.stuck and waiting >= self._threads:
            return self._timeout_s
        return waiting * (self.measured_pace_s or self._pool_pace_s)

    def inline_wait_s(self, waiting: int) -> float:
        """The wait of one more behind `waiting` calls on the loop's thread."""
        return waiting * self.inline_pace_s

    def saturated(self, turn_s: float, events: int, events_max: int, connections: int) -> bool:
        """Whether what is ready waits too long in the kernel: a turn of the loop took `turn_s` for `events`.

        With as many events as one turn takes, more may be ready: at most one for each connection.
        """
        longest_s = turn_s * connections / events if events >= events_max else turn_s
        return longest_s > self.limit_s * TURN_PART

    def retry_after_s(self, wait_s: float) -> int:
        """When a client that was refused should come again, in whole seconds from 1."""
        self._draw = (self._draw + GOLDEN) % 1.0
        return 1 + int(self._draw * max(RETRY_S_MIN, min(RETRY_S_MAX, wait_s)))
