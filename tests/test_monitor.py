"""schedule.monitor: who holds the baton. A bell and a clock that only move as a test says; at the end, real threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from vivace.schedule.monitor import ALERT_TICKS, RELAXED, Monitor
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
TICK_S = 0.004


class Call:
    """What lies on the table."""

    def __init__(self, allowance_s: float = TICK_S) -> None:
        self.allowance_s = allowance_s


class Bell:
    """In place of the lock that the monitor sleeps on: each sleep runs the test's next step and moves the clock."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.rung = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Sleeps to the end of its time, unless the bell is rung."""
        watched = self.watched
        watched.asked.append(timeout)
        step = watched.steps.pop(0) if watched.steps else watched.monitor.stop
        step()
        rung, self.rung = self.rung, False
        if timeout < 0:
            assert rung, "it sleeps for ever"
        if not rung:
            watched.now += timeout + watched.overslept_s
        return rung

    def release(self) -> None:
        if self.rung:
            raise RuntimeError("release unlocked lock")
        self.rung = True


class Watched:
    """A monitor under a fake clock. `run(steps)`: one step within each sleep, then the end."""

    def __init__(self) -> None:
        self.now = 100.0
        self.overslept_s = 0.0
        self.asked: list[float] = []
        self.overtaken: list[Any] = []
        self.steps: list[Callable[[], object]] = []
        self.monitor = Monitor(self.on_overtake, lambda: self.now, tick_s=TICK_S)
        self.monitor._bell = Bell(self)  # type: ignore[assignment]

    def on_overtake(self, call: Any) -> None:
        assert self.monitor.turnover.locked()
        assert self.monitor.table == [], "the table must be the successor's"
        self.overtaken.append(call)

    def run(self, *steps: Callable[[], object]) -> None:
        self.asked.clear()
        self.monitor._stopping = False
        self.steps = list(steps)
        self.monitor.watch()

    def ticks(self, count: int, each: Callable[[], object] = lambda: None) -> None:
        """So many sleeps in which the same happens."""
        self.run(*[each] * count)

    def turn(self) -> None:
        """The loop turns, as it does while anything happens."""
        self.monitor.turns += 1


@pytest.fixture
def watched() -> Watched:
    return Watched()


# The allowance.


@pytest.mark.parametrize("ticks", [1, 2, 3, 10, 25])
def test_overtaken_after_its_allowance_and_not_before(watched: Watched, ticks: int) -> None:
    """It counts from the first look, so a call has one tick more at most."""
    call = Call(ticks * TICK_S)
    table = watched.monitor.table
    table.append(call)
    watched.ticks(ticks)
    assert (watched.overtaken, table) == ([], [call])
    watched.monitor.table = table
    watched.monitor._seen = None
    watched.ticks(ticks + 1)
    assert (watched.overtaken, table) == ([call], [])


def test_each_call_has_its_own_allowance(watched: Watched) -> None:
    """A fresh call in the same place is not charged with the time of the one before."""
    monitor = watched.monitor

    def next_call() -> None:
        monitor.table[:] = [Call()]

    watched.ticks(200, next_call)
    assert watched.overtaken == []


def test_a_call_that_comes_back_after_a_gap_starts_anew(watched: Watched) -> None:
    """The same object cannot lie there twice, but its memory may be given to the next call."""
    monitor, call = watched.monitor, Call(3 * TICK_S)
    watched.run(lambda: monitor.table.append(call), lambda: None, lambda: None, monitor.table.clear)
    watched.run(lambda: monitor.table.append(call), lambda: None, lambda: None)
    assert watched.overtaken == []


def test_time_overslept_is_not_held_against_the_call(watched: Watched) -> None:
    """The machine stood still for a second at each tick, and the call with it."""
    call = Call(10 * TICK_S)
    watched.monitor.table.append(call)
    watched.overslept_s = 1.0
    watched.ticks(10)
    assert watched.overtaken == []
    watched.run(lambda: None)
    assert watched.overtaken == [call]


def test_an_infinite_allowance(watched: Watched) -> None:
    watched.monitor.table.append(Call(float("inf")))
    watched.ticks(5000)
    assert watched.overtaken == []


# The baton.


