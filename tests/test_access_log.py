"""worker.access_log: the common log format, which no client can forge and which never costs a request."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps import app_of
from command import SERVES
from vivace.connection.plan import Answer
from vivace.worker.access_log import BATCH_MAX, AccessLog, Outlet
from wire import Client, chunked, fetch, request, until

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/path?query=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.1",
}

# host ident user [time] "request" status bytes, as analysers read it: in quotes, a backslash takes the next byte.
LINE = re.compile(
    r"(?P<host>\S+) - - \[(?P<time>[^\]]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}|-) (?P<bytes>[0-9]+|-)'
)


class Log:
    """An access log into a list."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.log = AccessLog([Outlet(self.writes.append)])

    def of(self, environ: dict[str, Any], status: str | None = "200 OK", body_bytes: int = 5) -> str:
        """The one line of a request."""
        self.log.log(environ, Answer(status, body_bytes), 0.001)
        self.log.flush()
        [text] = self.writes
        self.writes.clear()
        assert text.endswith("\n")
        return text[:-1]


@pytest.fixture
def log() -> Log:
    return Log()


# The format.


def test_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: 784111777.9)
    try:
        assert Log().of(ENVIRON) == ('192.0.2.1 - - [06/Nov/1994:05:19:37 -0330] "GET /path?query=1 HTTP/1.1" 200 5')
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("changes", "status", "body_bytes", "end"),
    [
        ({}, "404 Not Found", 0, '"GET /path?query=1 HTTP/1.1" 404 -'),
        ({}, None, 0, '"GET /path?query=1 HTTP/1.1" - -'),
        ({"REQUEST_METHOD": "OPTIONS", "REQUEST_URI": "*"}, "204 No Content", 0, '"OPTIONS * HTTP/1.1" 204 -'),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "200 OK", 1 << 40, f'"GET /path?query=1 HTTP/1.0" 200 {1 << 40}'),
        ({"REQUEST_URI": "/%22%0a"}, "200 OK", 5, '"GET /%22%0a HTTP/1.1" 200 5'),
    ],
)
def test_what_a_line_says(log: Log, changes: dict[str, str], status: str | None, body_bytes: int, end: str) -> None:
    line = log.of({**ENVIRON, **changes}, status, body_bytes)
    assert line.endswith(" " + end)
    assert LINE.fullmatch(line)


@pytest.mark.parametrize("host", ["", None])
def test_a_client_without_an_address(log: Log, host: Any) -> None:
    """That of a Unix socket."""
    assert log.of({**ENVIRON, "REMOTE_ADDR": host}).startswith("- - - [")


def test_an_ipv6_client(log: Log) -> None:
    assert log.of({**ENVIRON, "REMOTE_ADDR": "2001:db8::1"}).startswith("2001:db8::1 - - [")


# Forgery.


@pytest.mark.parametrize("target", ['/"', '/" 200 5', "/\\", '/\\"', '/\\\\"', '/a" 200 5\\', '/" "-" "Mozilla'])
def test_quotes_and_backslashes_in_the_target(log: Log, target: str) -> None:
    line = log.of({**ENVIRON, "REQUEST_URI": target}, "404 Not Found")
    found = LINE.fullmatch(line)
    assert found, line
    assert (found["status"], found["bytes"]) == ("404", "5")
    assert re.sub(r"\\(.)", r"\1", found["request"]) == f"GET {target} HTTP/1.1"


FORGERY = '192.0.2.9 - - [01/Jan/2026:00:00:00 +0000] "GET /forged HTTP/1.1" 200 1'

HOSTILE = st.one_of(
    st.sampled_from(
        [FORGERY, "\n" + FORGERY, "\r\n" + FORGERY, "\x85" + FORGERY, "\u2028" + FORGERY, "a b", '"', "\\"]
    ),
    st.text(max_size=20),
    st.binary(max_size=20).map(lambda data: data.decode("latin-1")),
)


