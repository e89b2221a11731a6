"""content.static, content.directory, content.file_types and their mounts: files without the application, by real
sockets and real clients, in a directory full of traps."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import h11
import pytest
import requests

import vivace
from apps import TEXT
from vivace.config.load import load
from vivace.content import static as module
from vivace.content.directory import Directory, segments_of
from vivace.content.file_types import type_of
from vivace.content.static import StaticFiles
from vivace.errors import SettingError
from vivace.http1.dates import write_date
from vivace.observe.layout import R_2XX, R_4XX, R_BYTES_OUT, R_COUNT, R_INLINE
from vivace.worker.console import Console
from vivace.wsgi.files import FileParts
from wire import Client, Response, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OLD_S = 1_600_000_000
CSS = b"body { color: teal }\n"
LARGE = b"".join(b"%08x" % number for number in range(50_000))  # 400 kB, without a short period
SECRET = b"secret"


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", list(TEXT))
    return [b"app"]


def put(path: Path, data: bytes, modified_s: float = OLD_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified_s, modified_s))
    return path


@pytest.fixture(scope="module", autouse=True)
def _no_fault() -> Iterator[None]:
    """As `no_fault`, of all tests together: their server lives as long."""
    faults: list[BaseException] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "on_error", lambda console, error: faults.append(error))
        yield
    assert faults == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory `files`, and beside it what must not be reached."""
    base = tmp_path_factory.mktemp("site")
    files = base / "files"
    put(files / "css/app.css", CSS)
    put(files / "large.bin", LARGE)
    put(files / "empty.txt", b"")
    put(files / "app.0123abcd.js", b"js")
    put(files / "größe & 100%.txt", b"name")
    put(files / "index.html", b"root index")
    put(files / "docs/index.html", b"docs index")
    put(files / "coded.js", b"coded " * 100)
    put(files / "coded.js.gz", gzip.compress(b"coded " * 100), OLD_S + 0.5)
    put(files / "coded.js.br", b"brotli")
    put(files / "coded.js.zst", b"stale", OLD_S - 10)
    put(files / "large.svg", b"<svg/>")
    put(files / "large.svg.gz", LARGE)
    put(files / ".env", SECRET)
    put(files / ".git/config", SECRET)
    put(files / ".well-known/security.txt", b"Contact: h")
    put(files / "made_up.txt", b"1", 1)
    put(files / "future.txt", b"2", time.time() + 10_000)
    put(base / "outside.txt", SECRET)
    put(base / "files-too/secret.txt", SECRET)
    os.mkfifo(files / "fifo.txt")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(files / "socket"))
    for name, target in {
        "out.txt": "../outside.txt",
        "out_absolute.txt": str(base / "outside.txt"),
        "out_dir": "..",
        "out_neighbour": str(base / "files-too"),
        "out_through": "docs/../../outside.txt",
        "in.txt": "css/app.css",
        "in_absolute.txt": str(files / "css/app.css"),
        "in_dir": "css",
        "in_back": "docs/../css",
        "loop": "loop",
        "nowhere": "nothing.txt",
        "coded_link.js": "coded.js",
    }.items():
        (files / name).symlink_to(target)
    return base


@pytest.fixture(scope="module", params=[1, 8], ids=["1 thread", "8 threads"])
def server(request: pytest.FixtureRequest, site: Path) -> Iterator[vivace.background]:
    with vivace.background(app, threads=request.param, static=(f"/static={site / 'files'}",)) as server:
        yield server


def get(server: Any, path: str, *fields: str, method: str = "GET") -> Response:
    return fetch(server, request(f"/static/{path}", *fields, method=method), method)


# What is found.


def test_a_file(server: Any) -> None:
    for _ in range(3):  # looked at, read, from memory
        response = get(server, "css/app.css")
        assert (response.status, response.body) == (200, CSS)
        assert response.field("Content-Type") == "text/css; charset=utf-8"
        assert response.field("Content-Length") == str(len(CSS))
        assert response.field("Last-Modified") == write_date(OLD_S)
        assert response.field("Cache-Control") == "public, max-age=60"
        assert response.field("Accept-Ranges") == "bytes"
        assert response.field("X-Content-Type-Options") == "nosniff"
        assert response.field("Vary") is None
        assert (response.field("ETag") or "").startswith('"')


