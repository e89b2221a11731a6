"""docs/proxies.md: its configurations, word for word, in real nginx and HAProxy before Flask and Django on vivace.

Clients have 127.0.0.5, the proxies 127.0.0.1, which is all that is trusted.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from frameworks import django_site
from listeners import quiet_port
from vivace.config.load import load
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

PAGE = Path(vivace.__file__).parent.parent.parent / "docs" / "proxies.md"
if not PAGE.is_file():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)
NEEDED = ("nginx", "haproxy", "openssl")
MISSING = [name for name in NEEDED if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.5 is an address of this machine on Linux"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONFIGURATIONS = {
    (language, source.partition("\n")[0].removeprefix("# ")): source for language, source in BLOCKS if language != "sh"
}

CLIENT = "127.0.0.5"
SPOOFED = {
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "192.0.2.66",
    "X_Forwarded_Proto": "https",
}

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{rest}
}}
"""
HAPROXY = """
defaults
    timeout connect 5s
    timeout client 5s
    timeout server 5s
{rest}
"""


# Applications: what each answers is {"address", "url", "secure"}, and where it redirects.


def make_flask() -> Any:
    import flask

    app = flask.Flask("site")

    @app.get("/where")
    def where() -> Any:
        request = flask.request
        url = flask.url_for("where", _external=True)
        return flask.jsonify(address=request.remote_addr, url=url, secure=request.is_secure)

    app.get("/old", endpoint="old")(lambda: flask.redirect(flask.url_for("where")))
    app.get("/folder/", endpoint="folder")(lambda: "here")
    return app


def make_django() -> Any:
    from django.http import HttpRequest, HttpResponse, JsonResponse
    from django.shortcuts import redirect
    from django.urls import path as route
    from django.urls import reverse

    def where(request: HttpRequest) -> HttpResponse:
        url = request.build_absolute_uri(reverse("where"))
        return JsonResponse({"address": request.META["REMOTE_ADDR"], "url": url, "secure": request.is_secure()})

    class Urls:
        urlpatterns = (
            route("where", where, name="where"),
            route("old", lambda request: redirect("where")),
            route("folder/", lambda request: HttpResponse("here")),
        )

    return django_site(Urls)


SITES = {"flask": make_flask, "django": make_django}


@pytest.fixture(params=list(SITES))
def app(request: pytest.FixtureRequest) -> Any:
    return SITES[request.param]()


# Proxies.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of shop.key, and of shop.pem, which holds both."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=shop.example"
    paths = ["-keyout", str(folder / "shop.key"), "-out", str(folder / "shop.crt")]
    subprocess.run([*command.split(), *paths], check=True, capture_output=True, timeout=60)
    (folder / "shop.pem").write_text((folder / "shop.crt").read_text() + (folder / "shop.key").read_text())
    return folder


