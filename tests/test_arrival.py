"""connection.arrival: when a request reached this machine."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vivace import background
from vivace.connection.arrival import LATE_S, LOOK_S, Arrivals, arrived, turn_on, waited_s
from vivace.connection.connection import RUNNING, Connection
from vivace.connection.meter import clock
from vivace.observe.layout import LAG, W_LAG_LOOKS, W_LAG_NS
from vivace.observe.page import Page, page_of
from vivace.observe.section import Section
from vivace.observe.snapshot import between, take
from wire import Client, request, until


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        turn_on(listener)
        until(lambda: stamps(listener))  # the kernel begins to stamp a moment later, where nobody wanted it before
        yield listener


def stamps(listener: socket.socket) -> bool:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
        client.sendall(b"x")
        time.sleep(0.002)
        return waited_s(server.fileno()) > 0.001


def wait(seconds: float) -> float:
    """Waits at least that long; how long it was."""
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began


def test_what_waits_to_be_read(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
        client.sendall(b"first")
        waited = wait(0.02)
        lag = waited_s(server.fileno())
        assert waited <= lag < waited + 0.05
        client.sendall(b"second")
        assert waited_s(server.fileno()) < lag, "the system joins what comes in pieces, and keeps the last stamp"
        assert server.recv(100) == b"firstsecond", "looking takes nothing away"
        assert waited_s(server.fileno()) == 0.0


def test_what_waits_to_be_accepted(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client:
        client.sendall(b"x")
        waited = wait(0.02)
        with listener.accept()[0] as server:
            assert waited <= waited_s(server.fileno()) < waited + 0.05


def test_who_has_no_stamps() -> None:
    left, right = socket.socketpair()
    with left, right:
        turn_on(left)
        left.sendall(b"x")
        assert waited_s(right.fileno()) == 0.0
    pipe = os.pipe()
    assert waited_s(pipe[0]) == 0.0
    for fd in pipe:
        os.close(fd)


def test_the_first_that_is_ready_tells_of_its_turn(listener: socket.socket) -> None:
    section = Section.private()
    arrivals = Arrivals(section, stamped=True)
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
        client.sendall(b"x")
        waited = wait(0.01)
        conn = Connection(server.fileno(), "", "", type("Site", (), {"memo": {}}), 0.0)
        busy = Connection(77, "", "", conn.site, 0.0)
        busy.state = RUNNING
        events = [(99, 1), (77, 1), (conn.fd, 1)]
        now = time.perf_counter()
        lag, share, look_s = arrivals.look({conn.fd: conn, 77: busy}, events, now, 2 * waited)
        assert waited * 0.9 <= lag < waited + 0.05
        assert share == pytest.approx(min(1.0, lag / (2 * waited)))
        assert look_s == now + LOOK_S
        assert arrivals.look({77: busy}, events, now, 1.0) == (0.0, 0.0, look_s)
        assert section.words[W_LAG_LOOKS] == sum(section.histogram(LAG)) == 1
        assert section.words[W_LAG_NS] == int(lag * 1e9)


def test_after_a_long_turn_it_looks_again_at_once(listener: socket.socket) -> None:
    section = Section.private()
    arrivals = Arrivals(section, stamped=True)
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
        client.sendall(b"x")
        wait(0.01)
        conn = Connection(server.fileno(), "", "", type("Site", (), {"memo": {}}), 0.0)
        now = time.perf_counter()
        for looks, busy_s in enumerate((LATE_S / 2, LATE_S * 1.01), 1):
            arrivals.turn({conn.fd: conn}, [(conn.fd, 1)], now, now)
            arrivals.turn({conn.fd: conn}, [(conn.fd, 1)], now + busy_s, now + busy_s)
            assert section.words[W_LAG_LOOKS] == looks
            now += busy_s


def test_between_two_looks_the_last_one_holds(listener: socket.socket) -> None:
    arrivals = Arrivals(Section.private(), stamped=True)
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
        client.sendall(b"x")
        wait(0.01)
        now = time.perf_counter()
        first = arrivals.accepted(server.fileno(), now)
        assert 0.01 <= now - first < 0.06
        assert arrivals.accepted(server.fileno(), now) == pytest.approx(first, abs=0.001), "after so long, itself"
        server.recv(1)
        assert arrivals.accepted(server.fileno(), now + LOOK_S / 2) >= now, "this one has just come"
        arrivals._accept_s = LATE_S / 2
        due = pytest.approx(now + (LOOK_S - LATE_S) / 2, rel=0, abs=1e-9)
        assert arrivals.accepted(server.fileno(), now + LOOK_S / 2) == due
        wait(LOOK_S)
        now = time.perf_counter()
        assert arrivals.accepted(server.fileno(), now) == now, "nothing waits there any more"


# What a server makes of it.

STALL_S = 0.3


def test_where_there_is_no_stamp_it_is_now() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.send(b"x")
        before = clock()
        assert before <= arrived(ours.fileno()) <= clock()


def quick(page: Page) -> int:
    """Requests for /quick that the page has counted."""
    return quick_of(take(page))


def quick_of(snapshot: dict[str, Any]) -> int:
    return int(snapshot["routes"].get("GET /quick", {}).get("count", 0))


@pytest.mark.parametrize("kept", [True, False], ids=["kept connections", "new connections"])
def test_requests_that_come_during_a_stall_each_wait_since_they_came(kept: bool) -> None:
    """The first of them says nothing about the others: two come at its begin, six near its end."""
    go = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stall":
            go.set()
            time.sleep(STALL_S)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with background(app, threads=1, arrival_stamps=True) as server:
        page = page_of(os.getpid())
        assert page is not None
        counted = quick(page)  # a place in the page counts on from server to server
        users = [Client(server.url) for _ in range(8)] if kept else []
        for user in users:
            user.send(request("/quick")).read_response()
        until(lambda: quick(page) == counted + len(users))
        older = take(page)
        with Client(server.url) as staller:
            staller.send(request("/stall"))
            assert go.wait(10)
            time.sleep(0.02)
            sent = []
            for number in range(8):
                if number == 2:
                    time.sleep(STALL_S * 0.7)
                if not kept:
                    users.append(Client(server.url))
                sent.append(clock())
                users[number].send(request("/quick"))
            took = []
            for user, began in zip(users, sent, strict=True):
                user.read_response()
                took.append(clock() - began)
                user.__exit__(None, None, None)
        until(lambda: quick(page) == quick_of(older) + len(users))
        mean_s, median_s = sum(took) / 8, sorted(took)[3]
        found: list[tuple[float, float]] = []

        def told() -> bool:
            row = between(older, take(page))["routes"]["GET /quick"]
            found.append((row["mean_s"], row["p50_s"]))
            return found[-1] == pytest.approx((mean_s, median_s), abs=0.02)

        until(told, 2.0, f"{mean_s}, {median_s}: {found}")  # counts come before times
        page.close()
    assert max(took) > STALL_S * 0.8 > LATE_S
