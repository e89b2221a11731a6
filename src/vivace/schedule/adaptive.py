"""Which settings of a running server are worth another value: threads, switch interval, and the longest wait. Pure.

`Controller.look` gets what was measured since it last looked, and returns the values that are to be in force until it
looks again. It makes one change at a time, and puts each on trial (`trial`): what does not pay goes back. The longest
wait is no trial, but follows the queue (`standing`).

Rules
* A change is tried only where something asks for it. More threads: requests have waited for one at each look of
  STANDING_S, all are busy, and by what calls compute and wait for they are not too many already: one GIL keeps
  1 + blocked / CPU of them busy. Fewer: the same, where more did not pay, or could not. Another switch interval:
  threads wait for the GIL: they compute, and the monitor comes late by a part of the interval.
* Never beyond `Bounds`, and by a factor of STEP at most.
* What did not pay is not tried again for PAUSE_S, and for twice as long each time. So what trials cost stays small:
  the new value is in force for half of a trial, a few seconds: a hundredth of PAUSE_S, and next to nothing later.
* Where nothing has asked for anything for REST_S, all goes back to where it began: what was learnt under one load is
  not put upon another.

Must not know: sockets, clocks, threads, requests. It never acts; `worker.adapting` does.
"""

from __future__ import annotations

from math import ceil, exp

from vivace.schedule.standing import Standing
from vivace.schedule.trial import GONE, KEPT, Trial, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

THREADS, SWITCH = "threads", "switch_interval"

STANDING_S = 1.0
STEP = 2.0
SWITCH_STEP = 4.0
LATE_PART = 0.5
"""Part of the switch interval that the monitor comes late by, from which threads are said to wait for the GIL."""
COMPUTING = 0.5  # of a core
CORE_FULL = 0.9  # of the one core that a process with a GIL has
PAUSE_S, PAUSE_S_MAX = 120.0, 1800.0
REST_S = 300.0

WINDOW_S, WINDOW_S_MAX = 0.7, 4.0
"""A window is this long, or until WINDOW_ANSWERS have come, but no longer than the second."""
WINDOW_ANSWERS = 100
SETTLE_S = 0.3  # after a change, and CALLS calls, what was begun before it has ended
SETTLE_CALLS = 1.5
SETTLE_S_MAX = 3.0


class Bounds:
    """Between which values is chosen. Seconds."""

    __slots__ = ("switch_max_s", "switch_min_s", "threads_max", "threads_min")

    def __init__(
        self, threads_max: int, threads_min: int = 4, switch_min_s: float = 0.00005, switch_max_s: float = 0.0008
    ) -> None:
        self.threads_min, self.threads_max = threads_min, threads_max
        self.switch_min_s, self.switch_max_s = switch_min_s, switch_max_s


class Values:
    """What is in force."""

    __slots__ = ("switch_interval_s", "threads", "wait_limit_s")

    def __init__(self, threads: int, switch_interval_s: float, wait_limit_s: float) -> None:
        self.threads = threads
        self.switch_interval_s = switch_interval_s
        self.wait_limit_s = wait_limit_s


class Look:
    """What was measured in the `seconds` that ended `now`."""

    __slots__ = (
        "busy",
        "call_s",
        "cores",
        "failed",
        "late_s",
        "now",
        "refused",
        "routes",
        "seconds",
        "useful",
        "wait_s",
        "waiting",
    )

    def __init__(
        self, now: float, seconds: float, routes: Mapping[int, tuple[int, float, float, float]], cores: float
    ) -> None:
        """`routes`: by number, answers, and seconds of their response times, computing, blocked. `cores`: those that
        the process used."""
        self.now, self.seconds, self.cores = now, seconds, cores
        self.routes = {number: row[:2] for number, row in routes.items() if row[0]}
        away = [row for row in routes.values() if row[0] and row[3] > row[0] * 0.0005]  # policy.BLOCKED_S
        answers, computed, blocked = (sum(row[at] for row in away) for at in (0, 2, 3))
        self.call_s = (computed + blocked) / answers if answers else 0.0
        """What a call takes, of the routes that block."""
        self.useful = 1.0 + blocked / computed if computed > 0.0 else float("inf")
        """Threads that one GIL keeps busy with those."""
        self.failed = self.refused = 0
        """Answers of 500 and more; requests that were not let in."""
        self.waiting = self.busy = 0
        """At this moment: requests that wait for a thread, threads in the application."""
        self.wait_s = 0.0
        """What one more would wait."""
        self.late_s = 0.0
        """How late the monitor came, on average."""