def test_other_paths_are_the_applications(server: Any) -> None:
    for path in ("/", "/other", "/statics", "/static2/css/app.css"):
        assert fetch(server, path).body == b"app"
    assert fetch(server, "/static").status == 404, "it is under the mount"


@pytest.mark.parametrize("path", ["large.bin", "empty.txt", "app.0123abcd.js", ".well-known/security.txt"])
def test_head_is_get_without_a_body(server: Any, path: str) -> None:
    get_, head = get(server, path), get(server, path, method="HEAD")
    assert head.body == b""
    without_date = [[field for field in answer.fields if field[0] != "Date"] for answer in (get_, head)]
    assert without_date[0] == without_date[1]
    assert int(head.field("Content-Length") or -1) == len(get_.body)


def test_a_large_file(server: Any) -> None:
    assert get(server, "large.bin").body == LARGE
    with Client(server) as client:  # and what follows it on its connection
        client.send(request("/static/large.bin") * 3 + request("/static/css/app.css") + request("/other"))
        bodies = [response.body for response in client.read_responses(5)]
    assert bodies == [LARGE] * 3 + [CSS, b"app"]


def test_a_slow_client_gets_all_of_it(server: Any, site: Path) -> None:
    put(site / "files/huge.bin", LARGE * 20)
    with Client(server, receive_bytes=4096) as client:
        client.send(request("/static/huge.bin")).wait()
        assert get(server, "css/app.css").body == CSS, "others are answered meanwhile"
        assert client.read_response().body == LARGE * 20


def test_a_name_with_anything_in_it(server: Any) -> None:
    assert get(server, "gr%C3%B6%C3%9Fe%20%26%20100%25.txt").body == b"name"


def test_names_that_never_change(server: Any) -> None:
    assert get(server, "app.0123abcd.js").field("Cache-Control") == "public, max-age=31536000, immutable"


