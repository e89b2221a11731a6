"""Limits in time and number: 408 where a client can still read it, and nobody else pays for those who overstay."""

from __future__ import annotations

import resource
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, Body, app_of
from command import Command
from wire import RESET, TIMEOUT_S, Client, WireError, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

LIMIT_S = 0.2
LATE_S = 3.0
"""A limit of LIMIT_S must have struck by then, however busy the machine."""


def counts(server: vivace.background) -> dict[str, int]:
    """Reasons for which connections were closed, those that occurred."""
    return {reason: count for reason, count in server.server.loop.closed.snapshot().items() if count}


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\nHost: h\r\n"])
def test_head_that_does_not_come(serve_bare: Serve, data: bytes) -> None:
    with serve_bare(app_of([b"x"]), head_timeout_s=LIMIT_S) as server, Client(server) as client:
        started = time.monotonic()
        response = client.send(data).read_response()
        assert LIMIT_S * 0.9 < time.monotonic() - started < LATE_S
        assert (response.status, response.closes) == (408, True)
        assert client.has_ended()
    assert counts(server) == {"head_timeout": 1}


def test_head_that_comes_byte_by_byte_gets_no_more_time(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x"]), head_timeout_s=LIMIT_S) as server, Client(server) as client:
        client.socket.settimeout(0.02)
        started = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nX-Slow: ")
        while True:
            try:
                client.wait()
                break
            except TimeoutError:
                assert time.monotonic() - started < LATE_S
                client.send(b"x")
        client.socket.settimeout(TIMEOUT_S)
        assert client.read_response().status == 408


def test_second_head_that_does_not_come(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x"]), head_timeout_s=LIMIT_S) as server, Client(server) as client:
        client.send(request() + b"GET /")
        assert [response.status for response in client.read_responses(2)] == [200, 408]
        assert client.has_ended()


def test_client_that_says_nothing(serve_bare: Serve) -> None:
    """It asked nothing, so it gets no answer, only the end."""
    with serve_bare(app_of([b"x"]), head_timeout_s=LIMIT_S) as server, Client(server) as client:
        started = time.monotonic()
        assert client.has_ended()
        assert time.monotonic() - started < LATE_S
    assert sum(counts(server).values()) == 1


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_body_that_does_not_come(serve_bare: Serve, framing: str) -> None:
    for data in (b"", b"5\r\nhello"):
        with serve_bare(app_of([b"x"]), body_timeout_s=LIMIT_S) as server, Client(server) as client:
            started = time.monotonic()
            response = client.send(request("/", framing, method="POST") + data).read_response()
            assert LIMIT_S * 0.9 < time.monotonic() - started < LATE_S
            assert (response.status, response.closes) == (408, True)
            assert client.has_ended()
        assert counts(server) == {"body_timeout": 1}


def test_body_that_keeps_coming_has_time(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x"]), body_timeout_s=1) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 15", method="POST"))
        for _ in range(15):
            time.sleep(0.1)
            client.send(b"x")
        assert client.read_response().status == 200


def test_body_that_comes_too_slowly(serve_bare: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivace.connection.sweeping.RATE_GRACE_S", LIMIT_S)
    with serve_bare(app_of([b"x"]), body_rate_bytes_min=100_000) as server, Client(server) as client:
        client.socket.settimeout(0.02)
        started = time.monotonic()
        client.send(request("/", "Content-Length: 1000000", method="POST"))
        while True:
            try:
                client.wait()
                break
            except TimeoutError:
                assert time.monotonic() - started < LATE_S
                client.send(b"x" * 100)
        client.socket.settimeout(TIMEOUT_S)
        assert client.read_response().status == 408
    assert counts(server) == {"body_timeout": 1}


def test_keep_alive_ends(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x"]), keepalive_timeout_s=LIMIT_S) as server, Client(server) as client:
        for _ in range(3):
            client.send(request()).read_response()
        started = time.monotonic()
        assert client.has_ended()
        assert LIMIT_S * 0.9 < time.monotonic() - started < LATE_S
    assert counts(server) == {"keepalive_timeout": 1}


def test_keep_alive_is_prolonged_by_each_request(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x"]), keepalive_timeout_s=1) as server, Client(server) as client:
        for _ in range(15):
            assert client.send(request()).read_response().status == 200
            time.sleep(0.1)


@pytest.mark.parametrize("kind", ["list", "stream"])
def test_client_that_does_not_read(serve_bare: Serve, kind: str) -> None:
    """It is cut off, by a reset, so that it cannot take the rest for the end; close() is called."""
    body = Body(b"x" * 1_000_000 for _ in range(100))
    app = app_of((lambda: body) if kind == "stream" else [b"x" * 100_000_000])
    with serve_bare(app, write_timeout_s=LIMIT_S) as server:
        with Client(server, receive_bytes=65536) as client:
            client.send(request()).wait()
            until(lambda: counts(server), LATE_S)
            try:
                assert not client.read_response().whole
            except WireError:
                assert client.ended == RESET
        assert fetch(server, "/next").body == b"next"
    assert counts(server)["write_timeout"] == 1
    assert body.closes == (kind == "stream")


def test_client_that_reads_slowly_has_time(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"x" * 8_000_000]), write_timeout_s=1) as server:
        with Client(server, receive_bytes=65536) as client:
            client.send(request()).read_head()
            left = 8_000_000
            while left:
                time.sleep(0.02)
                part = client.socket.recv(min(left, 100_000)) if not client.buffer else client.read_bytes(left)
                assert part
                left -= len(part)
        assert "write_timeout" not in counts(server)


def test_no_limit_applies_while_the_application_runs(serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        time.sleep(4 * LIMIT_S)
        start_response("200 OK", TEXT)
        return [b"late"]

    limits = ("head_timeout_s", "body_timeout_s", "keepalive_timeout_s", "write_timeout_s")
    with serve_bare(app, **dict.fromkeys(limits, LIMIT_S)) as server, Client(server) as client:
        for _ in range(2):
            assert client.send(request(method="POST", body=b"x")).read_response().body == b"late"


# How many.


def test_the_longest_idle_connection_makes_room(serve_bare: Serve) -> None:
    with ExitStack() as stack, serve_bare(app_of([b"x"]), connections_max=4) as server:
        clients = [stack.enter_context(Client(server)) for _ in range(4)]
        for client in [*clients[1:], clients[0]]:
            client.send(request()).read_response()
        assert fetch(server).status == 200
        assert clients[1].has_ended()
        for client in (clients[0], *clients[2:]):
            assert client.send(request()).read_response().status == 200
        assert counts(server)["evicted"] == 1


def test_a_request_in_the_socket_saves_its_connection_from_eviction() -> None:
    """The client was idle the longest, but has sent its next request by the time that room is needed."""
    gate, started = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            started.set()
            gate.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    with vivace.background(app, threads=1, connections_max=3) as server, ExitStack() as stack:
        active, busy, idle = [stack.enter_context(Client(server)) for _ in range(3)]
        for client in (active, busy, idle):
            client.send(request("/")).read_response()
        busy.send(request("/slow"))
        assert started.wait(TIMEOUT_S)
        newcomer = stack.enter_context(Client(server))
        newcomer.send(request("/newcomer"))
        active.send(request("/active"))
        gate.set()
        assert active.read_response().body == b"/active"
        assert newcomer.read_response().body == b"/newcomer"
        assert idle.has_ended()


def test_busy_connections_are_not_evicted(vivace_server: Any) -> None:
    """A new client waits in the backlog until there is room, and is served then."""
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gate.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [b"x"]

    server = vivace_server(app, threads=8, connections_max=4)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(6)]
        for client in clients:
            client.send(request())
        until(lambda: server.server.loop.full)
        assert len(server.server.loop.conns) == 4
        gate.set()
        for client in clients:
            assert client.read_response().status == 200


def test_clients_with_half_a_request_do_not_keep_others_out_for_long(serve_bare: Serve) -> None:
    with ExitStack() as stack, serve_bare(app_of([b"x"]), connections_max=4, head_timeout_s=LIMIT_S) as server:
        for _ in range(4):
            stack.enter_context(Client(server)).send(b"GET /")
        until(lambda: len(server.server.loop.conns) == 4)
        started = time.monotonic()
        assert fetch(server).status == 200
        assert time.monotonic() - started < LATE_S


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""

FILES_MAX = 40


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A server that may have FILES_MAX descriptors."""
    (tmp_path / "app.py").write_text(APP)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))

    return Command("app:app", "--bind", "127.0.0.1:0", "--workers", "0", cwd=tmp_path, preexec_fn=limit)


def test_out_of_descriptors_with_idle_connections(command: Command) -> None:
    with command, ExitStack() as stack:
        for _ in range(2 * FILES_MAX):
            client = stack.enter_context(Client(command.url))
            assert client.send(request()).read_response().body == b"fine"


def test_out_of_descriptors_with_busy_connections(command: Command) -> None:
    """The server says so, does not spin, and serves those who wait as soon as others leave."""
    with command, ExitStack() as stack:
        clients = [stack.enter_context(Client(command.url)) for _ in range(2 * FILES_MAX)]
        for client in clients:
            client.send(request()[:-2])
        command.said("ulimit")
        before = command.cpu_s()
        time.sleep(0.5)
        assert command.cpu_s() - before < 0.2
        for client in clients[:FILES_MAX]:
            client.reset()
        for client in clients[FILES_MAX:]:
            client.send(b"\r\n")
        for client in clients[FILES_MAX:]:
            assert client.read_response().body == b"fine"
        command.send_signal()
        assert command.wait() == 0
    assert "Traceback" not in command.log
