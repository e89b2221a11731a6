"""The contract of `wsgiref.simple_server`, kept by `vivace.simple_server`: names, threads, settings, environ."""

from __future__ import annotations

import inspect
import socket
import socketserver
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard
from wsgiref.validate import validator

import pytest

from simple import TEXT, Background, Quiet, hello, made, serving, url
from vivace import simple_server
from vivace.errors import SettingError
from vivace.simple_server import ServerHandler, WSGIServer, demo_app, make_server
from wire import TIMEOUT_S, Client, chunked, fetch, request

if TYPE_CHECKING:
    from typing import Any


class Threaded(ThreadingMixIn, WSGIServer):
    """The common idiom."""

    daemon_threads = True


# --- names ------------------------------------------------------------------------------------------------


def test_every_public_name_of_the_standard_module_is_there() -> None:
    """And the classes are subclasses, so that isinstance goes on to work."""
    assert sorted(simple_server.__all__) == sorted(standard.__all__)
    more = ["ServerHandler", "__version__", "server_version", "sys_version", "software_version"]
    for name in standard.__all__ + more:
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
        start_response("200 OK", [*TEXT])
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
        start_response("200 OK", [*TEXT])
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
        threads: Any = ("of", "their", "own")

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


# --- environ ----------------------------------------------------------------------------------------------


def environ_from(module: Any, **process_environ: str) -> dict[str, Any]:
    """What an application of a server of `module` is called with, for one and the same request."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [*TEXT])
        return [b"hello"]

    class Silent(module.WSGIRequestHandler):  # type: ignore[misc, name-defined]
        def log_message(self, *args: Any) -> None:
            pass

    with module.make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        server.base_environ["HTTP_X_BASE"] = "of the server"
        background = Background(server.handle_request)
        fields = ("X-One: 1", "x-two: a", "Cookie: a=b", "Accept: */*")
        fetch(url(server), request("/a%20b/%C3%A9?d=e%20f", *fields, version="HTTP/1.0"))
        background.join()
        assert seen.pop("SERVER_PORT") == str(server.server_port)
    return seen


MEANT = {
    "SERVER_SOFTWARE": "vivace's own name",
    "wsgi.input": "each its own",
    "wsgi.file_wrapper": "vivace's, which uses sendfile",
    "REQUEST_URI": "vivace adds it",
    "RAW_URI": "vivace adds it",
    "REMOTE_PORT": "vivace adds it",
    "vivace.route": "vivace adds it: what the request is counted under",
    "wsgi.input_terminated": "vivace adds it: the input ends where the body ends",
}
"""Where the environ differs from the standard one."""


def test_the_environ_is_that_of_the_standard_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard.ServerHandler, "os_environ", {"MINE": "a variable"})
    monkeypatch.setattr(ServerHandler, "os_environ", {"MINE": "a variable"})
    ours, theirs = environ_from(simple_server), environ_from(standard)
    assert {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)} == MEANT.keys()
    assert theirs.keys() <= ours.keys()
    assert ours["MINE"] == "a variable"
    assert ours["CONTENT_LENGTH"] == ours["REMOTE_HOST"] == ours["SCRIPT_NAME"] == ""
    assert ours["CONTENT_TYPE"] == "text/plain"
    assert ours["HTTP_X_BASE"] == "of the server"
    assert ours["SERVER_SOFTWARE"] == simple_server.server_version


def test_a_variable_of_the_process_cannot_pose_as_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2016-5385 ("httpoxy") is about that name."""
    monkeypatch.setattr(ServerHandler, "os_environ", {"HTTP_PROXY": "http://evil", "CONTENT_LENGTH": "3"})
    seen = environ_from(simple_server)
    assert "HTTP_PROXY" not in seen
    assert seen["CONTENT_LENGTH"] == ""


def app_that_shows(*keys: str) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [repr([environ.get(key) for key in keys]).encode()]

    return app


