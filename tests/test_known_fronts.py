"""Whole answers that the loop knows by the bytes of a request, or by its front: for nobody but who may have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from test_caching import FRESH, Origin
from vivace import background
from vivace.connection.known import Known
from vivace.http1.blocks import LOOK_EVERY
from wire import Client, Response, until

BROWSER = b"Host: a.test\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
ENOUGH = 4 * LOOK_EVERY
"""Heads until their block is known, and their front with its answer."""


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def server(origin: Origin) -> Iterator[background]:
    with background(origin, cache=True, threads=4) as running:
        yield running


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that were answered by their front."""
    requests: list[bytes] = []
    real = Known._by_front

    def look(self: Known, conn: Any, data: bytes) -> Any:
        answer = real(self, conn, data)
        if answer is not None:
            requests.append(data)
        return answer

    monkeypatch.setattr(Known, "_by_front", look)
    return requests


def ask(client: Client, path: str, tail: bytes, method: str = "GET", fields: bytes = BROWSER) -> Response:
    client.send(b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), path.encode(), fields, tail))
    return client.read_response(method=method)


def cookie(number: int) -> bytes:
    return b"Cookie: session=%d\r\ntraceparent: 00-%d\r\n" % (number, number)


class TestByTheFront:
    def test_who_differs_in_what_does_not_matter_gets_the_same(
        self, origin: Origin, server: background, found: list[bytes]
    ) -> None:
        origin.on("/", Cache_Control=FRESH, Content_Type="text/plain")
        with Client(server) as client:

            def asked() -> list[Response]:
                """Nothing where the second, for whose rest answers are known, has just ended."""
                answers = [ask(client, "/", cookie(number)) for number in range(ENOUGH)]
                return answers if found else []

            answers = until(asked)
        assert {answer.body for answer in answers} == {b"1"}
        assert {answer.field("Content-Type") for answer in answers} == {"text/plain"}
        assert "vivace; hit" in (answers[-1].field("Cache-Status") or "")

    def test_another_path_method_or_host_is_another_front(self, origin: Origin, server: background) -> None:
        for path in ("/", "/b"):
            origin.on(path, Cache_Control=FRESH, body=path.encode())
        with Client(server) as client:
            for number in range(ENOUGH):
                assert ask(client, "/", cookie(number)).body == b"/"
            assert ask(client, "/b", cookie(0)).body == b"/b"
            assert ask(client, "/", cookie(0), method="HEAD").body == b""
            ask(client, "/", cookie(0), fields=BROWSER.replace(b"a.test", b"b.test"))
            assert origin.calls == {"/": 2, "/b": 1}

    @pytest.mark.parametrize(
        "more",
        [
            b"Authorization: Basic YTpi\r\n",
            b"Cache-Control: no-cache\r\n",
            b"X-User-Id: 7\r\n",
            b"Accept-Language: de\r\n",
            b"Cookie: b=2\r\n",
        ],
    )
    def test_a_line_more_is_looked_at(
        self, origin: Origin, server: background, found: list[bytes], more: bytes
    ) -> None:
        origin.on("/", Cache_Control=FRESH, Vary="Accept-Language")
        with Client(server) as client:
            for number in range(ENOUGH):
                ask(client, "/", cookie(number))
            del found[:]
            ask(client, "/", cookie(0) + more)
        assert not found

    @pytest.mark.parametrize(
        "bad",
        [b"Cookie: a\x00\r\ntraceparent: b\r\n", b"Cookie: a\r\ntraceparent\r\n", b"Cookie: a\r\n traceparent: b\r\n"],
    )
    def test_what_is_no_request_is_refused(self, origin: Origin, server: background, bad: bytes) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            for number in range(ENOUGH):
                ask(client, "/", cookie(number))
            assert ask(client, "/", bad).status == 400

    def test_half_a_request_waits_for_the_rest(self, origin: Origin, server: background) -> None:
        origin.on("/", Cache_Control=FRESH)
        with Client(server) as client:
            for number in range(ENOUGH):
                ask(client, "/", cookie(number))
            raw = b"GET / HTTP/1.1\r\n" + BROWSER + cookie(1)
            client.send(raw)
            client.send(b"\r\n" + raw + b"\r\n" + raw + b"\r\n")
            assert [client.read_response().body for _ in range(3)] == [b"1"] * 3

    @pytest.mark.parametrize(
        "fields",
        [
            {"Cache_Control": FRESH, "Vary": "Cookie"},
            {"Cache_Control": FRESH, "Vary": "traceparent"},
            {"Cache_Control": "private, max-age=60"},
            {"ETag": '"a"'},
        ],
    )
    def test_what_may_differ_is_never_known(
        self, origin: Origin, server: background, found: list[bytes], fields: dict[str, str]
    ) -> None:
        origin.on("/", **fields)
        with Client(server) as client:
            bodies = [ask(client, "/", cookie(number)).body for number in range(ENOUGH)]
        assert len(set(bodies)) == ENOUGH
        assert not found

    def test_nor_what_a_rule_keeps_for_each_user(self, origin: Origin, found: list[bytes]) -> None:
        origin.on("/", Cache_Control=FRESH)
        with background(origin, cache=True, cache_rule=["/* 60s cookies"]) as server, Client(server) as client:
            bodies = [ask(client, "/", cookie(number)).body for number in range(ENOUGH)]
        assert len(set(bodies)) == ENOUGH
        assert not found


class TestChanges:
    def test_what_is_made_anew_is_seen_at_once(self, origin: Origin, server: background) -> None:
        """By the front, by the whole head, and where another URL was made meanwhile."""
        for path in ("/", "/other"):
            origin.on(path, Cache_Control=FRESH)
        reload = b"Cache-Control: no-cache\r\n"
        with Client(server) as client:
            for number in range(ENOUGH):
                ask(client, "/", cookie(number))
                ask(client, "/", b"")
            ask(client, "/other", b"")
            assert ask(client, "/", b"").body == b"1"
            assert ask(client, "/", reload).body == b"2"
            assert ask(client, "/", cookie(0)).body == ask(client, "/", b"").body == b"2"
            assert ask(client, "/", b"", method="POST").status == 200
            assert ask(client, "/", cookie(0)).body == ask(client, "/", b"").body == b"4"
