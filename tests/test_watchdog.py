"""The watchdog of a loop with one thread: what lasts is overtaken, what is quick is left alone; an idle one rests."""

from __future__ import annotations

import threading
import time
from typing import Any

from pooled import end_all, held, pools, rest
from vivace.schedule.monitor import Watchdog
from wire import TIMEOUT_S, until


class Call:
    allowance_s = float("inf")


class Rig:
    """A watchdog on a thread of its own."""

    def __init__(self, limit_s: float, tend: Any = None) -> None:
        self.overtaken: list[Any] = []
        self.tended = 0
        self.busy = False
        self.dog = Watchdog(self.overtaken.append, time.perf_counter, tend or self.tend, limit_s=limit_s)
        self.thread = threading.Thread(target=self.dog.watch)

    def tend(self, now: float) -> bool:
        self.tended += 1
        return self.busy

    def __enter__(self) -> Rig:
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.dog.stop()
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()


def test_a_call_past_the_limit_is_overtaken_whatever_its_allowance() -> None:
    with Rig(0.05) as rig:
        table, call = rig.dog.table, Call()
        rig.dog.turns += 1
        rig.dog.wake()
        started = time.monotonic()
        table.append(call)
        until(lambda: rig.overtaken)
        assert time.monotonic() - started >= 0.05
        assert rig.overtaken == [call]
        assert table == []
        assert rig.dog.table is not table


def test_quick_calls_are_left_alone() -> None:
    with Rig(0.05) as rig:
        table = rig.dog.table
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            rig.dog.turns += 1
            table.append(Call())
            time.sleep(0.005)
            table.pop()
        assert rig.overtaken == []


def test_it_rests_while_nothing_happens() -> None:
    with Rig(0.02) as rig:
        until(lambda: rig.dog.resting)
        tended = rig.tended
        time.sleep(0.1)
        assert rig.tended == tended
        rig.dog.turns += 1
        rig.dog.wake()
        until(lambda: rig.tended > tended)


def test_it_does_not_rest_while_there_is_something_to_look_after() -> None:
    with Rig(0.02) as rig:
        rig.busy = True
        rig.dog.wake()
        until(lambda: rig.tended > 20)
        assert not rig.dog.resting
        rig.busy = False
        until(lambda: rig.dog.resting)


def test_a_stop_at_any_moment_is_heard() -> None:
    for pause in (0.0, 0.001, 0.002, 0.003, 0.02):
        for _ in range(5):
            with Rig(0.02) as rig:
                time.sleep(pause)
                rig.dog.turns += 1
                rig.dog.wake()


def test_threads_that_do_not_come_back_do_not_count() -> None:
    """Of the pool: one that is excused makes room, and counts again when it is back."""
    with pools() as make:
        pool = make(2)
        pool.promote()
        lost = held(pool, 2)
        pool.excuse()
        one_more = held(pool, 1)
        assert pool.busy == 3
        pool.welcome()
        assert pool.busy == 4
        end_all(*lost, *one_more)
        rest(pool, 1)
        pool._lead.end()  # type: ignore[attr-defined]
