"""schedule.pool: which thread runs what, and how many there are. Between two threads: test_pool_races.py."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pooled import Held, Leader, end_all, held, pools, rest
from vivace.schedule.pool import Pool
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pooled import MakePool


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    with pools() as make:
        yield make


# Threads on demand.


def test_nothing_starts_before_the_first_job(make_pool: MakePool) -> None:
    pool = make_pool(4)
    assert (pool.total, pool.busy) == (0, 0)


def test_an_idle_thread_is_used_again(make_pool: MakePool) -> None:
    pool = make_pool(4)
    threads = set()
    for _ in range(20):
        [job] = held(pool, 1)
        threads.add(job.thread)
        job.end()
        rest(pool)
    assert len(threads) == pool.total == 1


def test_threads_start_when_the_others_are_busy(make_pool: MakePool) -> None:
    pool = make_pool(4)
    jobs = []
    for count in range(1, 5):
        jobs += held(pool, 1)
        assert (pool.total, pool.busy) == (count, count)
    assert len({job.thread for job in jobs}) == 4
    end_all(*jobs)
    rest(pool)
    assert pool.total == 4


def test_the_thread_that_worked_last_works_next(make_pool: MakePool) -> None:
    pool = make_pool(3)
    jobs = held(pool, 3)
    for busy, place in ((2, 1), (1, 2), (0, 0)):
        jobs[place].end()
        rest(pool, busy)
    again = held(pool, 3)
    assert [job.thread for job in again] == [jobs[place].thread for place in (0, 2, 1)]
    end_all(*again)


def test_threads_are_daemons_and_have_names(make_pool: MakePool) -> None:
    """A call that never returns must not keep the process alive."""
    pool = make_pool(2)
    seen = []
    done = threading.Event()

    def job() -> None:
        seen.append(threading.current_thread())
        done.set()

    pool.submit(job)
    assert done.wait(TIMEOUT_S)
    assert seen[0].daemon
    assert seen[0].name == "test-1"


def test_an_idle_thread_retires(make_pool: MakePool) -> None:
    pool = make_pool(4, idle_s=0.01)
    end_all(*held(pool, 4))
    until(lambda: pool.total == 0)
    [job] = held(pool, 1)
    assert pool.total == 1
    job.end()


def test_a_busy_thread_does_not_retire(make_pool: MakePool) -> None:
    pool = make_pool(2, idle_s=0.001)
    [long] = held(pool, 1)
    for _ in range(20):
        end_all(*held(pool, 1))
        until(lambda: pool.total == 1)
    long.end()


# Waiting. There is always one thread that leads: the limit is of the others.


def test_as_many_jobs_at_once_as_there_may_be_threads_while_another_leads(make_pool: MakePool) -> None:
    """`threads` of them are inside the application, and one more leads (ARCHITECTURE.md, Threads)."""
    leader = Leader()
    pool = make_pool(2, lead=leader)
    pool.promote()
    leader.wait_begun()
    jobs = [Held(), Held(), Held()]
    try:
        for job in jobs:
            pool.submit(job)
        assert [job.begun.wait(2) for job in jobs[:2]] == [True, True], "one waits although only one is in a call"
        assert (len(pool.waiting), pool.total) == (1, 3)
        jobs[0].end()
        jobs[2].wait_begun()
        assert (len(pool.waiting), pool.total) == (0, 3)
    finally:
        end_all(leader, *jobs)


def test_jobs_wait_where_all_threads_are_busy_and_run_in_order(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(1, lead=leader)
    pool.promote()
    leader.wait_begun()
    [running] = held(pool, 1)
    order: list[int] = []
    last = threading.Event()
    for number in range(10):
        pool.submit(lambda number=number: order.append(number))
    pool.submit(last.set)
    assert (len(pool.waiting), pool.total, order) == (11, 2, [])
    running.end()
    assert last.wait(TIMEOUT_S)
    assert order == list(range(10))
    assert pool.total == 2
    leader.end()


# Leading.


def test_an_idle_thread_is_promoted(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(2, lead=leader)
    [job] = held(pool, 1)
    job.end()
    rest(pool)
    pool.promote()
    leader.wait_begun()
    assert (leader.thread, pool.total, pool.busy) == (job.thread, 1, 1)
    leader.end()


def test_a_thread_is_started_to_lead(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(2, lead=leader)
    pool.promote()
    leader.wait_begun()
    assert (pool.total, pool.busy) == (1, 1)
    leader.end()


def test_with_all_busy_one_above_the_limit_leads(make_pool: MakePool) -> None:
    """A leader that was overtaken is one of those in a call by then."""
    leader = Leader()
    pool = make_pool(1, lead=leader)
    jobs = held(pool, 2)
    pool.promote()
    leader.wait_begun()
    assert pool.total == 3
    end_all(leader, *jobs)
    until(lambda: pool.total == 2, what="the one above the limit ends when there is nothing to do")


def test_the_one_above_the_limit_works_off_what_waits_before_it_ends(make_pool: MakePool) -> None:
    leader = Leader()
    pool = make_pool(1, lead=leader)
    jobs = held(pool, 2)
    pool.promote()
    leader.wait_begun()
    done = threading.Event()
    pool.submit(done.set)
    leader.end()
    assert done.wait(TIMEOUT_S)
    until(lambda: pool.total == 2)
    end_all(*jobs)


def test_leading_comes_before_what_waits(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, the next one that is free leads."""
    leader = Leader()
    pool = make_pool(1, lead=leader)
    jobs = held(pool, 2)
    waits = Held()
    pool.submit(waits)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", NoThread)
        pool.promote()
    assert pool.total == 2
    jobs[0].end()
    leader.wait_begun()
    assert not waits.begun.is_set()
    leader.end()
    waits.wait_begun()
    end_all(waits, *jobs)


