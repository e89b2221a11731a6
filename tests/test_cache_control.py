"""cache.control: purges reach every worker that lives; whoever dies."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vivace.cache import control as control_module
from vivace.cache.control import LOG_MAX, PATTERN_BYTES_MAX, Control, controls_of
from vivace.cache.purges import Purge
from wire import TIMEOUT_S, until


@pytest.fixture
def control() -> Iterator[Control]:
    control = Control.create()
    yield control
    control.close()


def told(purges: list[Purge]) -> list[tuple[int, str, str, bool]]:
    return [(purge.number, purge.kind, purge.pattern, purge.soft) for purge in purges]


@contextmanager
def worker(control: Control, work: Callable[[Control], None]) -> Iterator[int]:
    """A process forked from this one that does `work` over and over; killed at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            control.join()
            while True:
                work(control)
                time.sleep(0.002)
        finally:
            os._exit(1)
    try:
        until(lambda: pid in control.workers())
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def applies(control: Control) -> None:
    """What a worker does with purges."""
    number = control.number
    control.read()
    control.applied(number)


# The log.


def test_purges_are_read_once_and_in_order(control: Control) -> None:
    assert control.number == 0
    assert control.read() == []
    assert control.purge("path", "/news/*") == 1
    assert control.purge("tag", "färbe", soft=True) == 2
    assert control.purge("all") == 3
    before = time.time()
    found = control.read()
    assert told(found) == [(1, "path", "/news/*", False), (2, "tag", "färbe", True), (3, "all", "", False)]
    assert found[0].time_s < found[1].time_s < found[2].time_s
    assert found[2].time_s == pytest.approx(before, abs=5)
    assert control.number == 3
    assert control.read() == []
    control.purge("key", "GET http://a/b")
    assert told(control.read()) == [(4, "key", "GET http://a/b", False)]


