"""worker.access_line: what a compiled format takes and writes, and that nobody can forge a line of it."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.config.access_format import ATOMS, FIELDS
from vivace.connection.plan import Answer
from vivace.http1.head import CLOSE
from vivace.worker.access_line import KNOWN_MAX, compile_format

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/app/path?query=1",
    "SCRIPT_NAME": "/app",
    "PATH_INFO": "/path",
    "QUERY_STRING": "query=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "shop.example",
    "SERVER_PORT": "8000",
    "REMOTE_ADDR": "192.0.2.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "www.example:8000",
    "HTTP_REFERER": "https://example.com/",
    "HTTP_USER_AGENT": "Browser/1.0 (x)",
    "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(b"ada:secret").decode(),
    "vivace.request_id": "4bf92f35",
    "vivace.cache": "hit",
}
ANSWER = Answer("404 Not Found", 1234, [("Content-Type", "text/plain"), ("X-Two", "a"), ("x-two", "b c")])


def written(text: str, environ: Any = ENVIRON, exchange: Any = ANSWER, seconds: float = 1.0234567, **more: Any) -> str:
    """The text of one request's line, without its end; "" for none."""
    rows: deque[Any] = deque()
    make_log, lines = compile_format(text, **more)
    make_log(rows, lambda: None, 1000)(environ, exchange, seconds)
    found = lines(rows)
    assert not rows
    if not found:
        return ""
    [line] = found
    assert line.endswith("\n")
    return line[:-1]


# Every atom.

SAYS = {
    "client": "192.0.2.1",
    "peer": "192.0.2.1",
    "ident": "-",
    "user": "ada",
    "time": re.compile(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
    "request": "GET /app/path?query=1 HTTP/1.1",
    "status": "404",
    "method": "GET",
    "path": "/app/path",
    "query": "query=1",
    "question": "?query=1",
    "protocol": "HTTP/1.1",
    "bytes": "1234",
    "clf_bytes": "1234",
    "referer": "https://example.com/",
    "agent": "Browser/1.0 (x)",
    "seconds": "1",
    "milliseconds": "1023",
    "microseconds": "1023456",
    "decimal": "1.023457",
    "process": f"<{os.getpid()}>",
    "pid": str(os.getpid()),
    "thread": re.compile(r"\d+"),
    "port": "8000",
    "client_port": "50000",
    "server": "shop.example",
    "host": "www.example:8000",
    "connection": "-",
    "id": "4bf92f35",
    "cache": "hit",
}
NAMED = [
    ("%{Host}i", "www.example:8000"),
    ("%({user-agent}i)s", "Browser/1.0 (x)"),
    ("%{None}i", "-"),
    ("%{content-type}o", "text/plain"),
    ("%({X-Two}o)s", "a, b c"),
    ("%{Location}o", "-"),
    ("%{SERVER_NAME}e", "shop.example"),
    ("%({server_port}e)s", "8000"),
    ("%{%Y%%}t", time.strftime("%Y%%")),
    ("%{end:sec}t", re.compile(r"\d{10}")),
    ("%{msec}t", re.compile(r"\d{13}")),
    ("%{usec}t", re.compile(r"\d{16}")),
    ("%{msec_frac}t.%{usec_frac}t", re.compile(r"\d{3}\.\d{6}")),
    ("%{%H%n%M}t", re.compile(r"\d\d\\x0a\d\d")),
]


def test_every_atom_is_tried() -> None:
    assert set(SAYS) == {atom.name for atom in ATOMS if atom.key is None}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [(f"%({each})s", atom.name) for atom in ATOMS if not atom.key for each in atom.gunicorn]
    + [(f"%{each}", atom.name) for atom in ATOMS if not atom.key for each in atom.apache],
)
def test_what_an_atom_says(spelling: str, name: str) -> None:
    assert_says(spelling, SAYS[name])


@pytest.mark.parametrize(("spelling", "expected"), NAMED)
def test_what_a_named_one_says(spelling: str, expected: str | re.Pattern[str]) -> None:
    assert_says(spelling, expected)


def assert_says(spelling: str, expected: str | re.Pattern[str]) -> None:
    found = written(f'"{spelling}"')[1:-1]
    assert expected.fullmatch(found) if isinstance(expected, re.Pattern) else found == expected


def test_the_beginning_is_before_the_end() -> None:
    begin, end = written("%{begin:msec}t %{end:msec}t", seconds=5.0).split()
    assert int(end) - int(begin) in (4999, 5000, 5001)


@pytest.mark.parametrize("spelling", [each for atom in ATOMS if not atom.key for each in atom.apache])
def test_an_atom_of_a_refusal(spelling: str) -> None:
    """Nothing is known but the client's address."""
    found = written("%" + spelling, {"REMOTE_ADDR": ""}, Answer("400", 5), 0.0)
    assert found in ("", "-", "0", "5", "400", str(os.getpid())) or re.fullmatch(r"\[.*\]|\d+", found)


