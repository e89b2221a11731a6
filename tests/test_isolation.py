"""What one client does costs the others next to nothing: idle, half-sent, slow, flooding and pipelining ones.

The bounds are far above what it takes, and far below what it takes a server that lets one wait for another.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from wire import TIMEOUT_S, Client, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Serve = Callable[..., vivace.background]

SOON_S = 1.0


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """/sleep takes a second, anything else nothing."""
    if environ["PATH_INFO"].startswith("/sleep"):
        time.sleep(1)
    environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [environ["PATH_INFO"].encode()]


def times_s(client: Client, count: int = 50) -> list[float]:
    """How long each of `count` quick requests took."""
    took_s = []
    for _ in range(count):
        started = time.monotonic()
        assert client.send(request("/quick")).read_response().body == b"/quick"
        took_s.append(time.monotonic() - started)
    return took_s


def test_idle_and_half_sent_connections(serve_bare: Serve) -> None:
    with serve_bare(app) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(48)]
        for number, client in enumerate(clients):
            if number % 4 == 1:
                client.send(request("/half")[:-2])
            elif number % 4 == 2:
                client.send(request("/body", "Content-Length: 100", method="POST") + b"some")
            elif number % 4 == 3:
                client.send(request("/idle")).read_response()
        until(lambda: len(server.server.loop.conns) == 48)
        took_s = times_s(stack.enter_context(Client(server)))
    assert max(took_s) < SOON_S
    assert statistics.median(took_s) < 0.02


def test_sleepers(vivace_server: Any) -> None:
    """Four calls of a second on a route that nobody knows yet, then quick ones (PEERS: 0.9 s to 4.9 s elsewhere)."""
    server = vivace_server(app)
    with ExitStack() as stack:
        sleepers = [stack.enter_context(Client(server)) for _ in range(4)]
        for client in sleepers:
            client.send(request("/sleep"))
        took_s = times_s(stack.enter_context(Client(server)))
        assert max(took_s) < SOON_S
        for client in sleepers:
            assert client.read_response().body == b"/sleep"


def test_many_idle_connections(vivace_server: Any) -> None:
    server = vivace_server(app)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(1000)]
        for client in clients:
            client.send(request("/idle")).read_response()
        took_s = times_s(clients[0])
        assert max(took_s) < SOON_S
        assert statistics.median(took_s) < 0.02
        assert len(server.server.loop.conns) == 1000


def test_flood_of_pipelined_requests(serve_bare: Serve) -> None:
    with serve_bare(app) as server, Client(server) as flood, Client(server) as client:
        count = 5000
        sender = threading.Thread(target=flood.send, args=(request("/flood") * count,))
        sender.start()
        took_s = times_s(client, 20)
        for response in flood.read_responses(count):
            assert response.body == b"/flood"
        sender.join()
    assert max(took_s) < SOON_S


def test_new_connections_all_the_time(serve_bare: Serve) -> None:
    stop = threading.Event()

    def open_and_close() -> None:
        while not stop.is_set():
            with Client(server):
                pass

    with serve_bare(app) as server:
        threads = [threading.Thread(target=open_and_close) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            with Client(server) as client:
                took_s = times_s(client)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert statistics.median(took_s) < 0.1


def test_answer_does_not_wait_for_a_slow_call_behind_it(vivace_server: Any) -> None:
    """The answers to pipelined requests are joined, but not with one that takes long."""
    gate = threading.Event()

    def gated(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/gate":
            gate.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    with Client(vivace_server(gated, threads=8), timeout_s=3) as client:
        client.send(request("/quick") * 20 + request("/gate"))
        try:
            assert [response.body for response in client.read_responses(20)] == [b"/quick"] * 20
        finally:
            gate.set()
        assert client.read_response().body == b"/gate"


def test_date_is_right_after_a_pause(vivace_server: Any) -> None:
    """The Date line is made once a second, also where nothing happened for long."""
    with Client(vivace_server(app)) as client:
        for pause_s in (0, 2.5):
            time.sleep(pause_s)
            date = client.send(request()).read_response().field("Date") or ""
            assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 2


@pytest.mark.parametrize("count", [1, 3])
def test_computing_call_and_new_connections(vivace_server: Any, count: int) -> None:
    """A connection that is opened while calls compute is accepted and answered before they end."""

    def burn(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"].startswith("/burn"):
            end = time.thread_time() + 0.5
            while time.thread_time() < end:
                pass
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    server = vivace_server(burn)
    with ExitStack() as stack:
        burning = [stack.enter_context(Client(server)) for _ in range(count)]
        for number, client in enumerate(burning):
            client.send(request(f"/burn{number}"))
        started = time.monotonic()
        with Client(server) as client:
            assert client.send(request("/quick")).read_response().body == b"/quick"
        assert time.monotonic() - started < 0.4
        for number, client in enumerate(burning):
            assert client.read_response().body == f"/burn{number}".encode()
