"""connection.redirect: everybody who comes without TLS is sent on to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from certs import Authority, SecureClient
from vivace.connection.redirect import location_of
from wire import CLOSED, Client, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytestmark = pytest.mark.usefixtures("no_fault")


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [environ["wsgi.url_scheme"].encode()]


@pytest.fixture(params=[1, 8], ids=["1 thread", "8 threads"])
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[vivace.background]:
    pair = authority.issue("localhost")
    options: Any = {**pair.settings, "https_redirect": "127.0.0.1:0", "threads": request.param}
    with vivace.background(app, **options) as running:
        yield running


def plain_url(server: vivace.background) -> str:
    return server.server.addresses[1].partition(" ")[0]


def asked(server: vivace.background, data: bytes) -> Any:
    with Client(plain_url(server)) as client:
        response = client.send(data).read_response()
        assert client.rest() == (b"", CLOSED)
        return response


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("host", ["shop.test", "shop.test:8080", "[::1]:80"])
def test_the_same_host_and_target_at_the_port_of_tls(server: vivace.background, method: str, host: str) -> None:
    response = asked(server, request("/a%20b?c=d&e", method=method, host=host))
    name = host.removesuffix(":8080").removesuffix(":80")
    assert response.status == 308
    assert response.field("Location") == f"https://{name}:{server.port}/a%20b?c=d&e"
    assert (response.body, response.closes) == (b"", True)


@pytest.mark.parametrize(
    ("host", "target", "port", "location"),
    [
        ("a.test", "/", "443", "https://a.test/"),
        ("a.test:80", "/x", "443", "https://a.test/x"),
        ("a.test:", "/x", "8443", "https://a.test:8443/x"),
        ("[2001:db8::1]", "/", "443", "https://[2001:db8::1]/"),
        ("[2001:db8::1]:80", "/", "8443", "https://[2001:db8::1]:8443/"),
        ("a.test", "*", "443", "https://a.test"),
        ("a.test", "//evil.test/", "443", "https://a.test//evil.test/"),
    ],
)
def test_location_of(host: str, target: str, port: str, location: str) -> None:
    assert location_of(host, target, port) == location


def test_absolute_form(server: vivace.background) -> None:
    response = asked(server, request("http://other.test:80/x"))
    assert response.field("Location") == f"https://other.test:{server.port}/x"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(host=None), 400),
        (request(host=None, version="HTTP/1.0"), 400),
        (request(host="a b"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (request("/" + "x" * 20_000), 414),
    ],
)
def test_what_leads_nowhere(server: vivace.background, data: bytes, status: int) -> None:
    response = asked(server, data)
    assert (response.status, response.closes) == (status, True)
    assert response.field("Location") is None


def test_a_request_that_comes_byte_by_byte_with_an_empty_line_before(server: vivace.background) -> None:
    with Client(plain_url(server)) as client:
        response = client.send_slowly(b"\r\n" + request("/slow", "X-Field: value")).read_response()
    assert response.field("Location") == f"https://h:{server.port}/slow"


def test_a_client_that_follows(server: vivace.background, authority: Authority) -> None:
    location = asked(server, request(host="localhost")).field("Location")
    assert location == f"https://localhost:{server.port}/"
    with SecureClient(server, authority.client()) as client:
        assert client.send(request()).read_response().body == b"https"


def test_it_answers_while_every_thread_is_busy(authority: Authority) -> None:
    go = threading.Event()

    def waits(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        go.wait(10)
        return app(environ, start_response)

    options: Any = {**authority.issue("localhost").settings, "https_redirect": "127.0.0.1:0", "threads": 2}
    with vivace.background(waits, **options) as server, Client(plain_url(server)) as plain:
        clients = [SecureClient(server, authority.client()).send(request()) for _ in range(3)]
        assert plain.send(request()).read_response().status == 308
        go.set()
        for client in clients:
            with client:
                assert client.read_response().body == b"https"


def test_it_is_counted_and_nobody_stays(server: vivace.background) -> None:
    for _ in range(3):
        asked(server, request())
    counts = server.server.loop.closed.snapshot
    until(lambda: counts()["redirected"] == 3)
    with Client(plain_url(server)):
        pass
    until(lambda: counts()["handshake"] == 1)


def test_who_says_nothing_is_cut_off(authority: Authority) -> None:
    options: Any = {**authority.issue("localhost").settings, "https_redirect": "127.0.0.1:0", "head_timeout": 0.2}
    with vivace.background(app, **options) as server, Client(plain_url(server)) as client:
        assert client.send(b"GET / HT").has_ended()
        assert server.server.loop.closed.snapshot()["handshake_timeout"] == 1
