"""Settings that follow what is measured (`adaptive`): the hands of schedule.adaptive, which decides.

Looks at the loop every PERIOD_S, tells the controller what happened since, and puts its values in force: in the pool,
in the interpreter (sys.setswitchinterval), and in `admission`. Says what was decided in the log and in the page.

Threads: all by the leader, but `begin` and `end` before and after.
"""

from __future__ import annotations

import sys
import time

from vivace.connection.meter import process_clock
from vivace.observe.layout import (
    ADAPTIVE_COUNTS,
    R_5XX,
    R_BLOCKED_NS,
    R_COUNT,
    R_CPU_NS,
    R_HEAVY,
    R_POOL,
    R_SUM_NS,
    ROUTE_WORDS,
    S_ADAPTIVE,
    S_SWITCH_NS,
    S_THREADS_MAX,
    S_WAIT_LIMIT_NS,
    W_ADAPTIVE,
    W_REFUSED_5XX,
)
from vivace.schedule.adaptive import Bounds, Controller, Look, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.config.settings import Settings
    from vivace.connection.loop import Loop

PERIOD_S = 0.25
WORDS = (R_COUNT, R_SUM_NS, R_CPU_NS, R_BLOCKED_NS, R_5XX, R_POOL, R_HEAVY)
PACE_S = 1.0
"""Over about so long it is counted how many calls the pool and the heavy lane answer."""


class Adapting:
    """Of one loop. `say(message)` is for the operator."""

    def __init__(self, loop: Loop, settings: Settings, say: Callable[[str], None], *, gil: bool) -> None:
        self._loop, self._say = loop, say
        interval_s = settings.switch_interval_s or sys.getswitchinterval()
        values = Values(settings.threads, interval_s, loop.admission.limit_s)
        threads_max = max(settings.threads, settings.adaptive_threads_max)
        self.controller = Controller(
            values,
            Bounds(threads_max, min(4, settings.threads)),
            wait_s=settings.adaptive_wait_s,
            gil=gil,
            pooled=loop.pool is not None,
        )
        self._told = dict.fromkeys(ADAPTIVE_COUNTS, 0)
        self._now = self._cpu_s = 0.0
        self._counts: dict[int, list[int]] = {}
        self._refused = 0
        self._looks, self._late_s = 0, 0.0
        self._pool_rate = self._heavy_rate = 0.0  # answers a second
        loop.sweeper.look_often(self.look, PERIOD_S)

    def begin(self) -> None:
        """The loop is about to run."""
        self._loop.section.words[S_ADAPTIVE] = 1
        self._tell()

    def look(self, now: float) -> None:
        """A tick of the loop, which has just been counted into the page."""
        seconds = now - self._now
        if seconds < PERIOD_S * 0.8:
            return
        look = self._measure(now, seconds)
        first, self._now = not self._now, now
        if first:
            return
        controller = self.controller
        before = vars_of(controller.values)
        values = controller.look(look)
        self._put(values, before)
        for news in controller.news:
            self._say(f"adaptive: {news}")
            self._loop.section.tell_adapted(f"{time.strftime('%H:%M:%S')} {news}")
        if controller.news or before != vars_of(values):
            self._tell()

    def _measure(self, now: float, seconds: float) -> Look:
        loop = self._loop
        words, admission, pool, heavy = loop.section.words, loop.admission, loop.pool, loop.heavy
        found = {}
        counts = loop.section.counts
        for number in {route.number for route in loop.routes.all()}:
            at = number * ROUTE_WORDS
            row = [counts[at + word] for word in WORDS]
            had = self._counts.get(number)
            if row != had:
                self._counts[number] = row
                found[number] = [new - old for new, old in zip(row, had or [0] * len(WORDS), strict=True)]
        cpu_s = process_clock()
        routes = {number: (row[0], row[1] * 1e-9, row[2] * 1e-9, row[3] * 1e-9) for number, row in found.items()}
        look = Look(now, seconds, routes, (cpu_s - self._cpu_s) / seconds)
        self._cpu_s = cpu_s
        look.failed = sum(row[4] for row in found.values())
        look.refused, self._refused = words[W_REFUSED_5XX] - self._refused, words[W_REFUSED_5XX]
        part = min(1.0, seconds / PACE_S)
        self._pool_rate += (sum(row[5] for row in found.values()) / seconds - self._pool_rate) * part
        self._heavy_rate += (sum(row[6] for row in found.values()) / seconds - self._heavy_rate) * part
        look.wait_s = admission.inline_wait_s(len(heavy.inline))
        if heavy.away and self._heavy_rate:
            look.wait_s = max(look.wait_s, len(heavy) / self._heavy_rate)
        if pool is not None:
            look.waiting, look.busy = len(pool.waiting), max(0, pool.busy - 1)
            full = look.waiting and self._pool_rate
            admission.measured_pace_s = 1.0 / self._pool_rate if full else 0.0
            look.wait_s = max(look.wait_s, admission.pool_wait_s(look.waiting))
        looks, late_s = loop.monitor.looks, loop.monitor.late_s
        if looks > self._looks:
            look.late_s = (late_s - self._late_s) / (looks - self._looks)
        self._looks, self._late_s = looks, late_s
        return look

    def _put(self, values: Values, before: tuple[int, float, float]) -> None:
        threads, interval_s, _ = before
        if values.threads != threads:
            self._loop.resize(values.threads)
        if values.switch_interval_s != interval_s:
            sys.setswitchinterval(values.switch_interval_s)
        self._loop.admission.limit_s = values.wait_limit_s

    def _tell(self) -> None:
        words, values, counts = self._loop.section.words, self.controller.values, self.controller.counts
        words[S_THREADS_MAX] = values.threads
        words[S_SWITCH_NS] = int(values.switch_interval_s * 1e9)
        limit_s = values.wait_limit_s
        words[S_WAIT_LIMIT_NS] = int(limit_s * 1e9) if limit_s < 1e9 else 0
        for at, name in enumerate(ADAPTIVE_COUNTS):
            words[W_ADAPTIVE + at] += counts[name] - self._told[name]
            self._told[name] = counts[name]


def vars_of(values: Values) -> tuple[int, float, float]:
    """All three, to be compared."""
    return values.threads, values.switch_interval_s, values.wait_limit_s
