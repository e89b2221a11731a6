"""The response cache in a running server: what is answered without the application, and to whom.

The first law: a response never reaches a user that it was not for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from vivace import background
from wire import Client, Response

Answer = tuple[str, list[tuple[str, str]], Any]


class Origin:
    """An application that answers each path as the test says, and counts its calls."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.environs: list[dict[str, Any]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        with self.lock:
            self.calls[path] = self.calls.get(path, 0) + 1
            self.environs.append(dict(environ))
        status, headers, body = self.answers[path](environ)
        start_response(status, headers)
        return body

    def on(self, path: str, status: str = "200 OK", body: bytes | None = None, **fields: str) -> None:
        """`path` is answered with these header fields (_ for -), and a body that counts unless one is given."""
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]

        def answer(environ: dict[str, Any]) -> Answer:
            return status, list(headers), [b"%d" % self.calls[path] if body is None else body]

        self.answers[path] = answer


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def server(origin: Origin) -> Iterator[background]:
    with background(origin, cache=True, threads=8) as running:
        yield running


def ask(client: Client, path: str, *lines: str, method: str = "GET") -> Response:
    head = "".join(f"{line}\r\n" for line in ("Host: a.test", *lines))
    client.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    return client.read_response(method=method)


FRESH = "max-age=60"