def test_the_overtaken_one_finds_its_table_empty_and_never_its_successor_s_baton(watched: Watched) -> None:
    monitor = watched.monitor
    first, second = Call(), Call(1.0)
    old = monitor.table
    old.append(first)
    watched.ticks(2)
    assert watched.overtaken == [first]
    new = monitor.table
    new.append(second)
    with pytest.raises(IndexError):
        old.pop()
    assert monitor.table == [second]
    assert new is not old


def test_a_call_that_ended_in_the_last_moment_is_not_overtaken(watched: Watched) -> None:
    """Between the look and the grasp: the table is empty then, for the monitor as for anybody else."""

    class Vanishing(Call):
        @property
        def allowance_s(self) -> float:
            monitor.table.clear()
            return 0.0

        @allowance_s.setter
        def allowance_s(self, value: float) -> None:
            pass

    monitor = watched.monitor
    table = monitor.table
    table.append(Vanishing())
    watched.ticks(3)
    assert watched.overtaken == []
    assert monitor.table is table


def test_step_aside_gives_the_lead_away(watched: Watched) -> None:
    monitor, call = watched.monitor, Call()
    old = monitor.table
    old.append(call)
    monitor.step_aside(old)
    assert (watched.overtaken, old) == ([call], [])
    assert monitor.table is not old
    assert not monitor.turnover.locked()


def test_step_aside_by_one_who_was_overtaken_changes_nothing(watched: Watched) -> None:
    monitor, call = watched.monitor, Call()
    old = monitor.table
    old.append(call)
    monitor.step_aside(old)
    new = monitor.table
    new.append(Call())
    monitor.step_aside(old)
    assert watched.overtaken == [call]
    assert monitor.table is new
    assert len(new) == 1


def test_an_overtake_that_fails_leaves_the_turnover_open() -> None:
    """Else everybody who was overtaken would wait for ever."""

    def fail(call: Any) -> None:
        raise ValueError("overtake")

    monitor = Monitor(fail, lambda: 0.0, tick_s=TICK_S)
    monitor.table.append(Call())
    with pytest.raises(ValueError, match="overtake"):
        monitor.step_aside(monitor.table)
    assert not monitor.turnover.locked()


# Alert, relaxed, resting.


def test_it_relaxes_while_only_quick_calls_run(watched: Watched) -> None:
    monitor = watched.monitor
    watched.ticks(ALERT_TICKS + 30, watched.turn)
    assert watched.asked[:ALERT_TICKS] == [TICK_S] * ALERT_TICKS
    assert set(watched.asked[ALERT_TICKS:]) == {TICK_S * RELAXED}
    assert (monitor.drowsy, monitor.resting) == (False, False), "the end has woken it"
    states: list[bool] = []

    def turn() -> None:
        watched.turn()
        states.append(monitor.drowsy)

    watched.ticks(ALERT_TICKS + 5, turn)
    assert states == [False] * ALERT_TICKS + [True] * 5


def test_wake_brings_the_short_tick_back(watched: Watched) -> None:
    monitor = watched.monitor
    watched.run(*[watched.turn] * (ALERT_TICKS + 3), monitor.wake, *[watched.turn] * 4)
    assert watched.asked[ALERT_TICKS + 2 : ALERT_TICKS + 4] == [TICK_S * RELAXED] * 2
    assert watched.asked[ALERT_TICKS + 4 :] == [TICK_S] * 5


def test_an_overtake_brings_the_short_tick_back(watched: Watched) -> None:
    monitor = watched.monitor
    watched.run(
        *[watched.turn] * (ALERT_TICKS + 3),
        lambda: monitor.table.append(Call()),
        watched.turn,
        *[watched.turn] * 4,
    )
    assert len(watched.overtaken) == 1
    assert watched.asked[-4:] == [TICK_S] * 4


def test_relaxed_looks_count_for_as_long_as_they_take(watched: Watched) -> None:
    monitor, call = watched.monitor, Call(9.5 * RELAXED * TICK_S)
    lay = lambda: monitor.table.append(call)  # noqa: E731
    watched.run(*[watched.turn] * ALERT_TICKS, lay, *[watched.turn] * 9)
    assert watched.overtaken == []
    monitor.table.clear()
    monitor._seen = None
    watched.run(*[watched.turn] * ALERT_TICKS, lay, *[watched.turn] * 10)
    assert watched.overtaken == [call]


