"""connection.health: livez and readyz, answered by the loop itself; and the delay between a stop and its end."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import vivace
from apps import TEXT
from vivace.connection.connection import HEAD
from vivace.schedule.policy import Policy
from vivace.schedule.route import LOOP
from vivace.schedule.routes import PATHS_MAX, TEMPLATES_MAX, RouteTable
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

PATHS = {"livez_path": "/livez", "readyz_path": "/readyz"}


class Gate:
    """An application that counts its calls; those of /slow wait until `open` is set."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.open = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/slow":
            assert self.open.wait(TIMEOUT_S)
        environ["wsgi.input"].read()
        start_response("200 OK", list(TEXT))
        return [b"app"]


def assert_healthy(server: Any) -> None:
    for path in PATHS.values():
        response = fetch(server, path)
        assert (response.status, response.body) == (200, b"ok\n")


def draining(server: vivace.background) -> threading.Thread:
    """Stops `server`, which serves on for a while, from another thread."""
    thread = threading.Thread(target=server.stop)
    thread.start()
    until(lambda: server.server.loop.closing)
    return thread


def ended(thread: threading.Thread) -> bool:
    thread.join(TIMEOUT_S)
    return not thread.is_alive()


# The answer.


def test_answers(serve_bare: Serve) -> None:
    app = Gate()
    with serve_bare(app, **PATHS) as server:
        for path in PATHS.values():
            response = fetch(server, path)
            assert (response.status, response.reason, response.body) == (200, "OK", b"ok\n")
            assert response.field("Cache-Control") == "no-store"
            assert response.field("Content-Length") == "3"
            assert response.field("Content-Type") == "text/plain"
            assert response.field("Date")
            head = fetch(server, request(path, method="HEAD"), "HEAD")
            assert (head.status, head.body, head.field("Content-Length")) == (200, b"", "3")
    assert app.calls == []


def test_every_other_request_is_the_application_s(serve_bare: Serve) -> None:
    app = Gate()
    others = ["/livez/", "/livez/x", "/Livez", "//livez", "/x/livez", "/"]
    with serve_bare(app, **PATHS) as server:
        for path in others:
            assert fetch(server, path).body == b"app"
        assert fetch(server, request("/livez", method="POST", body=b"x")).body == b"app"
        assert fetch(server, request("/livez", method="DELETE")).body == b"app"
    assert app.calls == [*others, "/livez", "/livez"]


def test_a_query_does_not_matter(vivace_server: Any) -> None:
    assert fetch(vivace_server(Gate(), **PATHS), "/livez?verbose").body == b"ok\n"


def test_off_by_default(serve_bare: Serve) -> None:
    app = Gate()
    with serve_bare(app) as server:
        assert fetch(server, "/livez").body == b"app"
        assert fetch(server, "/readyz").body == b"app"


def test_in_the_middle_of_a_connection(serve_bare: Serve) -> None:
    """Pipelined, repeated (a head is remembered from its second time on), with a body, in HTTP/1.0."""
    with serve_bare(Gate(), **PATHS) as server, Client(server) as client:
        for _ in range(4):
            client.send(request("/livez"))
            assert client.read_response().body == b"ok\n"
        client.send(request("/") + request("/livez") + request("/", method="POST", body=b"x") + request("/readyz"))
        assert [response.body for response in client.read_responses(4)] == [b"app", b"ok\n", b"app", b"ok\n"]
        client.send(request("/livez", body=b"x" * 100_000) + request("/"))
        assert [response.body for response in client.read_responses(2)] == [b"ok\n", b"app"]
        client.send(request("/livez", version="HTTP/1.0"))
        assert client.read_response().body == b"ok\n"
        assert client.has_ended()


def test_a_body_that_nobody_waits_for(vivace_server: Any) -> None:
    """It was streamed to nobody: answered, and the connection ends."""
    server = vivace_server(Gate(), body_stream=True, threads=4, **PATHS)
    with Client(server) as client:
        client.send(request("/livez", "Content-Length: 1000000"))
        response = client.read_response()
        assert (response.body, response.closes) == (b"ok\n", True)


# When the application cannot answer.


@pytest.mark.parametrize("lanes", ["learn", "pool"])
def test_while_every_thread_is_busy(lanes: str) -> None:
    """64 threads stuck, more requests than that waiting: and each probe is answered at once."""
    app = Gate()
    with vivace.background(app, threads=64, lanes=lanes, **PATHS) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(80)]
        for client in clients:
            client.send(request("/slow"))
        until(lambda: len(app.calls) == 64)
        for _ in range(3):
            started = time.monotonic()
            assert_healthy(server)
            assert time.monotonic() - started < 2
        with Client(server) as client:
            client.send(request("/livez") + request("/slow"))
            assert client.read_response().body == b"ok\n", "an answer does not wait for what comes behind it"
        assert len(app.calls) == 64
        app.open.set()
        for client in clients:
            assert client.read_response().body == b"app"


def test_while_requests_are_refused(vivace_server: Any) -> None:
    app = Gate()
    server = vivace_server(app, threads=2, queue_timeout="100ms", **PATHS)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(6)]
        for client in clients:
            client.send(request("/slow"))
        until(lambda: len(app.calls) == 2)
        assert_healthy(server)
        time.sleep(0.1)
        app.open.set()
        assert {client.read_response().status for client in clients} == {200, 503}
        assert_healthy(server)


