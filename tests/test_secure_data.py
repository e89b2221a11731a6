"""Requests and responses under TLS: bodies of any size both ways, slow peers, streams, ends, renewal under load."""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from apps import TEXT, Body, app_of, lengthy
from certs import Authority, HandClient, Pair, PlainClient, SecureClient
from wire import CLOSED, TIMEOUT_S, chunked, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

BIG = b"".join(struct.pack(">I", number) for number in range(1 << 20))  # 4 MiB, and every piece of it another
CHUNKED = "Transfer-Encoding: chunked"


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The target and what came; waits for as many milliseconds as the path says."""
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"].startswith("/wait/"):
        time.sleep(int(environ["PATH_INFO"][6:]) / 1000)
    start_response("200 OK", TEXT)
    return [environ["REQUEST_URI"].encode() + b" " + body]


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return authority.client()


@pytest.fixture
def serve_tls(serve_bare: Serve, pair: Pair) -> Serve:
    return lambda app=echo, **settings: serve_bare(app, **{**pair.settings, **settings})


def counts(server: vivace.background) -> dict[str, int]:
    return {reason: count for reason, count in server.server.loop.closed.snapshot().items() if count}


# Persistence.


def test_keep_alive(serve_tls: Serve, context: ssl.SSLContext) -> None:
    with serve_tls() as server:
        with SecureClient(server, context) as client:
            for number in range(50):
                target = f"/{number % 7}"
                assert client.send(request(target)).read_response().body == target.encode() + b" "
        until(lambda: counts(server) == {"client": 1})


def test_pipelining(serve_tls: Serve, context: ssl.SSLContext) -> None:
    """Fifty requests in one record, of which the loop is told once; and some of them leave the loop's thread."""
    targets = ["/wait/2" if number % 9 == 4 else f"/{number}" for number in range(50)]
    data = b"".join(request(target, method="POST", body=b"x") for target in targets)
    with serve_tls() as server, SecureClient(server, context) as client:
        for _ in range(3):
            client.send(data)
            assert [response.body for response in client.read_responses(50)] == [
                target.encode() + b" x" for target in targets
            ]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_request_in_many_records(serve_tls: Serve, context: ssl.SSLContext, size: int) -> None:
    with serve_tls() as server, SecureClient(server, context) as client:
        data = request("/drops", method="POST", body=b"body")
        for _ in range(2):
            assert client.send_slowly(data, size).read_response().body == b"/drops body"


def test_routes_of_every_lane(serve_tls: Serve, context: ssl.SSLContext) -> None:
    """A connection goes from thread to thread and back, and its TLS with it."""
    with serve_tls() as server:
        clients = [SecureClient(server, context) for _ in range(6)]
        for turn in range(12):
            for number, client in enumerate(clients):
                client.send(request(f"/wait/{5 if (turn + number) % 3 == 0 else 0}"))
            for client in clients:
                assert client.read_response().status == 200
        for client in clients:
            client.socket.close()


# Large bodies.

