"""Methods that a subclass overrides and that vivace's loop calls: what they see, what becomes of what they raise."""

from __future__ import annotations

import io
import socket
import sys
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING

import pytest

from simple import TEXT, Background, Quiet, hello, made, serving, url
from vivace.simple_server import WSGIRequestHandler, WSGIServer, overrides
from wire import Client, chunked, fetch, request

if TYPE_CHECKING:
    from typing import Any

DATE = r"\[\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d\]"


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


servers = pytest.mark.parametrize("cls", [WSGIServer, Threaded])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


# --- the environ ------------------------------------------------------------------------------------------


@servers
def test_get_environ_gives_what_the_application_gets(cls: Any) -> None:
    class Handler(Quiet):
        def get_environ(self) -> dict[str, Any]:
            environ = super().get_environ()
            del environ["CONTENT_TYPE"], environ["HTTP_X_SECRET"]
            environ["MINE"] = self.headers["X-Secret"] + self.path
            environ["HTTPS"] = "on"
            return environ

    keys = ("MINE", "CONTENT_TYPE", "HTTP_X_SECRET", "HTTP_HOST", "wsgi.url_scheme", "SERVER_SOFTWARE")
    more = ("CONTENT_LENGTH", "PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SERVER_PROTOCOL", "REMOTE_ADDR")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [repr([environ.get(key) for key in keys + more]).encode(), environ["wsgi.input"].read()]

    Handler.server_version = "named"
    with serving(made(app, cls, handler_class=Handler)) as address, Client(address) as client:
        data = request("/p%20q?r", "X-Secret: s", "Transfer-Encoding: chunked", method="POST") + chunked([b"body"])
        body = client.send(data).read_response().body
    expected = ["s/p%20q?r", None, None, "h", "https", "named"]
    expected += ["4", "/p q", "r", "POST", "HTTP/1.1", "127.0.0.1"]
    assert body == repr(expected).encode() + b"body"


def test_get_stderr_is_wsgi_errors() -> None:
    stream = io.StringIO()

    class Handler(Quiet):
        def get_stderr(self) -> io.StringIO:
            return stream

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write("said\n")
        raise ValueError("mine")

    with serving(made(app, handler_class=Handler)) as address:
        assert fetch(address).status == 500
    assert stream.getvalue().startswith("said\n")
    assert "ValueError: mine" in stream.getvalue()


def test_wsgi_errors_is_the_stderr_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write(environ["PATH_INFO"])
        return hello(environ, start_response)

    with serving(made(app)) as address:
        for target in ("/one", "/two"):
            stream = io.StringIO()
            monkeypatch.setattr(sys, "stderr", stream)
            fetch(address, target)
            assert stream.getvalue() == target


def test_get_app_is_asked_for_each_request() -> None:
    class Fresh(WSGIServer):
        count = 0

        def get_app(self) -> Any:
            self.count += 1
            body = str(self.count).encode()
            return lambda environ, start_response: start_response("200 OK", [*TEXT]) and [body]

    with serving(made(None, Fresh)) as address, Client(address) as client:
        client.send(request() * 3)
        assert [response.body for response in client.read_responses(3)] == [b"1", b"2", b"3"]


# --- connections ------------------------------------------------------------------------------------------


@servers
def test_verify_request_turns_clients_away(cls: Any) -> None:
    class Picky(cls):  # type: ignore[misc]
        def verify_request(self, client: socket.socket, client_address: Any) -> bool:
            assert client.getpeername() == client_address
            return client_address[1] not in unwanted

    unwanted: set[int] = set()
    with serving(made(hello, Picky)) as address:
        assert fetch(address).body == b"hello"
        with socket.socket() as refused:
            refused.bind(("127.0.0.1", 0))
            unwanted.add(refused.getsockname()[1])
            refused.connect(("127.0.0.1", int(address.rpartition(":")[2])))
            assert refused.recv(1) == b""
        assert fetch(address).body == b"hello"