def test_the_peer_behind_a_proxy() -> None:
    assert written("%a %{c}a", {**ENVIRON, "vivace.peer": "10.0.0.1"}) == "192.0.2.1 10.0.0.1"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"REMOTE_USER": "eve"}, "eve"),
        ({"REMOTE_USER": "eve", "HTTP_AUTHORIZATION": ENVIRON["HTTP_AUTHORIZATION"]}, "eve"),
        ({"HTTP_AUTHORIZATION": "Bearer abc"}, "-"),
        ({"HTTP_AUTHORIZATION": "basic " + base64.b64encode("zoë :x".encode()).decode()}, r"zo\xc3\xab\x20"),
        ({"HTTP_AUTHORIZATION": "Basic !"}, "-"),
        ({"HTTP_AUTHORIZATION": "Basic"}, "-"),
        ({"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(b"nocolon").decode()}, "nocolon"),
        ({"HTTP_AUTHORIZATION": "Basic Og=="}, "-"),
        ({}, "-"),
    ],
)
def test_user(environ: dict[str, str], name: str) -> None:
    assert written("%u", environ) == name
    assert "secret" not in written("%u", environ)


class Conn:
    def __init__(self, close_reason: str) -> None:
        self.close_reason = close_reason


@pytest.mark.parametrize(("reason", "flags", "mark"), [("", 0, "+"), ("", CLOSE, "-"), ("client_gone", 0, "X")])
def test_what_becomes_of_the_connection(reason: str, flags: int, mark: str) -> None:
    class Exchange(Answer):
        sink = Conn(reason)
        framing = 5

    Exchange.flags = flags  # type: ignore[attr-defined]
    assert written("%X", exchange=Exchange("200 OK", 5)) == mark


@pytest.mark.parametrize("headers", [None, 5, [("a",)], [(1, 2)], ["ab"], [("Location", None)]])
def test_headers_that_are_none(headers: Any) -> None:
    """What start_response was given is only looked at when it is sent."""
    assert written('"%{Location}o"', exchange=Answer("200 OK", 5, headers)) in ('"-"', '"None"')


# What it takes.


