"""The frameworks and clients that people use: the same small site (frameworks.py) in each, bare and under validate."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest
import requests
import urllib3

import vivace
from frameworks import BLOCKS, SITES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

pytestmark = [
    pytest.mark.usefixtures("no_fault"),
    # Their own, and not about this server.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:pkg_resources:UserWarning"),
]

JSON = {"Content-Type": "application/json"}
CONTENT = b"".join(b"%07d\n" % number for number in range(50_000))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("site") / "file.bin"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture(params=list(SITES))
def site(request: pytest.FixtureRequest, path: str) -> Callable[..., Any]:
    pytest.importorskip(request.param)
    return SITES[request.param](path)


class Sized:
    """`wsgi.input` for Werkzeug, which calls read() without a size: validate refuses that."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self, size: int = -1) -> bytes:
        return bytes(self._source.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def validated(site: Callable[..., Any]) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"] = Sized(environ["wsgi.input"])
        return site(environ, start_response)

    return validator(app)


@pytest.fixture(params=["bare", "validate"])
def server(request: pytest.FixtureRequest, site: Callable[..., Any]) -> Iterator[vivace.background]:
    app = validated(site) if request.param == "validate" else site
    with vivace.background(app, threads=8) as server:
        yield server


@pytest.fixture
def client(server: vivace.background) -> Iterator[Callable[..., requests.Response]]:
    """(method, path, **how) -> response, of `requests`, on one connection."""
    with requests.Session() as session:
        session.trust_env = False
        yield lambda method, target, **how: session.request(method, server.url + target, timeout=10, **how)


# requests.


def test_routing_and_json(client: Any) -> None:
    for name in ("world", "caf\u00e9 au lait"):
        response = client("GET", f"/hello/{name}", params={"q": "a&b=\u2603"})
        assert (response.status_code, response.json()) == (200, {"name": name, "q": "a&b=\u2603"})
        assert response.headers["Content-Type"].startswith("application/json")


def test_head(client: Any) -> None:
    get = client("GET", "/hello/world?q=1")
    head = client("HEAD", "/hello/world?q=1")
    if head.status_code == 200:  # Falcon and Pyramid give HEAD only where it was asked for
        assert head.content == b""
        assert head.headers.get("Content-Length") in (None, get.headers["Content-Length"])
    assert client("GET", "/hello/world?q=2").json()["q"] == "2"


def test_post_of_json(client: Any) -> None:
    data = {"text": "\u2603" * 1000, "numbers": list(range(1000))}
    assert client("POST", "/json", json=data).json() == data


def test_post_of_a_form(client: Any) -> None:
    assert client("POST", "/form", data={"text": "a&b \u2603", "other": "x"}).text == "a&b \u2603"


@pytest.mark.parametrize("size", [0, 10_000, 3_000_000])
def test_upload_of_a_file(client: Any, size: int) -> None:
    """The largest is larger than `body_memory_bytes`: it comes from a file."""
    response = client("POST", "/upload", files={"file": ("name.bin", b"x" * size)})
    assert response.json() == {"name": "name.bin", "size": size}


def test_chunked_upload(client: Any) -> None:
    """A body without a length reaches the framework as any other."""
    data = json.dumps({"text": "x" * 100_000}).encode()
    response = client("POST", "/json", data=iter([data[:10], data[10:]]), headers=JSON)
    assert response.json() == json.loads(data)


def test_cookies(client: Any) -> None:
    assert [client("GET", "/visits").text for _ in range(3)] == ["1", "2", "3"]


def test_streaming_response(client: Any) -> None:
    response = client("GET", "/stream", stream=True)
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert b"".join(response.iter_content(1000)) == b"".join(BLOCKS)


def test_file(client: Any) -> None:
    for _ in range(2):
        response = client("GET", "/file")
        assert (response.status_code, response.content) == (200, CONTENT)


def test_part_of_a_file(client: Any) -> None:
    response = client("GET", "/file", headers={"Range": "bytes=8000-15999"})
    assert response.status_code in (200, 206)  # Django and Falcon know no ranges
    assert response.content == (CONTENT if response.status_code == 200 else CONTENT[8000:16000])


def test_redirect(client: Any) -> None:
    response = client("GET", "/redirect")
    assert [step.status_code for step in response.history] == [302]
    assert response.json() == {"name": "there", "q": "redirected"}


def test_error_pages(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert client("GET", "/error").status_code == 500
        assert client("GET", "/missing").status_code == 404
        assert client("GET", "/hello/again?q=1").json()["name"] == "again"


def test_many_at_once(server: vivace.background) -> None:
    pool = urllib3.HTTPConnectionPool(server.host, server.port, maxsize=8, block=True, timeout=10)

    def one(number: int) -> int:
        response = pool.request("GET", f"/hello/{number}", fields={"q": str(number)}, retries=False)
        assert response.json() == {"name": str(number), "q": str(number)}
        return response.status

    with pool, ThreadPoolExecutor(8) as executor:
        assert list(executor.map(one, range(200))) == [200] * 200


# Other clients: what they send differs, so one framework will do.


@pytest.fixture
def flask_server(path: str) -> Iterator[vivace.background]:
    pytest.importorskip("flask")
    with vivace.background(SITES["flask"](path), threads=8) as server:
        yield server


def test_urllib3(flask_server: vivace.background) -> None:
    with urllib3.PoolManager(num_pools=1, maxsize=1, block=True, retries=False, timeout=10) as manager:
        url = flask_server.url
        assert manager.request("GET", url + "/hello/u?q=1").json() == {"name": "u", "q": "1"}
        upload = manager.request("POST", url + "/upload", fields={"file": ("n", b"x" * 100_000)})
        assert upload.json() == {"name": "n", "size": 100_000}
        chunked = manager.request(
            "POST",
            url + "/json",
            body=iter([b'{"a":', b" 1}"]),
            headers={"Content-Type": "application/json"},
            chunked=True,
        )
        assert chunked.json() == {"a": 1}
        assert manager.request("GET", url + "/stream").data == b"".join(BLOCKS)
        pool = manager.connection_from_url(url)
        assert pool.num_connections == 1


def test_http_client(flask_server: vivace.background) -> None:
    connection = http.client.HTTPConnection(flask_server.host, flask_server.port, timeout=10)
    try:
        for number in range(3):
            connection.request("GET", f"/hello/{number}?q=1")
            assert json.loads(connection.getresponse().read())["name"] == str(number)
        connection.request(
            "POST", "/json", iter([b'{"a"', b": 1}"]), {"Content-Type": "application/json"}, encode_chunked=True
        )
        assert json.loads(connection.getresponse().read()) == {"a": 1}
        connection.request("HEAD", "/file")
        head = connection.getresponse()
        assert (head.read(), head.getheader("Content-Length")) == (b"", str(len(CONTENT)))
        connection.request("GET", "/file")
        assert connection.getresponse().read() == CONTENT
    finally:
        connection.close()


CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="there is no curl")
class TestCurl:
    """The command, with what it alone does: Expect, --next on one connection, HTTP/1.0, uploads of unknown length."""

    @staticmethod
    def curl(*arguments: str, given: bytes = b"") -> bytes:
        assert CURL is not None
        command = [CURL, "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--disable", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_get(self, flask_server: vivace.background) -> None:
        url = flask_server.url + "/hello/curl?q="
        assert json.loads(self.curl(url + "1")) == {"name": "curl", "q": "1"}
        assert json.loads(self.curl("--http1.0", url + "2")) == {"name": "curl", "q": "2"}

    def test_one_connection(self, flask_server: vivace.background) -> None:
        url = flask_server.url + "/hello/curl?q=1"
        assert self.curl(url, url, url, "--write-out", "%{num_connects}").count(b'"curl"') == 3
        assert sum(flask_server.server.loop.closed.snapshot().values()) + len(flask_server.server.loop.conns) <= 1

    def test_large_upload_with_expect(self, flask_server: vivace.background, tmp_path: Path) -> None:
        file = tmp_path / "upload.bin"
        file.write_bytes(b"x" * 3_000_000)
        answer = self.curl("-F", f"file=@{file}", "-H", "Expect: 100-continue", flask_server.url + "/upload")
        assert json.loads(answer) == {"name": "upload.bin", "size": 3_000_000}

    def test_upload_of_unknown_length(self, flask_server: vivace.background) -> None:
        data = json.dumps({"text": "x" * 200_000}).encode()
        arguments = ("-T", "-", "-X", "POST", "-H", "Content-Type: application/json", flask_server.url + "/json")
        assert json.loads(self.curl(*arguments, given=data)) == json.loads(data)

    def test_cookies_and_redirect(self, flask_server: vivace.background, tmp_path: Path) -> None:
        jar = str(tmp_path / "jar")
        for count in (b"1", b"2", b"3"):
            assert self.curl("-b", jar, "-c", jar, flask_server.url + "/visits") == count
        assert json.loads(self.curl("-L", flask_server.url + "/redirect"))["q"] == "redirected"

    def test_resumed_download(self, flask_server: vivace.background, tmp_path: Path) -> None:
        target = tmp_path / "part"
        target.write_bytes(CONTENT[:1000])
        self.curl("-C", "-", "-o", str(target), flask_server.url + "/file")
        assert target.read_bytes() == CONTENT

    def test_refusal_is_understood(self, flask_server: vivace.background) -> None:
        answer = self.curl("-X", "POST", "-H", "Expect: teapot", "-d", "x", "-i", flask_server.url + "/form")
        assert answer.startswith(b"HTTP/1.1 417 ")
