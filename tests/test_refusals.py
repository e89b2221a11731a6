"""Requests that are refused: the right status, then the end of the connection, and the application sees none of it.

A request that could be read in two ways is followed by another one, which must not be answered: it might be a smuggled
one (RFC 9112 section 11.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps import TEXT
from wire import Client, chunked, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]


class Recorder:
    """An application that reads its body and remembers for what it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.calls.append((environ["PATH_INFO"], body))
        start_response("200 OK", TEXT)
        return [b"answered"]


def line(text: str) -> bytes:
    """A request whose request line is `text`."""
    return text.encode("latin-1") + b"\r\nHost: h\r\n\r\n"


def post(*fields: str, body: bytes = b"") -> bytes:
    """A POST with just these fields about its body."""
    return request("/", *fields, method="POST") + body


CHUNKED = "Transfer-Encoding: chunked"

REFUSED = {
    # Host (RFC 9112 section 3.2)
    "no Host": (400, request(host=None)),
    "two Hosts": (400, request("/", "Host: h")),
    "two different Hosts": (400, request("/", "Host: other")),
    "empty Host": (400, request(host="")),
    "Host with a path": (400, request(host="h/x")),
    "Host with a space": (400, request(host="h x")),
    "Host with user information": (400, request(host="u@h")),
    "Host with two ports": (400, request(host="h:1:2")),
    "Host with a bad port": (400, request(host="h:port")),
    "Host list": (400, request(host="h, other")),
    # Framing of the body (RFC 9112 section 6)
    "CL and TE": (400, post("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n")),
    "TE and CL": (400, post(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n")),
    "two CLs": (400, post("Content-Length: 5", "Content-Length: 6", body=b"123456")),
    "the same CL twice": (400, post("Content-Length: 5", "Content-Length: 5", body=b"12345")),
    "CL list": (400, post("Content-Length: 5, 6", body=b"12345")),
    "CL +5": (400, post("Content-Length: +5", body=b"12345")),
    "CL -5": (400, post("Content-Length: -5", body=b"12345")),
    "CL 5_0": (400, post("Content-Length: 5_0", body=b"12345")),
    "CL 0x5": (400, post("Content-Length: 0x5", body=b"12345")),
    "CL 5.0": (400, post("Content-Length: 5.0", body=b"12345")),
    "CL empty": (400, post("Content-Length:", body=b"12345")),
    "CL superscript": (400, post("Content-Length: \xb2", body=b"12")),
    "CL five": (400, post("Content-Length: five", body=b"12345")),
    "CL with a space inside": (400, post("Content-Length: 1 2", body=b"12345")),
    "CL huge": (413, post("Content-Length: 99999999999999999999999999", body=b"12345")),
    "CL over body_bytes_max": (413, post("Content-Length: 1000001", body=b"12345")),
    "chunks over body_bytes_max": (413, post(CHUNKED, body=b"f4241\r\n" + b"x" * 1000001)),
    "unknown coding": (501, post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    "identity": (501, post("Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    "chunked not last": (400, post("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    "chunked twice": (400, post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    "two TEs": (400, post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    "xchunked": (501, post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    "quoted chunked": (400, post('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    "TE with vertical tab": (400, post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    "TE in HTTP/1.0": (400, request("/", CHUNKED, method="POST", version="HTTP/1.0") + b"0\r\n\r\n"),
    # Chunks (RFC 9112 section 7.1)
    "chunk 0x5": (400, post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n")),
    "chunk +5": (400, post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n")),
    "chunk -5": (400, post(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n")),
    "chunk 5_": (400, post(CHUNKED, body=b"5_0\r\nhello\r\n0\r\n\r\n")),
    "chunk with a space before": (400, post(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n")),
    "chunk without a size": (400, post(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n")),
    "chunk with a bare LF": (400, post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n")),
    "chunk with too much data": (400, post(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n")),
    "chunk data with a bare LF behind": (400, post(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n")),
    "chunk of a huge size": (400, post(CHUNKED, body=b"f" * 40 + b"\r\nhello")),
    "chunk extension with a bare CR": (400, post(CHUNKED, body=b"5;a=\rb\r\nhello\r\n0\r\n\r\n")),
    "chunk extension with a bare LF": (400, post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    "trailer that is no field": (400, post(CHUNKED, body=b"0\r\nno field\r\n\r\n")),
    "trailer with NUL": (400, post(CHUNKED, body=b"0\r\nX-A: \0\r\n\r\n")),
    # Fields (RFC 9112 section 5)
    "space before colon": (400, request("/", "X-A : 1")),
    "space in a name": (400, request("/", "X A: 1")),
    "no colon": (400, request("/", "X-A")),
    "empty name": (400, request("/", ": 1")),
    "name that is no token": (400, request("/", "X(A): 1")),
    "name with latin-1": (400, request("/", "X-\xe9: 1")),
    "NUL in a value": (400, request("/", "X-A: a\0b")),
    "NUL in a name": (400, request("/", "X-\0A: b")),
    "DEL in a value": (400, request("/", "X-A: a\x7fb")),
    "ESC in a value": (400, request("/", "X-A: a\x1bb")),
    "bare CR in a value": (400, request("/", "X-A: a\rb")),
    "bare LF in a value": (400, request("/", "X-A: a\nb")),
    "obs-fold": (400, request("/", "X-A: a\r\n b")),
    "obs-fold with a tab": (400, request("/", "X-A: a\r\n\tb")),
    "space before the first field": (400, b"GET / HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n"),
    # Lines (RFC 9112 section 2.2)
    "bare LF everywhere": (400, b"GET / HTTP/1.1\nHost: h\n\n"),
    "bare LF after the request line": (400, b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    "bare LF after a field": (400, b"GET / HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n"),
    "bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: h\r\n\n"),
    # The request line (RFC 9112 section 3)
    "HTTP/9.9": (505, line("GET / HTTP/9.9")),
    "HTTP/2.0": (505, line("GET / HTTP/2.0")),
    "HTTP/1.2": (505, line("GET / HTTP/1.2")),
    "HTTP/0.9": (505, line("GET / HTTP/0.9")),
    "HTTP/1.10": (400, line("GET / HTTP/1.10")),
    "HTTP/11": (400, line("GET / HTTP/11")),
    "http/1.1": (400, line("GET / http/1.1")),
    "no version": (400, line("GET /")),
    "two spaces": (400, line("GET  / HTTP/1.1")),
    "tab for a space": (400, line("GET\t/ HTTP/1.1")),
    "space behind the version": (400, line("GET / HTTP/1.1 ")),
    "space in the target": (400, line("GET /a b HTTP/1.1")),
    "fragment": (400, line("GET /a#b HTTP/1.1")),
    "target in latin-1": (400, line("GET /\xe9 HTTP/1.1")),
    "NUL in the target": (400, line("GET /\0 HTTP/1.1")),
    "escaped NUL": (400, line("GET /%00 HTTP/1.1")),
    "broken escape": (400, line("GET /%zz HTTP/1.1")),
    "relative target": (400, line("GET index.html HTTP/1.1")),
    "asterisk with GET": (400, line("GET * HTTP/1.1")),
    "other scheme": (400, line("GET ftp://h/ HTTP/1.1")),
    "method that is no token": (400, line("G(T / HTTP/1.1")),
    "CONNECT": (501, line("CONNECT h:443 HTTP/1.1")),
    "TLS": (400, bytes.fromhex("160301020001000001fc0303") + bytes(range(200))),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "expectation": (417, post("Expect: 200-ok", "Content-Length: 5")),
    # Limits
    "64 KiB URI": (414, request("/" + "x" * 65536)),
    "64 KiB URI that goes on": (414, b"GET /" + b"x" * 65536),
    "100 KB header": (431, request("/", "X-A: " + "x" * 100_000)),
    "100 KB header that goes on": (431, request("/", "X-A: " + "x" * 100_000)[:-4]),
    "1000 headers": (431, request("/", *(f"X-{number}: {number}" for number in range(1000)))),
    "1000 headers that go on": (431, request("/", *(f"X-{number}: {number}" for number in range(1000)))[:-2]),
    "endless trailers": (431, post(CHUNKED, body=b"0\r\n" + b"X-A: b\r\n" * 20_000)),
    "endless chunk extension": (431, post(CHUNKED, body=b"5;" + b"x" * 100_000)),
}


def refuse(client: Client, data: bytes, status: int) -> None:
    """`data` is answered `status`, with a reason for a person, and the connection ends."""
    try:
        client.send(data)
    except OSError:
        pass  # the server has answered and closed while we were still sending
    response = client.read_response()
    assert response.status == status
    assert response.whole
    assert response.closes
    assert str(status).encode() in response.body
    assert client.has_ended()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(serve_bare: Serve, name: str) -> None:
    status, data = REFUSED[name]
    app = Recorder()
    with serve_bare(app, body_bytes_max=1_000_000) as server:
        with Client(server) as client:
            refuse(client, data, status)
        if not name.endswith("on"):
            with Client(server) as client:
                refuse(client, data + request("/smuggled"), status)
        with Client(server) as client:
            client.send(request("/before", "X-A: 1") * 2)
            assert [response.body for response in client.read_responses(2)] == [b"answered"] * 2
            refuse(client, data, status)
    counts = server.server.loop.closed.snapshot()
    assert counts["refused"] == sum(counts.values()) == (2 if name.endswith("on") else 3)
    assert app.calls == [("/before", b"")] * 2


@pytest.mark.parametrize("name", [name for name in REFUSED if len(REFUSED[name][1]) < 500])
def test_refused_byte_by_byte(serve_bare: Serve, name: str) -> None:
    """However the bytes come, the answer is the same."""
    status, data = REFUSED[name]
    app = Recorder()
    with serve_bare(app, body_bytes_max=1_000_000) as server, Client(server) as client:
        try:
            client.send_slowly(data)
        except OSError:
            pass
        response = client.read_response()
        assert (response.status, response.closes) == (status, True)
        assert client.has_ended()
    assert app.calls == []


def test_refused_before_the_head_is_whole(serve_bare: Serve) -> None:
    """What can never become a request is not waited for."""
    hopeless = [
        (400, b"\x16\x03\x01"),
        (400, b" GET"),
        (400, b"GET / HTTP/1.1\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\0\r\n"),
        (501, b"G" * 100),
    ]
    with serve_bare(Recorder()) as server:
        for status, data in hopeless:
            with Client(server) as client:
                refuse(client, data, status)


def test_head_is_refused_without_a_body(serve_bare: Serve) -> None:
    with serve_bare(Recorder(), body_bytes_max=10) as server, Client(server) as client:
        response = client.send(request("/", "Content-Length: 11", method="HEAD")).read_response("HEAD")
        assert response.status == 413
        assert client.has_ended()


def test_http_1_0_needs_no_host(serve_bare: Serve) -> None:
    with serve_bare(Recorder()) as server, Client(server) as client:
        assert client.send(request(host=None, version="HTTP/1.0")).read_response().status == 200


def test_empty_line_before_a_request_is_forgiven(serve_bare: Serve) -> None:
    """RFC 9112 section 2.2."""
    with serve_bare(Recorder()) as server, Client(server) as client:
        client.send(b"\r\n" + request() + b"\r\n" + request())
        assert [response.status for response in client.read_responses(2)] == [200, 200]
        client.send_slowly(b"\r\n" + request())
        assert client.read_response().status == 200


def test_just_within_the_limits(serve_bare: Serve) -> None:
    target = "/" + "x" * (8190 - len("GET / HTTP/1.1"))
    accepted = [
        request(target),
        request("/", "X-A: " + "x" * (16384 - 5)),
        request("/", *(f"X-{number}: {number}" for number in range(99))),
        post(CHUNKED, body=chunked([b"x" * 1000] * 1000)),
        request(method="POST", body=b"x" * 1_000_000),
    ]
    with serve_bare(Recorder(), body_bytes_max=1_000_000) as server, Client(server) as client:
        for data in accepted:
            assert client.send(data).read_response().status == 200


def test_refused_while_the_client_still_sends(serve_bare: Serve) -> None:
    """The answer reaches a client that sends its whole body before it reads (RFC 9112 section 9.6)."""
    with serve_bare(Recorder(), body_bytes_max=1000) as server:
        for _ in range(5):
            with Client(server) as client:
                refuse(client, request(method="POST", body=b"x" * 500_000), 413)
