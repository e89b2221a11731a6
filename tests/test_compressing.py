"""Compression with a real server: what clients decode, what frameworks stream, and that nothing else changes."""

from __future__ import annotations

import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests

import vivace
from apps import assert_follows
from decoders import decode, decoder
from vivace.connection.serving import Serving
from vivace.content.coding import find_codings
from wire import RESET, TIMEOUT_S, Client, fetch, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wire import Response

pytestmark = [
    pytest.mark.usefixtures("no_fault"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the frameworks' own
]

PAGE = b"a page of some length, " * 1000
HTML = ("Content-Type", "text/html; charset=utf-8")
CODINGS = list(find_codings())
GZIP = "Accept-Encoding: gzip"


def app(environ: dict[str, Any], start_response: Any) -> Any:
    """/page, /stream, /broken, /large, /next."""
    path = environ["PATH_INFO"]
    start_response("200 OK", [HTML, ("ETag", '"1"')])
    if path == "/next":
        return [b"next"]
    if path == "/stream":
        return iter([PAGE, b"", b"end"])
    if path == "/broken":
        return broken()
    return [PAGE * (100 if path == "/large" else 1)]


def broken() -> Iterator[bytes]:
    yield PAGE
    raise ValueError("oh")


def decoded(response: Response) -> bytes:
    return decode(response.field("Content-Encoding"), response.body)


# Clients.


@pytest.mark.parametrize("path", ["/page", "/stream", "/large"])
def test_what_clients_decode(serve_bare: Any, path: str, tmp_path: Path) -> None:
    content = {"/page": PAGE, "/stream": PAGE + b"end", "/large": PAGE * 100}[path]
    with serve_bare(app, compress=True) as server:
        answer = requests.get(server.url + path, timeout=TIMEOUT_S)
        assert (answer.content, answer.headers["Content-Encoding"]) == (content, CODINGS[0])
        for coding in CODINGS:
            response = fetch(server, request(path, f"Accept-Encoding: {coding}"))
            assert response.field("Content-Encoding") == coding
            assert decoded(response) == content
        if curl := shutil.which("curl"):
            command = [curl, "-sS", "--compressed", "-D", str(tmp_path / "head"), server.url + path]
            assert subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S).stdout == content
            assert b"\ncontent-encoding: " in (tmp_path / "head").read_bytes().lower()


def test_off_by_default() -> None:
    with vivace.background(app) as server:
        response = fetch(server, request("/page", GZIP))
        assert (response.field("Content-Encoding"), response.field("Vary"), response.body) == (None, None, PAGE)


def test_the_settings_count() -> None:
    chosen = {
        "compress": True,
        "compress_types": ["image/*"],
        "compress_bytes_min": 5,
        "compress_exclude": ["/form", "/my/*"],
        "compress_level": 9,
    }

    def image(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "Image/BMP" if environ["QUERY_STRING"] else "text/html")])
        return [b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 4]

    with vivace.background(image, **chosen) as server:
        found = {
            target: fetch(server, request(target, GZIP)).field("Content-Encoding")
            for target in ("/?1", "/", "/form?1", "/my/page?1", "/other?1")
        }
    assert found == {"/?1": "gzip", "/": None, "/form?1": None, "/my/page?1": None, "/other?1": "gzip"}


# The wire.


@pytest.mark.parametrize("target", ["/page", "/stream"])
def test_head(serve: Any, target: str) -> None:
    with serve(app, compress=True) as server, Client(server) as client:
        got = client.send(request(target, GZIP)).read_response()
        head = client.send(request(target, GZIP, method="HEAD")).read_response("HEAD")
        dropped = ("Content-Length", "Transfer-Encoding", "Date")
        assert [field for field in got.fields if field[0] not in dropped] == [
            field for field in head.fields if field[0] not in dropped
        ]
        assert head.field("Content-Length") is None
        assert_follows(client, head)


@pytest.mark.parametrize("target", ["/page", "/stream"])
def test_http_1_0(serve_bare: Any, target: str) -> None:
    with serve_bare(app, compress=True) as server:
        response = fetch(server, request(target, GZIP, version="HTTP/1.0"))
        assert response.whole
        assert decoded(response) == (PAGE if target == "/page" else PAGE + b"end")
        assert response.field("Transfer-Encoding") is None
        assert (response.field("Content-Length") is None) == (target == "/stream")


def test_pipelined_requests_of_several_kinds(serve: Any) -> None:
    with serve(app, compress=True) as server, Client(server) as client:
        targets = ["/page", "/stream", "/next", "/page"]
        client.send(b"".join(request(target, GZIP) for target in targets))
        bodies = [decoded(response) for response in client.read_responses(4)]
    assert bodies == [PAGE, PAGE + b"end", b"next", PAGE]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_stream_that_fails_is_seen_to_be_cut_off(serve_bare: Any, version: str, messages: list[str]) -> None:
    with serve_bare(app, compress=True) as server:
        response = fetch(server, request("/broken", GZIP, version=version))
    assert not response.whole
    reader = decoder("gzip")
    if version == "HTTP/1.1":
        assert reader(b"".join(response.chunks)) == PAGE
        assert not reader.ended
    else:
        assert response.ended == RESET


# What takes long.


def test_large_bodies_leave_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[bool] = []
    step_aside = Serving.step_aside

    def noting(serving: Serving, conn: Any) -> None:
        led = conn.table is not None
        step_aside(serving, conn)
        sizes.append(led and conn.table is None)

    monkeypatch.setattr(Serving, "step_aside", noting)
    with vivace.background(app, compress=True, threads=4) as server, Client(server) as client:
        for target, count in (("/page", 0), ("/large", 1), ("/page", 1)):
            response = client.send(request(target, GZIP)).read_response()
            assert decoded(response) == PAGE * (100 if target == "/large" else 1)
            assert len(sizes) == count
    assert sizes == [True]


