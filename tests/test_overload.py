"""Too much at once, over real connections: who is refused, when, and with what; and slow clients beside others."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from apps import TEXT
from vivace.connection import ending, overload
from wire import CLOSED, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import vivace

    Serve = Callable[..., vivace.background]


class Gated:
    """An application whose calls of /gate wait until it is opened; notes which paths were called."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.inside = threading.Semaphore(0)
        self.called: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.called.append(path)
        if path.startswith("/gate"):
            self.inside.release()
            assert self.gate.wait(20)
        start_response("200 OK", TEXT)
        return [path.encode()]


def full(stack: ExitStack, server: Any, app: Gated, threads: int) -> list[Client]:
    """As many clients as there are threads, all of which are taken."""
    clients = [stack.enter_context(Client(server)).send(request(f"/gate/{number}")) for number in range(threads)]
    for _ in clients:
        assert app.inside.acquire(timeout=10)
    return clients


@pytest.fixture
def app() -> Iterator[Gated]:
    app = Gated()
    yield app
    app.gate.set()


def test_who_would_wait_too_long_is_refused_at_once(vivace_server: Any, app: Gated) -> None:
    """And not when the deadline has come: half a minute, here."""
    server = vivace_server(app, threads=2, lanes="pool", queue_timeout_s=30)
    loop = server.server.loop
    with ExitStack() as stack:
        served = full(stack, server, app, 2)
        waits = stack.enter_context(Client(server)).send(request("/waits"))
        until(lambda: len(loop.pool.waiting) == 1)
        for _ in range(200):
            loop.admission.submitted(80.0)  # what calls take here
        began = time.monotonic()
        with Client(server) as client:
            for _ in range(3):  # the connection goes on
                response = client.send(request("/refused")).read_response()
                assert response.status == 503
                assert 1 <= int(response.field("Retry-After") or 0) <= overload.RETRY_S_MAX
                assert not response.closes
            head = client.send(request("/refused", method="HEAD")).read_response("HEAD")
            assert (head.status, head.body) == (503, b"")
            posted = client.send(request("/refused", method="POST", body=b"x" * 100_000)).read_response()
            assert posted.status == 503
            assert not posted.closes
            last = client.send(request("/refused", "Connection: close")).read_response()
            assert last.closes
            assert client.has_ended()
        assert time.monotonic() - began < 10
        app.gate.set()
        assert [client.read_response().status for client in (*served, waits)] == [200] * 3
    assert "/refused" not in app.called
    assert loop.refusals.count == 6