@given(
    key=st.sampled_from(["REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "REMOTE_ADDR"]),
    value=HOSTILE,
    body_bytes=st.integers(0, 1 << 50),
)
def test_no_value_can_forge_a_line(key: str, value: str, body_bytes: int) -> None:
    """Also one that a middleware put there: ProxyFix copies REMOTE_ADDR from a field that the client may have sent.

    A line stays one line of seven fields, of printable ASCII: terminals and tools read it as it was meant.
    """
    line = Log().of({**ENVIRON, key: value}, "418 Teapot", body_bytes)
    assert line.isascii()
    assert line.isprintable()
    found = LINE.fullmatch(line)
    assert found, line
    assert (found["status"], found["bytes"]) == ("418", str(body_bytes or "-"))
    assert "forged" not in found["request"] or key != "REMOTE_ADDR"


def test_a_status_of_the_application_cannot_forge_a_line(log: Log) -> None:
    """It may be anything as long as nothing was sent."""
    for status in ("20\n", '2"0', "\x1b[1", "", "2", "abc"):
        assert LINE.fullmatch(log.of(ENVIRON, status)), status


# Whatever the application does with its environ.


def test_an_environ_that_the_application_emptied(log: Log) -> None:
    """PEP 3333: it may change it in any way it likes."""
    assert LINE.fullmatch(log.of({}))


@pytest.mark.parametrize("value", [None, 5, b"bytes", object()])
def test_an_environ_that_the_application_spoiled(log: Log, value: Any) -> None:
    for key in ENVIRON:
        assert LINE.fullmatch(log.of({**ENVIRON, key: value}))


def test_the_environ_is_not_kept(log: Log) -> None:
    """An uploaded body hangs on it."""
    count = sys.getrefcount(ENVIRON)
    log.log.log(ENVIRON, Answer("200 OK", 5), 0.1)
    assert sys.getrefcount(ENVIRON) == count
    log.log.flush()


# Batches.


def test_lines_are_written_together_at_the_flush(log: Log) -> None:
    for number in range(10):
        log.log.log({**ENVIRON, "REQUEST_URI": f"/{number}"}, Answer("200 OK", 5), 0.001)
    assert log.writes == []
    log.log.flush()
    [text] = log.writes
    assert re.findall(r"GET /([0-9]) ", text) == [str(number) for number in range(10)]
    log.log.flush()
    assert len(log.writes) == 1, "nothing is written twice, or where there is nothing"


def test_a_full_batch_does_not_wait(log: Log) -> None:
    for _ in range(BATCH_MAX):
        log.log.log(ENVIRON, Answer("200 OK", 5), 0.001)
    assert len(log.writes) == 1
    assert log.writes[0].count("\n") == BATCH_MAX


def test_no_line_is_lost_or_doubled_between_threads(log: Log) -> None:
    each, count = 3000, 4
    done = threading.Event()

    def requests(number: int) -> None:
        for serial in range(each):
            log.log.log({**ENVIRON, "REQUEST_URI": f"/{number}/{serial}"}, Answer("200 OK", 5), 0.001)

    def flushes() -> None:
        while not done.is_set():
            log.log.flush()

    flusher = threading.Thread(target=flushes)
    flusher.start()
    threads = [threading.Thread(target=requests, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    flusher.join()
    log.log.flush()
    found = re.findall(r"GET (/[0-9]+/[0-9]+) ", "".join(log.writes))
    assert len(found) == len(set(found)) == each * count


def test_a_line_that_comes_in_the_middle_of_a_flush(log: Log) -> None:
    """A thread that has looked up where to put it, and puts it there when the flush is over."""

    append = log.log._rows.append
    log.log.log(ENVIRON, Answer("200 OK", 5), 0.001)
    row = log.log._rows.pop()
    log.log.flush()
    append(row)
    log.log.flush()
    assert "".join(log.writes).count("\n") == 1


# Where it cannot be written.


@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError, UnicodeEncodeError("ascii", "x", 0, 1, "no")])
def test_a_log_that_cannot_be_written_costs_no_request(error: Any) -> None:
    def write(text: str) -> None:
        raise error

    log = AccessLog([Outlet(write)])
    for _ in range(BATCH_MAX + 1):
        log.log(ENVIRON, Answer("200 OK", 5), 0.001)
    log.flush()


def test_a_reader_of_the_log_that_left(tmp_path: Path) -> None:
    """`vivace --access-log app:app | head`: the server goes on serving, and stops in order."""
    command = [sys.executable, "-m", "vivace", "vivace.demo:app", "--access-log", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            [url] = re.findall(SERVES, server.stderr.readline())
            server.stdout.close()
            for _ in range(3):
                assert fetch(url).status == 200
            server.send_signal(signal.SIGTERM)
            log = server.stderr.read()
        finally:
            server.kill()
    assert server.returncode == 0
    assert "Traceback" not in log
    assert "please report" not in log


# In a server.


def test_every_answer_has_its_line(
    vivace_server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals as well: who looks for a broken or hostile client looks here."""
    server = vivace_server(app_of([b"12345"]), access_log=True, threads=4)
    with Client(server) as client:
        client.send(request("/one") + request("/two", method="HEAD"))
        client.read_response()
        client.read_response("HEAD")
        client.send(request("/three", "Transfer-Encoding: chunked", method="POST") + chunked([b"x"])).read_response()
        assert client.send(request("/four", "Content-Length: x")).read_response().status == 400
    output = ""

    def lines() -> int:
        nonlocal output
        output += capsys.readouterr().out
        return output.count("\n") >= 4

    until(lines, 2, "four lines in the log")
    found = [LINE.fullmatch(line) for line in output.splitlines()]
    assert all(found), output
    assert [line["host"] for line in found if line] == ["127.0.0.1"] * 4
    assert [(line["request"].split()[1], line["status"], line["bytes"]) for line in found[:3] if line] == [
        ("/one", "200", "5"),
        ("/two", "200", "-"),
        ("/three", "200", "5"),
    ]
    assert output.splitlines()[3].split('"')[2].split()[0] == "400"
