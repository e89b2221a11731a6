"""One connection and its requests: keep-alive, pipelining, Expect, pieces of any size, and how it ends.

Bodies stand in test_uploads.py, large responses in test_downloads.py, limits in test_time_limits.py, the end of the
server in test_stopping.py.
"""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import pytest

from apps import TEXT, Body, app_of
from wire import CLOSED, Client, chunked, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

CHUNKED = "Transfer-Encoding: chunked"
LENGTH = "Content-Length: 5"
EXPECT = "Expect: 100-continue"


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Target, port of the client, and body; waits or computes for as many milliseconds as the path says."""
    body = environ["wsgi.input"].read(-1)
    if environ["PATH_INFO"].startswith("/wait/"):
        time.sleep(int(environ["PATH_INFO"][6:]) / 1000)
    if environ["PATH_INFO"].startswith("/burn/"):
        end = time.thread_time() + int(environ["PATH_INFO"][6:]) / 1000
        while time.thread_time() < end:
            pass
    start_response("200 OK", TEXT)
    return [f"{environ['REQUEST_URI']} {environ['REMOTE_PORT']} ".encode() + body]


def targets(client: Client, count: int) -> list[str]:
    """The targets that the next responses answer."""
    return [response.body.split()[0].decode() for response in client.read_responses(count)]


# Persistence (RFC 9112 section 9.3).


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_keep_alive(serve_bare: Serve, version: str) -> None:
    fields = ("Connection: Keep-Alive",) if version == "HTTP/1.0" else ()
    with serve_bare(echo) as server, Client(server) as client:
        for number in range(10):
            response = client.send(request(f"/{number}", *fields, version=version)).read_response()
            assert response.body == f"/{number} {client.port} ".encode()
            assert response.field("Connection") == ("keep-alive" if version == "HTTP/1.0" else None)
            assert response.version == "1.1"


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("HTTP/1.0", ()),
        ("HTTP/1.0", ("Connection: keep-alive, close",)),
        ("HTTP/1.1", ("Connection: close",)),
        ("HTTP/1.1", ("Connection: X-Other, CLOSE",)),
        ("HTTP/1.1", ("Connection: keep-alive", "Connection: close")),
    ],
)
def test_the_last_request_on_a_connection(serve_bare: Serve, version: str, fields: tuple[str, ...]) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        client.send(request("/1", *fields, version=version) + request("/2"))
        response = client.read_response()
        assert (response.body.split()[0], response.closes) == (b"/1", True)
        assert client.has_ended()
    assert server.server.loop.closed.snapshot()["done"] == 1


# Pipelining (RFC 9112 section 9.3.2).


def segments(client: Client) -> int:
    """Segments with data that the client has got: tcpi_data_segs_in of Linux's struct tcp_info."""
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("=I", info, 152)[0]) if len(info) >= 156 else -1


def test_pipelined_answers_come_in_order_and_joined(serve_bare: Serve) -> None:
    """Once their route is known to be quick, unless something else comes in between; hence the best of some rounds."""
    joined = []
    with serve_bare(echo) as server, Client(server) as client:
        for _ in range(8):
            before = segments(client)
            client.send(b"".join(request(f"/{number}") for number in range(50)))
            assert targets(client, 50) == [f"/{number}" for number in range(50)]
            joined.append(segments(client) - before)
    assert min(joined) <= 3


def test_more_pipelined_requests_than_one_read_takes(serve_bare: Serve) -> None:
    count = 3000
    with serve_bare(echo) as server, Client(server) as client:
        data = b"".join(request(f"/{number}", "X-Fill: " + "x" * 30) for number in range(count))
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        assert targets(client, count) == [f"/{number}" for number in range(count)]
        sender.join()


def test_pipelined_requests_mixed_with_slow_ones(serve_bare: Serve) -> None:
    order = ["/a", "/wait/30", "/b", "/c", "/wait/20", "/wait/30", "/d"]
    with serve_bare(echo) as server, Client(server) as client, Client(server) as other:
        for _ in range(4):  # unknown routes at first, then learned ones
            client.send(b"".join(map(request, order)))
            other.send(b"".join(map(request, reversed(order))))
            assert targets(client, len(order)) == order
            assert targets(other, len(order)) == order[::-1]


def test_pipelined_requests_with_bodies(serve_bare: Serve) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        data = b""
        for number in range(20):
            body = b"b" * number * 100
            data += request(f"/{number}", method="POST", body=body)
            data += request(f"/c{number}", CHUNKED, method="POST") + chunked([body[:50], body[50:]])
        client.send(data)
        for number in range(20):
            for target in (f"/{number}", f"/c{number}"):
                expected = f"{target} {client.port} ".encode() + b"b" * number * 100
                assert client.read_response().body == expected


