"""What an application does, and what reaches the client: the behaviours of PEP 3333 that servers get wrong.

Each test has a server of its own, with one thread and with eight; a valid application also runs under
`wsgiref.validate`. What start_response is given stands in test_response_checks.py, environ in test_environ.py,
`wsgi.input` in test_input.py, bad requests in test_refusals.py.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from apps import TEXT, Body, app_of, assert_clean_500, assert_follows, lengthy
from wire import CLOSED, RESET, TIMEOUT_S, Client, WireError, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]


# The application's side of PEP 3333.


def test_lazy_generator_app(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", [*TEXT, ("X-Lazy", "yes")])
        yield b"one"
        yield b"two"

    with serve(app) as server:
        response = fetch(server)
    assert (response.status, response.reason, response.field("X-Lazy")) == (201, "Created", "yes")
    assert response.body == b"onetwo"


def test_write_callable(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"written ")
        write(b"")
        write(b"twice, ")
        return [b"then ", b"returned"]

    with serve(app) as server, Client(server) as client:
        for _ in range(2):
            response = client.send(request()).read_response()
            assert response.body == b"written twice, then returned"


def test_write_transmits_before_it_returns(serve: Serve) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)(b"first")
        return [b" second" if gate.wait(TIMEOUT_S) else b" nobody read the first"]

    with serve(app) as server, Client(server) as client:
        client.send(request()).read_head()
        assert client.read_chunk() == b"first"
        gate.set()
        assert client.read_chunk() == b" second"


@pytest.mark.parametrize("headers", [TEXT, lengthy(6)], ids=["chunked", "length"])
def test_each_block_arrives_before_the_next_is_asked_for(serve: Serve, headers: list[tuple[str, str]]) -> None:
    gates = [threading.Event(), threading.Event()]

    def blocks() -> Iterator[bytes]:
        yield b"aa"
        yield b"bb" if gates[0].wait(TIMEOUT_S) else b"??"
        yield b"cc" if gates[1].wait(TIMEOUT_S) else b"??"

    with serve(app_of(blocks, headers=headers)) as server, Client(server) as client:
        head = client.send(request()).read_head()
        take = client.read_chunk if head.field("Transfer-Encoding") else lambda: client.read_bytes(2)
        assert take() == b"aa"
        gates[0].set()
        assert take() == b"bb"
        gates[1].set()
        assert take() == b"cc"


# What the body is.


@pytest.mark.parametrize(
    "body",
    [
        ["secret"],
        ["text", b"bytes"],
        [bytearray(b"secret")],
        [5],
        [None],
        (b"ok", "secret"),
        b"secret",
        "secret",
        None,
        5,
    ],
    ids=ascii,
)
def test_body_that_is_not_bytes(serve_bare: Serve, body: Any) -> None:
    with serve_bare(app_of(body)) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


def test_str_from_an_iterator(serve_bare: Serve) -> None:
    with serve_bare(app_of(lambda: iter(["secret"]))) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)
    with serve_bare(app_of(lambda: iter([b"first", "secret"]))) as server, Client(server) as client:
        response = client.send(request()).read_response()
        assert (response.body, response.whole) == (b"first", False)


def test_list_shorter_or_longer_than_its_content_length_is_a_clean_500(serve_bare: Serve) -> None:
    for length in (4, 10):
        for blocks in ([b"12345"], [b"12", b"345"], (b"12345",)):
            with serve_bare(app_of(blocks, headers=lengthy(length))) as server, Client(server) as client:
                client.send(request())
                assert_clean_500(client)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_iterator_shorter_than_its_content_length_cuts_the_connection(serve: Serve, count: int) -> None:
    body = lambda: Body([b"x"] * count)  # noqa: E731
    with serve(app_of(body, headers=lengthy(10))) as server, Client(server) as client:
        response = client.send(request() + request("/next")).read_response()
        assert response.status == 200
        assert (response.body, response.whole) == (b"x" * count, False)


def test_empty_iterator_with_a_content_length_is_a_clean_500(serve: Serve) -> None:
    with serve(app_of(lambda: iter([b"", b""]), headers=lengthy(10))) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


@pytest.mark.parametrize("blocks", [[b"12345678"], [b"1234", b"5678"], [b"12345", b"678"]], ids=ascii)
def test_iterator_never_sends_more_than_its_content_length(serve: Serve, blocks: list[bytes]) -> None:
    with serve(app_of(lambda: Body(blocks), headers=lengthy(5))) as server, Client(server) as client:
        response = client.send(request() + request("/next")).read_response()
        if response.status == 200:
            assert response.body == b"12345"
            assert client.has_ended()
        else:
            assert response.status == 500


def test_write_never_sends_more_than_its_content_length(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", lengthy(5))
        write(b"1234")
        write(b"5678")
        return [b"9"]

    with serve(app) as server, Client(server) as client:
        assert client.send(request() + request()).read_response().body == b"12345"
        assert client.has_ended()


@pytest.mark.parametrize("kind", ["list", "two", "iterator", "write", "large"])
@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified", "200 OK"])
def test_no_body_goes_out_where_none_may(serve: Serve, status: str, kind: str) -> None:
    """204, 205, 304, and any status to HEAD (200 here): the next response is in step."""
    method = "HEAD" if status == "200 OK" else "GET"
    headers = [] if status[:3] in ("204", "304") else list(TEXT)
    blocks = {"list": [b"body"], "two": [b"bo", b"dy"], "large": [b"x" * 300_000]}.get(kind, [b"bo", b"dy"])

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", TEXT)
            return [b"next"]
        write = start_response(status, headers)
        if kind == "write":
            for block in blocks:
                write(block)
            return []
        return Body(blocks) if kind == "iterator" else blocks

    with serve(app) as server, Client(server) as client:
        client.send(request(method=method) + request("/next"))
        response = client.read_response(method)
        assert response.status == int(status[:3])
        assert response.body == b""
        assert response.status != 204 or response.field("Content-Length") is None
        assert response.status != 205 or response.field("Content-Length") == "0"
        assert client.read_response().body == b"next"


def test_head_has_the_length_that_get_has(serve: Serve) -> None:
    with serve(app_of([b"12345"], headers=lengthy(5))) as server, Client(server) as client:
        head = client.send(request(method="HEAD")).read_response("HEAD")
        get = client.send(request()).read_response()
    assert head.fields == get.fields
    assert head.field("Content-Length") == "5"


def test_streaming_without_content_length_is_chunked(serve: Serve) -> None:
    blocks = [b"one", b"", b"two", b"x" * 100_000, b"end"]
    with serve(app_of(lambda: Body(blocks))) as server, Client(server) as client:
        response = client.send(request() + request("/next")).read_response()
        assert response.chunks == [block for block in blocks if block]
        assert client.read_response().body == b"next"


@pytest.mark.parametrize("fields", [(), ("Connection: keep-alive",)], ids=["plain", "keep-alive"])
def test_streaming_to_http_1_0_ends_with_the_connection(serve: Serve, fields: tuple[str, ...]) -> None:
    with serve(app_of(lambda: Body([b"one", b"two"]))) as server, Client(server) as client:
        response = client.send(request("/", *fields, version="HTTP/1.0")).read_response()
    assert (response.body, response.ended) == (b"onetwo", CLOSED)
    assert response.field("Transfer-Encoding") is None
    assert response.closes


# The application fails.


def test_app_raises_before_start_response(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", TEXT)
            return [b"next"]
        raise LookupError("secret")

    with serve(app) as server, Client(server) as client:
        client.send(request("/fails"))
        assert_clean_500(client)
    logged = capfd.readouterr().err
    assert "GET /fails" in logged
    assert "LookupError: secret" in logged


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, ValueError, MemoryError, RecursionError, BrokenPipeError])
def test_app_raises_whatever_it_likes(serve: Serve, error: type[BaseException]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("X-Old", "secret")])
        if environ["PATH_INFO"] == "/next":
            return [b"next"]
        raise error("secret")

    with serve(app) as server, Client(server) as client:
        client.send(request())
        response = client.read_response()
        assert response.status == 500
        assert b"secret" not in response.head + response.body
        if not response.closes:
            assert client.send(request("/next")).read_response().body == b"next"


def test_generator_raises_before_its_first_block(serve: Serve) -> None:
    def blocks() -> Iterator[bytes]:
        yield b""
        raise ValueError("secret")

    with serve(app_of(blocks, headers=[*TEXT, ("X-Old", "secret")])) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("headers", [TEXT, lengthy(100)], ids=["unknown", "length"])
def test_app_raises_mid_body(serve: Serve, headers: list[tuple[str, str]], version: str) -> None:
    """The client can tell that it was cut off: by the framing, or by a reset where the end of the connection tells."""

    def blocks() -> Iterator[bytes]:
        yield b"begun"
        raise ValueError("mid body")

    with serve(app_of(blocks, headers=headers)) as server, Client(server) as client:
        client.send(request(version=version) + request("/next"))
        try:
            response = client.read_response()
        except WireError:
            # A reset may overtake what was sent before it.
            assert client.ended == RESET
            return
        assert not response.whole
        assert b"next" not in response.body
        assert response.body in (b"begun", b"")


def test_app_returns_without_start_response(serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", TEXT)
            return [b"next"]
        return [b"secret"] if environ["PATH_INFO"] == "/body" else []

    with serve_bare(app) as server:
        for target in ("/", "/body"):
            with Client(server) as client:
                client.send(request(target))
                assert_clean_500(client)


# close().


def test_close_is_called_once(serve: Serve) -> None:
    """After the last block, whatever became of the response; one body a case, all on one server."""

    def failing() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("mid body")

    long = [b"x" * 10_000] * 3
    cases = {
        "/good": (Body([b"one", b"two"]), "200 OK", TEXT),
        "/empty": (Body([]), "200 OK", TEXT),
        "/204": (Body([b"one"]), "204 No Content", []),
        "/304": (Body([b"one"]), "304 Not Modified", []),
        "/fails": (Body(failing()), "200 OK", TEXT),
        "/short": (Body(long), "200 OK", lengthy(90_000)),
        "/long": (Body(long), "200 OK", lengthy(5)),
        "/str": (Body([b"one", "two"]), "200 OK", TEXT),
        "/evil": (Body(long), "200 OK", [*TEXT, ("X-Evil", "\u2603")]),
    }

    def app(environ: dict[str, Any], start_response: Any) -> Body:
        body, status, headers = cases[environ["PATH_INFO"]]
        start_response(status, headers)
        return body

    with serve(app) as server:
        for target in cases:
            with Client(server) as client:
                client.send(request(target, "Connection: close")).rest()
    assert {target: body.closes for target, (body, _, _) in cases.items()} == dict.fromkeys(cases, 1)


def test_close_is_called_once_after_head(serve: Serve) -> None:
    body = Body([b"one", b"two"])
    with serve(app_of(body)) as server:
        fetch(server, request(method="HEAD"), "HEAD")
    assert body.closes == 1


def test_close_of_a_list_is_called(serve: Serve) -> None:
    class Closing(list):  # type: ignore[type-arg]
        closes = 0

        def close(self) -> None:
            self.closes += 1

    body = Closing([b"one", b"two"])
    with serve(app_of(body)) as server:
        assert fetch(server).body == b"onetwo"
    assert body.closes == 1


def test_close_that_raises_is_logged_and_harmless(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(Body):
        def close(self) -> None:
            raise ValueError("close failed")

    with serve(app_of(lambda: Failing([b"one"]))) as server, Client(server) as client:
        response = client.send(request()).read_response()
        assert (response.body, response.whole) == (b"one", True)
        assert_follows(client, response)
    assert "close failed" in capfd.readouterr().err


@pytest.mark.parametrize("headers", [TEXT, lengthy(1 << 40)], ids=["chunked", "length"])
def test_client_leaves_mid_stream(serve: Serve, headers: list[tuple[str, str]]) -> None:
    """close() is called promptly and once, and the thread is free again."""
    body = Body(b"x" * 5000 for _ in iter(int, 1))
    with serve(app_of(lambda: body, headers=headers)) as server:
        with Client(server) as client:
            client.send(request()).read_bytes(20_000)
        until(lambda: body.closes, 2)
        assert fetch(server, "/next").body == b"next"
    assert body.closes == 1


def test_client_leaves_before_the_first_block(serve: Serve) -> None:
    gone = threading.Event()
    body = Body(b"x" * 5000 for _ in iter(lambda: gone.wait(TIMEOUT_S), False))
    with serve(app_of(lambda: body)) as server:
        with Client(server) as client:
            client.send(request())
            until(lambda: server.server.loop.conns)
            client.reset()
        gone.set()
        until(lambda: body.closes, 2)
    assert body.closes == 1
