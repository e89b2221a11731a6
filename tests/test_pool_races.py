"""schedule.pool: no job is lost or run twice, whatever comes between two steps of a thread."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest

from pooled import Leader, end_all, held, pools
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pooled import MakePool


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    with pools() as make:
        yield make


# Moments between two steps of a thread, made to happen.


class Between(deque):  # type: ignore[type-arg]
    """The queue of waiting jobs; runs `then` once, just after it has been found empty."""

    then: Callable[[], object] | None = None

    def popleft(self) -> Any:
        try:
            return super().popleft()
        except IndexError:
            then, self.then = self.then, None
            if then is not None:
                then()
            raise


class BetweenLock:
    """The pool's guard; runs `then` once, just before it is taken."""

    then: Callable[[], object] | None = None

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            then()
        self.lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.lock.release()


def test_a_job_that_comes_while_a_thread_goes_idle(make_pool: MakePool) -> None:
    pool = make_pool(1)
    waiting = pool.waiting = Between()
    done = threading.Event()
    [job] = held(pool, 1)
    waiting.then = lambda: pool.submit(done.set)
    job.end()
    assert done.wait(TIMEOUT_S)


def test_a_job_that_comes_while_a_thread_retires(make_pool: MakePool) -> None:
    """It took itself off the list of the idle, and has not yet counted itself out: nobody else may ever come."""
    pool = make_pool(1, idle_s=0.01)
    guard = BetweenLock()
    pool._guard = guard  # type: ignore[assignment]
    [job] = held(pool, 1)
    done = threading.Event()
    guard.then = lambda: pool.submit(done.set)
    job.end()
    assert done.wait(2), "the job is lost"


def test_a_job_that_comes_while_the_last_threads_end(make_pool: MakePool) -> None:
    pool = make_pool(1)
    guard = BetweenLock()
    pool._guard = guard  # type: ignore[assignment]
    jobs = held(pool, 2)
    pool.end()
    done = threading.Event()
    guard.then = lambda: pool.submit(done.set)
    end_all(*jobs)
    assert done.wait(2), "the job is lost"


def test_a_job_that_comes_while_the_only_thread_retires_beside_the_leader(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(1, idle_s=0.01, lead=leader)
    guard = BetweenLock()
    pool._guard = guard  # type: ignore[assignment]
    pool.promote()
    leader.wait_begun()
    [job] = held(pool, 1)
    done = threading.Event()
    guard.then = lambda: pool.submit(done.set)
    job.end()
    try:
        assert done.wait(2), "the job waits for the leader to be overtaken"
    finally:
        leader.end()


def test_the_promotion_that_comes_while_a_thread_retires(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(1, idle_s=0.01, lead=leader)
    guard = BetweenLock()
    pool._guard = guard  # type: ignore[assignment]
    [job] = held(pool, 1)
    guard.then = pool.promote
    job.end()
    leader.wait_begun().end()


# Hammer.


@pytest.mark.parametrize(("threads_max", "idle_s"), [(1, 60.0), (4, 60.0), (4, 0.0), (3, 0.0005), (16, 0.0)])
def test_each_job_runs_exactly_once(make_pool: MakePool, threads_max: int, idle_s: float) -> None:
    """Four submitters, threads that retire all the time, and a leader promoted now and then."""
    pool = make_pool(threads_max, idle_s, lead=lambda: None)
    each = 500
    runs = [[0] * each for _ in range(4)]
    most = 0

    def submit(submitter: int) -> None:
        nonlocal most
        chance = random.Random(submitter)

        def job(number: int) -> None:
            runs[submitter][number] += 1

        for number in range(each):
            pool.submit(lambda number=number: job(number))
            if submitter == 0 and number % 50 == 0:
                pool.promote()
            most = max(most, pool.total)
            if chance.random() < 0.05:
                threading.Event().wait(0.0005)

    submitters = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join()
    until(lambda: sum(map(sum, runs)) == 4 * each, what="jobs are lost")
    assert runs == [[1] * each] * 4
    # One for the leader; and a promotion may find all of them busy, and the one before it not ended yet.
    assert most <= threads_max + 1 + 4
