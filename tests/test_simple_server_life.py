"""How a server of `vivace.simple_server` is run and ended: shutdown, signals, handle_request."""

from __future__ import annotations

import signal
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING

import pytest

from simple import TEXT, Background, Quiet, answer_one, hello, made, serving, url
from vivace.simple_server import WSGIServer
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from typing import Any


class Threaded(ThreadingMixIn, WSGIServer):
    """The common idiom."""

    daemon_threads = True


# --- shutdown -------------------------------------------------------------------------------------------------


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
        start_response("200 OK", [*TEXT])
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
        start_response("200 OK", [*TEXT])
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
    class StoppedError(Exception):
        pass

    def on_signal(number: int, frame: Any) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with made(hello, cls) as server:
            client = interrupt_after_a_request(server, signal.SIGUSR1)
            with pytest.raises(StoppedError):
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
        start_response("200 OK", [*TEXT])
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
