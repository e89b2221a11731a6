"""The contract of `wsgiref.simple_server`, kept by `vivace.simple_server`: names, life, threads, environ."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard
from wsgiref.validate import validator

import pytest
from simple import TEXT, Background, Quiet, answer_one, hello, made, serving, url
from wire import TIMEOUT_S, Client, chunked, fetch, request, until

from vivace import simple_server
from vivace.errors import SettingError
from vivace.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer, demo_app, make_server

if TYPE_CHECKING:
    from typing import Any


class Threaded(ThreadingMixIn, WSGIServer):
    """The common idiom."""

    daemon_threads = True


# --- names ------------------------------------------------------------------------------------------------


def test_every_public_name_of_the_standard_module_is_there() -> None:
    """And the classes are subclasses, so that isinstance goes on to work."""
    assert sorted(simple_server.__all__) == sorted(standard.__all__)
    for name in [*standard.__all__, "ServerHandler", "__version__", "server_version", "sys_version", "software_version"]:
        ours, theirs = getattr(simple_server, name), getattr(standard, name)
        assert type(ours) is type(theirs)
        if isinstance(theirs, type):
            assert issubclass(ours, theirs)
    assert simple_server.software_version == f"{simple_server.server_version} {standard.sys_version}"
    assert simple_server.server_version == f"vivace/{simple_server.__version__}"


@pytest.mark.parametrize("name", ["make_server", "WSGIServer", "WSGIRequestHandler", "ServerHandler", "demo_app"])
def test_signatures_begin_as_the_standard_ones(name: str) -> None:
    ours = list(inspect.signature(getattr(simple_server, name)).parameters.values())
    theirs = list(inspect.signature(getattr(standard, name)).parameters.values())
    for mine, other in zip(ours, theirs, strict=False):
        assert (mine.name, mine.kind) == (other.name, other.kind)
        assert (mine.default is mine.empty) == (other.default is other.empty)
    assert all(more.kind is more.VAR_KEYWORD for more in ours[len(theirs) :])


# --- threads ----------------------------------------------------------------------------------------------


def test_the_application_runs_on_the_thread_that_serves_one_request_at_a_time() -> None:
    alone = threading.Lock()
    threads = set()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert alone.acquire(blocking=False)
        threads.add(threading.get_ident())
        start_response("200 OK", TEXT)
        alone.release()
        return [str(environ["wsgi.multithread"]).encode()]

    server = made(app)
    assert server.why_classic() == []
    with serving(server) as address:
        clients = [Client(address).send(request() * 3) for _ in range(8)]
        for client in clients:
            with client:
                assert [response.body for response in client.read_responses(3)] == [b"False"] * 3
    (ident,) = threads
    assert ident not in {threading.get_ident(), None}


class WithThreads(WSGIServer):
    threads = 4


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(Threaded, {}), (WithThreads, {}), (WSGIServer, {"threads": 4}), (Threaded, {"threads": 4})],
    ids=["ThreadingMixIn", "attribute", "keyword", "both"],
)
def test_threads(cls: Any, settings: dict[str, Any]) -> None:
    """Two requests that wait for each other are both answered."""
    both = threading.Barrier(2, timeout=TIMEOUT_S)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        both.wait()
        start_response("200 OK", TEXT)
        return [str(environ["wsgi.multithread"]).encode()]

    server = made(app, cls, **settings)
    assert server.why_classic() == []
    with serving(server) as address, Client(address) as one, Client(address) as other:
        one.send(request())
        other.send(request())
        assert one.read_response().body == other.read_response().body == b"True"


def test_threads_by_the_constructor() -> None:
    with WSGIServer(("127.0.0.1", 0), Quiet, threads=3, keepalive_timeout=2) as server:
        assert server.vivace_settings == {"threads": 3, "keepalive_timeout_s": 2}


def test_an_attribute_of_the_script_s_own_called_threads_is_left_alone() -> None:
    class Own(WSGIServer):
        threads: Any = ["a list of their own"]

    with serving(made(hello, Own)) as address:
        assert fetch(address).body == b"hello"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"thread": 3}, "did you mean threads"),
        ({"threads": 0}, "threads"),
        ({"bind": "127.0.0.1:1"}, "bind: no setting of a simple_server"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_bound(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        made(hello, **settings)
    with pytest.raises(SettingError, match=said):
        WSGIServer(("127.0.0.1", 0), Quiet, **settings)


def test_settings_need_a_server_class_that_knows_them() -> None:
    with pytest.raises(TypeError, match="threads"):
        make_server("127.0.0.1", 0, hello, server_class=standard.WSGIServer, threads=2)


# --- life -------------------------------------------------------------------------------------------------


def test_serves_again_after_shutdown_at_the_same_socket() -> None:
    server = made()
    timeout = server.socket.gettimeout()
    for _ in range(2):
        background = Background(server.serve_forever)
        assert fetch(url(server)).body == b"hello"
        server.shutdown()
        background.join()
        assert server.socket.gettimeout() == timeout
    server.shutdown()  # a second one, when nothing runs, returns
    server.server_close()
    with pytest.raises(ConnectionRefusedError):
        Client(url(server))


def test_shutdown_that_comes_before_serve_forever_is_not_lost() -> None:
    with made() as server:
        stopper = Background(server.shutdown)
        until(lambda: server._life.stopping)
        server.serve_forever()
        stopper.join()


def test_shutdown_answers_what_is_in_flight() -> None:
    entered, go = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        entered.set()
        assert go.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [b"late"]

    with made(app, Threaded) as server:
        background = Background(server.serve_forever)
        with Client(url(server)) as client:
            client.send(request())
            assert entered.wait(TIMEOUT_S)
            stopper = Background(server.shutdown)
            until(lambda: server._life.stopping)
            go.set()
            assert client.read_response().body == b"late"
            assert client.has_ended()
        stopper.join()
        background.join()


@pytest.mark.parametrize("cls", [WSGIServer, Threaded])
@pytest.mark.parametrize("method", ["shutdown", "server_close"])
def test_the_application_may_stop_its_own_server(cls: Any, method: str) -> None:
    """In the standard module shutdown() on the serving thread waits for itself, for ever."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        getattr(server, method)()
        start_response("200 OK", TEXT)
        return [b"bye"]

    with made(app, cls) as server:
        background = Background(server.serve_forever)
        assert fetch(url(server)).body == b"bye"
        background.join()
        assert (server.socket.fileno() < 0) == (method == "server_close")


