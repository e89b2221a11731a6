"""connection.sweeping: the Date line, and what time does to connections in each state. The loop is a fake."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.connection import overload
from vivace.connection.connection import BODY, CLOSED, DRAINING, HEAD, IDLE, LINGERING, RUNNING
from vivace.connection.overload import Refusals
from vivace.connection.plan import Plan
from vivace.connection.sweeping import LOG_PERIOD_S, RATE_GRACE_S, Sweeper, date_line
from vivace.net.poller import READ
from vivace.observe.section import Section
from vivace.schedule.admission import Admission
from vivace.schedule.heavy import HeavyQueue

NOW = 1000.0


class Incoming:
    """A body that is arriving."""

    def __init__(self, started: float, received: int) -> None:
        self.started = started
        self.received = received


class Conn:
    """A connection."""

    def __init__(
        self, state: int, expires: float = NOW - 1, mode: int = READ, incoming: Incoming | None = None
    ) -> None:
        self.state = state
        self.expires = expires
        self.mode = mode
        self.incoming = incoming or Incoming(NOW, 0)
        self.close_reason = "refused"
        self.flags = 0
        self.arrived = 0.0


class Loop:
    """What a sweeper sees of the loop; notes what it is told to do."""

    def __init__(self, *conns: Conn, **changes: Any) -> None:
        self.plan = Plan()
        self.limiter = self.answers = self.cache = self.facts = None
        self.section = Section.private()
        self.tally = None
        self.monitor = self
        self.turns = self.seen = 0
        self.warnings: list[str] = []
        self.plan.warn = self.warnings.append
        for name, value in changes.items():
            setattr(self.plan, name, value)
        self.conns = dict(enumerate(conns))
        self.heavy = HeavyQueue()
        self.acceptor = self
        self.full = self.closing = self.stopping = self.done = self.saturated = False
        self.pool = None
        self.admission = Admission(self.plan.queue_timeout_s, self.plan.threads)
        self.refusals = Refusals()
        self.date = b""
        self.told: list[tuple[Any, ...]] = []
        self.resumed = 0
        self.sweeper = Sweeper(self)  # type: ignore[arg-type]

    def count(self) -> None:
        pass

    def maybe_resume(self) -> None:
        self.resumed += 1

    def close(self, conn: Conn, reason: str) -> None:
        self.told.append(("close", conn, reason))
        conn.state = CLOSED
        self.conns = {fd: other for fd, other in self.conns.items() if other is not conn}

    def refuse(self, conn: Conn, status: int, detail: str, reason: str) -> None:
        assert detail
        self.told.append(("refuse", conn, status, reason))

    def tick(self, now: float = NOW) -> list[tuple[Any, ...]]:
        """What one tick does, without the connection that all of it is done to."""
        self.told.clear()
        self.sweeper.tick(now)
        return [(what, *rest) for what, _, *rest in self.told]


# The Date line (RFC 9110 section 5.6.7).


@given(st.integers(0, 253_402_300_799))
def test_date_line(now: int) -> None:
    assert date_line(now) == f"Date: {formatdate(now, usegmt=True)}\r\n".encode()


def test_date_line_does_not_depend_on_zone_and_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert date_line(784111777.9) == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.999])
def test_the_date_is_renewed_as_the_second_changes(monkeypatch: pytest.MonkeyPatch, fraction: float) -> None:
    wall = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC).timestamp() + fraction
    monkeypatch.setattr(time, "time", lambda: wall)
    loop = Loop(Conn(IDLE, NOW + 100))
    loop.tick()
    assert loop.date == b"Date: Sun, 22 Nov 2026 10:00:00 GMT\r\n"
    assert loop.sweeper.next_s == pytest.approx(NOW + 1 - fraction)


# Connections that have outlived their limit.


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (IDLE, ("close", "keepalive_timeout")),
        (HEAD, ("refuse", 408, "head_timeout")),
        (BODY, ("refuse", 408, "body_timeout")),
        (RUNNING, None),
        (DRAINING, ("close", "write_timeout")),
        (LINGERING, ("close", "refused")),
        (CLOSED, None),
    ],
)
def test_what_expires(state: int, expected: tuple[Any, ...] | None) -> None:
    """After its limit and not before; a request that runs has none."""
    assert Loop(Conn(state, NOW - 0.001)).tick() == ([expected] if expected else [])
    for expires in (NOW, NOW + 0.001, NOW + 100):
        assert Loop(Conn(state, expires)).tick() == []


def test_an_idle_connection_that_waits_for_the_loop_is_not_closed() -> None:
    """It is not watched: its next request has been read already."""
    assert Loop(Conn(IDLE, mode=0)).tick() == []


def test_an_idle_connection_of_a_server_that_stops() -> None:
    loop = Loop(Conn(IDLE))
    loop.stopping = True
    assert loop.tick() == [("close", "stopping")]


def test_each_of_many() -> None:
    conns = [Conn(state, NOW + late) for state in (IDLE, HEAD, BODY, RUNNING, DRAINING, LINGERING) for late in (-1, 1)]
    late = [conn for conn in conns if conn.expires < NOW and conn.state != RUNNING]
    loop = Loop(*conns)
    loop.sweeper.tick(NOW)
    assert [conn for _, conn, *_ in loop.told] == late


# Bodies that come too slowly.


@pytest.mark.parametrize(
    ("age_s", "received", "slow"),
    [
        (RATE_GRACE_S, 0, False),
        (RATE_GRACE_S + 0.1, 0, True),
        (10.0, 999, True),
        (10.0, 1000, False),
        (100.0, 9_999, True),
        (100.0, 10_000, False),
    ],
)
def test_a_body_has_to_bring_its_rate(age_s: float, received: int, slow: bool) -> None:
    """100 bytes a second on average, judged from some age on."""
    conn = Conn(BODY, NOW + 60, incoming=Incoming(NOW - age_s, received))
    assert Loop(conn, body_rate_bytes_min=100).tick() == ([("refuse", 408, "body_timeout")] if slow else [])


def test_a_rate_of_0_is_none() -> None:
    conn = Conn(BODY, NOW + 60, incoming=Incoming(NOW - 1e6, 0))
    assert Loop(conn, body_rate_bytes_min=0).tick() == []


def test_the_rate_is_no_matter_of_other_states() -> None:
    conns = [Conn(state, NOW + 60, incoming=Incoming(NOW - 1e6, 0)) for state in (IDLE, HEAD, RUNNING, DRAINING)]
    assert Loop(*conns).tick() == []


# The heavy lane.


@pytest.mark.parametrize(("queue_timeout_s", "shed"), [(5.0, 2), (0.0, 0), (100.0, 0)])
def test_requests_that_waited_too_long_are_turned_away(
    monkeypatch: pytest.MonkeyPatch, queue_timeout_s: float, shed: int
) -> None:
    loop = Loop(queue_timeout_s=queue_timeout_s)
    monkeypatch.setattr(
        overload,
        "turn_away",
        lambda loop, conn, wait_s, leading: loop.told.append(("turn away", conn, wait_s, leading)),
    )
    for number, arrived in enumerate((NOW - 10, NOW - 5.1, NOW - 4.9, NOW)):
        conn = Conn(RUNNING)
        conn.arrived = arrived
        loop.heavy.push(float(number), arrived, conn)
    assert loop.tick() == [("turn away", pytest.approx(wait_s), True) for wait_s in (10, 5.1)[:shed]]
    assert len(loop.heavy) == 4 - shed


# How long the loop may wait.


@pytest.mark.parametrize(
    ("changes", "period_s"),
    [
        ({}, 1.0),
        ({"keepalive_timeout_s": 0.4}, 0.1),
        ({"queue_timeout_s": 0.001}, 0.01),
        ({"queue_timeout_s": 0.0}, 1.0),
        ({"shutdown_timeout_s": 0.0}, 0.01),
        ({"on_tick": lambda: None}, LOG_PERIOD_S),
        ({"on_tick": lambda: None, "head_timeout_s": 0.1}, 0.025),
    ],
)
def test_it_looks_often_enough_for_the_shortest_limit(changes: dict[str, Any], period_s: float) -> None:
    loop = Loop(**changes)
    loop.sweeper.awake()
    assert loop.sweeper.timeout_s == pytest.approx(period_s)


def test_without_connections_it_sleeps_and_with_one_it_wakes() -> None:
    loop = Loop()
    assert loop.sweeper.timeout_s == -1
    loop.sweeper.awake()
    loop.conns[0] = Conn(IDLE, NOW + 5)
    loop.tick()
    assert loop.sweeper.timeout_s == 1.0
    assert loop.tick(NOW + 10) == [("close", "keepalive_timeout")]
    assert loop.sweeper.timeout_s == -1, "nothing is left to look after"


def test_a_server_with_a_clock_of_its_own_sleeps_no_longer_than_that() -> None:
    loop = Loop(idle_s=0.5)
    assert loop.sweeper.timeout_s == 0.5
    loop.sweeper.awake()
    loop.tick()
    assert loop.sweeper.timeout_s == 0.5


def test_the_log_is_written_at_each_tick_and_after_the_last_connection() -> None:
    ticks: list[int] = []
    loop: Loop = Loop(Conn(IDLE), on_tick=lambda: ticks.append(len(loop.conns)))
    loop.tick()
    assert ticks == [0], "what the last connection left behind must not wait for the next one"
    loop.tick()
    assert len(ticks) == 2


def test_a_full_server_looks_for_room() -> None:
    loop = Loop()
    loop.tick()
    assert loop.resumed == 0
    loop.full = True
    loop.tick()
    assert loop.resumed == 1


# The end.


def test_the_deadline_of_a_stop() -> None:
    """Until then everything may finish; then the loop ends, and says how many it cut off."""
    states = [IDLE, HEAD, BODY, RUNNING, RUNNING, DRAINING, LINGERING]
    loop = Loop(*[Conn(state, NOW + 1000) for state in states], shutdown_timeout_s=30.0, body_rate_bytes_min=0)
    loop.stopping = True
    loop.sweeper.begin_stopping(NOW)
    assert loop.sweeper.timeout_s == 1.0
    assert loop.tick(NOW + 30) == []
    assert not loop.done
    assert loop.tick(NOW + 30.1) == [("close", "stopping")] * 5
    assert loop.done
    assert [message[:28] for message in loop.warnings] == ["2 requests were still runnin"]


def test_the_deadline_does_not_move() -> None:
    """`begin_stopping` is called at every turn."""
    loop = Loop(Conn(RUNNING), shutdown_timeout_s=30.0)
    for second in range(31):
        loop.sweeper.begin_stopping(NOW + second)
    loop.tick(NOW + 30.1)
    assert loop.done


@pytest.mark.parametrize("shutdown_timeout_s", [0.0, 5.0])
def test_a_stop_that_waits_for_nobody(shutdown_timeout_s: float) -> None:
    """0 waits for none."""
    loop = Loop(Conn(RUNNING), shutdown_timeout_s=shutdown_timeout_s)
    loop.sweeper.begin_stopping(NOW)
    loop.tick(NOW + 0.01)
    assert loop.done is (shutdown_timeout_s == 0)


def test_nothing_is_said_where_nothing_is_cut_off() -> None:
    loop = Loop(Conn(IDLE, NOW + 100), shutdown_timeout_s=1.0)
    loop.sweeper.begin_stopping(NOW)
    loop.tick(NOW + 2)
    assert loop.done
    assert loop.warnings == []


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_stop_does_not_hang_on_a_log_that_fails(error: type[Exception]) -> None:
    def fail() -> None:
        raise error("log")

    loop = Loop(Conn(RUNNING), shutdown_timeout_s=1.0, on_tick=fail)
    loop.sweeper.begin_stopping(NOW)
    for _ in range(2):
        with suppress(error):  # the loop reports it and goes on
            loop.tick(NOW + 2)
    assert loop.done