def every_kind(environ: dict[str, Any], start_response: Any) -> Any:
    """The target, sent in one of the ways that PEP 3333 knows."""
    kind, _, number = environ["PATH_INFO"][1:].partition("/")
    text = f"{kind} {number} ".encode()
    if kind == "empty":
        start_response("204 No Content", [])
        return []
    write = start_response("200 OK", TEXT)
    if kind == "write":
        write(text)
        return []
    if kind == "file":
        file = tempfile.TemporaryFile()
        file.write(text)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
    kinds = {"list": [text], "two": [text, b"."], "large": [text + b"x" * 200_000], "stream": iter([text, b"."])}
    return kinds[kind]


def test_pipelined_answers_of_every_kind_keep_their_order(serve_bare: Serve) -> None:
    kinds = ["list", "stream", "two", "file", "empty", "write", "large"]
    pairs = [pair for first in kinds for second in kinds for pair in (first, second)]
    order = [(kind, str(number)) for number, kind in enumerate(pairs)]
    with serve_bare(every_kind) as server, Client(server) as client:
        for _ in range(6):  # unknown routes at first, then learned ones
            client.send(b"".join(request(f"/{kind}/{number}") for kind, number in order))
            for kind, number in order:
                expected = [] if kind == "empty" else [kind, number]
                assert client.read_response().body[:20].decode().split()[:2] == expected


def test_pipelined_requests_are_not_run_ahead_of_a_client_that_does_not_read(serve_bare: Serve) -> None:
    calls: list[int] = []
    block = b"x" * 1_000_000

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(1)
        start_response("200 OK", TEXT)
        return [block]

    with serve_bare(app) as server, Client(server, receive_bytes=65536) as client:
        client.send(request() * 60).read_head()
        with Client(server) as other:
            for _ in range(5):
                assert other.send(request()).read_response().body == block
        assert len(calls) < 40, "the whole queue was answered into memory"
        client.read_bytes(len(block))
        for response in client.read_responses(59):
            assert response.body == block


# Pieces.


STREAM = [
    request("/1"),
    request("/2", method="POST", body=b"12345"),
    request("/3", CHUNKED, method="POST") + chunked([b"123", b"45"], b"X-Trailer: t\r\n"),
    request("/4", "X-Field: " + "v" * 50),
]


def test_byte_by_byte(serve_bare: Serve) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        client.send_slowly(b"".join(STREAM * 2))
        bodies = [response.body for response in client.read_responses(8)]
        port = str(client.port).encode()
    assert bodies == [b"/1 %b " % port, b"/2 %b 12345" % port, b"/3 %b 12345" % port, b"/4 %b " % port] * 2


@pytest.mark.parametrize("size", [2, 3, 7, 64, 100])
def test_pieces(serve_bare: Serve, size: int) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        client.send_slowly(b"".join(STREAM * 3), size)
        assert targets(client, 12) == ["/1", "/2", "/3", "/4"] * 3


