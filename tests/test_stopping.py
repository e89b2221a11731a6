"""The end of a server: what is in flight is finished, nobody new is taken, nothing is left over. By signals as well."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, app_of
from command import Command
from vivace.connection.connection import BODY, HEAD
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")


class Gate:
    """An application whose calls of /slow wait until `open` is set; `started` is set by the first of them."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.open = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/slow":
            self.started.set()
            self.open.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode() + body]


def stopped(server: vivace.background) -> threading.Thread:
    """Stops `server` from another thread; wait for it by `join`."""
    thread = threading.Thread(target=server.stop)
    thread.start()
    until(lambda: server.server.loop.stopping)
    return thread


def ended(thread: threading.Thread) -> bool:
    thread.join(TIMEOUT_S)
    return not thread.is_alive()


def test_requests_in_flight_are_finished(serve_bare: Serve) -> None:
    gate = Gate()
    server = serve_bare(gate).start()
    with Client(server) as client:
        client.send(request("/slow"))
        assert gate.started.wait(TIMEOUT_S)
        thread = stopped(server)
        gate.open.set()
        response = client.read_response()
        assert (response.body, response.whole) == (b"/slow", True)
        assert client.has_ended()
        assert ended(thread)


def test_nobody_new_is_taken(vivace_server: Any) -> None:
    gate = Gate()
    server = vivace.background(gate, threads=8).start()
    with Client(server) as client:
        client.send(request("/slow"))
        assert gate.started.wait(TIMEOUT_S)
        thread = stopped(server)

        def refused() -> bool:
            try:
                with Client(server):
                    return False
            except ConnectionRefusedError:
                return True

        until(refused)
        gate.open.set()
        assert client.read_response().body == b"/slow"
        assert ended(thread)


def test_pipelined_requests_that_have_come_are_answered(serve_bare: Serve) -> None:
    gate = Gate()
    server = serve_bare(gate).start()
    with Client(server) as client:
        client.send(request("/slow") + request("/a") + request("/b") + request("/c"))
        assert gate.started.wait(TIMEOUT_S)
        thread = stopped(server)
        gate.open.set()
        responses = client.read_responses(4)
        assert [response.body for response in responses] == [b"/slow", b"/a", b"/b", b"/c"]
        assert client.has_ended()
        assert ended(thread)


def test_idle_connections_are_closed_at_once(serve_bare: Serve) -> None:
    server = serve_bare(Gate()).start()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(5)]
        for client in clients:
            client.send(request()).read_response()
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 0.9
        assert all(client.has_ended() for client in clients)
    assert server.server.loop.closed.snapshot()["stopping"] == 5


def test_connections_that_were_never_used_do_not_hold_the_server_for_long(serve_bare: Serve) -> None:
    server = serve_bare(Gate()).start()
    with Client(server) as client:
        until(lambda: server.server.loop.conns)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 3
        assert client.has_ended()
    assert server.server.loop.closed.snapshot()["stopping"] == 1


def test_request_that_is_half_there_is_finished(serve_bare: Serve) -> None:
    server = serve_bare(Gate()).start()
    with Client(server) as head, Client(server) as body:
        head.send(request("/head")[:-2])
        body.send(request("/body", "Content-Length: 4", method="POST") + b"12")
        until(lambda: sorted(conn.state for conn in list(server.server.loop.conns.values())) == [HEAD, BODY])
        thread = stopped(server)
        body.send(b"34")
        head.send(b"\r\n")
        for client, expected in ((head, b"/head"), (body, b"/body1234")):
            response = client.read_response()
            assert (response.body, response.closes) == (expected, True)
            assert client.has_ended()
        assert ended(thread)


def test_stream_in_flight_is_finished(serve_bare: Serve) -> None:
    gate = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b"begun, "
        gate.wait(TIMEOUT_S)
        yield b"x" * 1_000_000

    server = serve_bare(app_of(blocks)).start()
    with Client(server) as client:
        client.send(request()).read_head()
        assert client.read_chunk() == b"begun, "
        thread = stopped(server)
        gate.set()
        assert len(client.read_chunk() or b"") == 1_000_000
        assert client.read_chunk() == b""
        assert client.has_ended()
        assert ended(thread)


def test_response_that_a_slow_client_still_reads_is_finished(serve_bare: Serve) -> None:
    server = serve_bare(app_of([b"x" * 20_000_000]), shutdown_timeout=TIMEOUT_S).start()
    with Client(server, receive_bytes=65536) as client:
        client.send(request()).wait()
        thread = stopped(server)
        response = client.read_response()
        assert (len(response.body), response.whole) == (20_000_000, True)
        assert ended(thread)


