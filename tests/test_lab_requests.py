"""What to send, from a URL, a request file or whatever else a file turns out to be; docs/requests.md is tried out."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from test_lab_access_logs import COMMON
from test_lab_har import entry
from vivace.errors import SettingError
from vivace.lab.plan import Place, Shot
from vivace.lab.prepared import request_bytes
from vivace.lab.requests import HAR, JSON, LOG, TOML, from_url, read, recognised

PLACE = Place("127.0.0.1", 8000)
DOCUMENT = Path(__file__).parent.parent / "docs" / "requests.md"


def written(tmp_path: Path, text: str | bytes, name: str = "file") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def toml(tmp_path: Path, text: str) -> list[Shot]:
    return read(written(tmp_path, text, "requests.toml"), PLACE).shots


# The request file.


def examples(kind: str) -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="vivace is installed without its repository")
def test_the_examples_of_the_documents_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8photo")
    (in_toml,), (in_json,) = examples("toml"), examples("json")
    shots = toml(tmp_path, in_toml)
    assert [(shot.name, shot.method, shot.target, shot.weight, shot.think_s) for shot in shots] == [
        ("front page", "GET", "/", 10.0, 1.0),
        ("search", "POST", "/search?page=1", 3.0, 2.5),
        ("POST /login", "POST", "/login", 1.0, 1.0),
        ("PUT /photos/7", "PUT", "/photos/7", 0.5, 1.0),
    ]
    assert shots[0].headers == [("Accept", "text/html"), ("User-Agent", "load test")]
    assert shots[1].headers == [
        ("User-Agent", "load test"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
    ]
    assert json.loads(shots[1].body) == {"q": "violin", "fuzzy": True}
    assert shots[2].body == b"user=jo&word=a+b"
    assert shots[3].body == b"\xff\xd8photo"
    assert read(written(tmp_path, in_json, "requests.json"), PLACE).shots == shots


def test_the_example_is_what_a_server_receives(tmp_path: Path) -> None:
    """Byte for byte, by a reader that knows HTTP."""
    import h11

    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8photo")
    for shot in toml(tmp_path, examples("toml")[0]):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(request_bytes(shot, PLACE))
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        assert (request.method.decode(), request.target.decode()) == (shot.method, shot.target)
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            body += event.data
        assert body == shot.body


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[request]]\npath = '/'\n\n[[request]]\npth = '/'", "line 4: request 2: 'pth' is not known; is path meant?"),
        ("[[request]]\npath = 'a'", "line 1: request 1: 'a' is no request target"),
        ("[[request]]", "request 1: path is missing"),
        ("[[request]]\npath = '/'\nweight = -1", "weight '-1'"),
        ("[[request]]\npath = '/'\nweight = nan", "weight 'nan'"),
        ("[[request]]\npath = '/'\nweight = true", "weight 'True'"),
        ("[[request]]\npath = '/'\nthink = '1 hour'", "think '1 hour'"),
        ("[[request]]\npath = '/'\nbody = 'a'\njson = 1", "body and json: a request has one body"),
        ("[[request]]\npath = '/'\nbody_file = 'none'", "none cannot be read"),
        ("[[request]]\npath = '/'\nbody_base64 = '!'", "body_base64"),
        ("[[request]]\npath = '/'\njson = 2024-01-01", "a date or time is no JSON"),
        ("[[request]]\npath = '/'\nmethod = 'A B'", "'A B' is no method"),
        ("[[request]]\npath = '/'\nheaders = { A = \"b\\r\\nC: d\" }", "the field A holds a control character"),
        ("[[request]]\npath = '/'\nheaders = { Content-Length = '3' }", "Content-Length"),
        ("[[request]]\npath = '/'\nheaders = { A = 3 }", "the value of 'A' is not text"),
        ("[[request]]\npath = '/'\nheaders = [3]", "a pair is [name, value]"),
        ("[[request]]\npath = '/'\nweight = 0", "all weights are 0"),
        ("[[request]]\npath = '/'\n[defaults]\npath = '/'", "defaults: 'path' is not known"),
        ("[[request]]\npath = '/'\n[default]\nthink = 1", "'default' is not known; is defaults meant?"),
        ("[[request]\npath = '/'", "line 1"),
        ("request = 3", "[[request]] tables"),
    ],
)
def test_mistakes_in_toml_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=r"requests\.toml: ") as caught:
        toml(tmp_path, text)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        toml(tmp_path, "[[request]]\npath = 'a'\n[[request]]\npath = '/'\nweight = 'b'")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"requests": [\n{"path": "/"},\n{"path": 3}]}', "line 3: request 2: path is not text"),
        ('{"requests": [\n{"path": "/"},\n]}', "line 3: "),
        ('{"requests": []}', "line 1: a request file has"),
        ('{"requests": [1]}', "request 1: it is no table"),
        ('{"requests": ' + "[" * 50_000, "requests.json: "),
    ],
)
def test_mistakes_in_json_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=r"requests\.json: ") as caught:
        read(written(tmp_path, text, "requests.json"), PLACE)
    assert message in str(caught.value)


# Which file it is.

LOG_TEXT = COMMON.format("GET /a HTTP/1.1") + "\n"
HAR_TEXT = json.dumps({"log": {"entries": [entry("http://127.0.0.1:8000/x")]}})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LOG_TEXT, LOG),
        ("garbage\n" + LOG_TEXT, LOG),
        ('{"time": "2000-10-10T20:55:36Z", "method": "GET", "target": "/"}\n', LOG),
        (HAR_TEXT, HAR),
        ("\ufeff" + HAR_TEXT, HAR),
        ('{"requests": [{"path": "/"}]}', JSON),
        ("# a comment\n[[request]]\npath = '/'", TOML),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_known_by_what_is_in_them(tmp_path: Path, text: str, kind: str, packed: bool) -> None:
    path = written(tmp_path, gzip.compress(text.encode()) if packed else text)
    assert recognised(path) == kind
    assert read(path, PLACE).shots


@pytest.mark.parametrize("text", [b"", b"hello", b"\0\1\2" * 100, b"\x1f\x8b broken", b"<html>"])
def test_anything_else_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SettingError, match="file: "):
        read(written(tmp_path, text), PLACE)


def test_what_is_no_text_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"line 2: byte \d+ is not UTF-8"):
        read(written(tmp_path, b"[[request]]\npath = '/\xff'"), PLACE)
    with pytest.raises(SettingError, match="give a file"):
        read(str(tmp_path), PLACE)
    with pytest.raises(SettingError, match="cannot be read"):
        read(str(tmp_path / "none"), PLACE)


def test_options_that_go_with_some_files(tmp_path: Path) -> None:
    har, log = written(tmp_path, HAR_TEXT, "har"), written(tmp_path, LOG_TEXT, "log")
    requests = written(tmp_path, "[[request]]\npath = '/'\nheaders = { Host = 'a' }", "toml")
    for path in (har, log):
        found = read(path, PLACE, replayed=True, speed=3)
        assert found.due is not None
        assert list(found.due) == [(0.0, 0)]
        assert read(path, PLACE).due is None
    with pytest.raises(SettingError, match="has no times"):
        read(requests, PLACE, replayed=True)
    assert read(requests, PLACE, host="b").shots[0].headers == [("Host", "b")]
    for speed in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(SettingError, match="--speed"):
            read(log, PLACE, speed=speed)


# A URL, as curl has it.


def sent(*how: Any, **options: Any) -> Shot:
    return from_url(*how, **options)[1].shots[0]


def test_a_url_with_options_of_curl(tmp_path: Path) -> None:
    place, found = from_url("https://example.org/a b?q=ü&r=%20")
    assert (place.host, place.tls) == ("example.org", True)
    assert found.shots == [Shot("GET", "/a%20b?q=%C3%BC&r=%20")]
    shot = sent("http://h/", headers=["Accept: a", "X-Gone:"], data=["a=1", "b=2"])
    assert (shot.method, shot.body) == ("POST", b"a=1&b=2")
    assert shot.headers == [("Accept", "a"), ("Content-Type", "application/x-www-form-urlencoded")]
    shot = sent("http://h/", "PUT", ["content-type: x/y"], [f"@{written(tmp_path, b'@0')}"])
    assert (shot.method, shot.headers, shot.body) == ("PUT", [("content-type", "x/y")], b"@0")
    assert from_url("unix:/run/app.sock:/a")[0].path == "/run/app.sock"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("example.org", {}),
        ("ftp://example.org/", {}),
        ("http:///", {}),
        ("http://h/", {"method": "A B"}),
        ("http://h/", {"headers": ["no colon"]}),
        ("http://h/", {"headers": ["A: b\r\nC: d"]}),
        ("http://h/", {"headers": ["Content-Length: 3"]}),
        ("http://h/", {"data": ["@/none/such"]}),
    ],
)
def test_what_cannot_be_sent_is_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        from_url(url, **options)


# All the way.


def test_a_replay_reaches_a_server_at_its_times(tmp_path: Path) -> None:
    """Through the real generator, against a socket that answers and takes notes."""
    import time

    from vivace.lab.crew import run
    from vivace.lab.plan import Load

    seconds = (36, 36, 39, 40)
    lines = [
        COMMON.replace(":36 ", f":{second} ").format(f"GET /{number} HTTP/1.1") for number, second in enumerate(seconds)
    ]
    seen: list[tuple[float, bytes]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(client: socket.socket) -> None:
        with client:
            while data := client.recv(65536):
                seen.append((time.monotonic(), data.split(b" ")[1]))
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    place = Place("127.0.0.1", listener.getsockname()[1])
    found = read(written(tmp_path, "\n".join(lines)), place, replayed=True, speed=10)
    assert found.due is not None
    load = Load(found.shots, "open", connections=2, seconds=found.due.span_s + 0.1, warmup_s=0.0, at_times=found.due)
    began_s = time.monotonic()
    result = run(load, place)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
    assert result.total.answers == 4
    assert sorted(target for _, target in seen) == [b"/0", b"/1", b"/2", b"/3"]
    for (at_s, _), (due_s, _) in zip(sorted(seen), found.due, strict=True):
        assert due_s <= at_s - began_s < due_s + 5
