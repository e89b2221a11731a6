"""connection.secure: the handshake, and what the environ knows of it. Data under TLS stand in test_secure_data.py."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import NameOID

from apps import TEXT
from certs import Authority, HandClient, Pair, PlainClient, SecureClient
from wire import Client, WireError, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

LIMIT_S = 0.3


def shows_environ(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What the connection says of itself, a line each."""
    start_response("200 OK", TEXT)
    keys = [key for key in environ if key.startswith(("SSL_", "HTTPS", "wsgi.url_scheme"))]
    return ["\n".join(f"{key}={environ[key]}" for key in sorted(keys)).encode("latin-1")]


def shown(client: Client, *fields: str) -> dict[str, str]:
    body = client.send(request("/", *fields)).read_response().body.decode("latin-1")
    return dict(line.split("=", 1) for line in body.split("\n") if "=" in line)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture
def serve_tls(serve_bare: Serve, pair: Pair) -> Serve:
    """As `serve_bare`, under TLS."""
    return lambda app=shows_environ, **settings: serve_bare(app, **{**pair.settings, **settings})


def counts(server: vivace.background) -> dict[str, int]:
    return {reason: count for reason, count in server.server.loop.closed.snapshot().items() if count}


# The environ, by Apache's names.


def test_environ(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server, SecureClient(server, authority.client()) as client:
        assert server.url.startswith("https://")
        for _ in range(3):  # new, seen and memoised
            assert shown(client) == {
                "HTTPS": "on",
                "wsgi.url_scheme": "https",
                "SSL_PROTOCOL": "TLSv1.3",
                "SSL_CIPHER": client.tls.cipher()[0],  # type: ignore[index]
                "SSL_CLIENT_VERIFY": "NONE",
                "SSL_TLS_SNI": "localhost",
            }


def test_one_head_on_different_connections(serve_tls: Serve, authority: Authority) -> None:
    """A memoised head is the site's, what it says of TLS the connection's."""
    old = authority.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    with serve_tls() as server:
        for _ in range(3):
            with SecureClient(server, authority.client()) as client:
                assert shown(client)["SSL_PROTOCOL"] == "TLSv1.3"
            with SecureClient(server, old, name="127.0.0.1") as client:
                found = shown(client)
                assert (found["SSL_PROTOCOL"], "SSL_TLS_SNI" in found) == ("TLSv1.2", False)


def test_fields_cannot_pose_as_facts(serve_tls: Serve, authority: Authority) -> None:
    fields = ("SSL-Client-Verify: SUCCESS", "SSL_CLIENT_VERIFY: SUCCESS", "HTTPS: off")
    with serve_tls(underscores="keep") as server, SecureClient(server, authority.client()) as client:
        found = shown(client, *fields)
        assert (found["SSL_CLIENT_VERIFY"], found["HTTPS"]) == ("NONE", "on")


# Client certificates.


@pytest.fixture
def person(authority: Authority) -> Pair:
    subject = [(NameOID.COUNTRY_NAME, "GB"), (NameOID.ORGANIZATION_NAME, "A, B"), (NameOID.COMMON_NAME, "me")]
    return authority.issue(subject=subject)


@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_s_certificate(serve_tls: Serve, authority: Authority, person: Pair, mode: str, newest: Any) -> None:
    context = authority.client(person, maximum_version=newest)
    with (
        serve_tls(tls_client=mode, tls_ca_file=authority.cert) as server,
        SecureClient(server, context) as client,
    ):
        response = client.send(request()).read_response().body.decode("latin-1")
        certificate = response[response.index("-----BEGIN") : response.index("-----END")]
        assert certificate in person.cert.read_text()
        found = dict(line.split("=", 1) for line in response.split("\n") if line.startswith(("SSL_", "HTTPS")))
        facts: Any = ssl._ssl._test_decode_cert(str(person.cert))  # type: ignore[attr-defined]
        assert found["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert found["SSL_CLIENT_S_DN"] == r"CN=me,O=A\, B,C=GB"
        assert found["SSL_CLIENT_I_DN"] == "CN=Test Authority"
        assert found["SSL_CLIENT_M_SERIAL"] == facts["serialNumber"]
        assert (found["SSL_CLIENT_V_START"], found["SSL_CLIENT_V_END"]) == (facts["notBefore"], facts["notAfter"])


def refused(server: vivace.background, context: ssl.SSLContext) -> bool:
    """Whether no request gets through. Under TLS 1.3 the client learns it only when it reads."""
    try:
        with SecureClient(server, context) as client:
            client.send(request()).read_response()
    except (ssl.SSLError, WireError, OSError):
        return True
    return False


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_certificate_or_a_wrong_one(
    serve_tls: Serve,
    authority: Authority,
    person: Pair,
    newest: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("strangers"), "Somebody Else").issue("me")
    expired = authority.issue("me", days=-1)
    contexts = {
        name: authority.client(each, maximum_version=newest)
        for name, each in {"none": None, "good": person, "strange": stranger, "expired": expired}.items()
    }
    with serve_tls(tls_client="required", tls_ca_file=authority.cert) as server:
        assert {name: refused(server, context) for name, context in contexts.items()} == {
            "none": True,
            "good": False,
            "strange": True,
            "expired": True,
        }
        until(lambda: counts(server).get("handshake") == 3)
    with serve_tls(tls_client="optional", tls_ca_file=authority.cert) as server:
        assert not refused(server, contexts["none"])
        assert refused(server, contexts["strange"])
        with SecureClient(server, contexts["none"]) as client:
            assert shown(client)["SSL_CLIENT_VERIFY"] == "NONE"


def test_a_client_is_told_why(serve_tls: Serve, authority: Authority) -> None:
    """The alert is not lost to a reset, whatever the client has sent meanwhile (RFC 8446 section 6.2)."""
    with (
        serve_tls(tls_client="required", tls_ca_file=authority.cert) as server,
        SecureClient(server, authority.client()) as client,
    ):
        client.send(request() * 1000)
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            client.read_response()


# Names.


def test_several_certificates(serve_bare: Serve, authority: Authority) -> None:
    pairs = [authority.issue("one.test"), authority.issue("*.two.test")]
    files = {"certfile": [str(pair.cert) for pair in pairs], "keyfile": [str(pair.key) for pair in pairs]}
    context = authority.client(check_hostname=False)
    with serve_bare(shows_environ, **files) as server:
        for name, peer in (("one.test", "one.test"), ("a.two.test", "*.two.test"), ("three.test", "one.test")):
            with SecureClient(server, context, name) as client:
                assert client.peer == [peer]
                assert shown(client)["SSL_TLS_SNI"] == name
        with SecureClient(server, context, None) as client:
            assert client.peer == ["one.test"]


# A handshake that takes its time.


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_handshake_in_pieces(serve_tls: Serve, authority: Authority, size: int) -> None:
    with serve_tls() as server, HandClient(server, authority.client()) as client:
        client.shake_hands(size)
        client.send_slowly(client.sealed(request()), size)
        assert client.read_response().status == 200


def test_the_first_request_together_with_the_end_of_the_handshake(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server, HandClient(server, authority.client()) as client:
        client.send(client.hello())
        finished = b""
        while not finished:
            client._receive()
            try:
                client.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            finished = client.made.read()
        client.send(finished + client.sealed(request()))
        assert client.read_response().status == 200


@pytest.mark.parametrize("sent", [0, 1, 200])
def test_a_handshake_that_never_ends_is_cut_off(serve_tls: Serve, authority: Authority, sent: int) -> None:
    """Under its own limit, however slowly the bytes come, and while others are served."""
    with (
        serve_tls(tls_handshake_timeout=LIMIT_S, head_timeout=60) as server,
        SecureClient(server, authority.client()) as other,
    ):
        started = time.monotonic()
        client = HandClient(server, authority.client())
        client.send(client.hello()[:sent])
        while not counts(server):
            assert other.send(request()).read_response().status == 200
            assert time.monotonic() - started < 5
        assert time.monotonic() - started > LIMIT_S * 0.9
        assert counts(server) == {"handshake_timeout": 1}
        with client:
            assert client.socket.recv(100) == b""


def test_many_half_handshakes_delay_nobody(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server:
        halves = [PlainClient(server) for _ in range(200)]
        hello = HandClient(server, authority.client())
        first = hello.hello()
        try:
            for number, half in enumerate(halves):
                half.send(first[: number % len(first)])
            started = time.monotonic()
            with SecureClient(server, authority.client()) as client:
                assert client.send(request()).read_response().status == 200
            assert time.monotonic() - started < 2
            assert len(server.server.loop.conns) >= 200
        finally:
            for half in [*halves, hello]:
                half.socket.close()
        until(lambda: not server.server.loop.conns)
        assert counts(server) == {"handshake": 201, "client": 1}


def test_half_handshakes_make_room(serve_tls: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connections_max is reached, those that have not begun in time are closed first."""
    monkeypatch.setattr("vivace.connection.accepting.FIRST_REQUEST_S", 0.0)
    with serve_tls(connections_max=10) as server:
        halves = [PlainClient(server) for _ in range(10)]
        until(lambda: len(server.server.loop.conns) == 10)
        with SecureClient(server, authority.client()) as client:
            assert client.send(request()).read_response().status == 200
        assert counts(server)["evicted"] >= 1
        for half in halves:
            half.socket.close()


def test_who_resets_as_soon_as_it_is_accepted_has_not_shaken_hands(serve_tls: Serve) -> None:
    with serve_tls() as server:
        for _ in range(100):
            PlainClient(server).reset()
        until(lambda: counts(server) == {"handshake": 100}, what=str(counts(server)))


# What is no handshake.


@pytest.mark.parametrize("size", [1, 1000])
def test_plain_http_is_told_so_in_clear(serve_tls: Serve, authority: Authority, size: int) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        return shows_environ(environ, start_response)

    with serve_tls(app) as server:
        with PlainClient(server) as client:
            response = client.send_slowly(request(), size).read_response()
            assert (response.status, response.closes) == (400, True)
            assert b"this port speaks TLS" in response.body
            assert client.rest()[0] == b""
        until(lambda: counts(server) == {"refused": 1})
        assert seen == []


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x16\x03\x01\x00\x05garbage", b"\x80\x2e\x01\x03\x01", b"\x16" + b"\xff" * 5000, b"\r\n\r\n"]
)
def test_garbage(serve_tls: Serve, authority: Authority, data: bytes) -> None:
    with serve_tls() as server:
        with PlainClient(server) as client:
            data, _ = client.send(data).rest()
            assert data[:1] in (b"", b"\x15"), "nothing, or an alert"
        until(lambda: counts(server) == {"handshake": 1})
        with SecureClient(server, authority.client()) as client:
            assert shown(client)["HTTPS"] == "on"


@pytest.mark.parametrize("sent", [0, 1, 200])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_client_that_vanishes_within_the_handshake(
    serve_tls: Serve, authority: Authority, sent: int, how: str
) -> None:
    with serve_tls() as server:
        with HandClient(server, authority.client()) as client:
            client.send(client.hello()[:sent])
            until(lambda: server.server.loop.conns)
            if how == "resets":
                client.reset()
        until(lambda: counts(server) == {"handshake": 1})
        with SecureClient(server, authority.client()) as client:
            assert shown(client)["HTTPS"] == "on"


def test_injected_bytes_are_never_served(serve_tls: Serve, authority: Authority) -> None:
    """Into an established connection: an alert, and the end."""
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["PATH_INFO"])
        return shows_environ(environ, start_response)

    with serve_tls(app) as server:
        with HandClient(server, authority.client()) as client:
            client.shake_hands()
            for _ in range(3):  # so that the head is memoised
                assert client.send(client.sealed(request("/good"))).read_response().status == 200
            client.send(request("/good") + request("/evil"))
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                client.read_response()
        assert seen == ["/good"] * 3
        until(lambda: counts(server) == {"garbled": 1})


def test_an_altered_record(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server:
        with HandClient(server, authority.client()) as client:
            client.shake_hands()
            record = bytearray(client.sealed(request()))
            record[-1] ^= 1
            client.send(bytes(record))
            with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
                client.read_response()
        until(lambda: counts(server) == {"garbled": 1})


# Real clients.


def s_client(server: vivace.background, authority: Authority, data: str, *options: str, letter: str = "") -> str:
    """What `openssl s_client` shows when it is given a command letter and then `data`, its input kept open until the
    server closes."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost"]
    process = subprocess.Popen(
        [*command, "-CAfile", str(authority.cert), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    killer = threading.Timer(20, process.kill)
    killer.start()
    assert process.stdin is not None
    assert process.stdout is not None
    found = ""
    try:
        if letter:
            process.stdin.write(f"{letter}\n")
            process.stdin.flush()
            while not found.endswith(("KEYUPDATE\n", "RENEGOTIATING\n")):  # it has read the letter alone
                found += process.stdout.readline()
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has given up
    found += process.stdout.read()
    process.wait()
    killer.cancel()
    process.stdout.close()
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    return found


CLOSING = "GET / HTTP/1.1\nHost: h\nConnection: close\n\n"


def test_openssl(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server:
        found = s_client(server, authority, CLOSING, "-crlf", "-verify_return_error")
    assert "HTTP/1.1 200 OK" in found
    assert "wsgi.url_scheme=https" in found
    assert "Compression: NONE" in found
    assert "Verify return code: 0 (ok)" in found


def test_a_new_key_in_the_middle(serve_tls: Serve, authority: Authority) -> None:
    """KeyUpdate, with one wanted in return (RFC 8446 section 4.6.3)."""
    with serve_tls() as server:
        found = s_client(server, authority, CLOSING, "-crlf", "-tls1_3", letter="K")
    assert "KEYUPDATE" in found
    assert "HTTP/1.1 200 OK" in found


def test_renegotiation_is_refused(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server:
        found = s_client(server, authority, CLOSING, "-crlf", "-tls1_2", letter="R")
        assert "RENEGOTIATING" in found
        assert "no renegotiation" in found
        assert "200 OK" not in found
        with SecureClient(server, authority.client()) as client:
            assert shown(client)["HTTPS"] == "on"


def test_old_versions_are_refused(serve_tls: Serve, authority: Authority) -> None:
    with serve_tls() as server:
        found = s_client(server, authority, "", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in found
    with serve_tls(tls_min="1.3") as server:
        assert "alert protocol version" in s_client(server, authority, "", "-tls1_2")


def test_a_session_is_resumed(serve_tls: Serve, authority: Authority) -> None:
    context = authority.client()
    with serve_tls() as server:
        with SecureClient(server, context) as client:
            shown(client)
            session = client.tls.session
        again = context.wrap_socket(
            socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost", session=session
        )
        with again:
            again.sendall(request())
            assert b"SSL_TLS_SNI=localhost" in again.recv(10_000)
            assert again.session_reused
