"""Frameworks that subclass or call `wsgiref.simple_server`, pointed at vivace's module: they run, and by which path."""

from __future__ import annotations

import importlib.util
import socketserver
import sys
import wsgiref
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING

import pytest

from simple import Background, hello, serving, url
from vivace import simple_server
from vivace.simple_server import WSGIServer
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """`wsgiref.simple_server` is vivace's for the test."""
    monkeypatch.setitem(sys.modules, "wsgiref.simple_server", simple_server)
    monkeypatch.setattr(wsgiref, "simple_server", simple_server, raising=False)
    return monkeypatch


@pytest.mark.parametrize("threading_", [False, True], ids=["one", "threads"])
def test_django_runserver(patched: pytest.MonkeyPatch, threading_: bool) -> None:
    """It overrides `handle` (for keep-alive) and comes with its own ServerHandler: the classic path."""
    spec = importlib.util.find_spec("django.core.servers.basehttp")
    assert spec is not None
    assert spec.loader is not None
    basehttp: Any = importlib.util.module_from_spec(spec)  # a copy of this test's own
    spec.loader.exec_module(basehttp)
    servers: list[Any] = []

    class Kept(basehttp.WSGIServer):  # type: ignore[misc]
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            servers.append(self)

    background = Background(lambda: basehttp.run("127.0.0.1", 0, hello, threading=threading_, server_cls=Kept))
    (server,) = until(lambda: servers)
    until(lambda: server.get_app() is hello)
    with Client(url(server)) as client:
        for _ in range(2 if threading_ else 1):
            response = client.send(request()).read_response()
            assert (response.version, response.body, response.field("Server")) == ("1.1", b"hello", "vivace")
    assert issubclass(basehttp.WSGIServer, WSGIServer)
    assert "WSGIRequestHandler changes handle" in server.why_classic()
    server.shutdown()
    background.join()
    server.server_close()


def test_bottle(patched: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It overrides log_request and address_string: the loop."""
    import bottle

    app = bottle.Bottle()
    app.route("/<name>")(lambda name: f"hello {name}")
    adapter = bottle.WSGIRefServer(host="127.0.0.1", port=0)
    background = Background(adapter.run, app)
    until(lambda: hasattr(adapter, "srv"))
    assert adapter.srv.why_classic() == []
    with Client(url(adapter.srv)) as client:
        for name in ("one", "two"):
            assert client.send(request(f"/{name}")).read_response().body == f"hello {name}".encode()
    adapter.srv.shutdown()
    background.join()
    adapter.srv.server_close()
    assert capsys.readouterr().err.count("HTTP/1.1") == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:pkg_resources:UserWarning")  # Pyramid's own
def test_pyramid_pserve(patched: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`[server:main] use = egg:pyramid#wsgiref` calls make_server and serve_forever."""
    from pyramid.scripts import pserve

    made_servers: list[Any] = []
    make = simple_server.make_server
    patched.setattr(simple_server, "make_server", lambda *given: made_servers.append(make(*given)) or made_servers[0])
    background = Background(lambda: pserve.wsgiref_server_runner(hello, {}, host="127.0.0.1", port="0"))
    (server,) = until(lambda: made_servers)
    assert fetch(url(server)).body == b"hello"
    server.shutdown()
    background.join()
    server.server_close()


PROMETHEUS = """
class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format, *args):
        \"\"\"Log nothing.\"\"\"

class ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class TmpServer(ThreadingWSGIServer):
    pass

TmpServer.address_family = socketserver.socket.AF_INET
"""


def test_the_classes_of_prometheus_client(capsys: pytest.CaptureFixture[str]) -> None:
    """Its thread is never joined and its server mostly never closed; here both are."""
    names: dict[str, Any] = {**vars(simple_server), "ThreadingMixIn": ThreadingMixIn, "socketserver": socketserver}
    exec(PROMETHEUS, names)
    server = simple_server.make_server("127.0.0.1", 0, hello, names["TmpServer"], handler_class=names["_SilentHandler"])
    assert server.why_classic() == []
    with serving(server) as address:
        assert fetch(address).body == b"hello"
    assert capsys.readouterr().err == ""
