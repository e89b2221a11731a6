"""The load itself, over real sockets: what was sent and answered is what is said, and a stall is what it was."""

from __future__ import annotations

import os
import re
import signal
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from certs import Authority
from loaded import HELLO, Loaded, Stall
from vivace.errors import SettingError
from vivace.lab.crew import Spares, bottleneck, run
from vivace.lab.plan import CLOSED, OPEN, Load, Place, Shot
from vivace.lab.processes import listener, tree
from vivace.lab.report import lines
from vivace.lab.result import Loader, Result

if TYPE_CHECKING:
    from pathlib import Path

SHORT_S = 0.2


def closed(place: Place, *shots: Shot, pid: int = os.getpid(), **load: Any) -> Result:
    given = {"connections": 2, "seconds": SHORT_S, "warmup_s": 0.0, **load}
    return run(Load(list(shots) or [Shot()], CLOSED, **given), place, pid=pid)


def opened(place: Place, *shots: Shot, **load: Any) -> Result:
    given = {"rate": 100, "connections": 20, "seconds": SHORT_S, "warmup_s": 0.0, **load}
    return run(Load(list(shots) or [Shot()], OPEN, **given), place, pid=os.getpid())


def test_what_was_answered_is_counted() -> None:
    with Loaded() as server:
        result = closed(server.place, Shot("GET", "/a", [("X-Y", "z")]), processes=2, connections=4)
        assert server.heads[0] == b"GET /a HTTP/1.1\r\nHost: %s\r\nX-Y: z" % server.place.authority.encode()
        assert result.total.answers == server.requests == result.loader.sent
        assert server.connections == 4 + 2  # each process asks once whether anybody listens
    assert result.total.statuses == {"2xx": result.total.answers}
    assert result.total.received == len(HELLO) * result.total.answers
    assert sum(result.total.latency.values()) == result.total.answers
    assert result.total.errors == {}
    assert result.percentiles()[-1] <= result.total.slowest_s
    assert result.total.answers - result.drained == sum(one.answers for one in result.slices)


def test_loads_one_after_the_other_have_their_processes_ready() -> None:
    """Each load has new ones, and none is left over, whatever became of the last one."""
    before = tree(os.getpid())
    with Loaded() as server, Spares() as spares:
        first = spares.fire(Load([Shot()], CLOSED, connections=2, seconds=SHORT_S, warmup_s=0.0), server.place, 0)
        waiting = {*tree(os.getpid())} - {*before}
        assert len(waiting) == 1
        two = Load([Shot()], CLOSED, connections=2, seconds=SHORT_S, warmup_s=0.0, processes=2)
        second = spares.fire(two, server.place, os.getpid())
        assert len({*tree(os.getpid())} - {*before}) == 2
        assert not waiting & {*tree(os.getpid())}
        assert server.requests == first.total.answers + second.total.answers
        with pytest.raises(SettingError, match="no connection"):
            spares.fire(two, Place("127.0.0.1", 1), os.getpid())
    assert {*tree(os.getpid())} == {*before}


def test_open_loop_sends_what_it_is_told() -> None:
    with Loaded() as server:
        result = opened(server.place, arrivals="even", seconds=0.5)
        assert server.requests == result.loader.sent == 50
    assert result.total.answers == 50
    assert sum(result.total.service.values()) == 50


def test_a_replay_keeps_its_times() -> None:
    came: list[tuple[float, bytes]] = []

    def answer(head: bytes, body: bytes) -> bytes:
        came.append((time.monotonic(), head.split()[1]))
        return HELLO

    due = [(0.0, 0), (0.1, 1), (0.15, 0), (0.4, 1)]
    with Loaded(answer) as server:
        began_s = time.monotonic()
        result = opened(server.place, Shot(target="/a"), Shot(target="/b"), at_times=due, seconds=0.5)
    assert sorted(target for _, target in came) == [b"/a", b"/a", b"/b", b"/b"]
    assert all(at_s - began_s >= due_s for (at_s, _), (due_s, _) in zip(sorted(came), due, strict=True))
    assert result.total.answers == 4


