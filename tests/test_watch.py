"""supervisor.watch and supervisor.obituary: a worker as seen from outside."""

from __future__ import annotations

import os
import signal
import time

import pytest

from vivace.config.load import from_keywords
from vivace.observe.layout import S_BUSY, S_CONNECTIONS, S_NOW, S_SEEN, S_TURNS
from vivace.observe.processes import cpu_time_s, resident_bytes
from vivace.observe.processors import processors
from vivace.observe.section import Section
from vivace.supervisor.obituary import NAMED_MAX, cause, obituary
from vivace.supervisor.watch import (
    STUCK_GRACE_S,
    Bounds,
    Watch,
    workers_wanted,
)


def bounds(**settings: object) -> Bounds:
    return Bounds(from_keywords(**settings))


# --- how many workers -------------------------------------------------------------------------------------


def test_workers_wanted() -> None:
    usable = processors()
    assert workers_wanted("3") == (3, 3)
    assert workers_wanted("auto") == (usable, usable)
    assert workers_wanted("2:8") == (2, 8)
    assert workers_wanted("1:auto") == (1, usable)
    low, high = workers_wanted("auto:1")
    assert low <= high == 1


# --- verdicts ---------------------------------------------------------------------------------------------


def test_nothing_is_looked_for_by_default() -> None:
    assert not bounds().any
    assert Watch(bounds(), 0.0).verdict(os.getpid(), Section.private(), 1e9) == ("", 0)


def test_requests_with_jitter() -> None:
    section = Section.private()
    limits = {Watch(bounds(max_requests=100), 0.0)._requests for _ in range(200)}
    assert min(limits) >= 100
    assert max(limits) <= 110
    assert len(limits) > 5
    watch = Watch(bounds(max_requests=100, max_requests_jitter=0), 0.0)
    section.words[S_SEEN] = 99
    assert watch.verdict(0, section, 0.0) == ("", 0)
    section.words[S_SEEN] = 100
    assert watch.verdict(0, section, 0.0) == ("it has had 100 requests (max_requests)", 0)


def test_lifetime_with_spread() -> None:
    ends = {Watch(bounds(max_lifetime="100s"), 1000.0)._ends_s for _ in range(100)}
    assert min(ends) >= 1090
    assert max(ends) <= 1110
    assert len(ends) > 50
    watch = Watch(bounds(max_lifetime="100s"), 1000.0)
    assert watch.verdict(0, Section.private(), 1080.0) == ("", 0)
    assert "max_lifetime" in watch.verdict(0, Section.private(), 1111.0)[0]


def test_memory_of_a_real_process() -> None:
    own = resident_bytes(os.getpid())
    assert 1 << 20 < own < 1 << 32
    soft, hard = Watch(bounds(memory_soft="16MiB"), 0.0), Watch(bounds(memory_hard="16MiB"), 0.0)
    assert soft.verdict(os.getpid(), Section.private(), 0.0)[1] == 0
    assert "memory_soft" in soft.verdict(os.getpid(), Section.private(), 0.0)[0]
    assert hard.verdict(os.getpid(), Section.private(), 0.0)[1] == signal.SIGKILL
    assert Watch(bounds(memory_hard="1GiB"), 0.0).verdict(2**22 + 1, Section.private(), 0.0) == ("", 0), "it has ended"


def test_loop_that_does_not_turn_is_aborted_and_then_killed() -> None:
    section, watch = Section.private(), Watch(bounds(request_timeout="10s"), 0.0)
    section.name_route(4, "GET /c-code")
    section.words[S_TURNS], section.words[S_NOW] = 17, 4
    late = 10 + STUCK_GRACE_S
    assert watch.verdict(0, section, 0.0) == ("", 0)
    assert watch.verdict(0, section, late - 1) == ("", 0)
    why, number = watch.verdict(0, section, late)
    assert number == signal.SIGABRT
    assert "GET /c-code" in why
    assert watch.verdict(0, section, late + 1)[1] == signal.SIGKILL


def test_loop_that_waits_for_work_is_not_stuck() -> None:
    section, watch = Section.private(), Watch(bounds(request_timeout="10s"), 0.0)
    assert all(watch.verdict(0, section, float(second)) == ("", 0) for second in range(0, 1000, 10))


def test_busyness_is_the_share_of_a_processor_or_of_the_threads() -> None:
    watch, section = Watch(bounds(), time.monotonic()), Section.private()
    watch.busy(os.getpid(), section, time.monotonic(), 64)
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    assert watch.busy(os.getpid(), section, time.monotonic(), 64) > 0.1
    section.words[S_BUSY] = 65
    assert watch.busy(os.getpid(), section, time.monotonic(), 64) == 1.0
    assert cpu_time_s(os.getpid()) > 0.0 == cpu_time_s(2**22 + 1)


# --- deaths -----------------------------------------------------------------------------------------------


def status_of(code: str) -> int:
    pid = os.fork()
    if pid == 0:
        exec(code, {"os": os})
        os._exit(0)
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os._exit(7)", "exited with code 7"),
        ("pass", "ended by itself"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL: somebody, or the kernel for want of memory"),
        ("os.kill(os.getpid(), 34)", "was ended by SIGRTMIN"),
    ],
)
def test_cause(code: str, said: str) -> None:
    assert cause(status_of(code)).startswith(said)


def test_obituary_names_what_was_held() -> None:
    section = Section.private()
    assert obituary(5, 9, section).endswith("it held no request")
    section.enter(b"GET /a from 10.0.0.1")
    section.enter(b"POST /b from 10.0.0.2")
    section.name_route(2, "GET /inline/{}")
    section.words[S_NOW] = 2
    text = obituary(5, 9, section)
    assert text.startswith("worker 5 was ended by SIGKILL")
    lines = text.split("\n")
    assert lines[0].endswith("it held 3 requests:")
    assert lines[1] == "    GET /inline/{}, on the loop's own thread"
    assert lines[2].startswith("    GET /a from 10.0.0.1, for 0.0")


def test_obituary_tells_of_connections() -> None:
    """What a client had sent, and the worker had not read, is lost with its connection."""
    section = Section.private()
    section.words[S_CONNECTIONS] = 1
    assert obituary(5, 9, section).endswith("it held no request on 1 connection")
    section.enter(b"GET /a from 10.0.0.1")
    section.words[S_CONNECTIONS] = 2
    assert obituary(5, 9, section).split("\n")[0].endswith("it held 1 request on 2 connections:")


def test_crowd_is_counted_and_not_named() -> None:
    section = Section.private()
    for number in range(NAMED_MAX + 30):
        section.enter(b"GET /%d" % number)
    first, *named, last = obituary(5, 9, section).split("\n")
    assert first.endswith(f"it held {NAMED_MAX + 30} requests:")
    assert len(named) == NAMED_MAX
    assert last == "    and 30 more"
