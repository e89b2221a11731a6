"""connection.flights: who goes to the application, who waits for it, and that nobody is forgotten."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any

import pytest

from test_caching import FRESH, Answer, Origin, ask
from vivace import background
from vivace.cache.levels import Levels
from vivace.cache.memory import Memory
from vivace.connection import flights
from vivace.connection.flights import Flight, Flights
from vivace.connection.known import KEPT
from wire import CLOSED, Client, until


class Loop:
    """As much of a loop as flights know."""

    def __init__(self) -> None:
        self.ready: deque[Any] = deque()
        self.done = False
        self.wakes = 0
        self.hurried = 0
        self.awoken = 0
        self.closed: list[Any] = []
        self.poller = self
        self.sweeper = self

    def wake(self) -> None:
        self.wakes += 1

    def hurry(self, seconds: float) -> None:
        self.hurried += 1

    def awake(self) -> None:
        self.awoken += 1

    def close(self, conn: Any, reason: str) -> None:
        self.closed.append((conn, reason))


@pytest.fixture
def loop() -> Loop:
    return Loop()


def made(loop: Loop, wait_s: float = 60.0) -> Flights:
    return Flights(loop, Levels(Memory(1 << 20, 1 << 18)), wait_s)  # type: ignore[arg-type]


class TestFlights:
    def test_the_first_goes_and_the_others_wait_until_it_lands(self, loop: Loop) -> None:
        all_ = made(loop)
        flight = all_.board("k", "first")  # type: ignore[arg-type]
        assert isinstance(flight, Flight)
        assert all_.board("k", "second") is None  # type: ignore[arg-type]
        assert all_.board("k", None) is None  # a renewal, which waits for nothing
        assert all_.board("other", "third") is not None  # type: ignore[arg-type]
        assert not loop.ready
        all_.land(flight, "k")
        assert list(loop.ready) == ["second"]
        assert loop.wakes == 1
        assert not all_.is_unkept("k")
        assert all_.board("k", "fourth") is not None  # type: ignore[arg-type]

    def test_what_was_not_kept_is_waited_for_by_nobody_for_a_while(self, loop: Loop) -> None:
        all_ = made(loop)
        all_.land(all_.board("k", None), "k", 30.0)
        assert all_.is_unkept("k")
        all_.land(None, "k")
        assert not all_.is_unkept("k")

    def test_what_is_remembered_of_those_is_bounded(self, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flights, "UNKEPT_MAX", 3)
        all_ = made(loop)
        for number in range(10):
            all_.land(None, str(number), 30.0)
            assert len(all_._unkept) <= 3

    def test_nobody_waits_for_ever(self, loop: Loop) -> None:
        all_ = made(loop, wait_s=-1.0)
        flight = all_.board("k", "first")  # type: ignore[arg-type]
        all_.board("k", "second")  # type: ignore[arg-type]
        assert all_.tick() == ["second"]
        assert all_.tick() == []
        second = all_.board("k", "third")  # type: ignore[arg-type]
        assert second is not None
        all_.land(flight, "k")  # it lands at last, and takes nobody of the next one with it
        assert all_._flights == {"k": second}

    def test_landing_twice_does_no_harm(self, loop: Loop) -> None:
        all_ = made(loop)
        flight = all_.board("k", "first")  # type: ignore[arg-type]
        all_.board("k", "second")  # type: ignore[arg-type]
        all_.land(flight, "k")
        all_.land(flight, "k")
        assert list(loop.ready) == ["second"]

    def test_when_the_loop_has_ended_who_waits_is_let_go(self, loop: Loop) -> None:
        all_ = made(loop)
        all_.board("k", "first")  # type: ignore[arg-type]
        all_.board("k", "second")  # type: ignore[arg-type]
        loop.ready.append("third")
        loop.done = True
        all_.end()
        assert loop.closed == [("third", "stopping"), ("second", "stopping")]
        assert not all_._flights

    def test_and_who_lands_afterwards_lets_go_himself(self, loop: Loop) -> None:
        all_ = made(loop)
        flight = all_.board("k", "first")  # type: ignore[arg-type]
        all_.board("k", "second")  # type: ignore[arg-type]
        loop.done = True
        all_.land(flight, "k")
        assert loop.closed == [("second", "stopping")]
        assert not loop.ready


class Slow(Origin):
    """The first response waits until it is told to come."""

    def __init__(self, status: str = "200 OK", *fields: tuple[str, str]) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()
        headers = list(fields) or [("Cache-Control", FRESH)]

        def answer(environ: dict[str, Any]) -> Answer:
            number = self.calls["/"]
            if number == 1:
                self.begun.set()
                assert self.go_on.wait(10)
            return status, list(headers), [b"%d" % number]

        self.answers["/"] = answer
        self.on("/other", body=b"other")


GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


def parked(server: background, first: Client, *others: Client, then: bytes = b"") -> None:
    """`first` makes it, `others` wait, and the loop has seen them."""
    origin: Any = server.server.loop.plan.app
    first.send(GET)
    assert origin.begun.wait(5)
    cache = server.server.loop.cache
    assert cache is not None
    for client in others:
        client.send(GET + then)
    until(lambda: sum(len(flight.waiting) for flight in cache._flights._flights.values()) == len(others))


class TestWaiting:
    def test_who_leaves_while_he_waits_harms_nobody(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4) as server, Client(server) as first, Client(server) as second:
            gone, reset = Client(server), Client(server)
            parked(server, first, gone, reset, second)
            gone.socket.close()
            reset.reset()
            ask_other(server)
            origin.go_on.set()
            assert first.read_response().body == second.read_response().body == b"1"
            until(lambda: len(server.server.loop.conns) == 2)

    @pytest.mark.parametrize("threads", [2, 8])
    def test_what_is_sent_behind_it_is_answered_in_order(self, threads: int) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=threads) as server, Client(server) as first, Client(server) as two:
            parked(server, first, two, then=b"GET /other HTTP/1.1\r\nHost: a.test\r\n\r\n")
            two.send(GET)  # it stirs while it waits
            ask_other(server)
            origin.go_on.set()
            assert [two.read_response().body for _ in range(3)] == [b"1", b"other", b"1"]
            assert ask(two, "/other").body == b"other"

    def test_what_is_sent_while_it_waits_is_refused_behind_its_answer(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4) as server, Client(server) as first, Client(server) as two:
            parked(server, first, two)
            two.send(b"this is no HTTP\r\n\r\n")
            ask_other(server)
            origin.go_on.set()
            assert two.read_response().body == b"1"
            assert two.read_response().status == 400
            assert two.has_ended()

    def test_a_stop_waits_for_who_waits(self) -> None:
        origin = Slow()
        server = background(origin, cache=True, threads=4)
        with Client(server) as first, Client(server) as second:
            server.start()
            parked(server, first, second)
            server.server.stop()
            origin.go_on.set()
            assert first.read_response().body == b"1"
            response = second.read_response()
            assert (response.body, response.closes) == (b"1", True)
            for client in (first, second):
                assert client.rest() == (b"", CLOSED)
            server.stop()

    def test_who_waits_beyond_the_last_moment_is_closed(self) -> None:
        origin = Slow()
        server = background(origin, cache=True, threads=4, shutdown_timeout="0.1s")
        before = len(os.listdir("/proc/self/fd"))
        with Client(server) as first, Client(server) as second:
            server.start()
            parked(server, first, second)
            server.stop()
            assert second.rest()[0] == b""
            origin.go_on.set()
            assert first.rest() is not None
        until(lambda: not server.server.loop.conns)
        until(lambda: len(os.listdir("/proc/self/fd")) < before)

    def test_when_connections_max_is_reached(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4, connections_max=10) as server:
            clients = [Client(server) for _ in range(10)]
            parked(server, *clients)
            late = Client(server)
            late.send(GET)
            origin.go_on.set()
            assert {client.read_response().body for client in (*clients, late)} == {b"1"}
            for client in (*clients, late):
                client.socket.close()
        assert origin.calls["/"] == 1

    def test_over_the_time_limit_the_first_one_gets_504_and_the_others_a_new_one(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4, request_timeout="0.2s") as server:
            server.server.loop.plan.complain = lambda message, request_id: None
            with Client(server) as first, Client(server) as second:
                parked(server, first, second)
                assert first.read_response().status == 504
                assert second.read_response().body == b"2"
                assert not origin.go_on.is_set(), "the first call has not come back"
                origin.go_on.set()

    def test_when_the_first_one_is_turned_away_the_others_are_not_forgotten(self) -> None:
        origin = Slow()
        blocked = threading.Semaphore(0)
        unblock = threading.Event()

        def block(environ: dict[str, Any]) -> Answer:
            blocked.release()
            assert unblock.wait(10)
            return "200 OK", [], [b"done"]

        origin.answers["/block"] = block
        server = background(origin, cache=True, threads=2, queue_timeout="0.3s")
        server.server.loop.plan.warn = lambda message: None
        with server, Client(server) as first, Client(server) as second:
            busy = [Client(server) for _ in range(2)]
            for client in busy:
                client.send(b"GET /block HTTP/1.1\r\nHost: a.test\r\nCookie: a=1\r\n\r\n")
                assert blocked.acquire(timeout=5)
            for client in (first, second):
                client.send(GET)
            origin.go_on.set()
            statuses = [client.read_response().status for client in (first, second)]
            assert 503 in statuses
            assert set(statuses) <= {200, 503}
            unblock.set()
            for client in busy:
                assert client.read_response().body == b"done"
                client.socket.close()
            assert ask(second, "/").status == 200
            cache = server.server.loop.cache
            assert cache is not None
            until(lambda: not cache._flights._flights)

    def test_who_makes_it_leaves_and_the_others_get_theirs(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4) as server, Client(server) as second:
            first = Client(server)
            parked(server, first, second)
            first.reset()
            ask_other(server)
            origin.go_on.set()
            assert second.read_response().body in (b"1", b"2")

    def test_those_who_waited_for_what_is_private_get_their_own(self) -> None:
        origin = Slow("200 OK", ("Cache-Control", "private"))
        with background(origin, cache=True, threads=8) as server:
            clients = [Client(server) for _ in range(5)]
            parked(server, *clients)
            origin.go_on.set()
            assert sorted(client.read_response().body for client in clients) == [b"1", b"2", b"3", b"4", b"5"]
            for client in clients:
                client.socket.close()

    def test_an_unsafe_request_while_they_wait(self) -> None:
        origin = Slow()
        server = background(origin, cache=True, threads=4)
        with server, Client(server) as first, Client(server) as second, Client(server) as writer:
            parked(server, first, second)
            assert ask(writer, "/", "Content-Length: 0", method="POST").status == 200
            origin.go_on.set()
            assert first.read_response().body == b"1"
            assert second.read_response().body == b"3"  # made after the change
            assert ask(writer, "/").body == b"3"

    def test_all_but_the_first_who_waited_are_answered_by_the_bytes_of_their_requests(self) -> None:
        origin = Slow()
        with background(origin, cache=True, threads=4) as server:
            until(lambda: time.time() % 1 < 0.5)  # what is known is forgotten with each second
            clients = [Client(server) for _ in range(6)]
            parked(server, *clients)
            known = server.server.loop.known
            assert known is not None
            origin.go_on.set()
            bodies = [client.read_response().body for client in clients]
            assert bodies == [b"1"] * 6
            until(lambda: known.served[KEPT] == 4)
            # and the connections go on as any other
            assert {ask(client, "/other").body for client in clients} == {b"other"}
            until(lambda: all(conn.slot == 0 and not conn.asked for conn in list(server.server.loop.conns.values())))
            for client in clients:
                client.socket.close()
        assert origin.calls["/"] == 1


def ask_other(server: background) -> None:
    """When it is answered the loop has seen all that came before it."""
    with Client(server) as client:
        assert ask(client, "/other").body == b"other"


def test_nothing_is_left_of_it_on_the_page() -> None:
    origin = Slow()
    with background(origin, cache=True, threads=4) as server, Client(server) as first, Client(server) as second:
        parked(server, first, second)
        origin.go_on.set()
        for client in (first, second):
            client.read_response()
        conns = server.server.loop.conns
        until(lambda: all(conn.slot == 0 and conn.fill is None for conn in list(conns.values())))
        assert server.server.loop.cache is not None
        assert not server.server.loop.cache._flights._flights
