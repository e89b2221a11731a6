"""request_timeout: what the client sees of it, however far the response had come, and what the log says."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, app_of
from timed import LATE_S, Long, assert_504, counts, spin, stalling
from wire import CLOSED, RESET, TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

# What its client sees.


def test_head_request(serve_timed: Serve) -> None:
    app = Long(spin)
    with serve_timed(app) as server, Client(server) as client:
        assert_504(client.send(request("/long", method="HEAD")), "HEAD")


def test_http_1_0(serve_timed: Serve) -> None:
    app = Long(spin)
    with serve_timed(app) as server, Client(server) as client:
        assert_504(client.send(request("/long", version="HTTP/1.0")))


def test_requests_before_and_behind_it(serve_timed: Serve) -> None:
    """Those before are answered first, those behind are not: the connection ends, and the client knows."""
    app = Long(spin)
    with serve_timed(app) as server, Client(server) as client:
        for _ in range(3):
            client.send(request("/next"))
            assert client.read_response().body == b"next"
        client.send(request("/next") * 2 + request("/long") + request("/next") * 2)
        assert [response.body for response in client.read_responses(2)] == [b"next", b"next"]
        assert_504(client)


def test_client_that_has_left(serve_timed: Serve) -> None:
    app = Long(spin)
    with serve_timed(app) as server:
        with Client(server) as client:
            client.send(request("/long"))
            until(lambda: app.environ)
            client.reset()
        app.assert_hit()
        assert fetch(server, "/next").body == b"next"


@pytest.mark.parametrize("fields", [[], [("Content-Length", "100")]], ids=["chunked", "length"])
def test_response_that_has_begun_is_cut_off(serve_timed: Serve, fields: list[tuple[str, str]]) -> None:
    gate = threading.Event()
    with serve_timed(app_of(stalling(gate, b"one", b"two"), headers=TEXT + fields)) as server, Client(server) as client:
        response = client.send(request()).read_response()
        gate.set()
        assert (response.status, response.body, response.whole, response.ended) == (200, b"onetwo", False, RESET)
    assert counts(server) == {"request_timeout": 1}


def test_response_that_ends_with_its_connection_is_reset(serve_timed: Serve) -> None:
    gate = threading.Event()
    with serve_timed(app_of(stalling(gate, b"one"))) as server, Client(server) as client:
        response = client.send(request(version="HTTP/1.0")).read_response()
        gate.set()
        assert (response.whole, response.ended) == (False, RESET)


def test_write_callable(serve_timed: Serve) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)(b"one")
        gate.wait(TIMEOUT_S)
        return [b"two"]

    with serve_timed(app) as server, Client(server) as client:
        response = client.send(request()).read_response()
        gate.set()
        assert (response.body, response.whole) == (b"one", False)


def test_start_response_alone_is_still_clean(serve_timed: Serve) -> None:
    gate = threading.Event()
    with serve_timed(app_of(stalling(gate))) as server, Client(server) as client:
        assert_504(client.send(request()))
        gate.set()


class HangsInClose:
    """A body whose `close()` waits."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = blocks
        self.gate = threading.Event()
        self.hits: list[BaseException] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        try:
            self.gate.wait(TIMEOUT_S)
        except BaseException as error:
            self.hits.append(error)
            raise


@pytest.mark.parametrize("blocks", [(), (b"one",), (b"one", b"two")])
def test_complete_response_arrives_whole(serve_timed: Serve, messages: list[str], blocks: tuple[bytes, ...]) -> None:
    body = HangsInClose(*blocks)
    with serve_timed(app_of(body)) as server, Client(server) as client:
        response = client.send(request()).read_response()
        assert (response.status, response.body, response.whole) == (200, b"".join(blocks), True)
        assert client.rest() == (b"", CLOSED)
        until(lambda: messages)
        body.gate.set()
        until(lambda: body.hits)
    assert "closing: in close() of the response's body; its response was complete, and was sent" in messages[0]
    assert len(messages) == 1, "what interrupts close() is no failure of the application"
    assert counts(server) == {"request_timeout": 1}