class Front:
    """A running proxy: `http` and `https` are its ports."""

    def __init__(self, plain: int, tls: int) -> None:
        self.http = plain
        self.https = tls
        self.port = plain  # as a server has it, for a proxy before this one

    def ask(
        self, path: str, *, tls: bool = False, version: str = "4", **fields: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """The response to a GET from CLIENT, and its body."""
        host, source = ("::1", "::1") if version == "6" else ("127.0.0.1", CLIENT)
        if tls:
            context = ssl._create_unverified_context()
            connection: Any = http.client.HTTPSConnection(
                host, self.https, timeout=TIMEOUT_S, source_address=(source, 0), context=context
            )
        else:
            connection = http.client.HTTPConnection(host, self.http, timeout=TIMEOUT_S, source_address=(source, 0))
        try:
            connection.request("GET", path, headers={"Host": "shop.example:8080", **fields})
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def told(self, path: str = "/where", **how: Any) -> dict[str, Any]:
        """What the site says about the request; with a client that lies about itself."""
        response, body = self.ask(path, **SPOOFED, **how)
        assert response.status == 200, (response.status, body)
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture
def run(tmp_path: Path, certificate: Path) -> Callable[..., Any]:
    """(language, name, port of vivace, replacements) -> the proxy with that configuration of the page, for `with`."""

    @contextmanager
    def run(language: str, name: str, server: Any, **changes: str) -> Iterator[Front]:
        plain, tls = quiet_port(), quiet_port()
        text = CONFIGURATIONS[language, name]
        for old, new in {
            "127.0.0.1:8000": f"127.0.0.1:{server.port}",
            "/etc/ssl": str(certificate),
            "listen 80;": f"listen 127.0.0.1:{plain}; listen [::1]:{plain};",
            "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
            "bind :80\n": f"bind 127.0.0.1:{plain}\n bind [::1]:{plain}\n",
            "bind :443": f"bind 127.0.0.1:{tls}",
            **changes,
        }.items():
            text = text.replace(old, new)
        assert ":8000" not in text
        user = "user root;" if os.geteuid() == 0 else ""
        frame = {"nginx": NGINX, "haproxy": HAPROXY}[language]
        file = tmp_path / language
        file.write_text(frame.format(folder=tmp_path, user=user, rest=text))
        command = {"nginx": f"nginx -e stderr -c {file}", "haproxy": f"haproxy -db -f {file}"}[language]
        environ = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin"}
        used = [port for port in (plain, tls) if f":{port}" in text]
        with subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        ) as process:
            try:
                until(lambda: process.poll() is not None or all(map(listens, used)), what=f"{language} does not listen")
                assert process.poll() is None, process.communicate()[0]
                yield Front(plain, tls)
            finally:
                process.terminate()
                process.communicate(timeout=TIMEOUT_S)

    return run


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(app: Any, **settings: Any) -> Iterator[Any]:
    with vivace.background(app, **{"trusted_proxies": "127.0.0.1", **settings}) as server:
        yield server


def assert_right(front: Front, prefix: str = "", *, tls: bool = False, version: str = "4") -> None:
    """The client is the client, and every link leads back to where it came from."""
    base = f"{'https' if tls else 'http'}://shop.example:8080"
    how: dict[str, Any] = {"tls": tls, "version": version}
    address = CLIENT if version == "4" else "::1"
    for _ in range(3):
        told = front.told(f"{prefix}/where", **how)
        assert told == {"address": address, "url": f"{base}{prefix}/where", "secure": tls}
    for path, target in (("/old", "/where"), ("/folder", "/folder/")):
        response, _ = front.ask(prefix + path, **how)
        assert response.status in (301, 302, 308)
        assert response.headers["Location"] in (prefix + target, base + prefix + target)


# The configurations.


def test_nginx(app: Any, run: Any) -> None:
    with serving(app) as server, run("nginx", "the usual one", server) as front:
        assert_right(front)
        assert_right(front, tls=True)
        assert_right(front, version="6")


def test_nginx_at_a_unix_socket(app: Any, run: Any, tmp_path: Path) -> None:
    with serving(app, bind=f"unix:{tmp_path}/app.sock", trusted_proxies="unix") as server:
        path = f"unix:{tmp_path}/app.sock"
        with run("nginx", "the usual one", server, **{f"127.0.0.1:{server.port}": path}) as front:
            assert_right(front, tls=True)


def test_nginx_under_a_prefix_that_it_takes_off(app: Any, run: Any) -> None:
    fields = "for, proto, prefix"
    with serving(app, forwarded_fields=fields) as server, run("nginx", "under a prefix", server) as front:
        assert_right(front, "/shop")


def test_nginx_under_a_prefix_that_it_leaves(app: Any, run: Any) -> None:
    with serving(app, root_path="/shop") as server, run("nginx", "the usual one", server) as front:
        assert_right(front, "/shop")
        assert_right(front, "/shop", tls=True)


def test_nginx_by_rfc_7239(app: Any, run: Any) -> None:
    with serving(app, proxy_headers="forwarded") as server, run("nginx", "by RFC 7239", server) as front:
        assert_right(front)
        assert_right(front, version="6")
        response, _ = front.ask("/where", Forwarded='for="192.0.2.66')  # nginx replaces it
        assert response.status == 200


