"""Request bodies: kept in memory or a file before the application is called, or read by it as they arrive."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from apps import TEXT
from wire import TIMEOUT_S, Client, chunked, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

CHUNKED = "Transfer-Encoding: chunked"


def digest(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Length and SHA-256 of the body, and where it was kept."""
    source = environ["wsgi.input"]
    try:
        place = os.readlink(f"/proc/self/fd/{source.fileno()}")
    except (AttributeError, OSError):
        place = "memory"
    sha, size = hashlib.sha256(), 0
    while block := source.read(65536):
        sha.update(block)
        size += len(block)
    start_response("200 OK", TEXT)
    return [f"{size} {sha.hexdigest()} {place}".encode()]


def described(body: bytes) -> str:
    return f"{len(body)} {hashlib.sha256(body).hexdigest()} "


def pattern(size: int) -> bytes:
    """Bytes without a short period, so that a lost or doubled block shows."""
    return b"".join(b"%08x" % number for number in range(size // 8 + 1))[:size]


def post(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return request(method="POST", body=body)
    return request("/", CHUNKED, method="POST") + chunked(body[at : at + 50_000] for at in range(0, len(body), 50_000))


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 100_000, 3_000_000])
def test_body_arrives_whole(serve: Serve, size: int, framing: str) -> None:
    body = pattern(size)
    for settings in ({}, {"body_stream": True}, {"body_memory_bytes": 0}):
        with serve(digest, **settings) as server, Client(server) as client:
            for _ in range(2):
                assert client.send(post(body, framing)).read_response().body.decode().startswith(described(body))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_bodies_go_to_a_file_in_spill_dir(serve_bare: Serve, tmp_path: Path, framing: str) -> None:
    with serve_bare(digest, body_memory_bytes=100_000, spill_dir=str(tmp_path)) as server, Client(server) as client:
        for size, place in ((100_000, "memory"), (100_001, str(tmp_path)), (5_000_000, str(tmp_path))):
            response = client.send(post(pattern(size), framing)).read_response()
            assert response.body.decode().startswith(described(pattern(size)) + place)
        until(lambda: not open_below(tmp_path))
    assert list(tmp_path.iterdir()) == []


def open_below(path: Path) -> list[str]:
    """Files of this process under `path`, deleted ones as well."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if name.startswith(str(path)):
            found.append(name)
    return found


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_slow_uploads_hold_no_thread_and_little_memory(serve_bare: Serve, tmp_path: Path, framing: str) -> None:
    """More of them than threads: the application is called when they are complete, and others are served meanwhile."""
    calls: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ["REQUEST_METHOD"])
        return digest(environ, start_response)

    body = pattern(300_000)
    data = post(body, framing)
    with ExitStack() as stack, serve_bare(app, body_memory_bytes=1000, spill_dir=str(tmp_path)) as server:
        clients = [stack.enter_context(Client(server)) for _ in range(20)]
        for client in clients:
            client.send(data[:200_000])
        until(lambda: len(open_below(tmp_path)) == 20)
        assert fetch(server).status == 200
        assert calls == ["GET"]
        for client in clients:
            client.send(data[200_000:])
        for client in clients:
            assert client.read_response().body.decode().startswith(described(body) + str(tmp_path))
    assert open_below(tmp_path) == []


def test_client_that_leaves_in_an_upload_leaves_no_file(serve_bare: Serve, tmp_path: Path) -> None:
    def never(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("the request is not complete")

    with serve_bare(never, body_memory_bytes=0, spill_dir=str(tmp_path)) as server:
        for end in (Client.finish_sending, Client.reset):
            with Client(server) as client:
                client.send(post(pattern(200_000), "length")[:100_000])
                until(lambda: open_below(tmp_path))
                end(client)
                until(lambda: not open_below(tmp_path))
    assert server.server.loop.closed.snapshot()["client_early"] == 2


def test_spill_dir_that_is_gone(serve_bare: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """507, a line in the log, and the server goes on."""
    place = tmp_path / "spill"
    place.mkdir()
    with serve_bare(digest, body_memory_bytes=1000, spill_dir=str(place)) as server:
        place.rmdir()
        with Client(server) as client:
            response = client.send(post(pattern(2000), "length")).read_response()
            assert (response.status, response.closes) == (507, True)
            assert client.has_ended()
        with Client(server) as client:
            assert client.send(post(pattern(500), "length")).read_response().status == 200
    assert "spill_dir" in capfd.readouterr().err


# body_stream = True: the application reads while the client sends.


def lines(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    for line in environ["wsgi.input"]:
        yield b"got " + line


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_stream_goes_both_ways_at_once(serve: Serve, framing: str) -> None:
    parts = [b"one\n", b"two\n", b"three\n"]
    if framing == "length":
        head = request("/", f"Content-Length: {len(b''.join(parts))}", method="POST")
        sent, end = parts, b""
    else:
        head = request("/", CHUNKED, method="POST")
        sent, end = [chunked([part])[:-5] for part in parts], b"0\r\n\r\n"
    with serve(lines, body_stream=True) as server, Client(server) as client:
        response = client.send(head + sent[0]).read_head()
        assert response.status == 200
        assert client.read_chunk() == b"got one\n"
        assert client.send(sent[1]).read_chunk() == b"got two\n"
        assert client.send(sent[2] + end).read_chunk() == b"got three\n"
        assert client.read_chunk() == b""
        if response.closes:
            assert client.has_ended()
        else:
            assert client.send(request()).read_response().status == 200


def test_streams_do_not_stop_the_others(vivace_server: Any) -> None:
    server = vivace_server(lines, body_stream=True, threads=8)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(6)]
        for client in clients:
            client.send(request("/", "Content-Length: 8", method="POST") + b"one\n")
            assert client.read_head().status == 200
        assert fetch(server).status == 200
        for client in clients:
            assert client.read_chunk() == b"got one\n"
            assert client.send(b"two\n").read_chunk() == b"got two\n"


def test_more_streams_than_threads_still_leave_the_loop_alive(vivace_server: Any) -> None:
    """Every thread waits for its client; those who wait for a thread get it when one is free."""
    server = vivace_server(lines, body_stream=True, threads=2)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(6)]
        for client in clients:
            client.send(request("/", "Content-Length: 8", method="POST") + b"one\n")
        until(lambda: len(server.server.loop.conns) == 6)
        for client in clients:
            client.send(b"two\n")
        for client in clients:
            assert client.read_response().body == b"got one\ngot two\n"


def test_stream_that_is_not_read(serve: Serve) -> None:
    """The next request is answered or the connection closes; the body is never taken for a request."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    smuggled = request("/smuggled") * 5
    with serve(app, body_stream=True) as server:
        for size in (0, 1, 2):
            with Client(server) as client:
                data = request("/first", method="POST", body=smuggled * size * 100)
                client.send(data + request("/second"))
                client.finish_sending()
                assert client.read_response().body == b"/first"
                rest, _ = client.rest()
                assert b"/smuggled" not in rest
                assert rest == b"" or b"/second" in rest


def test_stream_whose_client_leaves(serve: Serve) -> None:
    raised: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            try:
                environ["wsgi.input"].read(100)
            except OSError as error:
                raised.append(type(error).__name__)
                raise
        start_response("200 OK", TEXT)
        return [b"fine"]

    with serve(app, body_stream=True) as server:
        for end in (Client.finish_sending, Client.reset):
            with Client(server) as client:
                client.send(request("/", "Content-Length: 100", method="POST") + b"few")
                end(client)
                until(lambda: raised)
                assert raised.pop() == "ConnectionResetError"
        assert fetch(server).body == b"fine"


def test_client_that_leaves_in_a_stream_is_no_error(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """The application lets ConnectionError pass: nobody failed, so nothing is logged."""
    with serve(digest, body_stream=True) as server:
        for end in (Client.finish_sending, Client.reset):
            with Client(server) as client:
                client.send(request("/", "Content-Length: 100", method="POST") + b"few")
                end(client)
                until(lambda: not server.server.loop.conns)
    assert capfd.readouterr().err == ""
    assert server.server.loop.closed.snapshot()["client_early"] == 2


def test_stream_that_is_broken(serve: Serve) -> None:
    """The application gets a ValueError; whatever it makes of it, the connection carries no other request."""
    raised = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read(100)
        except ValueError as error:
            raised.append(error)
        start_response("200 OK", TEXT)
        return [b"caught"]

    with serve(app, body_stream=True) as server, Client(server) as client:
        client.send(request("/", CHUNKED, method="POST") + b"5\r\nhelloXX" + request("/next"))
        assert client.read_response().body == b"caught"
        assert client.has_ended()
    assert len(raised) == 1


def test_stream_that_is_too_slow(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read(100)
        except TimeoutError:
            start_response("408 Request Timeout", TEXT)
            return [b"too slow"]
        raise AssertionError("there was no body")

    with serve(app, body_stream=True, body_timeout_s=0.2) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 100", method="POST") + b"few")
        response = client.read_response()
        assert (response.status, response.body) == (408, b"too slow")
        assert client.has_ended()
    assert server.server.loop.closed.snapshot()["body_timeout"] == 1


def test_stream_over_body_bytes_max(serve: Serve) -> None:
    with serve(digest, body_stream=True, body_bytes_max=1000) as server, Client(server) as client:
        client.send(request("/", CHUNKED, method="POST") + chunked([b"x" * 600, b"x" * 600]))
        assert client.read_response().status in (413, 500)
        assert client.has_ended()


def test_reading_thread_does_not_stop_the_others(vivace_server: Any) -> None:
    """A call that reads a body before it arrives is overtaken at once, not after its length."""
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            gate.set()
            environ["wsgi.input"].read(1)
        start_response("200 OK", TEXT)
        return [b"done"]

    server = vivace_server(app, body_stream=True, threads=4)
    with Client(server) as client:
        client.send(request("/", "Content-Length: 1", method="POST"))
        assert gate.wait(TIMEOUT_S)
        for _ in range(20):
            assert fetch(server).body == b"done"
        assert client.send(b"x").read_response().body == b"done"