def test_body_that_does_not_come(serve_timed: Serve, messages: list[str]) -> None:
    """The application reads it itself: it is answered, and its thread is free again."""
    left = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        finally:
            left.set()
        return []

    with serve_timed(app, body_stream=True) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 100", method="POST") + b"some")
        assert_504(client)
        assert left.wait(TIMEOUT_S)
    assert "reading the body of the request; answered 504" in messages[0]
    assert len(messages) == 1


def test_expectation_is_met_before(serve_timed: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        return []

    with serve_timed(app, body_stream=True) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 100", "Expect: 100-continue", method="POST"))
        assert client.read_response().status == 100
        assert_504(client)


def test_client_that_does_not_read(serve_timed: Serve, messages: list[str]) -> None:
    """Its thread waits for room; it is woken, and the client is told by a reset."""
    left = threading.Event()

    def body() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            left.set()

    settings = {"response_buffer_bytes": 65536, "write_timeout": 60}
    with serve_timed(app_of(body), **settings) as server, Client(server, receive_bytes=4096) as client:
        client.send(request(version="HTTP/1.0"))
        assert left.wait(LATE_S)
        response = client.read_response()
        assert (response.whole, response.ended) == (False, RESET)
    assert "sending to a client that takes it slowly; its connection was reset" in messages[0]


def test_system_without_descriptors(serve_timed: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """No 504 can be sent then; the client is reset, and the application ends all the same."""

    def dup(fd: int) -> int:
        raise OSError(24, "Too many open files")

    app = Long(spin)
    with serve_timed(app) as server, Client(server) as client:
        monkeypatch.setattr("vivace.connection.connection.os.dup", dup)
        assert client.send(request("/long")).rest() == (b"", RESET)
        app.assert_hit()
        assert fetch(server, "/next").body == b"next"
    assert counts(server)["request_timeout"] == 1


# What the log says.


def test_what_the_log_says(serve_timed: Serve, messages: list[str]) -> None:
    app = Long()
    with serve_timed(app) as server, Client(server) as client:
        client.send(request("/items/17?x=1"))
        assert_504(client)
        until(lambda: messages)
        app.gate.set()
        app.assert_hit()
    first, second, third, fourth, *stack = messages[0].splitlines()
    assert stack[1].strip() == "self.work()"
    source = f"GET /items/17?x=1 HTTP/1.1 from 127.0.0.1:{client_port(app)}"
    assert first == f"error: a request took longer than request_timeout: {source}"
    assert re.fullmatch(
        r"  0\.\d+ s after the application was called, in the application, before start_response; answered 504", second
    )
    assert re.fullmatch(r"  route GET /items/\{\} \(lane now: (inline|pool|heavy)\), thread vivace-\w+", third)
    assert fourth == "  it was waiting for a lock"
    assert stack[0].startswith(f'  File "{Long.__call__.__code__.co_filename}", line ')
    assert "threading.py" in stack[-2]
    assert not [line for line in stack if "vivace/connection" in line or "vivace/wsgi" in line]
    assert len(messages) == 1


def client_port(app: Long) -> str:
    return str(app.environ["REMOTE_PORT"])


def test_the_log_names_the_peer_that_it_waits_for(serve_timed: Serve, messages: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:
        ours = socket.create_connection(database.getsockname())
        peer, _ = database.accept()
        with ours, peer:
            app = Long(lambda: ours.recv(1))
            with serve_timed(app) as server, Client(server) as client:
                client.send(request("/long"))
                assert_504(client)
                until(lambda: messages)
                peer.send(b"x")
                app.assert_hit()
            port = database.getsockname()[1]
            assert re.search(rf"it was reading from fd {ours.fileno()}, TCP .* to 127\.0\.0\.1:{port} ", messages[0])


def test_the_access_log_has_the_504_once(capsys: pytest.CaptureFixture[str], serve_timed: Serve) -> None:
    gate = threading.Event()
    app = Long(spin)
    with serve_timed(app, access_log=True) as server, Client(server) as client:
        assert_504(client.send(request("/long")))
        app.assert_hit()
    with serve_timed(app_of(stalling(gate, b"one")), access_log=True) as server, Client(server) as client:
        client.send(request("/cut")).read_response()
        gate.set()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split('"')[1:] for line in lines] == [
        ["GET /long HTTP/1.1", " 504 29"],
        ["GET /cut HTTP/1.1", " 200 3"],
    ]
