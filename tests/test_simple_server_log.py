"""The log of `vivace.simple_server`: the standard module's lines, and the methods that a subclass overrides."""

from __future__ import annotations

import io
import re
import sys
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard

import pytest

from simple import TEXT, Quiet, answer_one, hello, made, serving
from vivace.simple_server import WSGIRequestHandler, WSGIServer
from vivace.simple_server.overrides import is_silent
from vivace.simple_server.request_log import BATCH_MAX, RequestLog
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from typing import Any

DATE = r"\[\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d\]"


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


servers = pytest.mark.parametrize("cls", [WSGIServer, Threaded])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@servers
def test_requests_are_logged_as_the_standard_module_does(cls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("404 Not Found" if environ["PATH_INFO"] == "/no" else "200 OK", [*TEXT])
        return [b"twelve bytes"]

    with serving(made(app, cls, handler_class=WSGIRequestHandler)) as address, Client(address) as client:
        client.send(request("/a%20b?c") + request("/no", method="POST", body=b"x"))
        client.read_responses(2)
    said = lines(capsys)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {DATE} "GET /a%20b\?c HTTP/1\.1" 200 12', said[0])
    assert re.fullmatch(rf'127\.0\.0\.1 - - {DATE} "POST /no HTTP/1\.1" 404 12', said[1])
    assert len(said) == 2


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As http.server escapes them: a terminal obeys control characters."""
    log = RequestLog()
    log.add("host", "a\nb \x1b[2J \x9b \\ \xe9")
    log.flush()
    assert lines(capsys)[0].endswith(r"a\x0ab \x1b[2J \x9b \\ " + "\xe9")


def test_many_lines_do_not_wait_for_the_tick(capsys: pytest.CaptureFixture[str]) -> None:
    log = RequestLog()
    for number in range(BATCH_MAX):
        log.add("host", str(number))
    assert len(lines(capsys)) == BATCH_MAX


def test_a_log_that_cannot_be_written_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    with serving(made(handler_class=WSGIRequestHandler)) as address:
        for stream in (closed, None):
            monkeypatch.setattr(sys, "stderr", stream)
            assert fetch(address).body == b"hello"


def test_the_log_comes_while_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with serving(made(handler_class=WSGIRequestHandler)) as address:
        fetch(address, "/here")
        until(lambda: '"GET /here HTTP/1.1" 200 5\n' in stream.getvalue())


def test_refusals_are_logged_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(made(handler_class=WSGIRequestHandler, body_bytes_max=3)) as address:
        assert fetch(address, b"GET / HTTP/1.1\r\n\r\n").status == 400
        assert fetch(address, request("/big", method="PUT", body=b"four")).status == 413
    first, second, third, fourth = (line.partition("] ")[2] for line in lines(capsys))
    assert first.startswith("code 400, message an HTTP/1.1 request needs a Host")
    assert second == '"" 400 -'
    assert third.startswith("code 413, message ")
    assert fourth == '"PUT /big HTTP/1.1" 413 -'


def test_handle_request_logs_before_it_returns(capsys: pytest.CaptureFixture[str]) -> None:
    with made(handler_class=WSGIRequestHandler) as server:
        answer_one(server, "/one")
        (line,) = lines(capsys)
        assert line.endswith('"GET /one HTTP/1.1" 200 5')


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """Switched off by a method that does nothing, and then not even called."""
    with serving(made()) as address:
        fetch(address)
        fetch(address, b"garbage\r\n\r\n")
    assert lines(capsys) == []


class Documented:
    def log(self, *args: Any) -> None:
        """Says nothing."""

    def constant(self, *args: Any) -> int:
        """Says something."""
        return 3


@pytest.mark.parametrize(
    ("function", "silent"),
    [
        (lambda *args, **keywords: None, True),
        (Documented.log, True),
        (Quiet.log_message, True),
        (staticmethod(Documented.log), True),
        (Documented.constant, False),
        (lambda *args: 3, False),
        (lambda self, *args: self, False),
        (print, False),
        (None, False),
        (WSGIRequestHandler.log_message, False),
    ],
)
def test_a_function_that_does_nothing_is_known_by_its_code(function: Any, silent: bool) -> None:
    assert is_silent(function) is silent


@servers
def test_log_message_finds_the_attributes_of_a_handler(cls: Any) -> None:
    seen: list[Any] = []

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            seen.append((format % args, self))

    with serving(made(hello, cls, handler_class=Handler)) as address, Client(address) as client:
        fields = ("User-Agent: me", "X-Two-Words: a", "Content-Type: a/b")
        client.send(request("/a?b", *fields, method="POST", body=b"abc")).read_response()
        client.send(request("/second")).read_response()
        port = client.port
    (first, handler), (second, other) = seen
    assert first == '"POST /a?b HTTP/1.1" 200 5'
    assert second == '"GET /second HTTP/1.1" 200 5'
    assert handler.client_address == handler.request.getpeername() == ("127.0.0.1", port)
    assert (handler.command, handler.path, handler.request_version) == ("POST", "/a?b", "HTTP/1.1")
    assert handler.requestline == "POST /a?b HTTP/1.1"
    assert handler.raw_requestline == b"POST /a?b HTTP/1.1\r\n"
    assert handler.server.get_app() is hello
    assert handler.address_string() == "127.0.0.1"
    assert handler.headers["user-agent"] == "me"
    assert dict(handler.headers) == {
        "Content-Type": "a/b",
        "Content-Length": "3",
        "Host": "h",
        "User-Agent": "me",
        "X-Two-Words": "a",
    }
    assert dict(other.headers) == {"Host": "h"}
    assert isinstance(handler, Handler)


def test_log_request_is_called_as_the_standard_module_does() -> None:
    seen = []

    class Handler(Quiet):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            seen.append((self.path, code, size))

    with serving(made(handler_class=Handler)) as address:
        fetch(address, "/x")
        fetch(address, request("/y", method="HEAD"), method="HEAD")
        fetch(address, b"garbage\r\n\r\n")
    assert seen == [("/x", "200", 5), ("/y", "200", 0), ("", 400, "-")]


def test_log_error_alone_costs_a_request_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = []

    class Handler(WSGIRequestHandler):
        def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
            handlers.append(self)

    with serving(made(handler_class=Handler)) as address:
        fetch(address, "/before")
        fetch(address, b"garbage\r\n\r\n")
        fetch(address, "/after")
    assert len(handlers) == 1
    assert [line.partition("] ")[2] for line in lines(capsys)] == [
        '"GET /before HTTP/1.1" 200 5',
        '"" 400 -',
        '"GET /after HTTP/1.1" 200 5',
    ]


def test_log_error_gets_refusals() -> None:
    seen = []

    class Handler(WSGIRequestHandler):
        def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
            seen.append(args[0])

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            seen.append(format % args)

    with serving(made(handler_class=Handler)) as address:
        fetch(address, b"garbage\r\n\r\n")
        fetch(address)
    assert seen == [400, '"" 400 -', '"GET / HTTP/1.1" 200 5']


def test_address_string_and_date_make_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(WSGIRequestHandler):
        def address_string(self) -> str:
            return "a name"

        def log_date_time_string(self) -> str:
            return "today"

    shown = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        shown.append(environ["REMOTE_HOST"])
        return hello(environ, start_response)

    with serving(made(app, handler_class=Handler)) as address:
        fetch(address)
    assert lines(capsys) == ['a name - - [today] "GET / HTTP/1.1" 200 5']
    asks = "address_string" in standard.WSGIRequestHandler.get_environ.__code__.co_names  # CPython up to 3.12
    assert shown == ["a name" if asks else ""]


def test_a_log_method_that_is_put_on_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(WSGIRequestHandler, "log_message", lambda self, form, *args: seen.append(form % args))
    with serving(made(handler_class=WSGIRequestHandler)) as address:
        fetch(address)
    assert seen == ['"GET / HTTP/1.1" 200 5']