def test_only_what_a_format_says_is_taken() -> None:
    asked: list[str] = []

    class Environ(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    rows: deque[Any] = deque()
    make_log, _ = compile_format("%m %m %s %({host}i)s")
    make_log(rows, lambda: None, 1000)(Environ(ENVIRON), ANSWER, 1.0)
    assert asked == ["REQUEST_METHOD", "HTTP_HOST"]
    assert list(rows) == [("GET", "404 Not Found", "www.example:8000")]


def test_a_format_that_takes_nothing() -> None:
    assert written("%P") == str(os.getpid())


# Spaces and quotes.


def test_spaces_outside_quotes() -> None:
    environ = {"HTTP_A": 'one "two', "REMOTE_ADDR": "a b"}
    assert written('%{A}i "%{A}i" %h', environ) == 'one\\x20\\"two "one \\"two" a\\x20b'


@given(st.dictionaries(st.sampled_from(sorted(ENVIRON)), st.text(max_size=30)))
def test_fields_stay_where_they_are(environ: dict[str, str]) -> None:
    """As a shell would cut it: five words, whatever is in them."""
    line = written('%h %U "%{User-Agent}i" %m %{Host}i', environ)
    assert line.isascii()
    assert line.isprintable()
    cut = re.fullmatch(r'(\S+) (\S+) "((?:[^"\\]|\\.)*)" (\S+) (\S+)', line)
    assert cut, line


HOSTILE = st.one_of(
    st.text(max_size=30),
    st.binary(max_size=30).map(lambda data: data.decode("latin-1")),
    st.sampled_from(
        ["\n", '\r\n127.0.0.1 - - [x] "GET / HTTP/1.1" 200 5', '"', "\\", '\\"', '", "status": 200, "x": "', "\x1b[2J"]
    ),
    st.sampled_from([None, 5, b"bytes", [], {}, object()]),
)
FORMATS = (
    "common",
    "combined",
    "json",
    '{"client": "%(h)s", "user": "%(u)s", "request": "%(r)s", "q": "%(q)s", "agent": "%(a)s", "out": "%{X}o", "n": %B}',
    " ".join("%" + each.replace("NAME", "X").replace("FORMAT", "%Y") for atom in ATOMS for each in atom.apache),
    '"' + '" "'.join("%" + each.replace("NAME", "X").replace("FORMAT", "%Y") for a in ATOMS for each in a.apache) + '"',
)
COMPILED = [(text, *compile_format(text)) for text in FORMATS]


@given(
    environ=st.dictionaries(st.sampled_from([*ENVIRON, "HTTP_X", "REMOTE_USER", "X"]), HOSTILE),
    status=HOSTILE.filter(lambda value: value is None or isinstance(value, str)),
    headers=st.lists(st.tuples(st.sampled_from(["X", "x"]), HOSTILE), max_size=2),
)
def test_no_request_and_no_response_forges_a_line(environ: Any, status: Any, headers: Any) -> None:
    for text, make_log, lines in COMPILED:
        rows: deque[Any] = deque()
        make_log(rows, lambda: None, 1000)(environ, Answer(status, 5, headers), 0.1)
        [line] = lines(rows)
        assert line.endswith("\n")
        assert line[:-1].isascii()
        assert line[:-1].isprintable()
        if text.startswith(("json", "{")):
            tree = json.loads(line)
            assert list(tree) == (
                [field.name for field in FIELDS]
                if text == "json"
                else ["client", "user", "request", "q", "agent", "out", "n"]
            )


# JSON.


def test_json() -> None:
    tree = json.loads(written("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tree.pop("time"))
    assert tree == {
        "client": "192.0.2.1",
        "user": "ada",
        "method": "GET",
        "target": "/app/path?query=1",
        "protocol": "HTTP/1.1",
        "host": "www.example:8000",
        "status": 404,
        "bytes": 1234,
        "seconds": 1.023457,
        "referer": "https://example.com/",
        "user_agent": "Browser/1.0 (x)",
        "request_id": "4bf92f35",
        "pid": os.getpid(),
        "cache": "hit",
    }


def test_json_of_a_refusal() -> None:
    tree = json.loads(written("json", {"REMOTE_ADDR": ""}, Answer("400", 5), 0.0))
    assert {name for name, value in tree.items() if value is None} == {
        *("client", "user", "method", "target", "protocol", "host", "referer", "user_agent", "request_id"),
        "cache",
    }
    assert json.loads(written("json", {}, Answer(None)))["status"] is None


def test_json_reads_what_is_utf_8() -> None:
    """PEP 3333: bytes stand in the environ as latin-1."""
    environ = {"HTTP_USER_AGENT": "Grüße".encode().decode("latin-1"), "HTTP_REFERER": "Gr\xfc\xdfe"}
    tree = json.loads(written("json", environ))
    assert (tree["user_agent"], tree["referer"]) == ("Grüße", "Grüße")


def test_json_by_hand_is_escaped_as_json() -> None:
    text = '{"agent": "%(a)s", "bytes": %(B)s}'
    assert json.loads(written(text, {"HTTP_USER_AGENT": 'a\n"\\\x00b'})) == {"agent": 'a\n"\\\x00b', "bytes": 1234}


# What is left out.


@pytest.mark.parametrize(
    ("pattern", "path", "left_out"),
    [
        ("/static/*", "/static/a/b.css", True),
        ("/static/*", "/static/", True),
        ("/static/*", "/statics", False),
        ("/static/*", "/x/static/a", False),
        ("*.css", "/a/b.css", True),
        ("*.css", "/a/bxcss", False),
        ("/ping", "/ping", True),
        ("/ping", "/pings", False),
        ("/a*b*c", "/a\nxbyc", True),
        ("/[a-z]", "/b", False),
    ],
)
def test_paths_that_have_no_line(pattern: str, path: str, left_out: bool) -> None:
    assert (written("%s", {"PATH_INFO": path}, skip=["/other", pattern]) == "") is left_out


def test_a_path_below_a_script_name() -> None:
    assert written("%s", {"SCRIPT_NAME": "/app", "PATH_INFO": "/ping"}, skip=["/app/ping"]) == ""
    assert written("%s", {}, skip=["/"]) == "404"


# What is remembered.


def test_memory_of_values_is_bounded_and_right() -> None:
    rows: deque[Any] = deque()
    make_log, lines = compile_format("%m %{A}i")
    log = make_log(rows, lambda: None, 10**9)
    count = KNOWN_MAX * 3
    for number in range(count):
        log({"REQUEST_METHOD": "GET", "HTTP_A": f"{number} x"}, ANSWER, 0.0)
    assert lines(rows) == [f"GET {number}\\x20x\n" for number in range(count)]
    known: Callable[..., str] = compile_format("%m")[1].__globals__["bare"]
    for number in range(count):
        assert known(f"{number} x" * 100)
    assert sum(len(cell.cell_contents) for cell in known.__closure__ or () if type(cell.cell_contents) is dict) == 1


def test_a_format_of_the_shell() -> None:
    """What docs/logging.md shows for a command line is what the shell leaves of it."""
    [word] = shlex.split("""'%h %t "%r" %>s %b %D'""")
    assert written(word).endswith('"GET /app/path?query=1 HTTP/1.1" 404 1234 1023456')
