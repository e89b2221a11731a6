"""connection.proxied: the PROXY protocol over real connections; who may speak it, what follows it, what ends it."""

from __future__ import annotations

import json
import ssl
import sys
from typing import TYPE_CHECKING, ClassVar

import pytest

import vivace
from proxy_client import From, show
from proxy_headers import LOCAL, SSL, UNIX, UNSPEC, binary, line, summed, tlv
from vivace.config.load import from_keywords
from vivace.connection.connection import Connection
from vivace.connection.filters import opened
from vivace.errors import PeerGone
from vivace.worker.proxies import arrange
from wire import Client, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from conftest import Serve

GET = request()
TLS = tlv(SSL, b"\x01" + bytes(4))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux")


@pytest.fixture
def serve_proxied(serve_bare: Serve) -> Serve:
    """Servers that demand a header, of 127.0.0.1."""
    return lambda app=show, **settings: serve_bare(
        app, **{"proxy_protocol": True, "trusted_proxies": "127.0.0.1", **settings}
    )


def closes(server: vivace.background, reason: str, count: int = 1) -> None:
    """Waits until so many connections have closed for this reason."""
    loop = server.server.loop
    until(lambda: loop.closed.snapshot()[reason] == count, what=f"{reason}: {loop.closed.snapshot()}")


@pytest.mark.parametrize(
    ("header", "client_"),
    [
        (line(), ("192.0.2.1", "5000")),
        (line("2001:DB8::1", family="TCP6", to="::1"), ("2001:db8::1", "5000")),
        (binary("2001:db8::1", 4711), ("2001:db8::1", "4711")),
        (summed("192.0.2.7", TLS), ("192.0.2.7", "5000")),
        (binary("/run/app.sock", family=UNIX), ("", "")),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_the_client_is_the_one_of_the_header(serve_proxied: Serve, header: bytes, client_: tuple[str, str]) -> None:
    """In one segment with the request, before it, and byte by byte; for as long as the connection lasts."""
    with serve_proxied() as server:
        for pieces in (
            [header + GET],
            [header, GET],
            [bytes([byte]) for byte in header + GET],
            [header + GET[:9], GET[9:]],
        ):
            with From(server) as client:
                for piece in pieces[:-1]:
                    client.send(piece)
                told = client.told(pieces[-1])
                for _ in range(4):
                    assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == client_
                    told = client.told()
                client.send(GET + GET)
                assert len(client.read_responses(2)) == 2


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", binary(command=LOCAL, family=UNSPEC), binary(command=LOCAL), binary(family=UNSPEC)],
    ids=repr,
)
def test_a_health_check_of_the_proxy_s_own(serve_proxied: Serve, header: bytes) -> None:
    """It has no client: it is served, with the proxy's address, and the proxy's fields are believed."""
    with serve_proxied() as server, From(server) as client:
        told = client.told(header + GET)
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))
        assert client.told(request("/", "X-Forwarded-For: 192.0.2.9"))["REMOTE_ADDR"] == "192.0.2.9"


def test_fields_are_judged_by_the_client_of_the_header(serve_proxied: Serve) -> None:
    """A balancer passes on bytes that it has not read: the fields are the client's own, unless that is a proxy."""
    data = request("/", "X-Forwarded-For: 192.0.2.66", "X-Forwarded-Proto: https")
    with serve_proxied(trusted_proxies=("127.0.0.1", "10.0.0.0/8")) as server:
        with From(server) as client:
            for number in range(3):
                told = client.told((b"" if number else line("192.0.2.1")) + data)
                assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("192.0.2.1", "http")
                assert "HTTP_X_FORWARDED_FOR" not in told
        with From(server) as proxy:
            told = proxy.told(line("10.0.0.2") + data)
            assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"], told["vivace.peer"]) == (
                *("192.0.2.66", "https"),
                "10.0.0.2",
            )


@pytest.mark.parametrize("client_", ["192.0.2.1", "127.0.0.1"])
def test_tls_of_the_balancer(serve_proxied: Serve, client_: str) -> None:
    """PP2_TYPE_SSL: the client spoke TLS, which ended at the proxy (HAProxy: send-proxy-v2-ssl)."""
    with serve_proxied() as server:
        for header, scheme in ((binary(client_, tlvs=TLS), "https"), (binary(client_), "http")):
            with From(server) as client:
                for _ in range(3):
                    assert client.told(header + GET)["wsgi.url_scheme"] == scheme
                    header = b""