# Frameworks.


class Gate:
    """Blocks of a stream, each made when the client has decoded the one before."""

    def __init__(self) -> None:
        self.read = threading.Semaphore(0)
        self.closed = False

    def blocks(self) -> Iterator[str]:
        try:
            for number in range(4):
                yield f"block {number}, "
                assert self.read.acquire(timeout=TIMEOUT_S)
        finally:
            self.closed = True


def flask_stream(gate: Gate) -> Any:
    flask = pytest.importorskip("flask")
    site = flask.Flask("site")

    @site.get("/")
    def stream() -> Any:
        return flask.Response(flask.stream_with_context(gate.blocks()), mimetype="text/event-stream")

    return site


def django_stream(gate: Gate) -> Any:
    pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
    import django
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import StreamingHttpResponse

    django.setup(set_prefix=False)

    class Handler(WSGIHandler):
        def load_middleware(self, is_async: bool = False) -> None:
            self._middleware_chain = self.get_response

        def get_response(self, request: Any) -> Any:
            return StreamingHttpResponse(gate.blocks(), content_type="text/plain")

    return Handler()


@pytest.mark.parametrize("make", [flask_stream, django_stream])
@pytest.mark.parametrize("coding", CODINGS)
def test_each_block_of_a_framework_reaches_the_client_at_once(make: Callable[[Gate], Any], coding: str) -> None:
    gate = Gate()
    with vivace.background(make(gate), compress=True) as server, Client(server) as client:
        client.send(request("/", f"Accept-Encoding: {coding}"))
        assert client.read_head().field("Content-Encoding") == coding
        reader = decoder(coding)
        for number in range(4):
            block = b""
            while len(block) < len("block 0, "):
                block += reader(client.read_chunk() or b"")
            assert block == b"block %d, " % number
            gate.read.release()
        while chunk := client.read_chunk():
            reader(chunk)
        assert reader.ended
    assert gate.closed


def flask_site(path: Path) -> Any:
    flask = pytest.importorskip("flask")
    site = flask.Flask("site")

    @site.get("/file")
    def file() -> Any:
        return flask.send_file(path, mimetype="text/plain", etag="tag")

    @site.get("/page")
    def page() -> Any:
        response = flask.make_response(PAGE)
        response.set_etag("tag")
        response.vary.add("Cookie")
        return response.make_conditional(flask.request)

    return site


@pytest.fixture
def flask_server(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "file.txt"
    path.write_bytes(PAGE)
    with vivace.background(flask_site(path), compress=True) as server:
        yield server


@pytest.mark.parametrize("target", ["/file", "/page"])
def test_conditional_requests_with_the_etag_that_was_sent(flask_server: Any, target: str) -> None:
    first = fetch(flask_server, request(target, GZIP))
    assert (first.field("Content-Encoding"), first.field("ETag"), decoded(first)) == ("gzip", 'W/"tag"', PAGE)
    again = fetch(flask_server, request(target, GZIP, f"If-None-Match: {first.field('ETag')}"))
    assert (again.status, again.body, again.field("Content-Encoding")) == (304, b"", None)
    assert again.field("ETag") == first.field("ETag")
    assert "Accept-Encoding" in (again.field("Vary") or "")
    plain = fetch(flask_server, request(target, 'If-None-Match: "tag"'))
    assert (plain.status, plain.field("ETag")) == (304, '"tag"')


def test_ranges_are_of_the_file_as_it_is(flask_server: Any) -> None:
    whole = fetch(flask_server, request("/file"))
    assert (whole.body, whole.field("Accept-Ranges"), whole.field("Vary")) == (PAGE, "bytes", "Accept-Encoding")
    coded = fetch(flask_server, request("/file", GZIP))
    assert coded.field("Accept-Ranges") is None
    part = fetch(flask_server, request("/file", GZIP, "Range: bytes=100-199"))
    assert (part.status, part.field("Content-Range")) == (206, f"bytes 100-199/{len(PAGE)}")
    assert (part.body, part.field("Content-Encoding"), part.field("ETag")) == (PAGE[100:200], None, '"tag"')


def test_files_of_which_a_part_or_nothing_new_is_wanted_are_left_to_the_server(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(PAGE)

    def sending(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [HTML, ("ETag", '"1"'), ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with vivace.background(sending, compress=True) as server:

        def got(*fields: str) -> tuple[Any, ...]:
            response = fetch(server, request("/", GZIP, *fields))
            assert response.field("Vary") == "Accept-Encoding"
            return response.status, response.field("Content-Encoding"), response.field("ETag"), decoded(response)

        assert got() == (200, "gzip", 'W/"1"', PAGE)
        assert got('If-None-Match: W/"1"') == (304, None, 'W/"1"', b"")
        assert got('If-None-Match: "1"') == (304, None, '"1"', b"")
        assert got('If-None-Match: W/"0"') == (200, "gzip", 'W/"1"', PAGE)
        assert got("If-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT") == (304, None, '"1"', b"")
        assert got("Range: bytes=5-9") == (206, None, '"1"', PAGE[5:10])


def test_vary_of_the_framework_is_kept(flask_server: Any) -> None:
    assert fetch(flask_server, request("/page", GZIP)).field("Vary") == "Cookie, Accept-Encoding"
