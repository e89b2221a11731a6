"""worker.proxies: servers that are told which proxies to believe, over real connections."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

import vivace
from proxy_client import From, show
from vivace.config.load import from_keywords, load
from vivace.errors import SettingError
from wire import Client, chunked, request

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from conftest import Serve

FOR = "X-Forwarded-For: 192.0.2.1"
PROTO = "X-Forwarded-Proto: https"
HEARSAY = (FOR, PROTO, "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Forwarded-Host: shop.example")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux")


def test_nobody_is_believed_by_default(serve: Serve) -> None:
    """And nothing is taken away: applications that judge for themselves go on as before."""
    with serve(show) as server, From(server) as client:
        told = client.told(request("/", *HEARSAY))
        assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("127.0.0.1", "http")
        assert (told["HTTP_X_FORWARDED_FOR"], told["HTTP_X_REAL_IP"]) == ("192.0.2.1", "192.0.2.1")
        assert "vivace.peer" not in told


@pytest.mark.parametrize("mode", ["x-forwarded", "forwarded", "none"])
def test_hearsay_of_everybody_else_is_removed(serve_bare: Serve, mode: str) -> None:
    with serve_bare(show, trusted_proxies="10.0.0.0/8", proxy_headers=mode) as server, From(server) as client:
        for _ in range(4):  # read, remembered, known
            told = client.told(request("/", *HEARSAY))
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))
            assert told["wsgi.url_scheme"] == "http"
            assert not [key for key in told if "FORWARDED" in key or "REAL_IP" in key or "vivace" in key]


def test_a_trusted_proxy_is_believed(serve: Serve) -> None:
    with serve(show, trusted_proxies="127.0.0.1") as server, From(server) as client:
        for number in (1, 2, 2, 2, 1):
            address = f"192.0.2.{number}"
            told = client.told(request("/", f"X-Forwarded-For: evil, {address}:777", PROTO, host="shop.example"))
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (address, "777")
            assert (told["vivace.peer"], told["vivace.peer_port"]) == ("127.0.0.1", str(client.port))
            assert (told["wsgi.url_scheme"], told["HTTP_HOST"], told["SERVER_PORT"]) == ("https", "shop.example", "443")
        told = client.told()
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))
        assert told["wsgi.url_scheme"] == "http"


def test_trust_goes_by_the_connection(serve_bare: Serve) -> None:
    """The same bytes, through a proxy and from somebody else, by turns: nothing remembered of one serves the other."""
    data = request("/", FOR, PROTO)
    with (
        serve_bare(show, trusted_proxies=("127.0.0.1", "192.0.2.0/24")) as server,
        From(server) as proxy,
        From(server, "127.0.0.2") as other,
    ):
        for _ in range(5):
            assert proxy.told(data)["REMOTE_ADDR"] == "192.0.2.1"
            told = other.told(data)
            assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("127.0.0.2", "http")
            assert "HTTP_X_FORWARDED_FOR" not in told


def test_repeated_fields_are_one_chain(serve_bare: Serve) -> None:
    """A proxy that adds a line of its own instead of appending to the one that is there (HAProxy)."""
    with serve_bare(show, trusted_proxies="127.0.0.1, 10.0.0.0/8") as server, From(server) as client:
        lines = ["X-Forwarded-For: 192.0.2.66", "X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 10.0.0.2,10.0.0.3"]
        assert client.told(request("/", *lines))["REMOTE_ADDR"] == "192.0.2.1"
        told = client.told(request("/", *lines, "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"))
        assert told["wsgi.url_scheme"] == "https"
        assert client.told(request("/", FOR, "X-Forwarded-Proto: https", PROTO))["wsgi.url_scheme"] == "https"


def test_names_with_an_underscore_do_not_pose(serve_bare: Serve) -> None:
    with serve_bare(show, trusted_proxies="127.0.0.1") as server, From(server) as client:
        told = client.told(request("/", FOR, "X_Forwarded_For: 192.0.2.66", "X_FORWARDED_PROTO: https"))
        assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("192.0.2.1", "http")


def test_huge_chains(serve_bare: Serve) -> None:
    """As long as a field may be."""
    with serve_bare(show, trusted_proxies=("127.0.0.1", "10.0.0.0/8")) as server, From(server) as client:
        told = client.told(request("/", "X-Forwarded-For: " + "10.0.0.1," * 1800 + "10.0.0.2"))
        assert told["REMOTE_ADDR"] == "10.0.0.1"
        told = client.told(request("/", "X-Forwarded-For: " + "192.0.2.66," * 1400 + "192.0.2.1"))
        assert told["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("body", [{"body": b"12345"}, {}], ids=["length", "chunks"])
def test_requests_with_a_body(serve: Serve, body: dict[str, bytes]) -> None:
    coding = () if body else ("Transfer-Encoding: chunked",)
    data = request("/shop/x", FOR, *coding, method="POST", **body) + (b"" if body else chunked([b"12345"]))  # type: ignore[arg-type]
    with serve(show, trusted_proxies="127.0.0.1", root_path="/shop") as server, From(server) as client:
        for pieces in ([data], [data[:20], data[20:-3], data[-3:]], [data + data]):
            for piece in pieces:
                client.send(piece)
            for _ in range(b"".join(pieces).count(b"POST")):
                told = json.loads(client.read_response().body)
                assert (told["REMOTE_ADDR"], told["size"], told["PATH_INFO"]) == ("192.0.2.1", 5, "/x")


def test_the_body_that_the_application_reads_itself(serve_bare: Serve) -> None:
    with serve_bare(show, trusted_proxies="127.0.0.1", body_stream=True) as server, From(server) as client:
        assert client.told(request("/", FOR, method="POST", body=b"12345"))["REMOTE_ADDR"] == "192.0.2.1"


def test_pipelines_of_different_clients(serve: Serve) -> None:
    with serve(show, trusted_proxies="127.0.0.1") as server, From(server) as client:
        heads = [request("/", f"X-Forwarded-For: 192.0.2.{number % 7}") for number in range(20)]
        client.send(b"".join(heads))
        told = [json.loads(response.body)["REMOTE_ADDR"] for response in client.read_responses(20)]
        assert told == [f"192.0.2.{number % 7}" for number in range(20)]


@pytest.mark.parametrize(
    ("mode", "field"),
    [
        ("x-forwarded", "X-Forwarded-Proto: ftp"),
        ("forwarded", 'Forwarded: for="192.0.2.1'),
        ("forwarded", "Forwarded: for=192.0.2.1;proto=ftp"),
        ("forwarded", "Forwarded: for=host"),
    ],
)
def test_what_cannot_be_believed_is_refused(
    serve_bare: Serve, capsys: pytest.CaptureFixture[str], mode: str, field: str
) -> None:
    with serve_bare(show, trusted_proxies="127.0.0.1", proxy_headers=mode, access_log=True) as server:
        for data in (request("/", field), request("/", field, method="POST", body=b"1")):
            with From(server) as client:
                client.told()
                client.send(data)
                assert client.read_response().status == 400
                assert client.has_ended()
        with From(server, "127.0.0.2") as other:  # who is not believed is not refused either
            assert other.told(request("/", field))["REMOTE_ADDR"] == "127.0.0.2"
    assert "127.0.0.1 - - " in capsys.readouterr().out


def test_forwarded(serve_bare: Serve) -> None:
    field = 'Forwarded: for=evil;host=evil, for="[2001:db8::1]:4711";proto=https;host="shop.example:8443"'
    with serve_bare(show, trusted_proxies="127.0.0.1", proxy_headers="forwarded") as server, From(server) as client:
        for _ in range(3):
            told = client.told(request("/", field, FOR))
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("2001:db8::1", "4711")
            assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("https", "shop.example:8443")
            assert told["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"  # nobody believed it


def test_believing_nobody_s_fields(serve_bare: Serve) -> None:
    """`none`: the fields of a trusted proxy are left to the application."""
    with serve_bare(show, trusted_proxies="127.0.0.1", proxy_headers="none") as server, From(server) as client:
        for _ in range(4):
            told = client.told(request("/", *HEARSAY))
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))
            assert told["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"


def test_fields_that_are_not_named_are_left_alone(serve_bare: Serve) -> None:
    """X-Forwarded-Host, of a proxy that passes on what the client has written."""
    fields = (FOR, "X-Forwarded-Host: evil", "X-Forwarded-Prefix: /evil")
    with serve_bare(show, trusted_proxies="127.0.0.1") as server, From(server) as client:
        told = client.told(request("/", *fields))
        assert (told["HTTP_HOST"], told["SCRIPT_NAME"]) == ("h", "")
    chosen = "for,host,prefix"
    with serve_bare(show, trusted_proxies="127.0.0.1", forwarded_fields=chosen) as server, From(server) as client:
        told = client.told(request("/", *fields))
        assert (told["HTTP_HOST"], told["SERVER_NAME"], told["SCRIPT_NAME"]) == ("evil", "evil", "/evil")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_unix_socket(serve_bare: Serve, tmp_path: Path, trusted: bool) -> None:
    """Its peers have no address; `unix` trusts them all."""
    networks = "unix" if trusted else "127.0.0.1"
    with (
        serve_bare(show, bind=f"unix:{tmp_path}/app.sock", trusted_proxies=networks) as server,
        Client(server) as client,
    ):
        for number in (1, 2, 2, 2):
            told = json.loads(client.send(request("/", f"X-Forwarded-For: 192.0.2.{number}")).read_response().body)
            assert told["REMOTE_ADDR"] == (f"192.0.2.{number}" if trusted else "")
            assert told.get("vivace.peer") == ("" if trusted else None)


def test_the_log_shows_whom_the_application_sees(serve_bare: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_bare(show, trusted_proxies="127.0.0.1", access_log=True) as server, From(server) as client:
        for number in range(3):
            client.told(request(f"/{number}", f"X-Forwarded-For: 192.0.2.{number}"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize("networks", ["", "10.0.0.0/8", "127.0.0.1"])
def test_root_path(serve: Serve, networks: str) -> None:
    settings = {"root_path": "/shop", "trusted_proxies": networks}
    with serve(show, **settings) as server, From(server) as client:
        for _ in range(4):  # read, remembered, known
            for target, info in (("/shop/cart?a=b", "/cart"), ("/shop", ""), ("/cart", "/cart"), ("/shops", "/shops")):
                told = client.told(request(target))
                assert (told["SCRIPT_NAME"], told["PATH_INFO"], told["REQUEST_URI"]) == ("/shop", info, target)


def test_an_escaped_root_path(serve_bare: Serve) -> None:
    """PEP 3333: both are the decoded bytes, shown as latin-1."""
    with serve_bare(show, root_path="/caf%C3%A9") as server, From(server) as client:
        told = client.told(request("/caf%c3%a9/cr%C3%A8me"))
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/caf\xc3\xa9", "/cr\xc3\xa8me")


def test_routes_are_named_without_the_prefix() -> None:
    with vivace.background(show, root_path="/shop") as server, From(server) as client:
        client.told(request("/shop/cart"))
        client.told(request("/cart"))
        [conn] = server.server.loop.conns.values()
        assert (conn.route.name, conn.route.samples >= 0) == ("GET /cart", True)


@pytest.mark.parametrize("networks", ["127.0.0.1", "10.0.0.0/8"])
def test_requests_of_a_proxy_stay_on_the_fast_path(networks: str) -> None:
    """None but the first, which is read with the connection, goes through the general twin."""
    with vivace.background(show, threads=1, trusted_proxies=networks) as server, From(server) as client:
        loop = server.server.loop
        general: list[bytes] = []
        on_data = loop.on_data

        def counted(conn: Any, data: bytes, *rest: Any) -> bool:
            general.append(data)
            return on_data(conn, data, *rest)

        loop.on_data = counted  # type: ignore[method-assign]
        client.told()
        general.clear()
        for number in range(10):
            client.told(request("/", f"X-Forwarded-For: 192.0.2.{number}", PROTO))
        assert general == []
        remembered = {len(site.memo) for site in sites(loop)}
        assert remembered == {0}


def sites(loop: Any) -> list[Any]:
    return [conn.site for conn in loop.conns.values()]


# Settings.


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trusted_proxies": "10.0.0.1/8"}, "is no network"),
        ({"trusted_proxies": "localhost"}, "is no network"),
        ({"root_path": "shop"}, "is no prefix"),
        ({"root_path": "/shop/"}, "is no prefix"),
        ({"root_path": "//shop"}, "is no prefix"),
        ({"root_path": "/"}, "is no prefix"),
        ({"root_path": "/a b"}, "is no prefix"),
        ({"root_path": "/%"}, "is no prefix"),
        ({"forwarded_fields": "for,by"}, "'by' is none of for, proto, host, port, prefix"),
        ({"proxy_headers": "x-forwarded-for"}, "is none of"),
        ({"proxy_protocol": True}, "name the proxy in trusted_proxies"),
        ({"trusted_proxies": "::1", "underscores": "keep"}, "passes for X-Forwarded-For"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        from_keywords(**settings)


def test_settings_of_the_command_line() -> None:
    given = ["--trusted-proxies=10.0.0.0/8", "--trusted-proxies=unix", "--root-path=/shop", "--forwarded-fields=for"]
    settings = load(given, {"VIVACE_PROXY_PROTOCOL": "1"}, "/")
    assert settings.trusted_proxies == ("10.0.0.0/8", "unix")
    assert (settings.proxy_protocol, settings.root_path, settings.forwarded_fields) == (True, "/shop", ("for",))
    with pytest.raises(SettingError, match="proxy_protocol: nobody may send it"):
        load(["--proxy-protocol"], {}, "/")


def test_nothing_is_imported_where_nothing_is_trusted() -> None:
    import subprocess

    code = (
        "import sys, vivace; server = vivace.background(print); server.start(); server.stop();"
        "print(*sorted(name for name in sys.modules if 'prox' in name or name.endswith(('ipaddress', 'forwarded'))))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "\n"


def test_an_address_has_one_spelling(serve_bare: Serve) -> None:
    with (
        serve_bare(show, bind=":0", trusted_proxies="::ffff:127.0.0.1") as server,
        From(f"http://127.0.0.1:{server.port}") as client,
    ):
        for written, address in (("2001:DB8:0::1", "2001:db8::1"), ("::ffff:192.0.2.1", "192.0.2.1")):
            assert client.told(request("/", f"X-Forwarded-For: {written}"))["REMOTE_ADDR"] == address