def test_chunk_extensions_and_trailers(serve_bare: Serve) -> None:
    """Extensions are ignored, and trailers are not merged into environ (RFC 9110 section 6.5.1)."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(-1)
        start_response("200 OK", TEXT)
        return [repr((body, environ["CONTENT_LENGTH"], sorted(key for key in environ if key[:5] == "HTTP_"))).encode()]

    data = request("/", CHUNKED, "X-Head: 1", method="POST")
    data += b'5;name\r\nhello\r\n00006 ; a=b;c="d;\\"e"\r\n world\r\n000;last\r\nX-Trailer: t\r\nX-Head: 2\r\n\r\n'
    with serve_bare(app) as server, Client(server) as client:
        for response in client.send(data * 3).read_responses(3):
            assert response.body.decode() == repr((b"hello world", "11", ["HTTP_HOST", "HTTP_X_HEAD"]))


# Expect: 100-continue (RFC 9110 section 10.1.1).


def post_expecting(*fields: str) -> bytes:
    return request("/read", EXPECT, *fields, method="POST")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_continue_is_sent_to_a_client_that_waits(serve_bare: Serve, framing: str) -> None:
    head = post_expecting(LENGTH if framing == "length" else CHUNKED)
    body = b"12345" if framing == "length" else chunked([b"12345"])
    with serve_bare(echo) as server, Client(server) as client:
        for _ in range(3):
            interim = client.send(head).read_response()
            assert (interim.status, interim.fields) == (100, [])
            response = client.send(body).read_response()
            assert response.body.endswith(b" 12345")


def test_no_continue_from_an_application_that_does_not_read(vivace_server: Any) -> None:
    """The final response tells the client to keep its body; nobody knows whether it does, so the connection closes."""
    server = vivace_server(app_of([b"no thanks"], "403 Forbidden"), threads=8)
    with Client(server) as client:
        response = client.send(post_expecting("Content-Length: 500000")).read_response()
        assert (response.status, response.body) == (403, b"no thanks")
        assert response.closes
        assert client.has_ended()


def test_no_continue_once_the_final_response_has_begun(vivace_server: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"begun, "
        yield environ["wsgi.input"].read(5)

    with Client(vivace_server(app, threads=8)) as client:
        head = client.send(post_expecting(LENGTH)).read_head()
        assert head.status == 200
        assert client.read_chunk() == b"begun, "
        assert client.send(b"12345").read_chunk() == b"12345"
        assert client.read_chunk() == b""


def test_many_that_expect_at_once(vivace_server: Any) -> None:
    """Clients that promise a body and never send it do not use up the threads."""
    server = vivace_server(echo, threads=8)
    clients = [Client(server) for _ in range(30)]
    try:
        for client in clients:
            client.send(post_expecting(LENGTH))
        assert fetch(server).status == 200
        for client in clients:
            assert client.read_response().status == 100
        assert fetch(server).status == 200
        for client in reversed(clients):
            assert client.send(b"12345").read_response().body.endswith(b" 12345")
    finally:
        for client in clients:
            client.socket.close()


def test_no_continue_where_none_is_due(serve_bare: Serve) -> None:
    """Not to HTTP/1.0, not without a body, not where the body is there already."""
    cases = [
        request("/", EXPECT, "Connection: keep-alive", LENGTH, method="POST", version="HTTP/1.0") + b"12345",
        request("/", EXPECT),
        request("/", EXPECT, "Content-Length: 0", method="POST"),
        request("/", "expect: 100-CONTINUE", LENGTH, method="POST") + b"12345",
    ]
    with serve_bare(echo) as server, Client(server) as client:
        for data in cases:
            assert client.send(data).read_response().status == 200


def test_body_refused_before_it_is_sent(serve_bare: Serve) -> None:
    with serve_bare(echo, body_bytes_max=4) as server, Client(server) as client:
        assert client.send(post_expecting(LENGTH)).read_response().status == 413
        assert client.has_ended()


def test_other_expectations(serve_bare: Serve) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        data = request("/", "Expect: 100-continue, teapot", LENGTH, method="POST")
        assert client.send(data).read_response().status == 417
        assert client.has_ended()


# The client closes its half.


@pytest.mark.parametrize("target", ["/quick", "/wait/10", "/burn/1", "/burn/8"])
def test_half_close_still_gets_every_answer(serve_bare: Serve, target: str) -> None:
    with serve_bare(echo) as server:
        for _ in range(20):
            with Client(server) as client:
                client.send(request(target) * 3 + request("/2")).finish_sending()
                assert targets(client, 4) == [target] * 3 + ["/2"]
                assert client.rest() == (b"", CLOSED)


def test_half_close_within_a_stream(serve_bare: Serve) -> None:
    gate = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b"first "
        gate.wait(10)
        yield b"second "
        yield b"x" * 200_000

    with serve_bare(app_of(blocks)) as server, Client(server) as client:
        client.send(request()).read_head()
        assert client.read_chunk() == b"first "
        client.finish_sending()
        gate.set()
        assert client.read_chunk() == b"second "
        assert len(client.read_chunk() or b"") == 200_000


@pytest.mark.parametrize("data", [request("/")[:20], request("/", "Content-Length: 9", method="POST") + b"12345"])
def test_half_close_within_a_request(serve_bare: Serve, data: bytes) -> None:
    with serve_bare(echo) as server:
        with Client(server) as client:
            client.send(request("/1") + data).finish_sending()
            assert targets(client, 1) == ["/1"]
            assert client.rest() == (b"", CLOSED)
        until(lambda: not server.server.loop.conns)
    assert server.server.loop.closed.snapshot()["client_early"] == 1


def test_client_that_comes_and_goes(serve_bare: Serve) -> None:
    with serve_bare(echo) as server:
        for end in (Client.finish_sending, Client.reset, lambda client: client.socket.close()):
            for data in (b"", b"GET", request()):
                with Client(server) as client:
                    client.send(data)
                    end(client)
        assert fetch(server).status == 200
        until(lambda: not server.server.loop.conns)
    assert sum(server.server.loop.closed.snapshot().values()) == 10


def test_answers_before_a_refusal_are_not_lost(serve_bare: Serve) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        client.send(request("/1") + request("/wait/20") + b"BROKEN\r\n\r\n" + request("/2"))
        assert targets(client, 2) == ["/1", "/wait/20"]
        assert client.read_response().status == 400
        assert client.has_ended()


def test_a_close_in_the_middle_of_a_pipeline_answers_nothing_behind_it(serve_bare: Serve) -> None:
    with serve_bare(echo) as server, Client(server) as client:
        client.send(request("/1") + request("/2", "Connection: close") + request("/3") * 5)
        assert targets(client, 2) == ["/1", "/2"]
        assert client.has_ended()


def test_aborted_response_is_not_followed_by_another(serve_bare: Serve) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"begun"
        raise ValueError("mid body")

    with serve_bare(app_of(lambda: Body(blocks()))) as server, Client(server) as client:
        response = client.send(request() + request("/next")).read_response()
        assert not response.whole
        assert b"next" not in client.rest()[0]
