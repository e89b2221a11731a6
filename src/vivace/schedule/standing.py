"""How long a wait is too long to be let in with, from the queue itself. Pure: `now` and measurements are arguments.

A queue that empties now and then takes up bursts, and nobody is refused for it. One that stands, and grows, only makes
everybody wait: what is let in above what can be done is answered late, to clients who have gone. So the limit is the
server's own (queue_timeout, a minute) until a queue stands and grows, and then short, until it is gone. (Nichols and
Jacobson, Controlling Queue Delay, ACM Queue 2012; Maurer, Fail at Scale, ACM Queue 2015: queue time is the signal.
In simulation a queue of twice the threads gave 98 to 99% of capacity at 1.5 and 3 times the load.)

Rules
* A queue stands where the wait expected of one more was above the target at each look of INTERVAL_S. The target is the
  wait that a queue of twice the threads has, twice what a call takes, and no less than `wait_s`.
* One that stands and does not grow is that of clients who wait for their answers: all of them are served, so
  nobody is refused.
* The short limit is verified: if less is answered than before, once those who waited longer are through, too few are
  let in, and it is taken back, for PAUSE_S and twice as long each time.

Must not know: sockets, clocks, threads, requests. It never acts.
"""

from __future__ import annotations

from collections import deque

INTERVAL_S = 1.0
"""A queue that was short at any moment of these is no standing one."""
GROWTH = 1.1
"""A queue grows if the wait is so many times what it was at the begin of INTERVAL_S."""
CALLS = 2.0  # the target, in times what a call takes
GONE_PART = 0.25
"""The queue is gone when the wait was below this part of the target all the time."""
KEPT_PART = 0.9  # of what was answered before, that must still be answered
PAUSE_S, PAUSE_S_MAX = 30.0, 600.0
INFINITE = float("inf")


class Standing:
    """The limit of one server. `limit_s` is Admission's own; `wait_s` the least target."""

    __slots__ = (
        "_before",
        "_fixed_s",
        "_judge_s",
        "_looks",
        "_next_s",
        "_pause_s",
        "_since_s",
        "_wait_s",
        "limit_s",
        "news",
    )

    def __init__(self, limit_s: float, wait_s: float) -> None:
        self._fixed_s = limit_s
        self._wait_s = min(wait_s, limit_s)
        self.limit_s = limit_s
        """The longest wait that a request is let in with."""
        self.news = ""
        """What has changed at the last look, in a sentence."""
        self._looks: deque[tuple[float, float, float]] = deque()  # (now, wait expected, answers a second)
        self._since_s = 0.0  # when the limit became short; 0: it is not
        self._before = 0.0  # answers a second, before that
        self._judge_s = 0.0  # when it is verified; INFINITE: it has been
        self._next_s = 0.0
        self._pause_s = PAUSE_S

    @property
    def short(self) -> bool:
        """Whether a queue stands."""
        return self._since_s > 0.0

    def look(self, now: float, wait_s: float, call_s: float, rate: float, refused: int) -> float:
        """The limit from now on. `wait_s`: what one more would wait, `call_s`: what a call takes that waits in such a
        queue, `rate`: answers of the application a second; `refused`: how many were, since the last look."""
        self.news = ""
        looks = self._looks
        if looks and now - looks[-1][0] > INTERVAL_S:
            looks.clear()  # nobody looked: nothing is known of the time between
        looks.append((now, wait_s, rate))
        target_s = min(self._fixed_s, max(self._wait_s, CALLS * call_s))
        if now - looks[0][0] < INTERVAL_S:
            return self.limit_s
        if not self.short:
            if now >= self._next_s and self._grows(target_s):
                self._since_s, self._before, self._judge_s = now, self._rate(), now + target_s + 2 * INTERVAL_S
                self.limit_s = target_s
                self.news = f"a queue stands and grows: who would wait longer than {target_s:.3g} s is refused"
        elif max(wait for _, wait, _ in looks) < GONE_PART * target_s:
            self._lengthen("the queue is gone: nobody is refused before queue_timeout")
        elif now >= self._judge_s and refused and self._rate() < KEPT_PART * self._before:
            self._next_s = now + self._pause_s
            self._pause_s = min(PAUSE_S_MAX, 2 * self._pause_s)
            self._lengthen(f"less was answered with a wait limit of {target_s:.3g} s: it is taken back")
        else:
            self.limit_s = target_s
            if now >= self._judge_s:
                self._judge_s = INFINITE
        while now - looks[0][0] >= INTERVAL_S:
            looks.popleft()
        return self.limit_s

    def _lengthen(self, news: str) -> None:
        self._since_s, self.limit_s, self.news = 0.0, self._fixed_s, news

    def _grows(self, target_s: float) -> bool:
        waits = [wait for _, wait, _ in self._looks]
        return min(waits) > target_s and waits[-1] > GROWTH * waits[0]

    def _rate(self) -> float:
        return sum(rate for _, _, rate in self._looks) / len(self._looks)
