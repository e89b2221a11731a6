"""connection.meter: what of a call's wall time is its own doing. By clocks that are told; and once by real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from vivace.connection import meter
from vivace.connection.meter import Meter
from vivace.schedule.delay import run_delay_of, run_delay_s
from vivace.schedule.heavy import HeavyQueue
from vivace.schedule.policy import Policy
from vivace.schedule.route import INLINE, POOL

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_S = 0.005


class Clocks:
    """What the clocks of a call say: seconds, and how often it gave the processor up by itself."""

    def __init__(self) -> None:
        self.wall = self.cpu = self.process = self.delay = 0.0
        self.waits = 0

    def call(self, queue: HeavyQueue, *, leading: bool = True, token: int = 0, **passed: float) -> Any:
        """A metered call in which so much passes on each clock."""
        begun = Meter(queue, token, leading)
        self.pass_by(**passed)
        return begun.read(passed["wall"])

    def pass_by(self, **passed: float) -> None:
        for name, amount in passed.items():
            setattr(self, name, getattr(self, name) + amount)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    told = Clocks()
    for name, clock in (
        ("clock", lambda: told.wall),
        ("thread_clock", lambda: told.cpu),
        ("process_clock", lambda: told.process),
        ("run_delay_s", lambda: told.delay),
        ("run_delay_of", lambda native: told.delay),
        ("own_waits", lambda: told.waits),
    ):
        monkeypatch.setattr(meter, name, clock)
    return told


@pytest.fixture
def queue() -> HeavyQueue:
    return HeavyQueue()


def test_a_call_that_never_gave_the_processor_up_was_interrupted_and_no_more(clocks: Clocks, queue: HeavyQueue) -> None:
    assert clocks.call(queue, wall=0.003, cpu=0.0001, process=0.0001) == (0.0001, 0.0001, 1.0)


def test_a_call_that_waits_for_something_has_waited(clocks: Clocks, queue: HeavyQueue) -> None:
    told = clocks.call(queue, wall=0.003, cpu=0.0001, process=0.0001, waits=1)
    assert told == pytest.approx((0.003, 0.0001, 1.0))


@pytest.mark.parametrize("leading", [True, False])
def test_waiting_for_a_core_is_not_waiting(clocks: Clocks, queue: HeavyQueue, leading: bool) -> None:
    told = clocks.call(queue, leading=leading, wall=0.003, cpu=0.0001, process=0.0001, waits=1, delay=0.0025)
    assert told == pytest.approx((0.0005, 0.0001, 1.0))
    more = clocks.call(queue, leading=leading, wall=0.003, cpu=0.0001, process=0.0001, waits=1, delay=0.0035)
    assert more == pytest.approx((0.0001, 0.0001, 1.0))


def test_where_cores_are_scarce_whoever_computes_may_have_had_the_gil(clocks: Clocks, queue: HeavyQueue) -> None:
    plenty = clocks.call(queue, wall=0.003, cpu=0.0002, process=0.0003, waits=1, delay=0.00005)
    scarce = clocks.call(queue, wall=0.003, cpu=0.0002, process=0.0003, waits=1, delay=0.0005)
    assert (plenty[2], scarce[2]) == pytest.approx((1.0, 1.5))


def test_one_that_still_runs_is_looked_at_in_the_same_way(clocks: Clocks, queue: HeavyQueue) -> None:
    begun = Meter(queue, 0, True)
    clocks.pass_by(wall=0.006, delay=0.00005)
    elapsed_s, _, crowded = begun.look(threading.get_ident(), threading.get_native_id())
    assert (elapsed_s, crowded) == (pytest.approx(0.00595), False)
    clocks.pass_by(wall=0.004, delay=0.007)
    elapsed_s, _, crowded = begun.look(threading.get_ident(), threading.get_native_id())
    assert (elapsed_s, crowded) == (pytest.approx(0.00295), True)


def known_route(policy: Policy) -> Any:
    route = policy.new_route("GET /")
    for _ in range(200):
        policy.observe(route, 0.0001, 0.0001, 1.0)
    return route


def test_neighbours_do_not_move_a_quick_route_and_a_database_does(clocks: Clocks, queue: HeavyQueue) -> None:
    """One call in ten loses its core for some milliseconds, or waits for a thread that has lost its own."""
    policy = Policy(tick_s=TICK_S, gil=True, cores=2)
    route = known_route(policy)
    for number in range(1000):
        passed = {"wall": 0.0001, "cpu": 0.0001, "process": 0.0001}
        if number % 10 == 0:
            passed |= {"wall": 0.0041, "delay": 0.0038, "waits": 1}
        if number % 100 == 50:
            passed |= {"wall": 0.0041, "delay": 0.002, "waits": 1, "process": 0.0003}
        policy.observe(route, *clocks.call(queue, **passed))
        assert route.lane == INLINE, number
    for _ in range(40):
        policy.observe(route, *clocks.call(queue, wall=0.0041, cpu=0.0001, process=0.0001, waits=1, delay=0.0002))
    assert route.lane == POOL


@pytest.fixture
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this system does not tell")
@pytest.mark.usefixtures("one_core")
def test_a_thread_is_told_of_by_another_one() -> None:
    with ExitStack() as stack:
        code = "print(flush=True)\nwhile True: pass"
        rival = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
        stack.callback(rival.kill)
        assert rival.stdout is not None
        rival.stdout.readline()
        native, before = threading.get_native_id(), run_delay_s()
        ends = time.monotonic() + 0.2
        while time.monotonic() < ends:
            pass
        told: list[float] = []
        other = threading.Thread(target=lambda: told.append(run_delay_of(native) - before))
        other.start()
        other.join()
    assert 0.02 < told[0] < 10
    assert run_delay_of(2**22 + 1) == 0.0
