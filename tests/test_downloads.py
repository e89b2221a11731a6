"""Large responses, slow readers, and files by `wsgi.file_wrapper`."""

from __future__ import annotations

import hashlib
import io
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, Body, app_of, lengthy
from wire import CLOSED, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any, BinaryIO

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

BLOCK = b"".join(b"%08x" % number for number in range(125_000))  # 1 MB without a short period
SIZE = 50
WHOLE = hashlib.sha256(BLOCK * SIZE).hexdigest()
RECEIVE_BYTES = 65536


def large(environ: dict[str, Any], start_response: Any) -> Any:
    """50 MB: in one piece, in pieces of 1 MB, or as they are asked for; "quick" on any other path."""
    kind = environ["PATH_INFO"]
    start_response("200 OK", TEXT)
    if kind == "/one":
        return [BLOCK * SIZE]
    if kind == "/list":
        return [BLOCK] * SIZE
    if kind == "/stream":
        return (BLOCK for _ in range(SIZE))
    return [b"quick"]


def read_slowly(client: Client) -> str:
    """The digest of a response's 50 MB."""
    head = client.read_head()
    sha = hashlib.sha256()
    if head.field("Transfer-Encoding"):
        while chunk := client.read_chunk():
            sha.update(chunk)
    else:
        left = int(head.field("Content-Length") or 0)
        while left:
            block = client.read_bytes(min(left, 1_000_000))
            assert block
            sha.update(block)
            left -= len(block)
    return sha.hexdigest()


@pytest.mark.parametrize("kind", ["/one", "/list", "/stream"])
def test_large_response_arrives_whole(serve: Serve, kind: str) -> None:
    with serve(large) as server, Client(server) as client:
        for _ in range(2):
            assert read_slowly(client.send(request(kind))) == WHOLE


@pytest.mark.parametrize("kind", ["/one", "/list"])
@pytest.mark.parametrize("threads", [1, 2])
def test_slow_readers_hold_no_thread(vivace_server: Any, threads: int, kind: str) -> None:
    """What the application has produced is sent without it: more such clients than threads, and nobody waits."""
    server = vivace_server(large, threads=threads)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server, receive_bytes=RECEIVE_BYTES)) for _ in range(4)]
        for client in clients:
            client.send(request(kind))
        for client in clients:
            client.wait()
        started = time.monotonic()
        for _ in range(50):
            assert fetch(server).body == b"quick"
        assert time.monotonic() - started < 2
        for client in clients:
            assert read_slowly(client) == WHOLE


def test_slow_readers_of_streams_delay_no_others(vivace_server: Any) -> None:
    """A generator waits for its client, on a thread of its own; the loop goes on."""
    server = vivace_server(large, threads=8)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server, receive_bytes=RECEIVE_BYTES)) for _ in range(6)]
        for client in clients:
            client.send(request("/stream")).wait()
        started = time.monotonic()
        for _ in range(50):
            assert fetch(server).body == b"quick"
        assert time.monotonic() - started < 2
        for client in clients:
            assert read_slowly(client) == WHOLE


def test_stream_is_not_produced_far_ahead_of_its_client(vivace_server: Any) -> None:
    asked: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in range(200):
            asked.append(number)
            yield BLOCK

    server = vivace_server(app_of(blocks), threads=4, response_buffer_bytes=65536)
    with Client(server, receive_bytes=RECEIVE_BYTES) as client:
        client.send(request()).wait()
        for _ in range(20):
            assert fetch(server, "/next").body == b"next"
        assert len(asked) < 50, "a stream was produced into memory"


def test_client_leaves_a_large_response(serve: Serve) -> None:
    with serve(large) as server:
        for kind in ("/one", "/list", "/stream"):
            for end in (Client.reset, lambda client: client.socket.close()):
                with Client(server, receive_bytes=RECEIVE_BYTES) as client:
                    client.send(request(kind)).read_bytes(100_000)
                    end(client)
                until(lambda: not server.server.loop.conns)
        counts = server.server.loop.closed.snapshot()
    assert counts["client_gone"] == sum(counts.values()) == 6


# wsgi.file_wrapper.


