"""The demo application: every route, under wsgiref.validate, with hostile input."""

from __future__ import annotations

import hashlib
import html.parser
import io
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from vivace import demo

HOSTILE = "<script>alert(1)</script>\"'&{{wsgi}}"


class Reply(NamedTuple):
    status: str
    fields: dict[str, str]
    body: bytes
    blocks: list[bytes]


def call(path: str, method: str = "GET", body: bytes = b"", **environ: Any) -> Reply:
    """One request to the demo, under the validator; `path` may carry a query."""
    path, _, query = path.partition("?")
    base: dict[str, Any] = {
        "PATH_INFO": path,
        "SCRIPT_NAME": "" if path else "/mounted",
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
    }
    if body:
        base["CONTENT_LENGTH"] = str(len(body))
    base["wsgi.input"] = io.BytesIO(body)
    base |= environ
    setup_testing_defaults(base)
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, dict(headers)))
        return lambda data: None

    found = validator(demo.app)(base, start_response)
    blocks = list(found)
    found.close()  # type: ignore[attr-defined]
    ((status, fields),) = started
    whole = b"".join(blocks)
    if "Content-Length" in fields and method != "HEAD":
        assert int(fields["Content-Length"]) == len(whole)
    return Reply(status, fields, whole, blocks)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been slept."""
    times: list[float] = []
    monkeypatch.setattr(demo.time, "sleep", times.append)
    return times


# --- the page ---------------------------------------------------------------------------------------------


class Outline(html.parser.HTMLParser):
    """Tags as they open and close, attributes, and the text outside style and script."""

    VOID = ("meta", "link", "input", "rect", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data


def outline(body: bytes) -> Outline:
    found = Outline()
    found.feed(body.decode())
    found.close()
    assert not found.open
    return found


@pytest.mark.parametrize("path", ["/", ""])
def test_page(path: str) -> None:
    reply = call(path, REMOTE_ADDR="192.0.2.7", REMOTE_PORT="5555")
    assert reply.status == "200 OK"
    assert reply.fields["Content-Type"] == "text/html; charset=utf-8"
    found = outline(reply.body)
    assert "vivace is running" in found.text
    assert "192.0.2.7, port 5555" in found.text
    assert "{{" not in found.text


def test_page_uses_nothing_from_outside_and_nothing_but_what_its_policy_allows() -> None:
    reply = call("/")
    found = outline(reply.body)
    for tag, attributes in found.seen:
        assert not {"style", "onclick", "onload"} & set(attributes), "the policy forbids inline attributes"
        assert tag not in ("img", "iframe", "object", "base")
        for name in ("href", "src", "action"):
            address = attributes.get(name) or ""
            assert re.fullmatch(r"(data:image/svg\+xml,.*|[a-z]*(\?[a-z]+=\d+)?)", address), address
    policy = reply.fields["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    text = reply.body.decode()
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = hashlib.sha256(inside[0].encode()).digest()
        assert f"{tag}-src 'sha256-{__import__('base64').b64encode(digest).decode()}'" in policy


def test_links_of_the_page_answer() -> None:
    links = {attributes.get("href") for tag, attributes in outline(call("/").body).seen if tag == "a"}
    assert {str(link).partition("?")[0] for link in links} == {"json", "sleep", "cpu", "stream", "download"}
    for link in links:
        assert call(f"/{link}", "HEAD" if str(link).startswith("download") else "GET").status == "200 OK"


def test_everything_from_the_client_is_escaped() -> None:
    reply = call(
        "/",
        QUERY_STRING=HOSTILE,
        HTTP_HOST=HOSTILE,
        HTTP_USER_AGENT=HOSTILE,
        REMOTE_ADDR=HOSTILE,
        HTTP_X_FOO="\x80\xff",
        SERVER_PROTOCOL="HTTP/1.1" + HOSTILE,
    )
    clean = outline(call("/").body)
    found = outline(reply.body)
    assert [tag for tag, _ in found.seen].count("script") == 1
    assert found.text.count(HOSTILE) == 6  # the host stands twice
    assert len(found.seen) - len(clean.seen) <= 4  # two fields more


def test_path_is_shown_as_the_text_it_means() -> None:
    found = json.loads(call("/json", QUERY_STRING="a=%20").body)
    assert found["request"]["path"] == "/json"
    assert found["request"]["query"] == "a=%20"
    assert demo._text("/caf\xc3\xa9") == "/café"
    assert demo._text("/\xff") == "/\ufffd"


# --- the routes -------------------------------------------------------------------------------------------


def test_json() -> None:
    reply = call("/json?a=1", HTTP_X_ONE="1", CONTENT_TYPE="text/x", REMOTE_ADDR="192.0.2.7")
    assert reply.fields["Content-Type"] == "application/json"
    found = json.loads(reply.body)
    assert found["request"]["method"] == "GET"
    assert found["request"]["client"] == "192.0.2.7"
    assert found["fields"] == {"Content-Type": "text/x", "Host": "127.0.0.1", "X-One": "1"}
    assert found["wsgi"]["wsgi.multithread"] == "false"
    assert json.loads(call("/json", REMOTE_ADDR="").body)["request"]["client"] == "local"


@pytest.mark.parametrize(
    ("query", "ms"),
    [
        ("", 200),
        ("?ms=5", 5),
        ("?x=1&ms=7&ms=8", 7),
        ("?ms=0", 0),
        ("?ms=999999", 10_000),
        ("?ms=" + "9" * 5000, 10_000),
        ("?ms=-1", 200),
        ("?ms=1e9", 200),
        ("?ms=٣", 200),
        ("?ms=", 200),
    ],
)
def test_sleep_is_capped(query: str, ms: int, slept: list[float]) -> None:
    path, _, text = ("/sleep" + query).partition("?")
    reply = call(path, QUERY_STRING=text.encode().decode("latin-1"))
    assert reply.body == f"slept {ms} ms\n".encode()
    assert slept == [ms / 1000]


def test_cpu_uses_cpu_time_and_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(demo.time, "thread_time", lambda: float(next(clock)))
    assert call("/cpu?ms=999999").body == b"computed for 2000 ms: 1 rounds\n"
    assert next(clock) == 3


def test_stream_is_lazy(slept: list[float]) -> None:
    reply = call("/stream")
    assert "Content-Length" not in reply.fields
    assert len(reply.blocks) == 10
    assert reply.blocks[0].startswith(b"line 1 of 10, after ")
    assert len(slept) == 9
    slept.clear()
    body = demo.stream({})[2]
    assert not isinstance(body, bytes)
    next(iter(body))
    assert not slept, "the first line waits for nothing"


def test_download() -> None:
    reply = call("/download?mb=1")
    assert reply.body == bytes(1_000_000)
    assert reply.fields["Content-Disposition"] == 'attachment; filename="vivace-1MB.bin"'
    assert max(map(len, reply.blocks)) <= 256 * 1024
    assert call("/download?mb=0").body == b""
    assert call("/download?mb=5000", "HEAD").fields["Content-Length"] == "1000000000"


@pytest.mark.parametrize("path", sorted(demo.ROUTES))
def test_head_has_the_same_fields_and_no_body(path: str) -> None:
    head, get = call(path, "HEAD"), call(path, "GET") if path != "/download" else call(path, "HEAD")
    assert head.body == b""
    assert head.status == get.status == "200 OK"
    assert set(head.fields) == set(get.fields)


@pytest.mark.parametrize("path", ["/nothing", "/json/", "/../etc/passwd", "//"])
def test_not_found(path: str) -> None:
    reply = call(path)
    assert reply.status == "404 Not Found"
    assert path.encode() not in reply.body.replace(b"at /.", b"")


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [("/", "POST", "GET, HEAD"), ("/json", "DELETE", "GET, HEAD"), ("/upload", "PATCH", "GET, HEAD, POST, PUT")],
)
def test_method_not_allowed(path: str, method: str, allow: str) -> None:
    reply = call(path, method)
    assert reply.status == "405 Method Not Allowed"
    assert reply.fields["Allow"] == allow


# --- uploads ----------------------------------------------------------------------------------------------


def form(content: bytes, filename: str = "a.bin", boundary: str = "XyZ") -> tuple[bytes, str]:
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + content
    return body + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200_000])
def test_raw_upload(method: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    reply = call("/upload", method, data)
    assert json.loads(reply.body) == {"body bytes": size, "body SHA-256": sha256(data)}


def test_upload_reads_to_the_end_where_the_server_marks_it() -> None:
    reply = call("/upload", "POST", **{"wsgi.input": io.BytesIO(b"x" * 70_000), "wsgi.input_terminated": True})
    assert json.loads(reply.body)["body bytes"] == 70_000
    reply = call("/upload", "POST", **{"wsgi.input": io.BytesIO(b"x" * 70_000), "CONTENT_LENGTH": "10"})
    assert json.loads(reply.body)["body bytes"] == 10


@pytest.mark.parametrize("content", [b"", b"x", b"\r\n--Xy", b"\r\n--XyA--\r\n" * 9, b"\r\n\r\n", bytes(200_000)])
def test_form_upload_measures_the_file(content: bytes) -> None:
    body, kind = form(content)
    reply = call("/upload", "POST", body, CONTENT_TYPE=kind)
    assert json.loads(reply.body) == {
        "body bytes": len(body),
        "body SHA-256": sha256(body),
        "file": "a.bin",
        "file bytes": len(content),
        "file SHA-256": sha256(content),
    }


@pytest.mark.parametrize("content", [b"", b"some\r\n--content\r\n--Xy", b"\r\n--XyY" * 3])
def test_form_is_read_the_same_however_it_is_cut(content: bytes) -> None:
    body, _ = form(content)

    def cut(size: int) -> Iterator[bytes]:
        yield from (body[start : start + size] for start in range(0, len(body), size))

    whole = demo._measure([body], b"\r\n--XyZ")
    assert whole["file bytes"] == len(content)
    for size in range(1, len(body)):
        assert demo._measure(cut(size), b"\r\n--XyZ") == whole


def test_endless_part_head_is_not_collected() -> None:
    body = b"--XyZ\r\n" + b"a" * 100_000 + b"\r\n\r\ndata"
    reply = call("/upload", "POST", body, CONTENT_TYPE="multipart/form-data; boundary=XyZ")
    assert json.loads(reply.body) == {"body bytes": len(body), "body SHA-256": sha256(body)}


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "text/plain; boundary=XyZ",
        "multipart/mixed; boundary=XyZ",
    ],
)
def test_other_content_types_are_raw(kind: str) -> None:
    body, _ = form(b"x")
    assert "file" not in json.loads(call("/upload", "POST", body, CONTENT_TYPE=kind).body)


def test_browser_gets_the_answer_as_a_page_and_can_open_it_again() -> None:
    body, kind = form(b"hello", filename="<b>{{wsgi}}</b>")
    reply = call("/upload", "POST", body, CONTENT_TYPE=kind, HTTP_ACCEPT="text/html,*/*;q=0.8")
    found = outline(reply.body)
    assert "What arrived" in found.text
    assert "<b>{{wsgi}}</b>" in found.text
    assert sha256(b"hello") in found.text
    assert "What arrived" not in outline(call("/upload").body).text