class Controller:
    """Of one process. `begin` are the values of its settings, to which it returns."""

    def __init__(self, begin: Values, bounds: Bounds, *, wait_s: float, gil: bool = True, pooled: bool = True) -> None:
        self._begin, self._bounds, self._gil, self._pooled = begin, bounds, gil, pooled
        self.values = Values(begin.threads, begin.switch_interval_s, begin.wait_limit_s)
        self.news: list[str] = []
        """What was decided at the last look."""
        self.counts = {"tried": 0, "kept": 0, "undone": 0}
        """Trials begun, and how they ended; of those that ended as the load did nothing is known."""
        self.trial: Trial | None = None
        self.knob = ""
        """What is on trial."""
        self._standing = Standing(begin.wait_limit_s, wait_s)
        self._window = Window()
        self._settle_s = 0.0
        self._full_s = self._late_s = 0.0  # for how long it has been so
        self._asked_s: float | None = None  # when something last asked for a change
        self._pauses: dict[tuple[str, bool], tuple[float, float]] = {}  # (knob, up) -> (until, the next one's length)

    def look(self, look: Look) -> Values:
        """What is to be in force from now on."""
        self.news = []
        answers = sum(count for count, _ in look.routes.values())
        rate = (answers - look.failed) / look.seconds
        self.values.wait_limit_s = self._standing.look(look.now, look.wait_s, look.call_s, rate, look.refused)
        if self._standing.news:
            self.news.append(self._standing.news)
        if look.seconds > 2.0:  # nothing happened for a while: not what a window is about
            self._window = Window()
            self._full_s = self._late_s = 0.0
        elif self._pooled:
            self._follow(look)
            if self.trial is not None:
                self._go_on(look)
            else:
                self._propose(look)
        self._rest(look)
        return self.values

    # Whether something asks for a change.

    def _follow(self, look: Look) -> None:
        full = look.waiting > 0 and look.busy >= self.values.threads
        late = self._gil and look.cores > COMPUTING and look.late_s > LATE_PART * self.values.switch_interval_s > 0.0
        self._full_s = self._full_s + look.seconds if full else 0.0
        self._late_s = self._late_s + look.seconds if late else 0.0
        if full or late or self._asked_s is None:
            self._asked_s = look.now

    def _propose(self, look: Look) -> None:
        threads, bounds = self.values.threads, self._bounds
        if self._full_s >= STANDING_S:
            wanted = min(bounds.threads_max, STEP * threads, look.busy + look.waiting)
            if self._gil:
                wanted = min(wanted, ceil(look.useful))
            if look.cores < CORE_FULL and wanted > threads and self._may(THREADS, True, look.now):
                return self._begin_trial(THREADS, threads, int(wanted))
            fewer = max(bounds.threads_min, int(threads / STEP))
            if fewer < threads and self._may(THREADS, False, look.now):
                return self._begin_trial(THREADS, threads, fewer)
        if self._late_s >= STANDING_S:
            interval_s = self.values.switch_interval_s
            less_s = max(bounds.switch_min_s, interval_s / SWITCH_STEP)
            more_s = min(bounds.switch_max_s, interval_s * SWITCH_STEP)
            if less_s < interval_s and self._may(SWITCH, False, look.now):
                return self._begin_trial(SWITCH, interval_s, less_s)
            if more_s > interval_s and self._may(SWITCH, True, look.now):
                return self._begin_trial(SWITCH, interval_s, more_s)
        return None

    def _may(self, knob: str, up: bool, now: float) -> bool:
        return now >= self._pauses.get((knob, up), (0.0, 0.0))[0]

    # A trial.

    def _begin_trial(self, knob: str, old: float, new: float) -> None:
        self.knob, self.trial = knob, Trial(old, new)
        self.counts["tried"] += 1
        self._window = Window()
        self._settle_s = 0.0  # it begins with the old value

    def _go_on(self, look: Look) -> None:
        trial, window = self.trial, self._window
        assert trial is not None
        if self._settle_s > 0.0:
            self._settle_s -= look.seconds
            return
        rows = [(number, count, response_s) for number, (count, response_s) in look.routes.items()]
        window.add(look.seconds, rows, look.failed + look.refused)
        if window.seconds < WINDOW_S or (window.answers < WINDOW_ANSWERS and window.seconds < WINDOW_S_MAX):
            return
        self._window = Window()
        was = trial.value
        trial.add(window)
        if trial.value != was:
            self._put(trial.value)
            self._settle_s = min(SETTLE_S_MAX, SETTLE_S + SETTLE_CALLS * look.call_s)
        if trial.outcome:
            self._end_trial(trial, look.now)

    def _put(self, value: float) -> None:
        if self.knob == THREADS:
            self.values.threads = int(value)
        else:
            self.values.switch_interval_s = value

    def _end_trial(self, trial: Trial, now: float) -> None:
        key = self.knob, trial.new > trial.old
        back = self.knob, trial.new < trial.old
        pause_s = self._pauses.get(key, (0.0, PAUSE_S))[1]
        if trial.outcome == KEPT:
            self.counts["kept"] += 1
            self._pauses.pop(key, None)
            self._pauses[back] = now + PAUSE_S, PAUSE_S  # what has just been shown need not be tried the other way
        else:
            self._pauses[key] = now + pause_s, min(PAUSE_S_MAX, 2 * pause_s)
            self.counts["undone"] += trial.outcome != GONE
        self.news.append(described(self.knob, trial))
        self.trial = None
        self._full_s = self._late_s = 0.0

    def _rest(self, look: Look) -> None:
        """Back to the begin where nothing has asked for anything for long."""
        values, begin = self.values, self._begin
        if self._asked_s is None or self.trial is not None or look.now - self._asked_s < REST_S:
            return
        self._asked_s = None
        self._pauses.clear()
        if (values.threads, values.switch_interval_s) != (begin.threads, begin.switch_interval_s):
            values.threads, values.switch_interval_s = begin.threads, begin.switch_interval_s
            self.news.append(f"nothing has waited for {REST_S:.0f} s: threads and switch_interval are as they were set")


def described(knob: str, trial: Trial) -> str:
    """What came of a trial, in a sentence."""
    old, new = (f"{value * 1e3:g} ms" if knob == SWITCH else f"{value:g}" for value in (trial.old, trial.new))
    change = f"{knob} {old} -> {new}"
    if trial.outcome == GONE:
        return f"{change} was not tried to its end: the load has gone"
    # The gain is that of throughput by response time; where both move together each has half of it.
    by = f"{exp(trial.gain / 2) - 1:+.1%}"
    low, high = (f"{exp((trial.gain + sign * trial.reach) / 2) - 1:+.1%}" for sign in (-1, 1))
    interval = f" [{low}, {high}]" if trial.reach < 2.0 else ""
    pairs = f"{len(trial.pairs)} pair{'s' * (len(trial.pairs) != 1)} of windows"
    if trial.outcome == KEPT:
        return f"{change} is kept: {by}{interval} in {pairs}"
    return f"{change} is taken back: {by}{interval} in {pairs}" if trial.pairs else f"{change} is taken back: it failed"