ANSWERS: dict[str, tuple[Any, dict[str, int], dict[str, int]]] = {
    "pieces": ([HELLO[:20], HELLO[20:-2], HELLO[-2:]], {"2xx": 1}, {}),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", {"2xx": 1}, {}),
    "close": (HELLO.replace(b"OK", b"OK\r\nConnection: close"), {"2xx": 1}, {}),
    "no length": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", {"2xx": 1}, {}),
    "long": (HELLO.replace(b"5", b"300000") + b"x" * 299_995, {"2xx": 1}, {}),
    "503": (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", {"5xx": 1}, {}),
    "rubbish": (b"SSH-2.0-OpenSSH\r\n", {}, {"bad response": 1}),
    "nothing": (None, {}, {"closed": 1}),
    "cut off": ([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nConnection: close"], {}, {"closed": 1}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_kind_of_answer_is_what_it_is(name: str) -> None:
    said, statuses, errors = ANSWERS[name]
    with Loaded(lambda head, body: said) as server:
        result = opened(server.place, at_times=[(0.0, 0), (0.01, 0), (0.02, 0)], seconds=0.03)
    assert result.total.statuses == dict.fromkeys(statuses, 3)
    assert result.total.errors == dict.fromkeys(errors, 3)
    assert result.failed == sum(result.total.errors.values()) + result.total.statuses.get("5xx", 0)


def test_long_bodies_arrive() -> None:
    body = bytes(range(256)) * 20_000
    with Loaded() as server:
        result = opened(server.place, Shot("POST", "/", [], body), at_times=[(0.0, 0), (0.0, 0)], seconds=0.1)
        assert server.bodies == [body, body]
    assert result.total.statuses == {"2xx": 2}


def test_a_timeout_is_counted_and_does_not_hold_the_load_up() -> None:
    def answer(head: bytes, body: bytes) -> bytes:
        if b"/slow" in head:
            time.sleep(0.5)
        return HELLO

    with Loaded(answer) as server:
        began_s = time.monotonic()
        result = opened(
            server.place, Shot(target="/slow"), Shot(), at_times=[(0.0, 0), (0.1, 1)], seconds=0.2, timeout_s=0.2
        )
        assert time.monotonic() - began_s < 2
    assert result.total.errors == {"timeout": 1}
    assert result.total.statuses == {"2xx": 1}


def test_what_was_never_sent_is_counted() -> None:
    """One connection, which is held up for the whole load."""
    with Loaded(lambda head, body: time.sleep(0.6) or HELLO) as server:
        result = opened(server.place, rate=50, arrivals="even", connections=1, seconds=0.2, timeout_s=0.25)
    assert result.total.errors["timeout"] >= 1
    assert sum(result.total.errors.values()) + result.total.answers == 10


def test_nothing_listens() -> None:
    with Loaded() as server:
        place = server.place
    with pytest.raises(SettingError, match="Connection refused"):
        closed(place)


def test_names_have_figures_of_their_own() -> None:
    with Loaded(lambda head, body: (b"/slow" in head and time.sleep(0.02)) or HELLO) as server:
        result = closed(server.place, Shot(target="/slow", name="slow"), Shot(name="quick", weight=3))
    assert sum(map(sum, (names.values() for names in result.total.names.values()))) == result.total.answers
    text = "\n".join(lines(result))
    assert re.search(r"quick +[\d,]+ +\d", text)


def test_think_time_is_waited_for() -> None:
    with Loaded() as server:
        result = closed(server.place, Shot(think_s=0.05), connections=2, seconds=0.5)
    assert 12 <= result.total.answers <= 20


def test_over_tls(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with Loaded(context=context) as server:
        result = closed(server.place)
        assert result.total.statuses["2xx"] == result.total.answers > 0
        strict = Place(server.place.host, server.place.port, tls=True)
        with pytest.raises(SettingError, match="certificate verify failed"):
            closed(strict)


def test_the_listening_process_is_found() -> None:
    with Loaded() as server:
        assert listener(server.place) == os.getpid()
        result = closed(server.place, pid=0)
    assert result.server is not None
    assert result.server.pid == os.getpid()
    assert result.server.rss_bytes > 1 << 20
    assert listener(Place("192.0.2.1", 80)) == 0


def test_the_loader_says_when_it_was_late_itself() -> None:
    """It is stopped for a while: what was due then is sent late though connections are free."""

    def stop_once(at_s: float, one: object) -> None:
        if stopped:
            return
        stopped.extend(pid for pid in tree(os.getpid()) if pid != os.getpid())
        for number, pause_s in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0)):
            for pid in stopped:
                os.kill(pid, number)
            time.sleep(pause_s)

    stopped: list[int] = []
    with Loaded() as server:
        load = Load([Shot()], OPEN, rate=200, seconds=0.5, warmup_s=0.0)
        result = run(load, server.place, pid=os.getpid(), progress=stop_once)
    assert "late or more" in result.loader.bottleneck
    assert result.loader.late_p99_s > 0.1
    assert lines(result)[0].startswith("THE LOADER IS THE BOTTLENECK")


def test_a_busy_loader_is_the_bottleneck() -> None:
    result = Result("u", CLOSED, 1.0, 1)
    assert "ran 95%" in bottleneck(Loader(cpu_share=0.95), result)
    assert "waited for a processor 40%" in bottleneck(Loader(cpu_share=0.55, waited_share=0.4), result)
    assert bottleneck(Loader(cpu_share=0.8), result) == ""


# The stall.

STALL_S, LOAD_S = 0.4, 1.2


def test_open_loop_shows_a_stall() -> None:
    """The truth: who comes t after its begin waits STALL_S - t. A third come then: p75 waits 0.1 s, p90 0.28 s."""
    truth = pytest.approx((0.0, 0.1, 0.28, 0.388), abs=0.08)
    for _ in range(4):  # a busy machine adds stalls of its own
        with Loaded(Stall(0.4, STALL_S)) as server:
            result = opened(server.place, rate=200, arrivals="even", connections=300, seconds=LOAD_S, warmup_s=None)
        found = tuple(result.percentiles((0.5, 0.75, 0.9, 0.99)))
        if found == truth:
            break
    assert found == truth
    assert result.total.answers == 240
    assert result.warmup.seconds == 0.0


def test_closed_loop_hides_the_same_stall() -> None:
    """Each of two connections meets it once, among the hundreds of quick answers."""
    for _ in range(4):
        with Loaded(Stall(0.4, STALL_S)) as server:
            result = closed(server.place, seconds=LOAD_S)
        if result.total.slowest_s < STALL_S + 0.1 and result.percentiles((0.99,))[0] < 0.1:
            break
    assert result.percentiles((0.99,))[0] < 0.1
    assert result.total.slowest_s == pytest.approx(STALL_S, abs=0.1)
    assert "only open loop" in "\n".join(lines(result))