def test_haproxy(app: Any, run: Any) -> None:
    with serving(app) as server, run("haproxy", "by fields", server) as front:
        assert_right(front)
        assert_right(front, tls=True)
        assert_right(front, version="6")


@pytest.mark.parametrize(
    "version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2 proxy-v2-options crc32c"]
)
def test_haproxy_by_the_proxy_protocol(app: Any, run: Any, version: str) -> None:
    with (
        serving(app, proxy_protocol=True) as server,
        run("haproxy", "by the PROXY protocol", server, **{"send-proxy-v2": version}) as front,
    ):
        assert_right(front)
        assert_right(front, version="6")
        loop = server.server.loop
        assert not {"untrusted", "refused", "bug"} & {name for name, count in loop.closed.snapshot().items() if count}


def test_haproxy_by_the_proxy_protocol_with_tls(app: Any, run: Any) -> None:
    name = "by the PROXY protocol, with TLS at HAProxy"
    with serving(app, proxy_protocol=True) as server, run("haproxy", name, server) as front:
        assert_right(front, tls=True)


def test_haproxy_passes_tls_through(app: Any, run: Any) -> None:
    """The header in clear, and behind it TLS that ends at vivace."""
    settings = {"proxy_protocol": True, "tls_self_signed": True}
    with serving(app, **settings) as server, run("haproxy", "by the PROXY protocol", server) as front:
        front.https = front.http
        assert_right(front, tls=True)


def test_nginx_speaks_tls_to_vivace(app: Any, run: Any) -> None:
    encrypted = {"proxy_pass http:": "proxy_pass https:"}
    with serving(app, tls_self_signed=True) as server, run("nginx", "the usual one", server, **encrypted) as front:
        assert_right(front, tls=True)
        assert_right(front)  # the client's own connection is not encrypted, whatever nginx's is


def test_health_checks_of_haproxy_are_served(run: Any) -> None:
    """By HTTP, behind a header that names no client."""
    seen: list[tuple[str, str]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ["REQUEST_METHOD"], environ["REMOTE_ADDR"]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    checks = {"mode tcp": "mode tcp\n    option httpchk OPTIONS /", " check": " check inter 50ms"}
    with serving(app, proxy_protocol=True) as server, run("haproxy", "by the PROXY protocol", server, **checks):
        until(lambda: len(seen) > 2)
    assert set(seen) == {("OPTIONS", "127.0.0.1")}


def test_two_proxies_in_a_row(app: Any, run: Any) -> None:
    """HAProxy before nginx, both at 127.0.0.1: nginx passes on the scheme that HAProxy has set."""
    keep = {"X-Forwarded-Proto $scheme": "X-Forwarded-Proto $http_x_forwarded_proto"}
    with (
        serving(app) as server,
        run("nginx", "the usual one", server, **keep) as inner,
        run("haproxy", "by fields", inner) as front,
    ):
        assert_right(front)
        assert_right(front, tls=True)


def test_a_proxy_that_is_not_trusted_is_the_client(app: Any, run: Any) -> None:
    with serving(app, trusted_proxies="10.0.0.0/8") as server, run("nginx", "the usual one", server) as front:
        told = front.told(tls=True)
        assert (told["address"], told["secure"]) == ("127.0.0.1", False)


# The page.


def test_every_configuration_is_shown_to_work() -> None:
    """Those of Caddy and Apache were, by hand: continuous integration does not have them."""
    source = Path(__file__).read_text(encoding="utf-8")
    languages = {language for language, _ in CONFIGURATIONS}
    assert languages == {"nginx", "haproxy", "caddy", "apache"}
    for language, name in CONFIGURATIONS:
        assert language in ("caddy", "apache") or f'"{name}"' in source


def test_every_command_is_understood(tmp_path: Path) -> None:
    commands = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    assert len(commands) > 8
    for line in commands:
        _, *arguments = shlex.split(line)
        load(arguments, {}, tmp_path)
