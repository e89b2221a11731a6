"""connection.known: answers given again byte for byte, and until when, and to whom."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from test_caching import FRESH, Origin, ask
from vivace import background
from vivace.cache.keys import KEY_BYTES_MAX
from vivace.connection import known as known_module
from vivace.connection.known import Known, KnownAnswer
from vivace.connection.meter import clock
from vivace.connection.plan import Answer
from vivace.http1.head import HeadLimits
from vivace.net.poller import READ
from vivace.schedule.route import Route
from wire import Client, until

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Loop:
    """As much of a loop as Known knows."""

    log: Any = None
    tally: Any = None

    class plan:  # noqa: N801
        keepalive_timeout_s = 5.0
        limits = HeadLimits()

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.finished: list[bytes] = []

    def close(self, conn: Any, reason: str) -> None:
        self.closed.append(reason)

    def finish(self, conn: Any, answer: bytes, keep: bool, *, leading: bool) -> None:
        self.finished.append(answer)


class Conn:
    def __init__(self, site: object) -> None:
        self.site = site
        self.route = Route("GET /", 1.0)
        self.host, self.port = "192.0.2.1", "1234"
        self.expires = self.answered = 0.0
        self.mode = READ
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.fd = ours.detach()


@pytest.fixture
def conn() -> Iterator[Any]:
    conn = Conn(object())
    yield conn
    os.close(conn.fd)
    conn.peer.close()


def remembered(conn: Any, answer: bytes = b"answer", fresh_s: float = 60.0, data: bytes = GET) -> Any:
    known = Known(Loop())  # type: ignore[arg-type]
    known.remember(data, conn, answer, Answer("200 OK"), {}, fresh_s)
    return known


def serve(known: Any, conn: Any, data: bytes = GET) -> bool:
    now = clock()
    done: bool = known.serve(conn, data, now, now, False)
    return done


class TestKnown:
    def test_the_same_is_answered_the_same(self, conn: Any) -> None:
        known = remembered(conn)
        assert serve(known, conn)
        assert conn.peer.recv(100) == b"answer"
        assert known.served == [0, 1, 0]
        assert not serve(known, conn, GET + b"x")

    def test_not_when_it_is_no_longer_fresh(self, conn: Any) -> None:
        assert not serve(remembered(conn, fresh_s=-0.001), conn)

    def test_not_at_another_listener(self, conn: Any) -> None:
        known = remembered(conn)
        conn.site = object()
        assert not serve(known, conn)

    def test_not_after_anything_has_changed(self, conn: Any) -> None:
        known = remembered(conn)
        changes = known.changes
        known.forget("GET http://a.test/")
        known.remember(GET, conn, b"old", Answer("200 OK"), {}, 60.0, ("GET http://a.test/", changes, []))
        known.clear()
        assert not serve(known, conn)
        known.remember(GET, conn, b"old", Answer("200 OK"), {}, 60.0, ("GET http://a.test/", changes, []))
        assert not serve(known, conn)  # it was begun before that

    def test_what_does_not_go_at_once_is_finished_elsewhere(self, conn: Any) -> None:
        answer = b"x" * known_module.ANSWER_BYTES_MAX
        known = remembered(conn, answer)
        while not known._loop.finished:
            assert serve(known, conn)
        left = known._loop.finished[0]
        assert answer.endswith(left)

    def test_a_client_that_has_gone_costs_its_connection(self, conn: Any) -> None:
        known = remembered(conn)
        conn.peer.close()
        assert serve(known, conn)
        assert known._loop.closed == ["client_gone"]

    def test_it_is_bounded(self, conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(known_module, "ANSWERS_MAX", 3)
        known = remembered(conn)
        for number in range(10):
            known.remember(b"%d" % number, conn, b"x", Answer("200 OK"), {}, 60.0)
        assert len(known._answers) == 3
        monkeypatch.setattr(known_module, "ANSWERS_MAX", 100)
        known.clear()
        known.remember(b"long", conn, b"x" * 65537, Answer("200 OK"), {}, 60.0)
        assert not known._answers
        monkeypatch.setattr(known_module, "BYTES_MAX", 1000)
        for number in range(100):
            known.remember(b"%03d" % number, conn, b"x" * 97, Answer("200 OK"), {}, 60.0)
        assert len(known._answers) == 10
        assert all(type(answer) is KnownAnswer for answer in known._answers.values())


def answers(server: background) -> dict[bytes, KnownAnswer]:
    cache = server.server.loop.answers
    assert cache is not None
    return cache._answers


class TestServed:
    @pytest.fixture
    def origin(self) -> Origin:
        origin = Origin()
        origin.on("/", Cache_Control=FRESH)
        return origin

    def warm(self, server: background, client: Client) -> None:
        def is_known() -> bool:
            ask(client, "/")
            return bool(answers(server))  # until the date is renewed

        until(is_known)

    def test_a_change_is_seen_at_once(self, origin: Origin) -> None:
        with background(origin, cache=True, threads=4) as server, Client(server) as client, Client(server) as other:
            for _ in range(20):
                self.warm(server, client)
                changed = ask(other, "/", "Content-Length: 0", method="POST").body
                assert int(ask(client, "/").body) > int(changed)

    def test_it_is_forgotten_with_the_second_of_its_date(self, origin: Origin) -> None:
        with background(origin, cache=True, threads=4) as server, Client(server) as client:
            self.warm(server, client)
            until(lambda: not answers(server), timeout_s=2.0)

    @pytest.mark.parametrize("line", ["Cookie: a=1", "Authorization: Basic YTpi", "X-Api-Key: 1"])
    def test_never_to_who_carries_a_secret(self, origin: Origin, line: str) -> None:
        origin.on("/", Cache_Control=f"public, {FRESH}")
        with background(origin, cache=True, threads=4) as server, Client(server) as client:
            for _ in range(5):
                ask(client, "/", line)
            assert not answers(server)

    def test_never_for_what_closes_or_comes_in_parts(self, origin: Origin) -> None:
        with background(origin, cache=True, threads=4) as server:
            for _ in range(3):
                with Client(server) as client:
                    ask(client, "/", "Connection: close")
                    assert client.has_ended()
            with Client(server) as client:
                for _ in range(3):
                    client.send(GET[:20])
                    time.sleep(0.01)
                    client.send(GET[20:])
                    client.read_response()
            assert not answers(server)

    def test_an_annotated_answer_has_its_own_request_id(self, origin: Origin) -> None:
        with background(origin, cache=True, threads=4, request_id="X-Request-Id") as server, Client(server) as client:
            found = [ask(client, "/") for _ in range(5)]
        assert {response.body for response in found} == {b"1"}
        assert len({response.field("X-Request-Id") for response in found}) == 5

    def test_each_is_logged(self, origin: Origin) -> None:
        logged: list[tuple[Any, ...]] = []
        server = background(origin, cache=True, threads=4)
        server.server.loop.log = lambda environ, told, took: logged.append(
            (environ["REQUEST_METHOD"], environ["REMOTE_PORT"], told.status, told.body_bytes)
        )
        with server, Client(server) as client, Client(server) as other:
            for each in (client, other, client, client, other):
                ask(each, "/")
            ask(other, "/", method="HEAD")
            until(lambda: len(logged) == 6)
            ports = [str(each.port) for each in (client, other, client, client, other)]
        assert logged == [("GET", port, "200 OK", 1) for port in ports] + [("HEAD", ports[1], "200 OK", 0)]

    def test_what_has_a_longer_url_than_a_purge_can_name_is_not_kept(self, origin: Origin) -> None:
        room = KEY_BYTES_MAX - len("GET http://a.test/?")
        with background(origin, cache=True, threads=4) as server, Client(server) as client:
            for size, expected in ((room, [b"1", b"1"]), (room + 1, [b"2", b"3"])):
                assert [ask(client, "/?" + "x" * size).body for _ in range(2)] == expected
            ask(client, "/?" + "x" * (room + 1), "Content-Length: 0", method="POST")
            assert ask(client, "/?" + "x" * room).body == b"1", "nor does it purge anything"
            ask(client, "/?" + "x" * room, "Content-Length: 0", method="POST")
            assert ask(client, "/?" + "x" * room).body == b"6"