def test_it_sleeps_while_nothing_happens_at_all(watched: Watched) -> None:
    monitor = watched.monitor
    resting: list[bool] = []

    def wake() -> None:
        resting.append(monitor.resting)
        monitor.wake()

    watched.run(*[lambda: None] * (ALERT_TICKS + 1), wake)
    assert watched.asked[ALERT_TICKS + 1] == -1
    assert resting == [True]
    assert watched.asked[ALERT_TICKS + 2] == TICK_S, "awake again"
    assert not monitor.resting


def test_a_turn_of_the_loop_keeps_it_awake(watched: Watched) -> None:
    watched.ticks(5 * ALERT_TICKS, watched.turn)
    assert -1 not in watched.asked


def test_a_call_on_the_table_keeps_it_awake(watched: Watched) -> None:
    """However long it takes: the loop does not turn meanwhile."""
    watched.monitor.table.append(Call(1000.0))
    watched.ticks(5 * ALERT_TICKS)
    assert -1 not in watched.asked


def test_a_turn_in_the_moment_of_falling_asleep_is_noticed(watched: Watched) -> None:
    """The loop counts its turn, then looks whether the monitor rests; the monitor says so, then looks at the count."""
    monitor = watched.monitor

    class Turning(list[Any]):
        """A table at which the last look before the sleep meets a turn of the loop."""

        def __bool__(self) -> bool:
            if monitor.resting:
                monitor.turns += 1
                monitor.wake()
            return False

    monitor.table = Turning()
    watched.ticks(ALERT_TICKS + 20)
    # Bell.acquire has asserted that no sleep without an end went on unrung.
    assert watched.overtaken == []


def test_stop_ends_it_in_every_state(watched: Watched) -> None:
    monitor = watched.monitor
    for quiet in (0, 3, ALERT_TICKS + 1):
        watched.run(*[lambda: None] * quiet, monitor.stop)
        assert len(watched.asked) == quiet + 1


def test_stop_before_the_start(watched: Watched) -> None:
    watched.monitor.stop()
    watched.monitor.watch()
    assert watched.asked == []


# Real threads and the real clock.


def test_the_real_bell_wakes_it_from_its_rest() -> None:
    monitor = Monitor(lambda call: None, time.perf_counter, tick_s=0.0001)
    thread = threading.Thread(target=monitor.watch, daemon=True)
    thread.start()
    for _ in range(2):
        until(lambda: monitor.resting, what="it does not rest")
        monitor.wake()
        until(lambda: not monitor.resting)
    until(lambda: monitor.resting)
    monitor.stop()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


class Race:
    """Leaders that run calls of no length under a monitor that overtakes at almost every look."""

    def __init__(self, overtakes: int) -> None:
        self.overtakes = overtakes
        self.monitor = Monitor(self.on_overtake, time.perf_counter, tick_s=0.0001)
        self.leading = threading.Lock()
        """Held by whoever leads, between two calls: nobody ever waits for it."""
        self.faults: list[str] = []
        self.taken = 0
        self.finished = 0
        self.ended = threading.Event()

    def on_overtake(self, call: Call) -> None:
        self.taken += 1
        threading.Thread(target=self.lead, daemon=True).start()

    def enter(self) -> None:
        if not self.leading.acquire(blocking=False):
            self.faults.append("two lead")

    def lead(self) -> None:
        monitor = self.monitor
        table = monitor.table
        calls = 0
        self.enter()
        while self.taken < self.overtakes and not self.faults:
            calls += 1
            call = Call(0.0)
            self.leading.release()
            table.append(call)
            for _ in range(calls % 100):
                pass
            if calls % 1000 == 0:
                monitor.step_aside(table)
            try:
                if table.pop() is not call:
                    self.faults.append("somebody else's baton")
            except IndexError:
                with monitor.turnover:
                    if monitor.table is table:
                        self.faults.append("overtaken, but without a successor")
                self.finished += 1
                return
            self.enter()
        self.leading.release()
        self.ended.set()


def test_there_are_never_two_leaders() -> None:
    race = Race(overtakes=300)
    watcher = threading.Thread(target=race.monitor.watch, daemon=True)
    watcher.start()
    threading.Thread(target=race.lead, daemon=True).start()
    assert race.ended.wait(30)
    race.monitor.stop()
    watcher.join(TIMEOUT_S)
    assert race.faults == []
    assert race.taken >= 300