def test_other_methods_are_refused(server: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        response = fetch(server, request("/static/css/app.css", method=method, body=b"x"))
        assert (response.status, response.field("Allow")) == (405, "GET, HEAD")


# What is not to be found.

TRAPS = [
    *("nothing.txt", "css/nothing.css", "css/app.css/", "css/app.css/more", "css", "css/", "", "docs"),
    *("../outside.txt", "css/../../outside.txt", "..", "../", "css/..", "css/../css/app.css", "./css/app.css"),
    *(
        "%2e%2e/outside.txt",
        "%2e%2e%2foutside.txt",
        "..%2foutside.txt",
        "css%2f..%2f..%2foutside.txt",
        ".%2e/outside.txt",
    ),
    *("%252e%252e/outside.txt", "..%5coutside.txt", "..\\outside.txt", "css\\app.css", "%5c", "..;/outside.txt"),
    *("/etc/passwd", "%2fetc/passwd", "//etc/passwd", "css//app.css", "css/%2fapp.css", "/css/app.css"),
    *("%c0%ae%c0%ae/outside.txt", "%c0%afetc/passwd", "\u002e\u002e/files-too/secret.txt", "../files-too/secret.txt"),
    *(".env", ".git/config", ".git/", "css/.", "...", ".well-known/../.env", ".well-known"),
    *("fifo.txt", "socket", "loop", "nowhere", "loop/x", "coded.js.gz.gz"),
    *("out.txt", "out_absolute.txt", "out_dir/outside.txt", "out_dir/files-too/secret.txt"),
    *("out_neighbour/secret.txt", "out_through", "in_dir", "in_dir/../../outside.txt"),
    *("a" * 300, "a/" * 100, "a/" * 2000, "css/" + "b" * 3000),
]


@pytest.mark.parametrize("path", TRAPS, ids=lambda path: path[:40])
def test_traps(server: Any, path: str) -> None:
    for method in ("GET", "HEAD"):
        response = get(server, path, method=method)
        assert response.status == 404
        assert SECRET not in response.body
    assert get(server, path, "If-None-Match: *", "Range: bytes=0-1").status == 404


def test_an_escaped_nul_is_refused(server: Any) -> None:
    assert get(server, "css/app.css%00.png").status == 400


@pytest.mark.parametrize("path", ["in.txt", "in_absolute.txt", "in_dir/app.css", "in_back/app.css"])
def test_links_that_stay_inside_are_followed(server: Any, path: str) -> None:
    assert [get(server, path).body for _ in range(2)] == [CSS] * 2


def test_links_may_lead_outside_where_that_is_wanted(site: Path) -> None:
    mounts = (f"/static={site / 'files'}",)
    with vivace.background(app, threads=1, static=mounts, static_follow_symlinks=True) as server:
        for path in ("out.txt", "out_absolute.txt", "out_dir/outside.txt"):
            assert get(server, path).body == SECRET
        for path in (".env", "../outside.txt", "%2e%2e/outside.txt", "fifo.txt", "loop"):
            assert get(server, path).status == 404


def test_what_may_not_be_read(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such: 404 would send the operator looking for the file. (Root, who may run this, may read everything.)"""
    monkeypatch.setattr(os, "access", lambda *given, **more: False)
    served = StaticFiles("/static", str(site / "files"), FileParts)
    assert called(served, "css/app.css")[0] == "403 Forbidden"
    assert called(served, ".env")[0] == called(served, "out.txt")[0] == "404 Not Found"


def test_no_descriptors_left_is_no_fault(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **more: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    served = StaticFiles("/static", str(site / "files"), FileParts)
    monkeypatch.setattr(os, "open", fail)
    status, headers, _ = called(served, "css/app.css")
    assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "1")


def test_a_failing_disk_is_told(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **more: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    served = StaticFiles("/static", str(site / "files"), FileParts)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        called(served, "css/app.css")


def test_a_directory_that_becomes_a_link_leads_nowhere(tmp_path: Path) -> None:
    """Between two looks, and between a look and an open."""
    put(tmp_path / "files/a/b.bin", LARGE)
    put(tmp_path / "outside/b.bin", SECRET * 100_000)
    served = StaticFiles("/static", str(tmp_path / "files"), FileParts)
    assert called(served, "a/b.bin")[0] == "200 OK"
    (tmp_path / "files/a").rename(tmp_path / "files/c")
    (tmp_path / "files/a").symlink_to(tmp_path / "outside")
    for _ in range(2):
        assert called(served, "a/b.bin")[0] == "404 Not Found"


def test_a_walk_leaves_no_descriptor(site: Path) -> None:
    directory = Directory(str(site / "files"))
    before = len(os.listdir("/proc/self/fd"))
    for path in (*TRAPS, "css/app.css", "in_back/app.css", "in_absolute.txt"):
        segments = segments_of(path.encode("latin-1")) or [b"out_dir", b"x"]
        try:
            directory.find(segments).close()
        except OSError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_chain_of_links_has_an_end(tmp_path: Path) -> None:
    put(tmp_path / "0", CSS)
    for number in range(30):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    served = StaticFiles("/static", str(tmp_path), FileParts)
    assert called(served, "16")[0] == "200 OK"
    assert called(served, "17")[0] == "404 Not Found"


# Directories.


def test_an_index(site: Path) -> None:
    mounts = (f"/static={site / 'files'}",)
    with vivace.background(app, threads=1, static=mounts, static_index="index.html") as server:
        assert get(server, "").body == b"root index"
        assert get(server, "docs/").body == b"docs index"
        assert get(server, "css/").status == get(server, "css").status == get(server, ".git/").status == 404
        response = get(server, "docs?a=b")
        assert (response.status, response.field("Location")) == (301, "/static/docs/?a=b")
        assert fetch(server, "/static").field("Location") == "/static/"


def test_a_redirect_stays_here(tmp_path: Path) -> None:
    """Nothing in a path becomes a host, a line or a query of the Location."""
    put(tmp_path / "a?b#c\r\nX: y/index.html", b"odd")
    put(tmp_path / "example.com/index.html", b"host")
    with vivace.background(app, threads=1, static=(f"/={tmp_path}",), static_index="index.html") as server:
        response = fetch(server, "/a%3Fb%23c%0D%0AX:%20y")
        assert response.status == 400 or response.field("Location") == "/a%3Fb%23c%0D%0AX:%20y/"
        assert fetch(server, "//example.com").status == fetch(server, "/%2fexample.com").status == 404
        assert fetch(server, "/example.com").field("Location") == "/example.com/"


def test_under_a_root_path(site: Path) -> None:
    mounts = (f"/static={site / 'files'}",)
    with vivace.background(app, threads=1, static=mounts, static_index="index.html", root_path="/shop") as server:
        assert fetch(server, "/shop/static/docs").field("Location") == "/shop/static/docs/"
        assert fetch(server, "/shop/static/css/app.css").body == CSS


# Conditions, ranges, codings.


def test_conditions(server: Any) -> None:
    etag = get(server, "css/app.css").field("ETag")
    for field in (f"If-None-Match: {etag}", "If-None-Match: *", f"If-Modified-Since: {write_date(OLD_S)}"):
        response = get(server, "css/app.css", field)
        assert (response.status, response.body, response.field("ETag")) == (304, b"", etag)
        assert response.field("Cache-Control") == "public, max-age=60"
        assert response.field("Content-Type") is None
    for field in ('If-Match: "x"', f"If-Unmodified-Since: {write_date(OLD_S - 1)}"):
        assert get(server, "css/app.css", field).status == 412
    for field in (f"If-Match: {etag}", 'If-None-Match: "x"', f"If-Modified-Since: {write_date(OLD_S - 1)}"):
        assert get(server, "css/app.css", field).status == 200


@pytest.mark.parametrize(("path", "data"), [("css/app.css", CSS), ("large.bin", LARGE)])
def test_ranges(server: Any, path: str, data: bytes) -> None:
    size = len(data)
    for text, (first, last) in {"0-4": (0, 4), "5-": (5, size - 1), "-7": (size - 7, size - 1)}.items():
        response = get(server, path, f"Range: bytes={text}")
        assert (response.status, response.body) == (206, data[first : last + 1])
        assert response.field("Content-Range") == f"bytes {first}-{last}/{size}"
        assert response.field("Content-Length") == str(last - first + 1)
        assert response.field("ETag")
    response = get(server, path, f"Range: bytes={size}-")
    assert (response.status, response.field("Content-Range")) == (416, f"bytes */{size}")
    assert get(server, path, "Range: lines=1-2").body == data
    head = get(server, path, "Range: bytes=0-4", method="HEAD")
    assert (head.status, head.field("Content-Length")) == (200, str(size)), "RFC 9110 section 14.2: GET alone"


def test_several_ranges(server: Any) -> None:
    size = len(LARGE)
    response = get(server, "large.bin", "Range: bytes=100-199,-10,5000-5099")
    assert response.status == 206
    kind, _, boundary = (response.field("Content-Type") or "").partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert response.field("Content-Range") is None
    pieces = (b"\r\n" + response.body).split(b"\r\n--" + boundary.encode())
    assert pieces.pop(0) == b""
    assert pieces.pop() == b"--\r\n"
    for piece, (first, last) in zip(pieces, [(100, 199), (size - 10, size - 1), (5000, 5099)], strict=True):
        head = f"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        assert piece == head.encode() + LARGE[first : last + 1]


def test_if_range(server: Any) -> None:
    etag = get(server, "css/app.css").field("ETag")
    for condition in (etag, write_date(OLD_S)):
        assert get(server, "css/app.css", "Range: bytes=0-0", f"If-Range: {condition}").status == 206
    for condition in ('"x"', f"W/{etag}", write_date(OLD_S + 1)):
        assert get(server, "css/app.css", "Range: bytes=0-0", f"If-Range: {condition}").status == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("br, gzip", "br"), ("zstd", None), ("gzip;q=0", None), ("*", "br"), ("gzip, br;q=0.5", "gzip")],
)
def test_files_compressed_beforehand(server: Any, accepted: str, coding: str | None) -> None:
    response = get(server, "coded.js", f"Accept-Encoding: {accepted}")
    assert response.field("Content-Encoding") == coding
    assert response.field("Content-Type") == "text/javascript; charset=utf-8"
    assert response.field("Vary") == "Accept-Encoding"
    body = {"gzip": gzip.decompress, "br": lambda data: b"coded " * 100, None: bytes}[coding](response.body)
    assert body == b"coded " * 100
    etag = response.field("ETag")
    assert get(server, "coded.js", f"Accept-Encoding: {accepted}", f"If-None-Match: {etag}").status == 304
    assert get(server, "coded.js", "Accept-Encoding: identity", f"If-None-Match: {etag}").status == (
        304 if coding is None else 200
    )


def test_a_link_to_a_file_has_no_compressed_one_beside_it(server: Any) -> None:
    response = get(server, "coded_link.js", "Accept-Encoding: gzip")
    assert (response.status, response.field("Content-Encoding")) == (200, None)


def test_a_large_compressed_one(server: Any) -> None:
    response = get(server, "large.svg", "Accept-Encoding: gzip", "Range: bytes=8-15")
    assert (response.status, response.body, response.field("Content-Encoding")) == (206, LARGE[8:16], "gzip")


# Changes.


def test_a_change_is_seen(server: Any, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within FACTS_S; at once where the file is sent by the system."""
    monkeypatch.setattr(module, "FACTS_S", 0.1)
    small, large = site / "files/small.txt", site / "files/changing.bin"
    put(small, b"one")
    put(large, LARGE)
    before = [get(server, path) for path in ("small.txt", "changing.bin")]
    put(small, b"two", OLD_S + 1)
    put(large, LARGE[::-1], OLD_S + 1)
    assert get(server, "changing.bin").body == LARGE[::-1]
    after = until(lambda: (found := get(server, "small.txt")).body == b"two" and found)
    assert before[0].field("ETag") != after.field("ETag")
    small.unlink()
    until(lambda: get(server, "small.txt").status == 404)


def test_the_same_size_in_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has just changed is read again, even if its time says that it has not."""
    monkeypatch.setattr(module, "FACTS_S", 0.0)
    now = time.time()
    served = StaticFiles("/static", str(tmp_path), FileParts)
    put(tmp_path / "new.txt", b"one", now)
    assert called(served, "new.txt")[2] == b"one"
    put(tmp_path / "new.txt", b"two", now)
    assert called(served, "new.txt")[2] == b"two"


def test_times_that_nobody_measured(server: Any) -> None:
    response = get(server, "made_up.txt")
    assert response.field("Last-Modified") is None
    assert get(server, "made_up.txt", f"If-None-Match: {response.field('ETag')}").status == 304
    assert get(server, "future.txt").field("Last-Modified") is None, "RFC 9110 section 8.8.2.1: not later than Date"


def test_a_release_that_replaces_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`current` is a link that a deployment turns round."""
    monkeypatch.setattr(module, "FACTS_S", 0.1)
    for release in ("1", "2"):
        put(tmp_path / release / "app.css", release.encode() * 5)
    (tmp_path / "current").symlink_to("1")
    served = StaticFiles("/static", str(tmp_path / "current"), FileParts)
    assert called(served, "app.css")[2] == b"11111"
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    until(lambda: called(served, "app.css")[2] == b"22222")


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 5)
    monkeypatch.setattr(module, "KEPT_BYTES_SUM_MAX", 1000)
    served = StaticFiles("/static", str(tmp_path), FileParts)
    for number in range(20):
        put(tmp_path / f"{number}.txt", b"x" * 300)
        for _ in range(2):
            assert called(served, f"{number}.txt")[2] == b"x" * 300
        known = list(served._known.values())
        assert len(known) <= 5
        kept = sum(file.size for each in known for file in each.files.values() if file.content is not None)
        assert kept == served._kept_bytes <= 1000


# As others see it.


def called(served: Any, path: str, **fields: str) -> tuple[str, dict[str, str], bytes]:
    """The answer to a call without a server."""
    said: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": f"/static/{path}", "QUERY_STRING": "", **fields}
    body = served(environ, lambda *given: said.append(given))
    try:
        return said[0][0], dict(said[0][1]), b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()


def test_it_is_valid_wsgi(site: Path) -> None:
    from wsgiref.util import setup_testing_defaults

    served = validator(StaticFiles("/static", str(site / "files"), FileParts))
    for path in ("css/app.css", "large.bin", "nothing", "empty.txt"):
        for more in ({}, {"HTTP_RANGE": "bytes=0-1,1000-1001"}):
            environ: dict[str, Any] = {"PATH_INFO": f"/static/{path}", "QUERY_STRING": "", "SCRIPT_NAME": "", **more}
            setup_testing_defaults(environ)
            body = served(environ, lambda status, headers, exc_info=None: lambda data: None)
            list(body)
            body.close()


def test_curl_resumes_and_revalidates(server: Any, site: Path, tmp_path: Path) -> None:
    url = f"{server.url}/static/large.bin"
    target = tmp_path / "got"
    target.write_bytes(LARGE[:1000])

    def curl(*options: str) -> str:
        return subprocess.run(["curl", "-sS", *options, url], check=True, capture_output=True, text=True).stdout

    code = ("-w", "%{http_code}", "-o", str(target))
    assert curl("-C", "-", *code) == "206"
    assert target.read_bytes() == LARGE
    assert curl("-z", str(site / "files/large.bin"), *code) == "304"
    assert curl("-r", "0-3,9000-9003", *code) == "206"


def test_requests(server: Any) -> None:
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "gzip, deflate"
        first = session.get(f"{server.url}/static/coded.js")
        assert first.content == b"coded " * 100
        again = session.get(f"{server.url}/static/coded.js", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304


def test_h11_agrees(server: Any) -> None:
    peer = h11.Connection(h11.CLIENT)
    with Client(server) as client:
        for fields, wanted in (([], LARGE), ([("Range", "bytes=7-8")], LARGE[7:9])):
            client.send(
                peer.send(h11.Request(method="GET", target="/static/large.bin", headers=[("Host", "h"), *fields]))
                or b""
            )
            peer.send(h11.EndOfMessage())
            body = b""
            while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    peer.receive_data(client.socket.recv(65536))
                elif isinstance(event, h11.Data):
                    body += event.data
            assert body == wanted
            peer.start_next_cycle()


def test_one_route_in_the_metrics_and_in_the_log(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with vivace.background(
        app,
        threads=1,
        static=(f"/static={site / 'files'}",),
        access_log=True,
        request_id="on",
        access_log_format="%r %s",
    ) as server:
        ids = {get(server, path).field("X-Request-Id") for path in ("css/app.css", "large.bin", "nothing")}
        assert len(ids) == 3
        assert None not in ids
        fetch(server, request("/static/css/app.css", method="POST", body=b""))
        names = [route.name for route in server.server.loop.routes.all()]
    assert sorted(name for name in names if "static" in name) == ["* /static/*", "GET /static/*", "HEAD /static/*"]
    out = capfd.readouterr().out
    assert "GET /static/css/app.css HTTP/1.1 200" in out
    assert "GET /static/nothing HTTP/1.1 404" in out


def test_it_is_counted(site: Path) -> None:
    with vivace.background(app, threads=1, static=(f"/static={site / 'files'}",), metrics=True) as server:
        loop = server.server.loop
        route = next(route for route in loop.routes.all() if route.name == "GET /static/*")

        def counts() -> list[int]:
            loop.tally.flush(loop.seen)
            return list(loop.section.route_counts(route.number))

        before = counts()
        with Client(server) as client:
            for path in ("css/app.css",) * 5 + ("large.bin",) * 2 + ("nothing",):
                client.send(request(f"/static/{path}"))
                client.read_response()
        until(lambda: counts()[R_COUNT] - before[R_COUNT] == 8)
        new = [after - old for after, old in zip(counts(), before, strict=True)]
        assert (new[R_2XX], new[R_4XX], new[R_INLINE]) == (7, 1, 8)
        assert new[R_BYTES_OUT] == 5 * len(CSS) + 2 * len(LARGE) + len(b"Not Found\n")


def test_the_longest_path_counts(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / name / "x.txt", name.encode())
    mounts = (f"/f={tmp_path / 'a'}", f"/f/g={tmp_path / 'b'}", f"/f/g/h={tmp_path / 'c'}")
    with vivace.background(app, threads=1, static=mounts) as server:
        assert [fetch(server, f"{path}/x.txt").body for path in ("/f", "/f/g", "/f/g/h")] == [b"a", b"b", b"c"]
        assert fetch(server, "/f/gh").status == 404


def test_a_blocked_disk_holds_up_nobody_else(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that waits for it is overtaken and keeps its thread."""
    import threading

    go = threading.Event()
    look = StaticFiles._look

    def slow_look(self: StaticFiles, path: str, before: Any) -> Any:
        if path.endswith("slow.txt"):
            assert go.wait(10)
        return look(self, path, before)

    monkeypatch.setattr(StaticFiles, "_look", slow_look)
    put(site / "files/slow.txt", b"slow")
    mounts = (f"/static={site / 'files'}",)
    with vivace.background(app, threads=4, static=mounts) as server, Client(server) as client:
        client.send(request("/static/slow.txt"))
        assert get(server, "css/app.css").body == CSS
        assert fetch(server, "/other").body == b"app"
        go.set()
        assert client.read_response().body == b"slow"


# Settings.


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("static",), "give PATH=DIRECTORY"),
        (("static=/tmp",), "give PATH=DIRECTORY"),
        (("/static=",), "give PATH=DIRECTORY"),
        (("/static=/nowhere/at/all",), "does not exist"),
        (("/static=/dev/null",), "is no directory"),
        (("/a=/tmp", "/a/=/tmp"), "given twice"),
    ],
)
def test_mounts_that_make_no_sense(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        vivace.background(app, static=texts).__enter__()


@pytest.mark.parametrize("path", ["/a//b", "/..", "/a/../b", "/.hidden", "/a\\b"])
def test_paths_that_no_request_could_have(tmp_path: Path, path: str) -> None:
    with pytest.raises(SettingError, match="no path to serve files at"):
        vivace.background(app, static=(f"{path}={tmp_path}",)).__enter__()


def test_an_index_and_a_pattern_are_checked() -> None:
    for name, value in (("static_index", "a/b"), ("static_index", ".html"), ("static_immutable", "(")):
        with pytest.raises(SettingError, match=name):
            vivace.background(app, **{name: value}).__enter__()


def test_a_relative_directory_is_taken_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    settings = load(["app:app", "--static", "/static=./public"], {}, str(tmp_path))
    assert settings.static == (f"/static={tmp_path / 'public'}",)
    settings = load(["app:app", "--static", "/static=public", "--chdir", str(tmp_path)], {}, "/")
    assert settings.static == (f"/static={tmp_path / 'public'}",)


# Types.


def test_types_are_the_same_on_every_machine() -> None:
    for name, wanted in {
        "a.HTML": "text/html; charset=utf-8",
        "a.min.js": "text/javascript; charset=utf-8",
        "a.js.map": "application/json",
        "a.svg": "image/svg+xml",
        "a.tar.gz": "application/gzip",
        "a.woff2": "font/woff2",
        "a.unheard-of": "application/octet-stream",
        "README": "application/octet-stream",
        "html": "application/octet-stream",
        "a.": "application/octet-stream",
    }.items():
        assert type_of(name)[0] == wanted
    assert not type_of("a.png")[1]
    assert type_of("a.css")[1]


def test_the_table_agrees_with_the_standard_librarys() -> None:
    """On what both know and nobody has renamed."""
    from mimetypes import MimeTypes

    theirs = MimeTypes(())
    for extension in (
        "css",
        "html",
        "txt",
        "json",
        "png",
        "jpg",
        "gif",
        "svg",
        "pdf",
        "zip",
        "mp3",
        "mp4",
        "csv",
        "mov",
    ):
        assert type_of(f"a.{extension}")[0].partition(";")[0] == theirs.guess_type(f"a.{extension}")[0]