def test_times_of_purges_never_go_back(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((1000.0, 900.0, 1001.0))
    monkeypatch.setattr(control_module, "time", lambda: next(now))
    for _ in range(3):
        control.purge("all")
    first, second, third = [purge.time_s for purge in control.read()]
    assert first == 1000.0 < second < 1000.1 < third == 1001.0


def test_who_falls_behind_forgets_everything_that_it_had(control: Control) -> None:
    for number in range(LOG_MAX + 10):
        assert control.purge("path", f"/{number}")
    found = control.read()
    assert told(found[:2]) == [(10, "all", "", False), (11, "path", "/10", False)]
    assert len(found) == LOG_MAX + 1
    assert found[0].time_s < found[1].time_s
    assert control.read() == []


def test_a_record_that_is_written_over_while_it_is_read_means_everything(control: Control) -> None:
    control.purge("path", "/a")
    record = control._record
    control._record = lambda number: None  # type: ignore[method-assign]
    assert told(control.read()) == [(1, "all", "", False)]
    control._record = record  # type: ignore[method-assign]
    assert control.read() == []


def test_what_is_too_long_becomes_something_that_covers_more(control: Control) -> None:
    long = "/" + "ä" * PATTERN_BYTES_MAX
    control.purge("path", long)
    control.purge("key", f"GET https://example.org{long}\n123\nx")
    for purge in control.read():
        assert purge.kind == "path"
        assert purge.fits(f"GET https://example.org{long}", ())
        assert not purge.fits("GET https://example.org/b", ())
    with pytest.raises(ValueError, match="not possible"):
        control.purge("tag", "x" * (PATTERN_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="not possible"):
        control.purge("every", "thing")
    assert control.number == 2


def test_a_writer_killed_in_the_middle_of_a_purge_hinders_nobody(control: Control) -> None:
    control.purge("path", "/a")
    pid = os.fork()
    if pid == 0:

        class Deadly:
            def __setitem__(self, place: int, value: float) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            def __getitem__(self, place: int) -> float:
                return 0.0

        control._times = Deadly()  # type: ignore[assignment]
        control.purge("path", "/never")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert control.number == 1
    assert control.purge("path", "/b") == 2
    assert told(control.read()) == [(1, "path", "/a", False), (2, "path", "/b", False)]


def test_several_write_at_once(control: Control) -> None:
    pids = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            done = sum(bool(control.purge("path", f"/{writer}/{number}")) for number in range(200))
            os._exit(0 if done == 200 else 1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    found = control.read()
    assert [purge.number for purge in found] == list(range(1, 801))
    assert {purge.pattern for purge in found} == {f"/{writer}/{n}" for writer in range(4) for n in range(200)}
    times = [purge.time_s for purge in found]
    assert times == sorted(set(times))


def test_no_turn_is_told(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control.turn, "enter", lambda wait_s: False)
    assert control.purge("all") == 0
    assert control.number == 0


# Who has seen it.


def test_a_purge_is_done_when_every_living_worker_has_applied_it(control: Control) -> None:
    with worker(control, applies) as first, worker(control, applies) as second:
        number = control.purge("all")
        assert control.wait_applied(number, TIMEOUT_S) == []
        assert set(control.workers()) == {first, second}
        os.kill(second, signal.SIGSTOP)
        number = control.purge("all")
        assert control.wait_applied(number, 0.1) == [second]
        os.kill(second, signal.SIGKILL)
        assert control.wait_applied(number, TIMEOUT_S) == []
        assert set(control.workers()) == {first}


def test_a_place_is_taken_over_from_the_dead_and_given_back(control: Control) -> None:
    with worker(control, applies):
        pass
    control.join()
    assert control.place == 0
    control.join()
    assert control.workers() == {os.getpid(): 0}
    assert control.wait_applied(control.purge("all"), 0.0) == [os.getpid()]
    control.leave()
    assert control.workers() == {}
    control.join()
    assert control.place == 0


def test_a_process_that_got_the_number_of_a_dead_worker_is_none(control: Control) -> None:
    control.join()
    at = control_module.PLACES_AT + control.place * control_module.PLACE_WORDS
    control.words[at + control_module.P_PID] = os.getppid()  # lives, and has not got this file
    assert control.workers() == {}


def test_a_forked_worker_has_a_place_of_its_own_and_reads_from_the_begin(control: Control) -> None:
    control.join()
    control.purge("path", "/a")
    control.read()

    def reads(control: Control) -> None:
        number = control.number
        if [purge.pattern for purge in control.read()][:1] == ["/a"]:
            control.applied(number)

    with worker(control, reads) as pid:
        control.applied(1)
        assert control.wait_applied(1, TIMEOUT_S) == []
        assert control.workers() == {os.getpid(): 0, pid: 1}


# Found from outside.


def test_it_is_found_through_the_process_that_made_it(control: Control) -> None:
    control.purge("path", "/a")
    second = Control.create()
    with worker(control, applies) as pid:
        found = controls_of(os.getpid())
        mine = [
            each for each in found if each.name in (control.name, second.name)
        ]  # servers of other tests have theirs
        assert sorted(each.number for each in mine) == [0, 1]
        assert controls_of(pid) == [], "a worker has that of its supervisor"
        next(each for each in found if each.number).purge("path", "/b")
        assert told(control.read())[1:] == [(2, "path", "/b", False)]
        for each in found:
            each.close()
    second.close()


def test_another_file_is_refused() -> None:
    fd = os.memfd_create("vivace-cache")
    with pytest.raises(ValueError, match="this version"):
        Control.attach(fd)
    os.ftruncate(fd, control_module.FILE_BYTES)
    with pytest.raises(ValueError, match="this version"):
        Control.attach(fd)
    os.close(fd)


def test_a_worker_that_sleeps_is_woken(control: Control) -> None:
    looks: list[int] = []

    def sleeps(control: Control) -> None:
        if not looks:  # from now on it moves only when the bell rings
            control.leave()
            bell = control.bell()
            control.join()
            while True:
                assert select.select([bell], [], [], TIMEOUT_S)[0]
                control.on_bell()
                applies(control)
                looks.append(1)

    with worker(control, sleeps):
        until(lambda: control.words[control_module.PLACES_AT + control_module.P_BELL])
        assert control.wait_applied(control.purge("all"), TIMEOUT_S) == []


def test_a_bell_that_nobody_hears_stops_nobody(control: Control) -> None:
    bell = control.bell()
    assert control.bell() == bell
    control.on_bell()
    control.join()
    for _ in range(3):
        control.ring()
    control.on_bell()
    control.leave()
    control.ring()
    control.on_bell()
