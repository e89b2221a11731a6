"""request_timeout: whatever the application does, its client is answered in time, once, and nobody else pays.

What an application waits for here is ended by the test: nothing but the main thread can be interrupted in a call into
C. What clients and the log are told stands in test_request_timeout_told.py.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from command import Command
from timed import LATE_S, LIMIT_S, Long, assert_504, counts, spin
from vivace.simple_server import make_server
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

# What it waits for.


def test_waiting_for_a_lock(serve_timed: Serve, messages: list[str]) -> None:
    app = Long()
    with serve_timed(app) as server, Client(server) as client:
        started = time.monotonic()
        client.send(request("/long"))
        assert_504(client)
        assert LIMIT_S <= time.monotonic() - started < LATE_S
        until(lambda: messages)  # it is written when the thread has been interrupted
        app.gate.set()
        app.assert_hit()
        assert fetch(server, "/next").body == b"next"
    assert counts(server)["request_timeout"] == 1
    assert sum(counts(server).values()) == 2, "each connection closes once"


def test_receiving_from_somebody_else(serve_timed: Serve, messages: list[str]) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        app = Long(lambda: ours.recv(1))
        with serve_timed(app) as server, Client(server) as client:
            client.send(request("/long"))
            assert_504(client)
            until(lambda: messages)
            peer.send(b"x")
            app.assert_hit()
            assert fetch(server, "/next").body == b"next"


def test_sleeping(serve_timed: Serve) -> None:
    app = Long(lambda: time.sleep(4 * LIMIT_S))
    with serve_timed(app) as server, Client(server) as client:
        client.send(request("/long"))
        assert_504(client)
        app.assert_hit()
        assert fetch(server, "/next").body == b"next"


def test_computing_in_python_is_ended(serve_timed: Serve) -> None:
    app = Long(spin)
    with serve_timed(app) as server, Client(server) as client:
        started = time.monotonic()
        client.send(request("/long"))
        assert_504(client)
        app.assert_hit()
        assert time.monotonic() - started < LATE_S
        assert fetch(server, "/next").body == b"next"


def test_c_code_without_the_gil(serve_timed: Serve) -> None:
    """It is answered in time, and hit when the call returns."""

    def work() -> None:
        end = time.monotonic() + 4 * LIMIT_S
        while time.monotonic() < end:
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 300_000)

    app = Long(work)
    with serve_timed(app) as server, Client(server) as client:
        client.send(request("/long"))
        assert_504(client)
        app.assert_hit()


def test_c_code_that_keeps_the_gil(serve_timed: Serve) -> None:
    """Nobody can look while it runs: it is answered late. (The pattern backtracks.)"""
    app = Long(lambda: re.match(r"(?:a+)+$", "a" * 21 + "b"))
    with serve_timed(app) as server, Client(server) as client:
        client.send(request("/long"))
        assert client.read_response().status in (200, 504)
        assert fetch(server, "/next").body == b"next"


@pytest.mark.parametrize("lanes", ["learn", "inline", "pool"])
@pytest.mark.parametrize("threads", [2, 8])
def test_lanes(lanes: str, threads: int) -> None:
    """In turn: the route is new, then known."""
    app = Long(spin)
    with vivace.background(app, lanes=lanes, threads=threads, request_timeout=LIMIT_S) as server:
        for number in range(1, 4):
            with Client(server) as client:
                client.send(request("/long"))
                assert_504(client)
            until(lambda number=number: len(app.hits) == number)  # type: ignore[misc]
        assert fetch(server, "/next").body == b"next"


def test_quick_requests_are_served_meanwhile(serve_pooled: Serve) -> None:
    app = Long()
    with serve_pooled(app) as server, Client(server) as slow, Client(server) as quick:
        slow.send(request("/long"))
        while not slow_is_answered(slow):
            assert quick.send(request("/next")).read_response().body == b"next"
        assert_504(slow)
        app.gate.set()


def slow_is_answered(client: Client) -> bool:
    client.socket.settimeout(0.001)
    try:
        client.wait()
    except TimeoutError:
        return False
    finally:
        client.socket.settimeout(TIMEOUT_S)
    return True


def test_many_at_once(serve_pooled: Serve) -> None:
    """More than there are threads: those that wait have not been called, so their time does not run."""
    app = Long(spin)
    with serve_pooled(app, threads=3) as server:
        clients = [Client(server).send(request("/long")) for _ in range(9)]
        for client in clients:
            with client:
                assert_504(client)
    assert counts(server) == {"request_timeout": 9}


# Longer on purpose.


def test_extended_for_one_request(serve_timed: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        environ["vivace.extend_timeout"](TIMEOUT_S)
        start_response("200 OK", TEXT)
        for _ in range(4):
            time.sleep(LIMIT_S / 2)
            yield b"x"
        environ["vivace.extend_timeout"](float("inf"))
        time.sleep(LIMIT_S * 2)
        yield b"y"

    with serve_timed(app) as server, Client(server) as client:
        assert client.send(request()).read_response().body == b"xxxxy"
        assert client.send(request()).read_response().body == b"xxxxy"


def test_extended_too_little(serve_timed: Serve) -> None:
    app = Long()

    def work() -> None:
        app.environ["vivace.extend_timeout"](LIMIT_S * 3)
        spin()

    app.work = work
    with serve_timed(app) as server, Client(server) as client:
        started = time.monotonic()
        assert_504(client.send(request("/long")))
        assert time.monotonic() - started >= LIMIT_S * 3
        app.assert_hit()


def test_extended_from_elsewhere(serve_pooled: Serve) -> None:
    app = Long(lambda: None)
    with serve_pooled(app) as server:
        fetch(server, "/")
        with pytest.raises(RuntimeError, match="outside of its request"):
            app.environ["vivace.extend_timeout"](1)


def test_no_limit_no_trace(serve_bare: Serve) -> None:
    app = Long(lambda: time.sleep(LIMIT_S * 2))
    with serve_bare(app) as server:
        assert server.server.loop.limiter is None
        assert fetch(server, "/long").status == 200
    assert [key for key in app.environ if key.startswith("vivace.")] == ["vivace.route"]


# A thread that does not come back.


@pytest.fixture
def soon_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivace.connection.limiter.GRACE_S", LIMIT_S)


@pytest.mark.usefixtures("soon_stuck")
def test_stuck_threads_are_reported_and_do_not_count(serve_pooled: Serve, messages: list[str]) -> None:
    app = Long()
    asked: list[str] = []
    with serve_pooled(app, threads=2) as server:
        server.server.plan.on_stuck = asked.append
        pool = server.server.loop.pool
        for _ in range(2):
            with Client(server) as client:
                assert_504(client.send(request("/long")))
        until(lambda: len(messages) == 4)
        stuck = [message for message in messages if "is stuck" in message]
        assert len(stuck) == 2
        assert re.search(r"the thread vivace-\d+ is stuck: .* it has not come back: GET /long HTTP/1.1\n", stuck[0])
        assert "another one takes its place; this process is to be replaced" in stuck[0]
        assert "it was waiting for a lock" in stuck[0]
        assert asked == [
            stuck[0].split("error: ")[1].split(":")[0] + " in GET /long HTTP/1.1: it is waiting for a lock"
        ]
        # Two more have room; one more leads.
        both = threading.Barrier(3)
        app.work = lambda: both.wait(TIMEOUT_S)
        clients = [Client(server).send(request("/both")) for _ in range(2)]
        both.wait(TIMEOUT_S)
        for client in clients:
            with client:
                assert client.read_response().status in (200, 504)
        app.gate.set()
        until(lambda: len([message for message in messages if "a stuck thread is back after" in message]) == 2)
    assert pool is not None
    until(lambda: pool.total == 0)
    assert len(asked) == 1


@pytest.mark.usefixtures("soon_stuck")
def test_a_stop_does_not_wait_for_a_stuck_thread(serve_pooled: Serve, messages: list[str]) -> None:
    app = Long()
    with serve_pooled(app, shutdown_timeout=TIMEOUT_S) as server:
        with Client(server) as client:
            assert_504(client.send(request("/long")))
        until(lambda: len(messages) == 2)
        started = time.monotonic()
    assert time.monotonic() - started < TIMEOUT_S / 2
    app.gate.set()
    assert app.left.wait(TIMEOUT_S)


@pytest.mark.usefixtures("soon_stuck")
def test_the_only_thread_is_stuck(messages: list[str]) -> None:
    app = Long()
    asked: list[str] = []
    with vivace.background(app, threads=1, request_timeout=LIMIT_S) as server:
        server.server.plan.on_stuck = asked.append
        with Client(server) as client:
            assert_504(client.send(request("/long")))
        until(lambda: len(messages) == 2)
        assert "nobody takes its place; this process is to be replaced" in messages[1]
        assert len(asked) == 1
        app.gate.set()
        assert fetch(server, "/next").body == b"next"
        until(lambda: len(messages) == 3)


# In other servers.


def test_simple_server(messages: list[str]) -> None:
    """Of its own thread, and for a single request: `handle_request` has a loop to itself."""
    app = Long(lambda: spin())
    with make_server("127.0.0.1", 0, app, request_timeout=LIMIT_S) as server:
        for serve_one in (server.handle_request, server.serve_forever):
            thread = threading.Thread(target=serve_one)
            thread.start()
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                assert_504(client.send(request("/long")))
            app.left.wait(TIMEOUT_S)
            if serve_one == server.serve_forever:
                server.shutdown()
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
    assert len(app.hits) == 2
    assert "vivace.extend_timeout" in app.environ


# What the page says.

PAGE = Path(vivace.__file__).parent.parent.parent / "docs" / "timeouts.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL) if PAGE.is_file() else []


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda source: source.partition("\n")[0])
def test_programs_of_the_page(source: str, serve_timed: Serve) -> None:
    names: dict[str, Any] = {}
    exec(source, names)
    with serve_timed(names["app"]) as server:
        assert fetch(server).status == 200


# On the main thread.

MAIN = """
import os, socket, threading, time
ours, peer = socket.socketpair()
lock = threading.Lock()
lock.acquire()
work = {"/sleep": lambda: time.sleep(30), "/recv": lambda: ours.recv(1), "/lock": lock.acquire}

def app(environ, start_response):
    try:
        work.get(environ["PATH_INFO"], str)()
    except BaseException as error:
        os.write(1, f"hit: {type(error).__name__}\\n".encode())
        raise
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"next"]
"""


def test_on_the_main_thread_system_calls_are_ended(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MAIN)
    options = ("--threads", "1", "--request-timeout", "100ms", "--bind", "127.0.0.1:0")
    with Command("app:app", *options, cwd=tmp_path) as command:
        for number, target in enumerate(("/sleep", "/recv", "/lock"), 1):
            with Client(command.url) as client:
                assert_504(client.send(request(target)))
            assert fetch(command.url, "/next").body == b"next"
            assert len(command.said("hit: RequestTimeout", number)) == number
        command.send_signal()
        assert command.wait() == 0
    assert command.log.count("a request took longer than request_timeout") == 3
    assert "thread MainThread" in command.log
    assert "Traceback" not in command.log, command.log
