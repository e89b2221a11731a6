"""Jobs that begin and end as a test says, and pools whose end is checked."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vivace.schedule.pool import Pool
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    MakePool = Callable[..., Pool]


class Held:
    """A job that runs until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.thread = ""

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self.begun.set()
        assert self.go.wait(TIMEOUT_S)

    def wait_begun(self) -> Held:
        assert self.begun.wait(TIMEOUT_S), "the job does not run"
        return self

    def end(self) -> None:
        self.go.set()


class Leader(Held):
    """What leads the loop; counts those that lead at once."""

    def __init__(self) -> None:
        super().__init__()
        self.leading = 0
        self.led: list[str] = []

    def __call__(self) -> None:
        self.leading += 1
        self.led.append(threading.current_thread().name)
        try:
            super().__call__()
        finally:
            self.leading -= 1


@contextmanager
def pools() -> Iterator[MakePool]:
    """(threads_max, idle_s, lead) -> a pool of callables; each must have ended, and reported no crash, at the end."""
    made: list[tuple[Pool, list[BaseException]]] = []

    def make(threads_max: int, idle_s: float = 60.0, lead: Any = None) -> Pool:
        crashes: list[BaseException] = []
        pool = Pool(
            lambda job: job(), lead or Leader(), crashes.append, threads_max=threads_max, idle_s=idle_s, name="test"
        )
        made.append((pool, crashes))
        return pool

    yield make
    for pool, crashes in made:
        pool.end()
        until(lambda pool=pool: pool.total == 0, what="the threads do not end")  # type: ignore[misc]
        assert crashes == []


def held(pool: Pool, count: int) -> list[Held]:
    """So many jobs, submitted and running."""
    jobs = [Held() for _ in range(count)]
    for job in jobs:
        pool.submit(job)
        job.wait_begun()
    return jobs


def end_all(*jobs: Held) -> None:
    for job in jobs:
        job.end()


def rest(pool: Pool, busy: int = 0) -> None:
    """Waits until no more than `busy` threads are at work."""
    until(lambda: pool.busy == busy, what=f"{busy} busy threads")
