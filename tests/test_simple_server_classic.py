"""The classic path: what a subclass does that vivace's loop does not know is left to the standard library's code."""

from __future__ import annotations

import functools
import os
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard

import pytest

from simple import Background, Quiet, answer_one, hello, made, serving, url
from vivace import simple_server
from vivace.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer
from wire import TIMEOUT_S, Client, fetch, request

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHxnYkJLI1a9hppJx
cYbBS26PwYjYhmbStywmd/21veihRANCAATp3+Xl6QQryvJJO5yGzWsJwLBV/hFs
F+eoy5AMYgNKzMVy6TAAnkR5IJfhcOLWSr/Pr/kC3oT9SWZPVxIKt9OA
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIULE18WsG+9iCWVBG3rNJpOOyM1HwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjEwNDcwMloYDzIxMjYxMDI5
MTA0NzAyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATp3+Xl6QQryvJJO5yGzWsJwLBV/hFsF+eoy5AMYgNKzMVy6TAAnkR5
IJfhcOLWSr/Pr/kC3oT9SWZPVxIKt9OAo28wbTAdBgNVHQ4EFgQUKLvpO29PobX7
OzZ4ypLJli9zxLQwHwYDVR0jBBgwFoAUKLvpO29PobX7OzZ4ypLJli9zxLQwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAIYexWjrXIpDOvm9ry34NaqcVkoMqI4Vg0OBoD8p/maeAiAe
K48hyYgjbbehhoF+etQQDAnGqk8lYtez/39++SjGoA==
-----END CERTIFICATE-----
"""
"""Made for this test, of localhost; it guards nothing."""


def nothing(self: Any, *args: Any, **keywords: Any) -> None:
    """Stands for any override."""


# --- which path -------------------------------------------------------------------------------------------


SERVER_METHODS = ["process_request", "finish_request", "shutdown_request", "close_request", "fileno"]
HANDLER_METHODS = ["handle", "handle_one_request", "parse_request", "send_error", "setup", "finish", "__init__"]
HANDLER_VALUES = ["error_message_format", "error_content_type", "MessageClass", "responses", "default_request_version"]


@pytest.mark.parametrize("name", SERVER_METHODS)
def test_a_server_class_that_changes_more_takes_the_classic_path(name: str) -> None:
    with made(hello, type("Own", (WSGIServer,), {name: nothing})) as server:
        assert server.why_classic() == [f"Own changes {name}"]
    with made(hello, type("Own", (ThreadingMixIn, WSGIServer), {name: nothing})) as server:
        assert server.why_classic() == [f"Own changes {name}"]


@pytest.mark.parametrize("name", HANDLER_METHODS + HANDLER_VALUES)
def test_a_handler_class_that_changes_more_takes_the_classic_path(name: str) -> None:
    with made(handler_class=type("Own", (WSGIRequestHandler,), {name: nothing})) as server:
        assert server.why_classic() == [f"Own changes {name}"]


def test_a_class_that_changes_what_is_in_the_tables_does_not() -> None:
    values = dict.fromkeys((*simple_server.overrides.SERVER, "helper", "do_GET"), nothing)
    cls = type("Own", (WSGIServer,), {**values, "address_family": 2, "request_queue_size": 5, "vivace_settings": {}})
    cls.server_bind, cls.server_close = WSGIServer.server_bind, WSGIServer.server_close  # type: ignore[attr-defined]
    handler = type("Handler", (WSGIRequestHandler,), dict.fromkeys(simple_server.overrides.HANDLER, nothing))
    with cls(("127.0.0.1", 0), handler) as server:
        assert server.why_classic() == []


def test_methods_set_on_the_object_count() -> None:
    with made() as server:
        server.handle_error = nothing
        server.helper = nothing
        assert server.why_classic() == []
        server.process_request = nothing
        assert server.why_classic() == ["WSGIServer changes process_request"]
        del server.process_request
        assert server.why_classic() == []


def test_attributes_replaced_on_the_classes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(handler_class=WSGIRequestHandler) as server:
        assert server.why_classic() == []
        monkeypatch.setattr(BaseHTTPRequestHandler, "parse_request", nothing)
        assert server.why_classic() == ["WSGIRequestHandler changes parse_request"]
        monkeypatch.undo()
        assert server.why_classic() == []
        monkeypatch.setattr(ServerHandler, "http_version", "1.1", raising=False)
        assert server.why_classic() == ["ServerHandler changes http_version"]
        monkeypatch.undo()
        monkeypatch.setattr(simple_server, "ServerHandler", type("Own", (ServerHandler,), {"error_output": nothing}))
        assert server.why_classic() == ["Own changes error_output"]


def test_the_standard_handler_class_is_served_by_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(made(handler_class=standard.WSGIRequestHandler)) as address, Client(address) as client:
        client.send(request() * 2)
        assert [response.body for response in client.read_responses(2)] == [b"hello"] * 2
    assert capsys.readouterr().err.count('"GET / HTTP/1.1" 200 5\n') == 2


# --- what it does -----------------------------------------------------------------------------------------


class Handles(Quiet):
    """As pytest-httpbin and Django write it: a copy of `handle`."""

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.parse_request():
            return
        handler: Any = ServerHandler(self.rfile, self.wfile, self.get_stderr(), self.get_environ())  # type: ignore[arg-type]
        handler.request_handler = self
        handler.run(self.server.get_app())  # type: ignore[attr-defined]


class Answers(BaseHTTPRequestHandler):
    """No WSGI at all."""

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")


@pytest.mark.parametrize("handler", [Handles, Answers, functools.partial(Quiet)], ids=["handle", "do_GET", "partial"])
@pytest.mark.parametrize("cls", [WSGIServer, type("Threaded", (ThreadingMixIn, WSGIServer), {})])
def test_handlers_of_other_kinds(cls: Any, handler: Any) -> None:
    server = made(hello, cls, handler_class=handler)
    assert len(server.why_classic()) == 1
    assert answer_one(server).body == b"hello"
    with serving(server, 0.01) as address:
        for _ in range(2):
            response = fetch(address)
            assert (response.version, response.body) == ("1.0", b"hello")
            assert Handles is not handler or response.field("Server") == "vivace"


def test_request_line_too_long() -> None:
    class Classic(Quiet):
        error_content_type = "text/plain"

    with serving(made(handler_class=Classic), 0.01) as address:
        assert fetch(address, b"GET /" + 66000 * b"x" + b" HTTP/1.0\r\n\r\n").status == 414


def test_an_own_pool_of_threads() -> None:
    both = threading.Barrier(2, timeout=TIMEOUT_S)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        both.wait()
        return hello(environ, start_response)

    class Pooled(ThreadingMixIn, WSGIServer):
        pool = ThreadPoolExecutor(2)

        def process_request(self, request: Any, client_address: Any) -> None:
            self.pool.submit(self.process_request_thread, request, client_address)

    with serving(made(app, Pooled), 0.01) as address, Client(address) as one, Client(address) as other:
        one.send(request())
        other.send(request())
        assert one.read_response().body == other.read_response().body == b"hello"
    Pooled.pool.shutdown()


def test_settings_that_have_no_effect_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(made(handler_class=Handles, threads=3), 0.01) as address:
        assert fetch(address).body == b"hello"
    assert "settings of vivace have no effect, because Handles changes handle" in capsys.readouterr().err


def test_the_application_may_stop_its_own_server() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        server.shutdown()
        return hello(environ, start_response)

    with made(app, handler_class=Handles) as server:
        background = Background(server.serve_forever)
        assert fetch(url(server)).body == b"hello"
        background.join()


def test_a_mixin_in_the_wrong_place_has_no_effect() -> None:
    """As in the standard module: `process_request` is that of the server class."""

    class Wrong(WSGIServer, ThreadingMixIn):
        pass

    threads = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        threads.append(threading.current_thread())
        assert environ["wsgi.multithread"] is False
        return hello(environ, start_response)

    with made(app, Wrong) as server:
        background = Background(server.serve_forever)
        assert fetch(url(server)).body == b"hello"
        server.shutdown()
        background.join()
        assert threads == [background.thread]


def test_service_actions_and_what_they_raise() -> None:
    calls = threading.Semaphore(0)

    class Serves(WSGIServer):
        def service_actions(self) -> None:
            calls.release()
            if self.fails:
                raise LookupError

        fails = False

    with made(hello, Serves, handler_class=Handles) as server:
        background = Background(server.serve_forever, 0.01)
        assert calls.acquire(timeout=TIMEOUT_S)
        server.fails = True
        with pytest.raises(LookupError):
            background.join()


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server and for a client that trusts it."""
    (tmp_path / "pem").write_text(CERTIFICATE)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


