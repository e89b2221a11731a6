"""The controller on simulated servers: where it ends, what it costs, and what it leaves alone."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from vivace.schedule.adaptive import PAUSE_S, REST_S, Bounds, Controller, Look, Values, described
from vivace.schedule.trial import Trial, Window

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTE, QUICK = 1, 2
STEP_S = 0.25
THREADS, SWITCH_S = 64, 0.0002


class Plant:
    """Clients that wait for answers of a route whose calls compute and wait for as long as `call` says."""

    def __init__(self, clients: int, call: Callable[[int], tuple[float, float]], *, noise: float = 0.03) -> None:
        """`call`: (CPU, blocked) of a call while so many are in the application."""
        self.clients, self._call, self._noise = clients, call, noise
        self._rng = Random(1)
        self.late_s = 0.0

    def rate(self, threads: int) -> float:
        cpu_s, blocked_s = self._call(min(threads, self.clients))
        return min(min(threads, self.clients) / (cpu_s + blocked_s), 1 / cpu_s)

    def look(self, now: float, values: Values) -> Look:
        threads = min(values.threads, self.clients)
        cpu_s, blocked_s = self._call(threads)
        rate = self.rate(values.threads) * (1 + self._rng.gauss(0, self._noise))
        answers = max(1, round(rate * STEP_S))
        row = (answers, answers * self.clients / rate, answers * cpu_s, answers * blocked_s)
        look = Look(now, STEP_S, {ROUTE: row}, min(1.0, rate * cpu_s))
        look.busy, look.waiting = threads, self.clients - threads
        look.late_s = self.late_s
        return look


def controller(*, threads: int = THREADS, threads_max: int = 256, gil: bool = True, pooled: bool = True) -> Controller:
    return Controller(
        Values(threads, SWITCH_S, 59.0), Bounds(threads_max), wait_s=1.0, gil=gil, pooled=pooled
    )  # fmt: skip


def drive(it: Controller, plant: Plant, seconds: float, begin_s: float = 100.0) -> tuple[float, list[str]]:
    """(what was answered, beside what would have been with the values it began with; what was decided)."""
    begin = it.values.threads
    done = fixed = 0.0
    news = []
    for step in range(int(seconds / STEP_S)):
        done += plant.rate(it.values.threads) * STEP_S
        fixed += plant.rate(begin) * STEP_S
        it.look(plant.look(begin_s + step * STEP_S, it.values))
        news += it.news
    return done / fixed, news


def blocking(threads: int) -> tuple[float, float]:
    return 0.0001, 0.1


def gated(threads: int) -> tuple[float, float]:
    """Eight connections to a database, 20 ms each."""
    return 0.0001, 0.02 * max(1.0, threads / 8)


def thrashing(threads: int) -> tuple[float, float]:
    return 0.0001, 0.01 * (1 + (threads / 16) ** 2)


def test_blocking_calls_get_the_threads_that_they_can_use() -> None:
    it = controller()
    gain, news = drive(it, Plant(200, blocking), 60)
    assert it.values.threads == 200
    assert gain > 2.2
    assert [text.partition(":")[0] for text in news] == ["threads 64 -> 128 is kept", "threads 128 -> 200 is kept"]


def test_never_beyond_the_bounds() -> None:
    it = controller(threads_max=100)
    drive(it, Plant(1000, blocking), 60)
    assert it.values.threads == 100


def test_threads_that_do_not_pay_go_back_and_cost_little() -> None:
    it = controller()
    gain, news = drive(it, Plant(200, gated), 600)
    assert it.values.threads <= THREADS
    assert gain > 0.98
    assert any("is taken back" in text for text in news)
    assert not any("64 -> 128 is kept" in text for text in news)


def test_threads_that_stand_in_each_others_way_are_taken_away() -> None:
    it = controller()
    gain, _ = drive(it, Plant(128, thrashing), 120)
    assert it.values.threads == 16, "where 10 ms * (1 + (n / 16)^2) / n is least"
    assert gain > 1.8


def test_no_more_threads_than_one_gil_keeps_busy() -> None:
    """1 ms of computing and 9 ms of waiting: ten are enough."""
    it = controller(threads=8)
    gain, _ = drive(it, Plant(100, lambda threads: (0.001, 0.009)), 60)
    assert it.values.threads == 10
    assert gain > 1.15


def test_where_nothing_waits_nothing_is_tried() -> None:
    it = controller()
    gain, news = drive(it, Plant(20, blocking), 120)
    assert gain == 1.0
    assert not news
    assert it.counts == {"tried": 0, "kept": 0, "undone": 0}


def test_without_a_pool_threads_are_left_alone() -> None:
    it = controller(threads=1, pooled=False)
    drive(it, Plant(20, blocking), 30)
    assert it.counts["tried"] == 0


def test_what_did_not_pay_is_tried_ever_more_rarely() -> None:
    """Of ten minutes, trials of a change that loses a third take up a fiftieth."""
    it = controller(threads=16)
    _, news = drive(
        it, Plant(128, lambda threads: (0.0001, 0.02 * (threads / 16) ** 1.5 if threads > 16 else 0.02)), 600
    )
    tried = [text for text in news if "16 -> 32" in text]
    assert 2 <= len(tried) <= 4
    assert it.values.threads == 16


def any_plant(rng: Random) -> Plant:
    """Calls that compute and wait, and stand in each other's way more or less, above a number of them or all along."""
    cpu_s, blocked_s = 10 ** rng.uniform(-4.5, -2.5), 10 ** rng.uniform(-3, -0.5)
    room, power = rng.choice([4, 8, 16, 64, 10_000]), rng.choice([0.0, 0.5, 1.0, 1.5, 2.0])

    def call(threads: int) -> tuple[float, float]:
        return cpu_s, blocked_s * max(1.0, threads / room) ** power

    return Plant(rng.randrange(1, 400), call, noise=rng.choice([0.01, 0.03, 0.06]))