WAYS: dict[str, Callable[[], Any]] = {
    "list": lambda: [BIG],
    "blocks": lambda: Body([BIG[at : at + 100_000] for at in range(0, len(BIG), 100_000)]),
    "one block": lambda: Body([BIG]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", ["known", "unknown"])
def test_a_large_response(serve_tls: Serve, context: ssl.SSLContext, way: str, size: str) -> None:
    app = app_of(WAYS[way], headers=lengthy(len(BIG)) if size == "known" else TEXT)
    with serve_tls(app) as server, SecureClient(server, context) as client:
        for _ in range(2):
            assert client.send(request()).read_response().body == BIG


@pytest.mark.parametrize("way", WAYS)
def test_a_slow_reader(serve_tls: Serve, context: ssl.SSLContext, way: str) -> None:
    """What the peer does not take is kept, in order, and the next response follows."""
    app = app_of(WAYS[way], headers=lengthy(len(BIG)))
    with (
        serve_tls(app, response_buffer=100_000) as server,
        SecureClient(server, context, receive_bytes=20_000) as client,
    ):
        client.send(request() + request("/next"))
        body = b""
        client.read_head()
        while len(body) < len(BIG):
            body += client.read_bytes(min(300_001, len(BIG) - len(body)))
            if way == "list" or server.server.plan.threads > 1:  # else the one thread waits in the application
                with SecureClient(server, context) as other:
                    assert other.send(request("/next")).read_response().body == b"next"
        assert body == BIG
        assert client.read_response().body == b"next"


@pytest.mark.parametrize("offset", [0, 1_000_001])
def test_a_file(serve_tls: Serve, context: ssl.SSLContext, tmp_path: Path, offset: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(BIG)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = path.open("rb")
        file.seek(offset)
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](file)

    with serve_tls(app) as server, SecureClient(server, context, receive_bytes=20_000) as client:
        for _ in range(2):
            assert client.send(request()).read_response().body == BIG[offset:]


def test_a_file_that_became_shorter(serve_tls: Serve, context: ssl.SSLContext, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BIG)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = path.open("rb")
        wrapped = environ["wsgi.file_wrapper"](file)
        start_response("200 OK", lengthy(len(BIG)))
        return wrapped

    with serve_tls(app) as server:
        with SecureClient(server, context, receive_bytes=20_000) as client:
            client.send(request()).read_head()
            path.write_bytes(BIG[:1000])
            assert len(client.rest()[0]) < len(BIG)
        until(lambda: counts(server) == {"aborted": 1})


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_large_upload(serve_tls: Serve, context: ssl.SSLContext, coding: str, stream: bool) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        digest = hashlib.sha256()
        while block := environ["wsgi.input"].read(50_000):
            digest.update(block)
        start_response("200 OK", TEXT)
        return [digest.hexdigest().encode()]

    blocks = [BIG[at : at + 70_000] for at in range(0, len(BIG), 70_000)]
    data = (
        request("/", method="PUT", body=BIG)
        if coding == "length"
        else request("/", CHUNKED, method="PUT") + chunked(blocks)
    )
    with serve_tls(app, body_stream=stream) as server, SecureClient(server, context) as client:
        for _ in range(2):
            answer = client.send(data).read_response().body
            assert answer == hashlib.sha256(BIG).hexdigest().encode()


def test_an_upload_that_waits_for_100_continue(serve_tls: Serve, context: ssl.SSLContext) -> None:
    for stream in (False, True):
        with serve_tls(body_stream=stream) as server, SecureClient(server, context) as client:
            client.send(request("/", "Expect: 100-continue", "Content-Length: 4", method="PUT"))
            assert client.read_head().status == 100
            assert client.send(b"body").read_response().body == b"/ body"


# Streams.


def test_each_block_is_out_before_the_next_is_asked_for(serve_tls: Serve, context: ssl.SSLContext) -> None:
    go = threading.Semaphore(0)

    def blocks() -> Any:
        for number in range(5):
            yield b"block %d" % number
            assert go.acquire(timeout=TIMEOUT_S)

    with serve_tls(app_of(blocks)) as server, SecureClient(server, context) as client:
        client.send(request()).read_head()
        for number in range(5):
            assert client.read_chunk() == b"block %d" % number
            go.release()
        assert client.read_chunk() == b""


def test_both_ways_at_once(serve_tls: Serve, context: ssl.SSLContext) -> None:
    """The application reads a block and writes a block: one SSLObject, one owner."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        while block := environ["wsgi.input"].read(10_000):
            yield block

    with serve_tls(app, body_stream=True) as server, SecureClient(server, context) as client:
        client.send(request("/", f"Content-Length: {len(BIG)}", method="PUT"))
        send_and_read(client, BIG)
        assert client.read_response().body == BIG


def send_and_read(client: SecureClient, data: bytes) -> None:
    """Sends `data` and takes what comes meanwhile. One thread does both: an SSLSocket is not for two."""
    sock, sent = client.socket, 0
    sock.setblocking(False)
    while sent < len(data):
        waits = True
        try:
            sent += sock.send(data[sent : sent + 65536])
            waits = False
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            waits = not client._more() and waits
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        assert not client.ended
        if waits:
            assert any(select.select([sock], [sock], [], TIMEOUT_S)), "neither goes on"
    sock.settimeout(TIMEOUT_S)


# Ends.


def ends(client: SecureClient) -> str:
    """How the connection ends: "clean" with close_notify, "cut" without."""
    try:
        assert client.socket.recv(1000) == b""
    except (ssl.SSLEOFError, ConnectionResetError):
        return "cut"
    return "clean"


def test_close_notify(serve_tls: Serve, context: ssl.SSLContext) -> None:
    """RFC 8446 section 6.1: so that the end of a response cannot be forged."""
    with serve_tls(keepalive_timeout=0.2) as server:
        for data in (request("/", "Connection: close"), request(), request(version="HTTP/1.0"), b"no HTTP\r\n\r\n"):
            with SecureClient(server, context, ragged=False) as client:
                assert client.send(data).read_response().status in (200, 400)
                assert ends(client) == "clean"


def test_a_server_that_stops_says_so(serve_tls: Serve, context: ssl.SSLContext) -> None:
    with serve_tls() as server:
        idle = SecureClient(server, context, ragged=False)
        unused = SecureClient(server, context, ragged=False)
        half = PlainClient(server)
        idle.send(request()).read_response()
        busy = SecureClient(server, context, ragged=False).send(request("/wait/300"))
        until(lambda: len(server.server.loop.conns) == 4)
    assert busy.read_response().body == b"/wait/300 "
    assert [ends(client) for client in (idle, unused, busy)] == ["clean"] * 3
    for client in (idle, unused, busy, half):
        client.socket.close()


def test_a_response_that_was_cut_off_does_not_look_whole(serve_tls: Serve, context: ssl.SSLContext) -> None:
    def breaks() -> Any:
        yield b"begun"
        raise RuntimeError("the application fails")

    with serve_tls(app_of(breaks)) as server:
        for version in ("HTTP/1.0", "HTTP/1.1"):
            with SecureClient(server, context, ragged=False) as client:
                client.send(request(version=version)).read_until(b"begun")
                assert ends(client) == "cut"


def test_a_client_that_says_goodbye_is_still_answered(serve_tls: Serve, context: ssl.SSLContext) -> None:
    """close_notify ends one direction only (RFC 8446 section 6.1), as FIN does."""
    with serve_tls() as server:
        with HandClient(server, context) as client:
            client.shake_hands()
            data = client.sealed(request("/last"))
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.send(data + client.made.read())
            raw = b""
            while block := client.socket.recv(1000):
                raw += block
            client.received.write(raw)
        until(lambda: counts(server) == {"client": 1})
        with HandClient(server, context) as client:
            client.shake_hands()
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.send(client.made.read())
            assert client.socket.recv(1000)[:1] == b"\x17"  # tickets; the alert is among them or follows
        until(lambda: counts(server) == {"client": 2})
    assert len(raw) > 150, "the answer"


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_client_that_vanishes_within_a_response(serve_tls: Serve, context: ssl.SSLContext, how: str) -> None:
    body = Body([BIG] * 3)
    with serve_tls(app_of(body), response_buffer=100_000) as server:
        client = SecureClient(server, context, receive_bytes=20_000)
        client.send(request()).read_head()
        plain = socket.socket(fileno=client.socket.detach())
        if how == "resets":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.close()
        until(lambda: counts(server) == {"client_gone": 1})
        until(lambda: body.closes == 1)
        with SecureClient(server, context) as client:
            assert client.send(request("/next")).read_response().body == b"next"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_vanishes_within_its_body(serve_tls: Serve, context: ssl.SSLContext, stream: bool) -> None:
    with serve_tls(body_stream=stream) as server:
        with SecureClient(server, context) as client:
            client.send(request("/", "Content-Length: 100000", method="PUT") + b"x" * 1000)
        until(lambda: counts(server) == {"client_early": 1})


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_injected_into_a_body(serve_tls: Serve, context: ssl.SSLContext, stream: bool) -> None:
    seen: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ["wsgi.input"].read())
        return echo(environ, start_response)

    with serve_tls(app, body_stream=stream) as server:
        with HandClient(server, context) as client:
            client.shake_hands()
            client.send(client.sealed(request("/", "Content-Length: 10", method="PUT") + b"12345"))
            client.send(b"67890")
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                client.read_response()
        until(lambda: sum(counts(server).values()) == 1)
    assert seen == []


def test_a_reader_who_takes_nothing_is_cut_off(serve_tls: Serve, context: ssl.SSLContext) -> None:
    app = app_of(lambda: Body([BIG] * 3))
    with (
        serve_tls(app, write_timeout=0.2, response_buffer=100_000) as server,
        SecureClient(server, context, receive_bytes=20_000) as client,
    ):
        client.send(request()).read_head()
        until(lambda: counts(server) == {"write_timeout": 1})


# Renewal.


@pytest.mark.usefixtures("no_fault")
def test_certificates_renewed_under_load(
    serve_tls: Serve, authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request fails, new connections get the new certificate, open ones go on with the old."""
    monkeypatch.setattr("vivace.net.tls.CHECK_S", 0.01)
    context = authority.client()
    served, failed = [0], []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            try:
                with SecureClient(server, context) as client:
                    for _ in range(3):
                        assert client.send(request("/load")).read_response().body == b"/load "
                        served[0] += 1
            except Exception as error:
                failed.append(error)

    with serve_tls() as server, SecureClient(server, context) as long:
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(5):
            name = f"renewed{number}.test"
            pair.replace(authority.issue("localhost", "127.0.0.1", name))

            def is_new(name: str = name) -> bool:
                with SecureClient(server, context) as client:
                    return name in client.peer

            until(is_new)
            before = served[0]
            until(lambda before=before: served[0] > before + 3)  # type: ignore[misc]
            assert long.send(request("/long")).read_response().body == b"/long "
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert served[0] > 20


# Real clients.


def test_curl(serve_tls: Serve, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    with serve_tls() as server:
        url = f"https://localhost:{server.port}"
        curl = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(authority.cert)]
        upload = subprocess.run([*curl, "--upload-file", str(path), f"{url}/up"], capture_output=True, check=True)
        assert upload.stdout == b"/up " + BIG
        several = subprocess.run([*curl, f"{url}/1", f"{url}/2", "--tls-max", "1.2"], capture_output=True, check=True)
        assert several.stdout == b"/1 /2 "


def test_requests(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server, requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority.cert)
        for number in range(5):
            response = session.post(f"https://localhost:{server.port}/{number}", data=BIG[: 10**number])
            assert response.content == b"/%d " % number + BIG[: 10**number]
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"https://localhost:{server.port}/", timeout=TIMEOUT_S)


def test_the_same_bytes_as_in_clear(serve_tls: Serve, serve_bare: Serve, context: ssl.SSLContext) -> None:
    data = request("/1") + request("/2", method="HEAD") + request("/3", method="POST", body=b"x") + b"GARBAGE\r\n\r\n"
    with serve_tls(server_header="") as secure, serve_bare(echo, server_header="") as plain:
        with SecureClient(secure, context) as client:
            under_tls, ended = client.send(data).rest()
        with PlainClient(plain) as client:
            in_clear, _ = client.send(data).rest()
    strip = lambda raw: [line for line in raw.split(b"\r\n") if not line.startswith(b"Date:")]  # noqa: E731
    assert strip(under_tls) == strip(in_clear)
    assert ended == CLOSED