def fetch_by_tls(address: str, context: ssl.SSLContext) -> bytes:
    with Client(address) as client:
        client.socket = context.wrap_socket(client.socket)
        return client.send(request()).read_response().body


@pytest.mark.parametrize("cls", [WSGIServer, type("Threaded", (ThreadingMixIn, WSGIServer), {"daemon_threads": True})])
def test_a_listening_socket_wrapped_in_tls(cls: Any, contexts: Any) -> None:
    server = made(hello, cls)
    server.socket = contexts[0].wrap_socket(server.socket, server_side=True)
    assert server.why_classic() == [f"{cls.__name__}.socket is a SSLSocket"]
    with serving(server, 0.01) as address:
        assert [fetch_by_tls(address, contexts[1]) for _ in range(2)] == [b"hello"] * 2


@pytest.mark.parametrize("how", ["serve_forever", "handle_request"])
def test_accepted_sockets_wrapped_in_tls(how: str, contexts: Any) -> None:
    """The loop takes plain sockets; each other one is served by the classic path, in the same server."""

    class Wraps(WSGIServer):
        plain = False

        def get_request(self) -> tuple[Any, Any]:
            client, address = super().get_request()
            return client if self.plain else contexts[0].wrap_socket(client, server_side=True), address

    server = made(hello, Wraps)
    assert server.why_classic() == []
    if how == "handle_request":
        with server:
            background = Background(server.handle_request)
            assert fetch_by_tls(url(server), contexts[1]) == b"hello"
            background.join()
        return
    with serving(server) as address:
        assert fetch_by_tls(address, contexts[1]) == b"hello"
        server.plain = True
        assert fetch(address).body == b"hello"