def test_nothing_is_learned_of_them(serve_bare: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the machine makes one slow."""
    monkeypatch.setattr("vivace.schedule.policy.QUICK_S", 0.0)
    with serve_bare(Gate(), **PATHS) as server:
        for _ in range(5):
            assert_healthy(server)
        loop = server.server.loop
        route = loop.routes.find("GET", "/livez")
        assert (route.lane, route.watch, route.samples) == (LOOP, False, 0)
        assert "GET /livez" not in loop.routes.templates


def test_a_preset_route_outlives_what_is_forgotten() -> None:
    policy = Policy(tick_s=0.004, gil=True)
    table = RouteTable(policy.new_route)
    own = policy.new_route("own")
    table.preset("GET", "/livez", own)
    for number in range(max(PATHS_MAX, TEMPLATES_MAX) + 10):
        table.find("GET", f"/{chr(97 + number % 26)}{number // 26 * 'x'}"[:200])
        table.find("GET", f"/x/{number}")
    assert table.find("GET", "/livez") is own
    assert table.find("HEAD", "/livez") is not own


# The access log.


@pytest.mark.parametrize(("level", "expected"), [("info", ["/"]), ("debug", ["/livez", "/", "/livez"])])
def test_probes_are_logged_for_debugging_only(level: str, expected: list[str], tmp_path: Any) -> None:
    log = tmp_path / "access"
    settings = {**PATHS, "access_log_file": log, "log_level": level}
    with vivace.background(Gate(), **settings) as server:
        for path in ("/livez", "/", "/livez"):
            fetch(server, path)
    assert [line.split()[6] for line in log.read_text().splitlines()] == expected


# Stopping.


def test_ready_no_more_and_alive_to_the_end(serve_bare: Serve) -> None:
    app = Gate()
    server = serve_bare(app, threads=4, **PATHS).start()
    with Client(server) as slow, Client(server) as probe:
        slow.send(request("/slow"))
        until(lambda: app.calls)
        probe.send(request("/livez", "X-Part: 1")[:-2])
        until(lambda: HEAD in [conn.state for conn in list(server.server.loop.conns.values())])
        thread = draining(server)
        probe.send(b"\r\n")
        response = probe.read_response()
        assert (response.status, response.body, response.closes) == (200, b"ok\n", True)
        app.open.set()
        assert slow.read_response().body == b"app"
        assert ended(thread)


def test_everybody_is_served_on_during_the_delay(serve_bare: Serve) -> None:
    app = Gate()
    server = serve_bare(app, drain_delay="1s", **PATHS).start()
    with Client(server) as kept, Client(server) as idle:
        for client in (kept, idle):
            assert not client.send(request()).read_response().closes
        started = time.monotonic()
        thread = draining(server)
        response = fetch(server, "/readyz")
        assert (response.status, response.body) == (503, b"stopping\n")
        assert response.field("Cache-Control") == "no-store"
        assert fetch(server, "/livez").status == 200
        # New connections are taken, and old ones used; each hears that it is the last request.
        for client in (kept, None):
            response = client.send(request()).read_response() if client else fetch(server)
            assert (response.body, response.closes) == (b"app", True)
        assert kept.has_ended()
        assert idle.has_ended(), "only when the delay is over"
        assert time.monotonic() - started > 0.9
        assert ended(thread)
    assert server.server.loop.closed.snapshot()["stopping"] == 1


def test_a_worker_that_is_replaced_is_no_sign_that_the_server_stops(serve_bare: Serve) -> None:
    """Others serve on: there is no delay, and a probe on an old connection is told so."""
    server = serve_bare(Gate(), drain_delay="60s", **PATHS).start()
    with Client(server) as client:
        client.send(request()).read_response()
        server.server.stop(gently=True)
        response = client.send(request("/readyz")).read_response()
        assert (response.status, response.closes) == (200, True)
        server.stop()


def test_a_delay_without_any_connection(serve_bare: Serve) -> None:
    """Nothing wakes the loop but the delay itself."""
    server = serve_bare(Gate(), drain_delay="300ms").start()
    time.sleep(0.05)
    started = time.monotonic()
    server.stop()
    assert 0.25 < time.monotonic() - started < TIMEOUT_S / 2


def test_a_stop_that_does_not_wait(serve_bare: Serve) -> None:
    server = serve_bare(Gate(), drain_delay="60s").start()
    thread = draining(server)
    assert fetch(server).body == b"app"
    server.server.stop(delay=False)
    assert ended(thread)


def test_the_delay_does_not_shorten_what_comes_after(serve_bare: Serve) -> None:
    """shutdown_timeout begins when it is over."""
    app = Gate()
    server = serve_bare(app, threads=4, drain_delay="1s", shutdown_timeout="3s").start()
    with Client(server) as client:
        client.send(request("/slow"))
        until(lambda: app.calls)
        thread = draining(server)
        until(lambda: server.server.loop.stopping)
        time.sleep(0.2)
        app.open.set()
        assert client.read_response().body == b"app"
        assert ended(thread)


def test_no_warning(capsys: pytest.CaptureFixture[str], serve_bare: Serve) -> None:
    with serve_bare(Gate(), drain_delay="100ms", **PATHS) as server:
        assert_healthy(server)
    assert capsys.readouterr().err == ""
