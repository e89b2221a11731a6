"""`wsgi.input` is a file that ends where the body ends (PEP 3333), wherever the body was kept."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from apps import TEXT, app_of
from wire import Client, chunked, fetch, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]


def read_in_every_way(source: Any) -> list[Any]:
    """What the methods of a file give, in one order that visits all of them and goes past the end."""
    lines = iter(source)
    return [
        source.readline(),
        source.readline(3),
        source.readline(0),
        source.readline(-1),
        next(lines),
        source.read(4),
        source.read(0),
        source.readlines(8),
        next(iter(source)),
        source.read(-1),
        source.read(10),
        source.read(-1),
        source.readline(),
        source.readlines(),
        list(source),
    ]


INPUT = b"".join(b"line %d of the body\n" % number for number in range(9)) + b"no newline"


@pytest.mark.parametrize(
    "settings", [{}, {"body_memory_bytes": 0}, {"body_stream": True}], ids=["memory", "file", "stream"]
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_wsgi_input_is_a_file(serve: Serve, settings: dict[str, Any], framing: str) -> None:
    """readline, iteration, read(-1) and reading past the end are as io.BytesIO has them."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [repr(read_in_every_way(environ["wsgi.input"])).encode()]

    if framing == "length":
        data = request(method="POST", body=INPUT)
    else:
        data = request("/", "Transfer-Encoding: chunked", method="POST") + chunked([INPUT[:25], INPUT[25:]])
    with serve(app, **settings) as server, Client(server) as client:
        for _ in range(2):
            assert client.send(data).read_response().body.decode() == repr(read_in_every_way(io.BytesIO(INPUT)))


def test_wsgi_input_without_a_body_is_at_its_end(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        source = environ["wsgi.input"]
        start_response("200 OK", TEXT)
        got = [source.read(-1), source.read(9), source.readline(), source.readline(5), source.readlines(), list(source)]
        return [repr(got).encode()]

    with serve(app) as server:
        assert fetch(server).body == b"[b'', b'', b'', b'', [], []]"


def test_wsgi_input_closed_by_the_application_is_open_in_the_next_request(serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].close()
        start_response("200 OK", TEXT)
        return [body]

    with serve_bare(app) as server, Client(server) as client:
        for body in (None, None, b"one", b"two", None):
            response = client.send(request(method="POST", body=body)).read_response()
            assert (response.status, response.body) == (200, body or b"")


def test_unread_body_then_the_next_request(serve: Serve) -> None:
    with serve(app_of([b"unread"])) as server, Client(server) as client:
        client.send(request(method="POST", body=b"x" * 100_000) + request("/next"))
        assert [response.body for response in client.read_responses(2)] == [b"unread", b"next"]