@pytest.mark.parametrize("seed", range(40))
def test_never_much_worse_than_what_it_began_with(seed: int) -> None:
    """Whatever the server is like, of five minutes trials cost 3% at most."""
    rng = Random(seed)
    threads = rng.choice([8, 16, 64])
    it = controller(threads=threads)
    gain, news = drive(it, any_plant(rng), 300)
    assert gain > 0.97, news


class Contended(Plant):
    """Quick requests beside others that compute: they wait for the GIL three times each."""

    def __init__(self, harm: float = 0.02) -> None:
        super().__init__(12, blocking, noise=0.02)
        self._harm = harm

    def look(self, now: float, values: Values) -> Look:
        interval_s = values.switch_interval_s
        quick_s = 0.0002 + 3 * interval_s * (1 + self._rng.gauss(0, 0.02))
        slow_s = 0.05 * (1 + self._harm * (SWITCH_S / interval_s - 1)) * (1 + self._rng.gauss(0, 0.02))
        quick, slow = round(8 / quick_s * STEP_S), round(4 / slow_s * STEP_S)
        rows = {QUICK: (quick, 8.0 * STEP_S, quick * 1e-5, 0.0), ROUTE: (slow, 4 * STEP_S, slow * 0.01, 0.0)}
        look = Look(now, STEP_S, rows, 1.0)
        look.busy = 1
        look.late_s = interval_s
        return look


def run(it: Controller, plant: Plant, seconds: float, begin_s: float = 100.0) -> list[str]:
    news = []
    for step in range(int(seconds / STEP_S)):
        it.look(plant.look(begin_s + step * STEP_S, it.values))
        news += it.news
    return news


def test_quick_requests_that_wait_for_the_gil_get_a_shorter_interval() -> None:
    it = controller()
    news = run(it, Contended(), 30)
    assert it.values.switch_interval_s == pytest.approx(SWITCH_S / 4)
    assert news[0].startswith("switch_interval 0.2 ms -> 0.05 ms is kept: +")


def test_not_at_the_cost_of_those_that_compute() -> None:
    it = controller()
    run(it, Contended(harm=0.1), 60)
    assert it.values.switch_interval_s == SWITCH_S


def test_no_gil_no_switch_interval() -> None:
    it = controller(gil=False)
    assert not run(it, Contended(), 30)


def test_after_a_long_rest_all_is_as_it_was_set() -> None:
    it = controller()
    drive(it, Plant(200, blocking), 60)
    assert it.values.threads == 200
    news = run(it, Plant(20, blocking), REST_S + 2, begin_s=160.0)
    assert it.values.threads == THREADS
    assert "as they were set" in news[-1]


def test_a_load_that_goes_in_the_middle_of_a_trial_ends_it() -> None:
    it = controller()
    drive(it, Plant(200, blocking), 2.5)
    assert it.trial is not None
    for step in range(100):
        it.look(Look(110.0 + step, 1.0, {}, 0.0))
    assert it.trial is None
    assert it.values.threads == THREADS
    assert it.counts["kept"] == 0


def test_a_standing_queue_shortens_the_wait_limit() -> None:
    it = controller(pooled=False)
    for step in range(40):
        look = Look(100 + step * STEP_S, STEP_S, {ROUTE: (100, 10.0, 1.0, 0.0)}, 1.0)
        look.wait_s = 0.2 * step
        values = it.look(look)
    assert values.wait_limit_s == 1.0


def test_what_is_said_of_a_trial() -> None:
    trial = Trial(0.0002, 0.00005)
    for _ in range(4):
        window = Window()
        window.add(1.0, [(ROUTE, 100, 4.0)], 0)
        trial.add(window)
    trial.outcome = "undone"
    assert described("switch_interval", trial) == (
        "switch_interval 0.2 ms -> 0.05 ms is taken back: +0.0% [-10.6%, +11.9%] in 2 pairs of windows"
    )
    gone = Trial(64, 128)
    gone.outcome = "gone"
    assert described("threads", gone) == "threads 64 -> 128 was not tried to its end: the load has gone"
    assert PAUSE_S < REST_S