def test_the_log_shows_the_client(serve_proxied: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_proxied(access_log=True) as server:
        with From(server) as client:
            client.told(line() + GET)
            client.send(b"rubbish\r\n\r\n").read_response()
        with From(server) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n").read_response()
    lines = capsys.readouterr().out.splitlines()
    assert [said.split(" ", 1)[0] for said in lines] == ["192.0.2.1", "192.0.2.1", "127.0.0.1"]


# Who may not, and what may not.


def test_nobody_else_may_say_who_he_is(serve_proxied: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """No answer; a counter; and one warning."""
    with serve_proxied(trusted_proxies="127.0.0.9") as server:
        for data in (line() + GET, binary() + GET, GET, b"P"):
            with From(server) as client:
                assert client.send(data).has_ended()
        closes(server, "untrusted", 4)
        with From(server, "127.0.0.9") as proxy:
            assert proxy.told(line() + GET)["REMOTE_ADDR"] == "192.0.2.1"
    assert capsys.readouterr().err.count("a connection from 127.0.0.1 was closed: proxy_protocol is on") == 1


@pytest.mark.parametrize(
    "data",
    [
        GET,
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 192.0.2.1\r\n" + GET,
        b"PROXY TCP4 " + b"1" * 200,
        binary(tlvs=b"\0") + GET,
        summed()[:-1] + b"\0" + GET,
        b"\r\n" + line() + GET,
        b" ",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_a_wrong_header_is_refused(serve_proxied: Serve, data: bytes) -> None:
    with serve_proxied() as server:
        with From(server) as client:
            response = client.send(data).read_response()
            assert (response.status, response.closes) == (400, True)
            assert b"PROXY" in response.body
            assert client.has_ended()
        closes(server, "refused")


def test_a_second_header_is_no_request(serve_proxied: Serve) -> None:
    with serve_proxied() as server, From(server) as client:
        assert client.send(line() + line("192.0.2.2") + GET).read_response().status == 400


def test_a_header_has_a_deadline_of_its_own(serve_proxied: Serve) -> None:
    with serve_proxied(proxy_protocol_timeout=0.1) as server:
        with From(server) as first, From(server) as second, From(server) as third:
            second.send(line()[:20])
            third.send(binary()[:-1])
            assert all(client.has_ended() for client in (first, second, third))
        closes(server, "handshake_timeout", 3)
        with From(server) as client:
            assert client.told(line() + GET)["REMOTE_ADDR"] == "192.0.2.1"


def test_after_the_header_the_head_has_its_own_time(serve_proxied: Serve) -> None:
    with serve_proxied(head_timeout=0.1) as server:
        with From(server) as client:
            assert client.send(line()).has_ended()
        closes(server, "keepalive_timeout")


def test_a_balancer_that_only_knocks(serve_proxied: Serve) -> None:
    """A TCP check connects and leaves."""
    with serve_proxied() as server:
        for data in (b"", line()[:9]):
            with From(server) as client:
                client.send(data)
                client.finish_sending()
                assert client.has_ended()
        closes(server, "handshake", 2)


def test_stopping_while_a_header_is_due(serve_proxied: Serve) -> None:
    """It is waited for, for a moment, as a first request is."""
    with serve_proxied() as server, From(server) as slow, From(server) as client:
        until(lambda: len(server.server.loop.conns) == 2)
        slow.send(line()[:9])
        server.server.stop()
        told = client.send(line() + GET).read_response()
        assert json.loads(told.body)["REMOTE_ADDR"] == "192.0.2.1"
        assert slow.has_ended()


def test_a_unix_socket(serve_proxied: Serve, tmp_path: Path) -> None:
    with serve_proxied(bind=f"unix:{tmp_path}/app.sock", trusted_proxies="unix") as server:
        for header, address in ((line(), "192.0.2.1"), (binary(command=LOCAL), "")):
            with Client(server) as client:
                told = json.loads(client.send(header + GET).read_response().body)
                assert told["REMOTE_ADDR"] == address


def test_a_body_behind_the_header(serve_proxied: Serve) -> None:
    with serve_proxied() as server, From(server) as client:
        told = client.told(line() + request("/", method="POST", body=b"12345"))
        assert (told["REMOTE_ADDR"], told["size"]) == ("192.0.2.1", 5)


def test_a_connection_with_a_header_is_not_passed_on_to_a_sibling(serve_proxied: Serve) -> None:
    """The header has been read: a sibling would wait for another one, and take the proxy for the client."""

    class Sibling:
        def lightest(self) -> int:
            raise AssertionError("it was about to go")

    with serve_proxied() as server, From(server) as client:
        client.told(line() + GET)
        loop = server.server.loop
        [conn] = loop.conns.values()
        loop.acceptor._siblings = Sibling()  # type: ignore[assignment]
        assert loop.acceptor.let_go(conn) is False
        loop.acceptor._siblings = None
        client.told()


# Another filter behind it.


def test_tls_behind_the_header(serve_proxied: Serve) -> None:
    """The whole of it: header, handshake, requests; the header alone, and in one segment with the handshake."""
    context = ssl._create_unverified_context()
    with serve_proxied(tls_self_signed=True) as server:
        for together in (False, True):
            with From(server.url.replace("https", "http")) as client:
                received, made = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(received, made)
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                pieces = [line() + made.read()] if together else [line(), made.read()]
                for piece in pieces:
                    client.send(piece)
                while True:
                    received.write(client.socket.recv(65536))
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        client.send(made.read())
                tls.write(request("/", "X-Forwarded-For: 192.0.2.66"))
                client.send(made.read())
                answer = b""
                while not answer.endswith(b"}"):
                    try:
                        answer += tls.read(65536)
                    except ssl.SSLWantReadError:
                        received.write(client.socket.recv(65536))
                told = json.loads(answer.partition(b"\r\n\r\n")[2])
                assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("192.0.2.1", "https")
                assert "HTTP_X_FORWARDED_FOR" not in told


class Shouted:
    """A toy of an encryption: bytes with one bit turned over; begins with HELLO, as a handshake."""

    facts: ClassVar[dict[str, str]] = {}

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.greeted = b""

    def receive(self, data: bytes) -> bytes:
        if len(self.greeted) < 5:
            self.greeted, data = (self.greeted + data)[:5], (self.greeted + data)[5:]
            if not b"HELLO".startswith(self.greeted):
                raise PeerGone
            if len(self.greeted) == 5:
                opened(self.conn, 1e9, 30.0)
        return turned(data)


def turned(data: bytes) -> bytes:
    return bytes(byte ^ 1 for byte in data)


class Unremembering(Connection):
    """As a secure site's connections are: never on the fast path."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.memo = {}


@pytest.fixture
def shouting(no_fault: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A server of PROXY header, then the toy."""

    def make(**settings: Any) -> Any:
        server = vivace.background(show, **settings)
        chosen = from_keywords(
            proxy_protocol=True, trusted_proxies="127.0.0.1", proxy_protocol_timeout=5, head_timeout=5
        )
        for _, site in server.server.loop.acceptor._sites.values():
            site.secure = True
            site.make_connection = Unremembering
            site.make_filter = Shouted
            site.opening_timeout_s = 0.2
            site.base["wsgi.url_scheme"] = "https"
            arrange(site, chosen, lambda said: None)
        return server

    return make


def test_another_filter_follows(shouting: Callable[..., Any]) -> None:
    data = b"HELLO" + turned(request("/", "X-Forwarded-For: 192.0.2.66"))
    with shouting() as server:
        for pieces in (
            [line() + data],
            [line(), data],
            [bytes([byte]) for byte in line() + data],
            [line() + b"HEL", data[3:]],
        ):
            with From(server) as client:
                for piece in pieces[:-1]:
                    client.send(piece)
                told = client.told(pieces[-1])
                for _ in range(3):
                    assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("192.0.2.1", "https")
                    told = client.told(turned(request("/", "X-Forwarded-For: 192.0.2.66")))


def test_nothing_is_answered_before_the_other_filter(shouting: Callable[..., Any]) -> None:
    """What is not HTTP cannot be told that in HTTP."""
    with shouting() as server:
        for data in (GET, b"PROXY\r\n", line() + b"GOODBYE"):
            with From(server) as client:
                assert client.send(data).has_ended()
        closes(server, "handshake", 3)


def test_each_filter_has_its_own_deadline(shouting: Callable[..., Any]) -> None:
    with shouting(head_timeout=0.2) as server:
        with From(server) as client:
            assert client.send(line()).has_ended()
        closes(server, "handshake_timeout")