def test_base_environ_may_be_changed_before_serving() -> None:
    class Secure(WSGIServer):
        def setup_environ(self) -> None:
            super().setup_environ()
            self.base_environ["HTTPS"] = "on"

    server = made(app_that_shows("MINE", "HTTPS", "wsgi.url_scheme", "SCRIPT_NAME"), Secure)
    server.base_environ.update(MINE="x", SCRIPT_NAME="/mounted")
    with serving(server) as address:
        assert fetch(address).body == b"['x', 'on', 'https', '/mounted']"


def test_the_application_may_be_changed_while_serving() -> None:
    server = made()
    with serving(server) as address, Client(address) as client:
        for key, shown in (("PATH_INFO", b"['/']"), ("REQUEST_METHOD", b"['GET']")):
            server.set_app(app_that_shows(key))
            for _ in range(3):
                assert client.send(request()).read_response().body == shown


def test_bodies_are_read_to_their_end() -> None:
    """Without a look at CONTENT_LENGTH, and also if they come in chunks: the standard module hangs on both."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*TEXT])
        return [environ["CONTENT_LENGTH"].encode(), b" ", body]

    with serving(made(app)) as address, Client(address) as client:
        client.send(request(method="POST", body=b"hello"))
        assert client.read_response().body == b"5 hello"
        client.send(request("/", "Transfer-Encoding: chunked", method="POST") + chunked([b"in ", b"chunks"]))
        assert client.read_response().body == b"9 in chunks"


@pytest.mark.parametrize("cls", [WSGIServer, Threaded])
def test_demo_app_under_the_validator(cls: Any) -> None:
    with serving(made(validator(demo_app), cls)) as address, Client(address) as client:
        client.send(request("/?a=b") * 2)
        for response in client.read_responses(2):
            assert response.body.startswith(b"Hello world!\n\n")
            assert b"\nQUERY_STRING = 'a=b'\n" in response.body
            assert response.field("Server") == ServerHandler.server_software


def test_server_software_is_the_server_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerHandler, "server_software", "mine/1")
    with serving(made()) as address:
        assert fetch(address).field("Server") == "mine/1"


# --- addresses --------------------------------------------------------------------------------------------


def test_ipv6_by_address_family() -> None:
    class Six(WSGIServer):
        address_family = socket.AF_INET6

    seen = []

    class Handler(Quiet):
        def get_environ(self) -> dict[str, Any]:
            seen.append(self.client_address)
            return super().get_environ()

    try:
        server = make_server("::1", 0, app_that_shows("REMOTE_ADDR"), Six, Handler)
    except OSError:
        pytest.skip("this machine has no IPv6")
    background = Background(server.serve_forever)
    with socket.create_connection(server.server_address[:2]) as client:
        own = client.getsockname()
        client.sendall(request(version="HTTP/1.0"))
        assert b"['::1']" in client.makefile("rb").read()
    server.shutdown()
    background.join()
    server.server_close()
    assert seen == [own]


def test_a_unix_socket_by_server_bind(tmp_path: Any) -> None:
    class Unix(WSGIServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "localhost", 0
            self.setup_environ()

        def get_request(self) -> tuple[Any, Any]:
            client, _ = super().get_request()
            return client, ("a unix client", 0)

    server = Unix(str(tmp_path / "s"), Quiet)
    server.set_app(app_that_shows("SERVER_NAME", "REMOTE_ADDR"))
    background = Background(server.serve_forever)
    assert fetch(f"unix:{tmp_path / 's'}").body == b"['localhost', 'a unix client']"
    server.shutdown()
    background.join()
    server.server_close()


def test_the_backlog_is_the_class_s() -> None:
    assert WSGIServer.request_queue_size >= 128
    asked = []

    class Short(WSGIServer):
        request_queue_size = 3

        def server_activate(self) -> None:
            asked.append(self.request_queue_size)
            super().server_activate()

    with made(hello, Short) as server:
        assert server.why_classic() == []
    assert asked == [3]


def test_the_handler_s_timeout_is_that_of_the_connection() -> None:
    class Hasty(Quiet):
        timeout = 0.2

    with serving(made(handler_class=Hasty)) as address, Client(address) as client:
        client.send(b"GET / HT")
        assert client.read_response().status == 408
