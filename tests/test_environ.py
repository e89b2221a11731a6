"""environ: exactly what PEP 3333 and RFC 3875 say, nothing of the process's own, and each request has its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, app_of
from wire import Client, fetch, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Serve = Callable[..., vivace.background]


def seen(environ: dict[str, Any]) -> dict[str, Any]:
    """What JSON can show of `environ`."""
    shown: dict[str, Any] = {key: value for key, value in environ.items() if isinstance(value, str | bool | tuple)}
    shown["others"] = sorted(set(environ) - set(shown))
    return shown


def show_environ(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [json.dumps(seen(environ)).encode()]


def test_environ_has_exactly_what_it_should(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OS_ENVIRON", "must not be seen")
    with serve(show_environ) as server, Client(server) as client:
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/caf\xc3\xa9 /x",
            "QUERY_STRING": "q=%20+&r",
            "REQUEST_URI": "/caf%C3%A9%20/x?q=%20+&r",
            "RAW_URI": "/caf%C3%A9%20/x?q=%20+&r",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(server.port),
            "SERVER_SOFTWARE": f"vivace/{vivace.__version__}",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": str(client.port),
            "CONTENT_TYPE": "text/x",
            "CONTENT_LENGTH": "4",
            "HTTP_HOST": "h",
            "HTTP_X_ONE": "1",
            "wsgi.version": [1, 0],
            "wsgi.url_scheme": "http",
            "wsgi.multithread": server.server.plan.threads > 1,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "others": ["vivace.route", "wsgi.errors", "wsgi.file_wrapper", "wsgi.input"],
        }
        data = request("/caf%C3%A9%20/x?q=%20+&r", "X-One:  1 ", "Content-Type: text/x", method="POST", body=b"body")
        for _ in range(4):
            assert json.loads(client.send(data).read_response().body) == expected
    assert "FROM_OS_ENVIRON" in os.environ


def test_environ_of_http_1_0_without_a_body(serve: Serve) -> None:
    with serve(show_environ) as server:
        shown = json.loads(fetch(server, request("/", version="HTTP/1.0", host=None)).body)
    assert shown["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert (shown["QUERY_STRING"], shown["PATH_INFO"]) == ("", "/")
    assert not {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE"} & set(shown)


def test_environ_is_the_applications_to_change(serve_bare: Serve) -> None:
    """What one request does to its environ is not seen by the next, not even with the same head."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        shown = json.dumps(seen(environ)).encode()
        environ["EXTRA"] = environ["PATH_INFO"] = "changed"
        del environ["HTTP_HOST"], environ["wsgi.url_scheme"]
        start_response("200 OK", TEXT)
        return [shown]

    with serve_bare(app) as server, Client(server) as client:
        first, *others = [client.send(request("/x")).read_response().body for _ in range(8)]
    assert others == [first] * 7


def test_repeated_fields_are_joined(serve: Serve) -> None:
    """Cookie with "; " (RFC 9113 section 8.2.3), any other with a comma (RFC 9110 section 5.3)."""
    fields = ("Cookie: a=1", "X-List: 1", "Cookie: b=2", "X-List: 2", "Accept: x/y", "Cookie: c=3")
    with serve(show_environ) as server, Client(server) as client:
        for _ in range(3):
            shown = json.loads(client.send(request("/", *fields)).read_response().body)
            assert (shown["HTTP_COOKIE"], shown["HTTP_X_LIST"]) == ("a=1; b=2; c=3", "1, 2")


def test_names_with_underscores_are_dropped(serve: Serve) -> None:
    with serve(show_environ) as server:
        shown = json.loads(fetch(server, request("/", "X_Real_Ip: evil", "X-Real-Ip: good", "Content_Length: 5")).body)
    assert shown["HTTP_X_REAL_IP"] == "good"
    assert "CONTENT_LENGTH" not in shown
    assert "HTTP_CONTENT_LENGTH" not in shown


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("http://example.com:81/a%20b?q=1", "/a b", "q=1", "example.com:81"),
        ("HTTP://example.com?q=1", "/", "q=1", "example.com"),
        ("http://[::1]:80/", "/", "", "[::1]:80"),
        ("/plain//x/../y", "/plain//x/../y", "", "h"),
        ("//double/slash", "//double/slash", "", "h"),
        ("/a%2Fb%3Fc", "/a/b?c", "", "h"),
    ],
)
def test_request_targets(serve: Serve, target: str, path: str, query: str, host: str) -> None:
    """Absolute-form gives path, query and host (RFC 9112 section 3.2.2); a path is decoded once, not resolved."""
    with serve(show_environ) as server:
        shown = json.loads(fetch(server, target).body)
    assert (shown["PATH_INFO"], shown["QUERY_STRING"], shown["HTTP_HOST"]) == (path, query, host)


def test_asterisk_form(serve: Serve) -> None:
    with serve(show_environ) as server:
        shown = json.loads(fetch(server, request("*", method="OPTIONS"), "OPTIONS").body)
    assert (shown["REQUEST_METHOD"], shown["REQUEST_URI"]) == ("OPTIONS", "*")


def test_wsgi_errors_is_written_to(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write("from the application\n")
        environ["wsgi.errors"].flush()
        return app_of([b"x"])(environ, start_response)  # type: ignore[no-any-return]

    with serve(app) as server:
        fetch(server)
    assert "from the application" in capfd.readouterr().err