def test_get_request_may_name_the_client() -> None:
    class Named(WSGIServer):
        def get_request(self) -> tuple[Any, Any]:
            client, _ = super().get_request()
            return client, ("somebody", 7)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [environ["REMOTE_ADDR"].encode(), environ["REMOTE_PORT"].encode()]

    with serving(made(app, Named)) as address:
        assert fetch(address).body == b"somebody7"


# --- what they raise --------------------------------------------------------------------------------------


class Told(WSGIServer):
    """Keeps what handle_error is told."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.told: list[Any] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.told.append((sys.exc_info()[1], client_address, request.getpeername()))


@pytest.mark.parametrize("method", ["get_environ", "get_stderr", "log_request", "log_message", "log_error"])
def test_what_a_handler_raises_goes_to_handle_error(method: str) -> None:
    def fails(self: Any, *args: Any) -> Any:
        raise LookupError(method)

    server = made(hello, Told, handler_class=type("Handler", (WSGIRequestHandler,), {method: fails}))
    with serving(server) as address:
        status = fetch(address, b"garbage\r\n\r\n" if method == "log_error" else "/").status
    assert status == {"log_error": 400, "log_request": 200, "log_message": 200}.get(method, 500)
    (error, client_address, again) = server.told[0]
    assert isinstance(error, LookupError)
    assert client_address == again
    assert client_address[0] == "127.0.0.1"


def test_what_the_application_raises_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError("the application's")

    server = made(app, Told)
    with serving(server) as address:
        assert fetch(address).status == 500
    assert server.told == []
    assert "LookupError: the application's" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["service_actions", "get_request", "verify_request", "handle_error"])
def test_what_a_server_raises_ends_serve_forever(method: str) -> None:
    def fails(self: Any, *args: Any) -> Any:
        raise LookupError(method)

    class Handler(Quiet):
        def get_environ(self) -> dict[str, Any]:
            raise ValueError

    cls = type("Failing", (WSGIServer,), {method: fails})
    with made(hello, cls, handler_class=Handler) as server:
        background = Background(server.serve_forever, 0.01)
        with Client(url(server)) as client:
            client.send(request())
            with pytest.raises(LookupError, match=method):
                background.join()


@pytest.mark.parametrize("method", ["get_environ", "log_request"])
def test_what_handle_error_raises_does_not_end_a_server_with_threads(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Any, *args: Any) -> Any:
        raise LookupError(type(self).__name__)

    cls = type("Failing", (Threaded,), {"handle_error": fails})
    with serving(made(hello, cls, handler_class=type("Handler", (Quiet,), {method: fails}))) as address:
        assert [fetch(address).status for _ in range(2)] == [500 if method == "get_environ" else 200] * 2
    assert capsys.readouterr().err.count("LookupError: Failing") == 2


# --- service_actions --------------------------------------------------------------------------------------


@servers
def test_service_actions_are_called_while_nothing_happens(cls: Any) -> None:
    calls = threading.Semaphore(0)

    class Busy(cls):  # type: ignore[misc]
        def service_actions(self) -> None:
            calls.release()

    with serving(made(hello, Busy), 0.01) as address:
        for _ in range(3):
            assert calls.acquire(timeout=10)
        assert fetch(address).body == b"hello"
        for _ in range(3):
            assert calls.acquire(timeout=10)


# --- the table --------------------------------------------------------------------------------------------


def test_the_page_names_every_member_that_may_be_overridden() -> None:
    from pathlib import Path

    page = (Path(__file__).parent.parent / "docs" / "simple_server.md").read_text()
    for name in [*overrides.SERVER, *overrides.HANDLER, *overrides.SERVER_HANDLER]:
        assert f"`{name}`" in page, name


def test_the_tables_name_members_that_there_are() -> None:
    for cls, table in ((Threaded, overrides.SERVER), (WSGIRequestHandler, overrides.HANDLER)):
        assert [name for name in table if not hasattr(cls, name)] == []