class Watched:
    """A file that counts its closes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.closes = 0
        self.reads = 0

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        return self.file.read(size)

    def fileno(self) -> int:
        return self.file.fileno()

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.closes += 1
        self.file.close()


class WatchedFile(io.FileIO):
    """The same for a file on disk, which is only sent by the system if nothing stands between."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(os.dup(file.fileno()))
        self._start = file.tell()
        self.seek(self._start)
        file.close()
        self.closes = 0
        self.reads = 0

    def close(self) -> None:
        if not self.closed:
            self.reads = self.tell() - self._start  # what the system sends does not move the position
        self.closes += 1
        super().close()


def watched(file: BinaryIO) -> Any:
    return Watched(file) if isinstance(file, io.BytesIO) else WatchedFile(file)


class Files:
    """An application that sends what `make` opens, and keeps what it opened."""

    def __init__(self, make: Callable[[], BinaryIO], headers: list[tuple[str, str]] | None = None) -> None:
        self.make = make
        self.headers = headers or TEXT
        self.sent: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(self.headers))
        if environ["PATH_INFO"] == "/next":
            return [b"next"]
        self.sent.append(watched(self.make()))
        return environ["wsgi.file_wrapper"](self.sent[-1], 8192)

    def assert_closed_once(self) -> None:
        assert self.sent
        until(lambda: all(file.closes for file in self.sent))
        assert [file.closes for file in self.sent] == [1] * len(self.sent)


CONTENT = BLOCK * 3 + b"end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("told", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_file(serve_bare: Serve, path: Path, told: bool, version: str) -> None:
    app = Files(lambda: path.open("rb"), lengthy(len(CONTENT)) if told else None)
    with serve_bare(app) as server:
        for _ in range(3):
            with Client(server) as client:
                response = client.send(request(version=version)).read_response()
                assert response.body == CONTENT
                assert response.field("Content-Length") == str(len(CONTENT))
        app.assert_closed_once()
    if hasattr(os, "sendfile"):
        assert [file.reads for file in app.sent] == [0] * 3, "it was not sent by the system"


def test_file_under_validate(serve: Serve, path: Path) -> None:
    app = Files(lambda: path.open("rb"))
    with serve(app) as server, Client(server) as client:
        for _ in range(3):
            assert client.send(request()).read_response().body == CONTENT
    app.assert_closed_once()


def test_files_in_a_pipeline(serve_bare: Serve, path: Path) -> None:
    app = Files(lambda: path.open("rb"))
    with serve_bare(app) as server, Client(server) as client:
        client.send((request() + request("/next")) * 4)
        assert [response.body for response in client.read_responses(8)] == [CONTENT, b"next"] * 4
    app.assert_closed_once()


@pytest.mark.parametrize("offset", [1, 8192, 1_000_000, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 5])
def test_file_from_an_offset(serve_bare: Serve, path: Path, offset: int) -> None:
    def make() -> BinaryIO:
        file = path.open("rb")
        file.read(7)  # what the file's own buffer holds must not be left out
        file.seek(offset)
        return file

    app = Files(make)
    with serve_bare(app) as server, Client(server) as client:
        client.send(request() + request("/next"))
        assert [response.body for response in client.read_responses(2)] == [CONTENT[offset:], b"next"]
    app.assert_closed_once()


def test_file_read_before_it_is_sent(serve_bare: Serve, path: Path) -> None:
    def make() -> BinaryIO:
        file = path.open("rb")
        file.read(10)
        return file

    with serve_bare(Files(make)) as server:
        assert fetch(server).body == CONTENT[10:]


def test_part_of_a_file_by_content_length(serve_bare: Serve, path: Path) -> None:
    """PEP 3333: the file is sent up to the length that the application has told."""
    app = Files(lambda: path.open("rb"), lengthy(1000))
    with serve_bare(app) as server, Client(server) as client:
        client.send(request() + request())
        assert [response.body for response in client.read_responses(2)] == [CONTENT[:1000]] * 2
    app.assert_closed_once()


def test_file_shorter_than_its_content_length(serve_bare: Serve, path: Path) -> None:
    app = Files(lambda: path.open("rb"), lengthy(len(CONTENT) + 1))
    with serve_bare(app) as server:
        response = fetch(server)
        assert response.status == 500
        assert response.whole
    app.assert_closed_once()


