"""connection.filling: a fault of the cache costs no response, and leaves nobody waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from test_caching import FRESH, Origin, ask
from vivace import background
from vivace.connection import filling as filling_module
from vivace.connection.filling import Filling
from vivace.errors import RequestTimeout
from wire import Client, until


@pytest.fixture
def origin() -> Origin:
    origin = Origin()
    origin.on("/", Cache_Control=FRESH)
    return origin


@pytest.fixture(params=[1, 4])
def server(origin: Origin, request: pytest.FixtureRequest) -> Iterator[background]:
    with background(origin, cache=True, threads=request.param) as running:
        yield running


def filling_of(server: background) -> Filling:
    cache = server.server.loop.cache
    assert cache is not None
    return cache.filling


def flights_of(server: background) -> dict[str, Any]:
    cache = server.server.loop.cache
    assert cache is not None
    return cache._flights._flights


def fail_once(kept: Any, error: BaseException) -> Any:
    """`kept`, after it has failed once."""
    errors = [error]

    def put(*args: Any) -> None:
        if errors:
            raise errors.pop()
        kept(*args)

    return put


def test_what_cannot_be_kept_is_answered_and_the_flight_lands(server: background) -> None:
    levels = filling_of(server)._levels
    reported: list[BaseException] = []
    server.server.loop.plan.on_error = reported.append
    levels.put = fail_once(levels.put, RuntimeError("planted"))  # type: ignore[method-assign]
    with Client(server) as client:
        assert ask(client, "/").body == b"1"
        until(lambda: not flights_of(server))
        assert [str(error) for error in reported] == ["planted"]
        assert [ask(client, "/").body for _ in range(2)] == [b"2", b"2"]


def test_so_does_that_of_one_whose_time_is_up_while_it_is_kept(server: background) -> None:
    levels = filling_of(server)._levels
    levels.put = fail_once(levels.put, RequestTimeout())  # type: ignore[method-assign]
    server.server.loop.report = lambda environ, error: None
    with Client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert client.read_response().status in (200, 500)
    until(lambda: not flights_of(server))


def test_why_it_was_not_kept(origin: Origin, server: background) -> None:
    with Client(server) as client:
        origin.on("/private", Cache_Control="private")
        origin.on("/plain")
        for path in ("/", "/private", "/plain"):
            ask(client, path)
        filling = filling_of(server)
        until(lambda: len(filling.notes) == 3)
        said = {key.removeprefix("GET http://a.test"): reason for key, (_, reason) in filling.notes.items()}
    assert said == {
        "/": "it was kept",
        "/private": "private in Cache-Control",
        "/plain": "it is not fresh, and cannot be asked about",
    }
    assert filling.unstored == {said["/private"]: 1, said["/plain"]: 1}


def test_what_is_noted_is_bounded(server: background, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling_module, "NOTES_MAX", 5)
    filling = filling_of(server)
    with Client(server) as client:
        for number in range(20):
            ask(client, f"/?{number}")
            assert len(filling.notes) <= 5


def test_a_304_that_cannot_be_sent_is_not_kept_either(origin: Origin) -> None:
    origin.on("/", Cache_Control="public, max-age=0", ETag='"x"')
    server = background(origin, cache=True)
    server.server.loop.report = lambda environ, error: None
    with server, Client(server) as client:
        assert ask(client, "/").body == b"1"
        origin.answers["/"] = lambda environ: (
            "304 Not Modified",
            [("ETag", '"x"'), ("Cache-Control", "max-age=60"), ("X", "a\r\nb")],
            [],
        )
        assert ask(client, "/").status == 500
        origin.on("/", Cache_Control=FRESH)
        assert ask(client, "/").body == b"3"