def test_connection_in_the_backlog_is_served() -> None:
    """The kernel has accepted it, so its client would see a reset."""
    gate = Gate()
    server = vivace.background(gate, threads=1).start()
    with Client(server) as first, Client(server) as second:
        first.send(request("/slow"))
        assert gate.started.wait(TIMEOUT_S)
        with Client(server) as waiting:
            waiting.send(request("/waiting"))
            second.send(request("/second"))
            thread = stopped(server)
            gate.open.set()
            assert first.read_response().body == b"/slow"
            assert second.read_response().body == b"/second"
            assert waiting.read_response().body == b"/waiting"
            assert ended(thread)


def test_call_that_does_not_end_is_cut_off() -> None:
    gate = Gate()
    server = vivace.background(gate, threads=4, shutdown_timeout_s=0.3).start()
    try:
        with Client(server) as client, Client(server) as slow:
            client.send(request("/slow"))
            slow.send(request("/half")[:-2])
            assert gate.started.wait(TIMEOUT_S)
            started = time.monotonic()
            server.stop()
            assert 0.2 < time.monotonic() - started < 3
            assert slow.has_ended()
    finally:
        gate.open.set()


def test_application_may_stop_its_server(serve_bare: Serve) -> None:
    servers: list[vivace.background] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        servers[0].server.stop()
        start_response("200 OK", TEXT)
        return [b"bye"]

    servers.append(serve_bare(app).start())
    assert fetch(servers[0]).body == b"bye"
    servers[0].stop()


def test_stopping_twice_is_harmless(serve_bare: Serve) -> None:
    """Not even where the number of a descriptor of the first server belongs to something else by then."""
    first = serve_bare(Gate()).start()
    assert fetch(first).status == 200
    first.stop()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        fds = [os.dup(writing) for _ in range(30)]
        first.stop()
        with pytest.raises(BlockingIOError):
            os.read(reading, 100)
    finally:
        for fd in (reading, writing, *fds):
            os.close(fd)


def test_stopping_under_load_loses_no_answer(serve_bare: Serve) -> None:
    """What was sent before the stop is answered or the connection ends in front of it; no response is cut."""
    for _ in range(10):
        server = serve_bare(app_of([b"x" * 100])).start()
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(server)) for _ in range(8)]
            for client in clients:
                client.send(request() * 5)
            clients[0].read_response()
            thread = stopped(server)
            for client in clients[1:]:
                rest, _ = client.rest()
                client.socket.close()
                assert rest.count(b"HTTP/1.1 200 OK\r\n") == rest.count(b"x" * 100)
                assert not rest or rest.endswith(b"x" * 100)
            clients[0].socket.close()
            assert ended(thread)


def test_nothing_is_left_over(serve_bare: Serve) -> None:
    threads, fds = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with serve_bare(Gate()) as server, Client(server) as client:
            client.send(request() + request("/b", method="POST", body=b"x" * 100)).read_responses(2)
    until(lambda: set(threading.enumerate()) <= threads)
    assert set(os.listdir("/proc/self/fd")) <= fds


# Signals.

APP = """
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("started", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
"""


@pytest.fixture(params=[1, 64], ids=["1 thread", "64 threads"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", "--threads", str(request.param), cwd=tmp_path) as command:
        yield command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_what_is_in_flight(command: Command, tmp_path: Path, number: int) -> None:
    with Client(command.url) as client, Client(command.url) as idle:
        idle.send(request("/idle")).read_response()
        client.send(request("/slow") + request("/next"))
        until((tmp_path / "started").exists)
        command.send_signal(number)
        assert command.process.poll() is None
        (tmp_path / "go").touch()
        assert [response.body for response in client.read_responses(2)] == [b"/slow", b"/next"]
        assert idle.has_ended()
        assert command.wait() == 0
    assert "Traceback" not in command.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_does_not_wait(command: Command, tmp_path: Path, number: int) -> None:
    with Client(command.url) as client:
        client.send(request("/slow"))
        until((tmp_path / "started").exists)
        command.send_signal(number)
        # A second signal that comes before the first is handled would be one signal.
        until(lambda: signals_pending(command) == 0)
        time.sleep(0.1)
        command.send_signal(number)
        assert command.wait() == 128 + number
    assert "Traceback" not in command.log


def signals_pending(command: Command) -> int:
    """The set of signals that the kernel has not delivered yet."""
    with open(f"/proc/{command.process.pid}/status") as status:
        masks = [line.split()[1] for line in status if line.startswith(("SigPnd", "ShdPnd"))]
    return sum(int(mask, 16) for mask in masks)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_an_idle_server(command: Command, number: int) -> None:
    assert fetch(command.url, "/x").body == b"/x"
    started = time.monotonic()
    command.send_signal(number)
    assert command.wait() == 0
    assert time.monotonic() - started < 2
    assert "Traceback" not in command.log