def test_server_close_ends_serve_forever() -> None:
    server = made()
    background = Background(server.serve_forever)
    assert fetch(url(server)).body == b"hello"
    server.server_close()
    background.join()


def test_what_selectors_and_scripts_read() -> None:
    with made() as server:
        assert server.fileno() == server.socket.fileno()
        assert server.server_address == server.socket.getsockname()
        assert server.server_port == server.server_address[1]
        assert server.server_name == socket.getfqdn("127.0.0.1")
        assert server.get_app() is hello
        assert server.RequestHandlerClass is Quiet
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert server.fileno() == -1


def test_bind_and_activate_apart() -> None:
    server = WSGIServer(("127.0.0.1", 0), Quiet, bind_and_activate=False)
    server.set_app(hello)
    server.server_bind()
    server.server_activate()
    with serving(server) as address:
        assert fetch(address).body == b"hello"


# --- signals ----------------------------------------------------------------------------------------------


def interrupt_after_a_request(server: Any, number: int) -> Background:
    def run() -> None:
        assert fetch(url(server)).body == b"hello"
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    return Background(run)


@pytest.mark.parametrize("cls", [WSGIServer, Threaded])
def test_keyboard_interrupt_comes_out_of_serve_forever(cls: Any) -> None:
    with made(hello, cls) as server:
        client = interrupt_after_a_request(server, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        client.join()
        background = Background(server.serve_forever)  # and nothing was left behind
        assert fetch(url(server)).body == b"hello"
        server.shutdown()
        background.join()


def test_keyboard_interrupt_in_the_application(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        signal.raise_signal(signal.SIGINT)
        return []

    with made(app) as server:
        client = Background(lambda: fetch(url(server)).status == 500)
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        client.join()


@pytest.mark.parametrize("cls", [WSGIServer, Threaded])
def test_what_a_signal_handler_raises_comes_out_too(cls: Any) -> None:
    class Stopped(Exception):
        pass

    def on_signal(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with made(hello, cls) as server:
            client = interrupt_after_a_request(server, signal.SIGUSR1)
            with pytest.raises(Stopped):
                server.serve_forever()
            client.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("cls", [WSGIServer, Threaded])
def test_a_signal_handler_may_call_shutdown(cls: Any) -> None:
    with made(hello, cls) as server:
        before = signal.signal(signal.SIGUSR1, lambda number, frame: server.shutdown())
        try:
            client = interrupt_after_a_request(server, signal.SIGUSR1)
            server.serve_forever()
            client.join()
        finally:
            signal.signal(signal.SIGUSR1, before)


# --- handle_request ---------------------------------------------------------------------------------------


def test_handle_request_answers_one_request_and_closes() -> None:
    with made() as server:
        for _ in range(3):
            response = answer_one(server)
            assert (response.status, response.body, response.closes) == (200, b"hello", True)


def test_handle_request_leaves_the_next_client_waiting() -> None:
    with made() as server, Client(url(server)) as one, Client(url(server)) as other:
        one.send(request())
        other.send(request())
        server.handle_request()
        assert one.read_response().body == b"hello"
        server.handle_request()
        assert other.read_response().body == b"hello"


@pytest.mark.parametrize("how", ["server.timeout", "socket.settimeout"])
def test_handle_request_gives_up_after_the_timeout(how: str) -> None:
    calls = []

    class Impatient(WSGIServer):
        def handle_timeout(self) -> None:
            calls.append(self)

    with made(hello, Impatient) as server:
        if how == "server.timeout":
            server.timeout = 0.01
        else:
            server.socket.settimeout(0.01)
        server.handle_request()
        assert calls == [server]
        assert answer_one(server).body == b"hello" if not server.timeout else True


def test_handle_request_with_threads_returns_while_the_application_runs() -> None:
    go = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            assert go.wait(TIMEOUT_S)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    with made(app, Threaded) as server, Client(url(server)) as slow, Client(url(server)) as quick:
        slow.send(request("/slow"))
        quick.send(request("/quick"))
        server.handle_request()
        server.handle_request()
        assert quick.read_response().body == b"/quick"
        go.set()
        assert slow.read_response().body == b"/slow"


def test_handle_request_refuses_what_is_no_http() -> None:
    with made() as server:
        assert answer_one(server, b"no HTTP\r\n\r\n").status == 400
        assert answer_one(server).body == b"hello"


# --- environ ----------------------------------------------------------------------------------------------


def environ_from(module: Any, **server_attributes: Any) -> dict[str, Any]:
    """What an application of a server of `module` is called with."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", TEXT)
        return [b"hello"]

    with module.make_server("127.0.0.1", 0, app, handler_class=type("Q", (Quiet, module.WSGIRequestHandler), {})) as server:
        background = Background(server.handle_request)
        fields = ("X-One: 1", "x-two: a", "Cookie: a=b", "Accept: */*")
        fetch(url(server), request("/a%20b/c?d=e%20f", *fields, version="HTTP/1.0"))
        background.join()
    return seen