class TestOnlyForThoseItWasFor:
    @pytest.mark.parametrize(
        ("fields", "first", "second"),
        [
            ({"Cache_Control": "private, max-age=60"}, (), ()),
            ({"Cache_Control": "no-store"}, (), ()),
            ({}, (), ()),  # says nothing: only a rule may keep it
            ({"Cache_Control": FRESH}, ("Authorization: Basic YTpi",), ()),
            ({"Cache_Control": FRESH}, ("Authorization: Basic YTpi",), ("Authorization: Basic YTpj",)),
            ({"Cache_Control": FRESH, "Set_Cookie": "id=1"}, (), ()),
            ({"Cache_Control": FRESH, "Vary": "Cookie"}, ("Cookie: user=1",), ("Cookie: user=2",)),
            ({"Cache_Control": FRESH, "Vary": "Cookie"}, ("Cookie: user=1",), ()),
            ({"Cache_Control": FRESH, "Vary": "*"}, (), ()),
        ],
    )
    def test_another_user_never_gets_it(
        self, origin: Origin, server: background, fields: dict[str, str], first: Any, second: Any
    ) -> None:
        origin.on("/", **fields)
        with Client(server) as client:
            assert ask(client, "/", *first).body == b"1"
            assert ask(client, "/", *second).body == b"2"
            assert ask(client, "/", *second).body in (b"2", b"3")
        assert origin.calls["/"] >= 2

    def test_nor_by_a_head_that_is_byte_for_byte_the_same(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control="private, max-age=60")
        with Client(server) as client:
            assert [ask(client, "/").body for _ in range(5)] == [b"1", b"2", b"3", b"4", b"5"]

    def test_a_response_without_vary_is_not_for_those_who_have_their_own(
        self, origin: Origin, server: background
    ) -> None:
        origin.on("/", Cache_Control=FRESH, Vary="Cookie")
        with Client(server) as client:
            assert ask(client, "/", "Cookie: user=1").body == b"1"
            origin.on("/", Cache_Control=FRESH)
            assert ask(client, "/").body == b"2"
            assert ask(client, "/", "Cookie: user=1").body == b"1"
            assert ask(client, "/", "Cookie: user=2").body == b"3"
            assert ask(client, "/").body == b"2"

    def test_another_host_is_another_page(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            assert ask(client, "/").body == b"1"
            client.send(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
            assert client.read_response().body == b"2"
            assert ask(client, "/").body == b"1"


class TestReuse:
    def test_the_application_is_called_once(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control=FRESH, Content_Type="text/plain")
        with Client(server) as one, Client(server) as two:
            first = ask(one, "/")
            assert first.field("Cache-Status") == "vivace; fwd=uri-miss; stored"
            assert first.values("Age") == []
            for client in (one, two, one, one, two):
                again = ask(client, "/")
                assert again.status == 200
                assert again.body == b"1"
                assert again.field("Content-Type") == "text/plain"
                assert again.field("Content-Length") == "1"
                assert again.field("Age") in ("0", "1", "2")
                assert (again.field("Cache-Status") or "").startswith("vivace; hit; ttl=")
        assert origin.calls == {"/": 1}

    def test_head_and_conditions_and_ranges(self, origin: Origin, server: background) -> None:
        origin.on("/", body=b"0123456789", Cache_Control=FRESH, ETag='"x"')
        with Client(server) as client:
            ask(client, "/")
            head = ask(client, "/", method="HEAD")
            assert (head.status, head.body, head.field("Content-Length")) == (200, b"", "10")
            same = ask(client, "/", 'If-None-Match: "x"')
            assert (same.status, same.body, same.field("ETag")) == (304, b"", '"x"')
            part = ask(client, "/", "Range: bytes=2-4")
            assert (part.status, part.body, part.field("Content-Range")) == (206, b"234", "bytes 2-4/10")
            assert ask(client, "/", "Range: bytes=20-").status == 416
        assert origin.calls == {"/": 1}

    def test_the_first_request_may_have_conditions(self, origin: Origin, server: background) -> None:
        origin.on("/", body=b"0123456789", Cache_Control=FRESH, ETag='"x"')
        with Client(server) as client:
            assert ask(client, "/", 'If-None-Match: "x"').status == 304
            assert ask(client, "/").body == b"0123456789"
        assert origin.calls == {"/": 1}
        assert "HTTP_IF_NONE_MATCH" not in origin.environs[0]

    def test_pipelined_requests_are_answered_in_order(self, origin: Origin, server: background) -> None:
        origin.on("/a", body=b"a", Cache_Control=FRESH)
        origin.on("/b", body=b"b")
        with Client(server) as client:
            ask(client, "/a")
            wire = b"".join(
                b"GET /%b HTTP/1.1\r\nHost: a.test\r\n\r\n" % path for path in (b"a", b"b", b"a", b"a", b"b")
            )
            client.send(wire)
            assert [client.read_response().body for _ in range(5)] == [b"a", b"b", b"a", b"a", b"b"]
        assert origin.calls == {"/a": 1, "/b": 2}

    @pytest.mark.parametrize("size", [0, 1, 65535, 70000, 3_000_000])
    def test_bodies_of_any_size_come_whole(self, origin: Origin, server: background, size: int) -> None:
        body = bytes(index % 251 for index in range(1000)) * (size // 1000 + 1)
        origin.on("/", body=body[:size], Cache_Control=FRESH)
        with Client(server) as client:
            for _ in range(4):
                assert ask(client, "/").body == body[:size]
        assert origin.calls == {"/": 1}

    def test_what_is_too_long_is_handed_on(self, origin: Origin, server: background) -> None:
        origin.answers["/"] = lambda environ: ("200 OK", [("Cache-Control", FRESH)], iter([b"x" * 1_000_000] * 6))
        with Client(server) as client:
            for _ in range(2):
                assert ask(client, "/").body == b"x" * 6_000_000
        assert origin.calls == {"/": 2}

    def test_blocks_are_kept_whole_and_sent_at_once(self, origin: Origin, server: background) -> None:
        go_on = threading.Event()

        def blocks() -> Iterator[bytes]:
            yield b"one "
            assert go_on.wait(5)
            yield b"two"

        origin.answers["/"] = lambda environ: ("200 OK", [("Cache-Control", FRESH)], blocks())
        with Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            received = b""
            while b"one " not in received:
                received += client.socket.recv(1000)
            go_on.set()
            while not received.endswith(b"0\r\n\r\n"):
                received += client.socket.recv(1000)
            assert ask(client, "/").body == b"one two"
        assert origin.calls == {"/": 1}

    def test_what_breaks_off_is_not_kept(self, origin: Origin, server: background) -> None:
        def broken() -> Iterator[bytes]:
            yield b"one "
            raise RuntimeError("planted")

        origin.answers["/"] = lambda environ: ("200 OK", [("Cache-Control", FRESH)], broken())
        for _ in range(2):
            with Client(server) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                assert not client.read_response().whole
        assert origin.calls == {"/": 2}

    def test_a_response_under_validate(self, origin: Origin) -> None:
        origin.on("/", Cache_Control=FRESH, Content_Type="text/plain", ETag='"1"')
        with background(validator(origin), cache=True) as server, Client(server) as client:
            assert [ask(client, "/").body for _ in range(3)] == [b"1"] * 3
            assert ask(client, "/", 'If-None-Match: "1"').status == 304
        assert origin.calls == {"/": 1}


class TestStale:
    def test_it_is_asked_about_and_renewed_by_304(self, origin: Origin, server: background) -> None:
        def answer(environ: dict[str, Any]) -> Answer:
            headers = [("Cache-Control", "max-age=1"), ("ETag", '"x"')]
            if environ.get("HTTP_IF_NONE_MATCH") == '"x"':
                return "304 Not Modified", [*headers, ("X-Seen", "again")], []
            return "200 OK", headers, [b"body"]

        origin.answers["/"] = answer
        with Client(server) as client:
            ask(client, "/")
            time.sleep(1.1)
            renewed = ask(client, "/")
            assert (renewed.status, renewed.body, renewed.field("X-Seen")) == (200, b"body", "again")
            assert ask(client, "/").body == b"body"
        assert origin.calls == {"/": 2}

    def test_while_it_is_renewed_the_old_one_is_served(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control="max-age=1, stale-while-revalidate=60")
        with Client(server) as client:
            assert ask(client, "/").body == b"1"
            time.sleep(1.1)
            assert ask(client, "/").body == b"1"
            give_up = time.monotonic() + 5
            while (got := ask(client, "/").body) == b"1" and time.monotonic() < give_up:
                time.sleep(0.01)
            assert got == b"2"
        assert origin.calls == {"/": 2}

    def test_without_a_pool_as_well(self, origin: Origin) -> None:
        origin.on("/", Cache_Control="max-age=1, stale-while-revalidate=60")
        with background(origin, cache=True, threads=1) as server, Client(server) as client:
            assert ask(client, "/").body == b"1"
            time.sleep(1.1)
            assert ask(client, "/").body == b"1"
            assert ask(client, "/").body == b"2"

    def test_it_stands_in_where_the_application_fails(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control="max-age=1, stale-if-error=60")
        with Client(server) as client:
            assert ask(client, "/").body == b"1"
            time.sleep(1.1)

            def fail(environ: dict[str, Any]) -> Answer:
                raise RuntimeError("planted")

            origin.answers["/"] = fail
            stood_in = ask(client, "/")
            assert (stood_in.status, stood_in.body) == (200, b"1")
            origin.answers["/"] = lambda environ: ("503 Service Unavailable", [], [b"down"])
            assert ask(client, "/").body == b"1"


class TestCollapsing:
    def test_one_call_for_many_clients(self, origin: Origin, server: background) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def answer(environ: dict[str, Any]) -> Answer:
            begun.set()
            assert go_on.wait(10)
            return "200 OK", [("Cache-Control", FRESH)], [b"made"]

        origin.answers["/"] = answer
        clients = [Client(server) for _ in range(100)]
        try:
            clients[0].send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert begun.wait(5)
            for client in clients[1:]:
                client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            with Client(server) as other:  # the loop has seen them all, and is free
                origin.on("/other")
                ask(other, "/other")
            go_on.set()
            assert {client.read_response().body for client in clients} == {b"made"}
        finally:
            for client in clients:
                client.socket.close()
        assert origin.calls["/"] == 1

    def test_what_cannot_be_shared_is_not_made_one_after_the_other(self, origin: Origin, server: background) -> None:
        inside = threading.Barrier(4, timeout=10)

        def answer(environ: dict[str, Any]) -> Answer:
            if origin.calls["/"] > 1:
                inside.wait()
            return "200 OK", [("Cache-Control", "private")], [b"mine"]

        origin.answers["/"] = answer
        with Client(server) as client:
            ask(client, "/")  # from now on it is known
        clients = [Client(server) for _ in range(4)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert [client.read_response().body for client in clients] == [b"mine"] * 4
        for client in clients:
            client.socket.close()

    def test_who_waits_is_let_go_when_the_first_one_fails(self, origin: Origin, server: background) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def answer(environ: dict[str, Any]) -> Answer:
            if not begun.is_set():
                begun.set()
                assert go_on.wait(10)
                raise RuntimeError("planted")
            return "200 OK", [("Cache-Control", FRESH)], [b"made"]

        origin.answers["/"] = answer
        with Client(server) as first, Client(server) as second:
            first.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert begun.wait(5)
            second.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            go_on.set()
            assert first.read_response().status == 500
            assert second.read_response().body == b"made"

    def test_nobody_waits_longer_than_the_limit(self, origin: Origin) -> None:
        go_on = threading.Event()

        def answer(environ: dict[str, Any]) -> Answer:
            if origin.calls["/"] == 1:
                assert go_on.wait(10)
            return "200 OK", [("Cache-Control", FRESH)], [b"%d" % origin.calls["/"]]

        origin.answers["/"] = answer
        with background(origin, cache=True, cache_wait_s=0.3) as server, Client(server) as one, Client(server) as two:
            one.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            while not origin.calls:
                time.sleep(0.001)
            assert ask(two, "/").body == b"2"
            go_on.set()
            assert one.read_response().status == 200


class TestChanges:
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_an_unsafe_method_makes_it_invalid(self, origin: Origin, server: background, method: str) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            assert [ask(client, "/").body for _ in range(3)] == [b"1"] * 3
            assert ask(client, "/", "Content-Length: 0", method=method).body == b"2"
            assert ask(client, "/").body == b"3"

    def test_unless_it_failed(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            assert ask(client, "/").body == b"1"
            origin.on("/", status="403 Forbidden")
            assert ask(client, "/", "Content-Length: 0", method="POST").status == 403
            assert ask(client, "/").body == b"1"

    def test_what_was_being_made_meanwhile_is_not_kept(self, origin: Origin, server: background) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow(environ: dict[str, Any]) -> Answer:
            if environ["REQUEST_METHOD"] == "POST":
                return "200 OK", [], [b"changed"]
            number = origin.calls["/"]
            if number == 1:
                begun.set()
                assert go_on.wait(10)
            return "200 OK", [("Cache-Control", FRESH)], [b"%d" % number]

        origin.answers["/"] = slow
        with Client(server) as reader, Client(server) as writer:
            reader.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert begun.wait(5)
            assert ask(writer, "/", "Content-Length: 0", method="POST").body == b"changed"
            go_on.set()
            assert reader.read_response().body == b"1"
            assert ask(writer, "/").body == b"3"


class TestRules:
    def test_what_says_nothing_is_kept_by_rule(self, origin: Origin) -> None:
        origin.on("/api/x")
        origin.on("/other")
        with background(origin, cache=True, cache_rule=["/api/* 60s"]) as server, Client(server) as client:
            assert [ask(client, "/api/x").body for _ in range(3)] == [b"1"] * 3
            assert [ask(client, "/other").body for _ in range(3)] == [b"1", b"2", b"3"]
            assert ask(client, "/api/x", "Cookie: a=1").body == b"2"
            assert ask(client, "/api/x", "Authorization: Basic YTpi").body == b"3"
            assert ask(client, "/api/x").body == b"1"

    def test_trackers_make_no_other_page(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            assert ask(client, "/?a=1&utm_source=x").body == b"1"
            assert ask(client, "/?utm_campaign=y&a=1").body == b"1"
            assert ask(client, "/?a=2").body == b"2"


def test_only_if_cached(origin: Origin, server: background) -> None:
    origin.on("/", Cache_Control=FRESH)
    with Client(server) as client:
        assert ask(client, "/", "Cache-Control: only-if-cached").status == 504
        ask(client, "/")
        assert ask(client, "/", "Cache-Control: only-if-cached").body == b"1"
    assert origin.calls == {"/": 1}


def test_off_it_does_nothing(origin: Origin) -> None:
    origin.on("/", Cache_Control=FRESH)
    with background(origin) as server, Client(server) as client:
        assert [ask(client, "/").body for _ in range(3)] == [b"1", b"2", b"3"]
        assert ask(client, "/").values("Cache-Status") == []