def test_behind_threads_that_hang_the_deadline_holds(
    vivace_server: Any, app: Gated, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody comes by to look at the queue; then no more are let in than could be served, and it is over when it is."""
    server = vivace_server(app, threads=2, lanes="pool", queue_timeout_s=0.2)
    with ExitStack() as stack:
        served = full(stack, server, app, 2)
        late = [stack.enter_context(Client(server)).send(request("/late")) for _ in range(2)]
        assert [client.read_response().status for client in late] == [503, 503]
        again = [client.send(request("/late")) for client in late]  # they wait, as there are two threads
        until(lambda: len(server.server.loop.pool.waiting) == 2)
        assert fetch(server, "/refused").status == 503
        app.gate.set()
        assert [client.read_response().status for client in served] == [200, 200]
        for client in again:
            client.read_response()
        assert fetch(server, "/after").body == b"/after"
    log = capfd.readouterr().err
    assert log.count("overload:") == 1
    assert "answered 503, as they would have waited past queue_timeout (0.2 s); threads = 2; most" in log
    assert "GET /gate/{}" in log


def test_refused_requests_stand_in_the_access_log(
    vivace_server: Any, app: Gated, capfd: pytest.CaptureFixture[str]
) -> None:
    server = vivace_server(app, threads=2, lanes="pool", queue_timeout_s=0.1, access_log=True)
    with ExitStack() as stack:
        full(stack, server, app, 2)
        assert fetch(server, "/late").status == 503
        out = ""

        def logged() -> bool:
            nonlocal out
            out += capfd.readouterr().out
            return '"GET /late HTTP/1.1" 503' in out

        until(logged)
        app.gate.set()


def test_quick_calls_queue_where_the_loop_is_saturated(serve_bare: Serve) -> None:
    """Then they can be refused in time; as soon as the queue is short they run at once again."""
    burning = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if burning.is_set():
            end = time.thread_time() + 0.0003
            while time.thread_time() < end:
                pass
        start_response("200 OK", TEXT)
        return [b"quick"]

    with serve_bare(app, queue_timeout_s=0.04) as server, ExitStack() as stack:
        loop = server.server.loop
        assert fetch(server).body == b"quick"
        clients = [stack.enter_context(Client(server)) for _ in range(200)]
        burning.set()
        statuses: list[int] = []
        deadline = time.monotonic() + 20
        while loop.refusals.count == 0 and time.monotonic() < deadline:
            for client in clients:
                client.send(request())
            statuses += [client.read_response().status for client in clients]
        assert 503 in statuses
        assert 200 in statuses
        burning.clear()
        until(lambda: fetch(server).status == 200 and not loop.saturated)
        assert loop.fast
        assert [client.send(request()).read_response().status for client in clients] == [200] * 200


def test_bookings_that_lapse_are_noticed_at_once(vivace_server: Any) -> None:
    """A call that hangs does not close the heavy lane, and the loop does not sleep over it."""
    hang = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        end = time.thread_time() + 0.008
        while time.thread_time() < end:
            pass
        if environ["QUERY_STRING"] == "hang":
            assert hang.wait(20)
        start_response("200 OK", TEXT)
        return [b"done"]

    server = vivace_server(app, threads=4)
    loop = server.server.loop
    try:
        with Client(server) as client, Client(server) as hanging:
            until(lambda: client.send(request("/burn")).read_response().status == 200 and bool(only(loop).away))
            hanging.send(request("/burn?hang"))
            until(lambda: sum(len(book) for book in loop.heavy._book) == 1)
            began = time.monotonic()
            assert client.send(request("/burn")).read_response().body == b"done"
            assert time.monotonic() - began < 0.8, "it waited for the next tick"
            hang.set()
            assert hanging.read_response().body == b"done"
    finally:
        hang.set()


def only(loop: Any) -> Any:
    """The one route that is known."""
    (route,) = loop.routes.templates.values()
    return route


# Slow clients, and those that do not stop.


def test_a_client_that_sends_on_after_its_refusal_reads_it(serve_bare: Serve) -> None:
    """It is read and dropped, so that no reset overtakes the answer."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("not called")

    with serve_bare(app, body_bytes_max=1000) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 20000000", method="POST") + b"x" * 20_000_000)
        client.finish_sending()
        assert client.read_response().status == 413
        assert client.rest() == (b"", CLOSED)


def test_but_not_for_ever(serve_bare: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "LINGER_S_MAX", 0.2)
    with serve_bare(Gated(), body_bytes_max=1000) as server, Client(server) as client:
        client.send(request("/", "Content-Length: 20000000", method="POST"))
        assert client.read_response().status == 413
        until(lambda: cut_off(client), what="the connection is closed although the client goes on")


def cut_off(client: Client) -> bool:
    try:
        client.send(b"x" * 1000)
    except OSError:
        return True
    return False


def test_slow_heads_bodies_and_readers_are_cut_and_nobody_else(
    serve_bare: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each at its own limit, while others are served."""
    monkeypatch.setattr(ending, "LINGER_S", 0.1)

    large = b"x" * 10_000_000

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [large if environ["PATH_INFO"] == "/large" else b"small"]

    limits = {"head_timeout": 0.4, "body_timeout": 0.4, "write_timeout": 0.4}
    with serve_bare(app, **limits) as server, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(Client(server)).send(b"GET / HTTP/1.1\r\n")
            stack.enter_context(Client(server)).send(request("/", "Content-Length: 9", method="POST") + b"x")
            stack.enter_context(Client(server, receive_bytes=4096)).send(request("/large"))
        counts = server.server.loop.closed.snapshot
        cut = {"head_timeout": 10, "body_timeout": 10, "write_timeout": 10}
        until(
            lambda: fetch(server).body == b"small" and {name: counts()[name] for name in cut} == cut, what=str(counts())
        )


@pytest.mark.parametrize("lanes", ["pool", "learn"])
def test_a_body_that_comes_slowly_has_not_waited_for_the_server(vivace_server: Any, lanes: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["wsgi.input"].read()]

    server = vivace_server(app, lanes=lanes, queue_timeout="200ms", threads=4)
    with Client(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        time.sleep(0.4)
        response = client.send(b"67890").read_response()
    assert (response.status, response.body) == (200, b"1234567890")