def test_file_that_becomes_shorter(serve_bare: Serve, path: Path) -> None:
    """The response is cut off: never padded, never followed by another."""
    path.write_bytes(BLOCK * 40)
    app = Files(lambda: path.open("rb"))
    with serve_bare(app) as server, Client(server, receive_bytes=RECEIVE_BYTES) as client:
        client.send(request() + request("/next")).wait()
        os.truncate(path, 100)
        response = client.read_response()
        assert not response.whole
        assert b"next" not in response.body
        app.assert_closed_once()
    assert server.server.loop.closed.snapshot()["aborted"] == 1


def test_empty_file(serve_bare: Serve, path: Path) -> None:
    path.write_bytes(b"")
    app = Files(lambda: path.open("rb"))
    with serve_bare(app) as server, Client(server) as client:
        client.send(request() + request("/next"))
        assert [response.body for response in client.read_responses(2)] == [b"", b"next"]
    app.assert_closed_once()


def test_things_like_files(serve: Serve, path: Path) -> None:
    """What has no descriptor of a regular file is read."""

    class Reader:
        def __init__(self) -> None:
            self.blocks = [b"one", b"two"]

        def read(self, size: int) -> bytes:
            return self.blocks.pop(0) if self.blocks else b""

    def pipe() -> BinaryIO:
        reading, writing = os.pipe()
        os.write(writing, b"from a pipe")
        os.close(writing)
        return os.fdopen(reading, "rb")

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        thing: Any = {"/bytes": lambda: io.BytesIO(CONTENT), "/pipe": pipe, "/reader": Reader}[environ["PATH_INFO"]]()
        return environ["wsgi.file_wrapper"](thing)

    with serve(app) as server, Client(server) as client:
        for _ in range(2):
            assert client.send(request("/bytes")).read_response().body == CONTENT
            assert client.send(request("/pipe")).read_response().body == b"from a pipe"
            assert client.send(request("/reader")).read_response().body == b"onetwo"


def test_file_where_no_body_goes_out(serve_bare: Serve, path: Path) -> None:
    app = Files(lambda: path.open("rb"))
    with serve_bare(app) as server, Client(server) as client:
        client.send(request(method="HEAD") + request("/next"))
        assert client.read_response("HEAD").field("Content-Length") == str(len(CONTENT))
        assert client.read_response().body == b"next"
    app.assert_closed_once()


def test_file_within_a_middleware(serve: Serve, path: Path) -> None:
    app = Files(lambda: path.open("rb"))

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        body = app(environ, start_response)
        try:
            for block in body:
                yield block.upper()
        finally:
            body.close()

    with serve(middleware) as server:
        assert fetch(server).body == CONTENT.upper()
    app.assert_closed_once()


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_readers_of_a_file_hold_no_thread(vivace_server: Any, path: Path, threads: int) -> None:
    path.write_bytes(BLOCK * SIZE)
    app = Files(lambda: path.open("rb"))
    server = vivace_server(app, threads=threads)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server, receive_bytes=RECEIVE_BYTES)) for _ in range(6)]
        for client in clients:
            client.send(request()).wait()
        started = time.monotonic()
        for _ in range(50):
            assert fetch(server, "/next").body == b"next"
        assert time.monotonic() - started < 2
        assert [file.closes for file in app.sent] == [0] * 6
        for client in clients:
            assert read_slowly(client) == WHOLE
    app.assert_closed_once()


def test_client_leaves_within_a_file(serve_bare: Serve, path: Path) -> None:
    path.write_bytes(BLOCK * SIZE)
    app = Files(lambda: path.open("rb"))
    with serve_bare(app) as server:
        for end in (Client.reset, lambda client: client.socket.close()):
            with Client(server, receive_bytes=RECEIVE_BYTES) as client:
                client.send(request()).wait()
                end(client)
            app.assert_closed_once()
        assert fetch(server, "/next").body == b"next"


def test_stream_to_http_1_0_is_whole(serve: Serve) -> None:
    body = Body([BLOCK] * 5)
    with serve(app_of(body)) as server:
        response = fetch(server, request(version="HTTP/1.0"))
    assert (response.body == BLOCK * 5, response.ended, body.closes) == (True, CLOSED, 1)