class NoThread(threading.Thread):
    """A thread that the system does not give."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_a_job_waits_where_the_system_gives_no_more_threads(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(4)
    [job] = held(pool, 1)
    second = Held()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", NoThread)
        pool.submit(second)
    assert (pool.total, len(pool.waiting)) == (1, 1)
    job.end()
    second.wait_begun()
    assert second.thread == job.thread
    second.end()


# The end.


def test_end_ends_idle_threads_at_once_and_busy_ones_after_their_call(make_pool: MakePool) -> None:
    pool = make_pool(4)
    jobs = held(pool, 4)
    end_all(*jobs[:2])
    rest(pool, 2)
    pool.end()
    until(lambda: pool.total == 2)
    end_all(*jobs[2:])
    until(lambda: pool.total == 0)


def test_end_leaves_no_job_undone(make_pool: MakePool) -> None:
    pool = make_pool(1)
    jobs = held(pool, 2)
    done: list[int] = []
    for number in range(5):
        pool.submit(lambda number=number: done.append(number))
    pool.end()
    jobs[0].end()
    until(lambda: len(done) == 5)
    assert done == list(range(5))
    jobs[1].end()


def test_a_job_after_the_end_still_runs(make_pool: MakePool) -> None:
    """A request that was read just before the server stopped."""
    pool = make_pool(2)
    pool.end()
    [job] = held(pool, 1)
    job.end()
    until(lambda: pool.total == 0)


# Crashes.


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_a_crash_is_reported_and_costs_no_thread(error: type[BaseException]) -> None:
    crashes: list[BaseException] = []

    def perform(job: Any) -> None:
        if job is None:
            raise error("crash")
        job()

    pool = Pool(perform, Leader(), crashes.append, threads_max=1, idle_s=60)
    for count in range(1, 4):
        pool.submit(None)
        rest(pool)
        [job] = held(pool, 1)
        assert [type(crash) for crash in crashes] == [error] * count
        assert (pool.total, job.thread) == (1, "vivace-1")
        job.end()
        rest(pool)
    pool.end()
    until(lambda: pool.total == 0)


def test_a_crash_of_the_leader_is_reported() -> None:
    crashes: list[BaseException] = []

    def lead() -> None:
        raise ValueError("crash")

    pool = Pool(lambda job: job(), lead, crashes.append, threads_max=1, idle_s=60)
    pool.promote()
    rest(pool)
    assert [str(crash) for crash in crashes] == ["crash"]
    held(pool, 1)[0].end()
    pool.end()
    until(lambda: pool.total == 0)


def test_what_has_no_deadline_says_nothing_of_those_behind_it(make_pool: MakePool) -> None:
    pool = make_pool(1)
    busy = held(pool, 2)
    for job in ("no deadline", "late", "no deadline either", "in time", "late behind"):
        pool.waiting.append(job)
    late = {"late": True, "late behind": True, "in time": False}
    assert pool.expire(late.get) == ["late"]
    assert list(pool.waiting) == ["no deadline", "no deadline either", "in time", "late behind"]
    pool.waiting.clear()
    end_all(*busy)


# Another number of threads.


def test_a_higher_limit_starts_threads_for_what_waits(make_pool: MakePool) -> None:
    pool = make_pool(1)
    jobs = held(pool, 2)
    more = [Held() for _ in range(3)]
    for job in more:
        pool.submit(job)
    assert pool.total == 2
    pool.resize(3)
    for job in more[:2]:
        job.wait_begun()
    assert (pool.total, len(pool.waiting)) == (4, 1)
    end_all(*jobs, *more)
    rest(pool)


def test_below_a_lower_limit_threads_end_after_their_call_though_jobs_wait(make_pool: MakePool) -> None:
    pool = make_pool(4)
    jobs = held(pool, 5)
    waiting = [Held() for _ in range(3)]
    for job in waiting:
        pool.submit(job)
    pool.resize(1)
    for count, job in enumerate(jobs[:3], 1):
        job.end()
        until(lambda count=count: pool.total == 5 - count, what="a thread ends")  # type: ignore[misc]
        assert len(pool.waiting) == 3
    end_all(*jobs, *waiting)
    for job in waiting:
        job.wait_begun()
    rest(pool)
    assert pool.total <= 2


def test_a_limit_that_comes_back_lets_everybody_stay(make_pool: MakePool) -> None:
    pool = make_pool(4)
    jobs = held(pool, 5)
    pool.resize(1)
    pool.resize(4)
    end_all(*jobs)
    rest(pool)
    assert pool.total == 5