def test_what_fails_on_an_accepted_socket_of_another_kind_goes_to_handle_error(contexts: Any) -> None:
    told = []

    class Wraps(WSGIServer):
        def get_request(self) -> tuple[Any, Any]:
            client, address = super().get_request()
            wrapped = contexts[0].wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            return wrapped, address

        def handle_error(self, request: Any, client_address: Any) -> None:
            told.append(sys.exc_info()[0])

    with serving(made(hello, Wraps)) as address:
        with Client(address) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n").rest()
        assert fetch_by_tls(address, contexts[1]) == b"hello"
    assert told == [ssl.SSLError]


# --- forks ------------------------------------------------------------------------------------------------


FORKING = """
import os, sys
from socketserver import ForkingMixIn
from vivace.simple_server import make_server, WSGIServer

class Forking(ForkingMixIn, WSGIServer):
    pass

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid() != parent} {os.getppid() == parent}".encode()]

parent = os.getpid()
with make_server("127.0.0.1", 0, app, Forking) as server:
    print(server.server_port, server.why_classic(), flush=True)
    server.handle_request()
    server.handle_request()
"""


def run_script(source: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python of its own, warnings being errors there as well."""
    search = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_forking_mixin() -> None:
    with run_script(FORKING) as script:
        assert script.stdout is not None
        port, _, reasons = script.stdout.readline().partition(" ")
        assert "Forking changes process_request" in reasons
        for _ in range(2):
            assert fetch(f"http://127.0.0.1:{port}").body == b"True True"
        assert script.wait(TIMEOUT_S) == 0
