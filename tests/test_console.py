"""worker.console: one line a message, on stderr; a stream that fails costs no request."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vivace.errors import ApplicationError
from vivace.worker.console import LEVELS, REPEAT_S, Console
from vivace.worker.log_file import ErrorStream, LogFile

BEGIN = re.compile(
    rf"\[[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:]{{8}} [+-][0-9]{{4}}\] \[{os.getpid()}\] \[([A-Z]+)\] (.*)"
)


def said(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """(level, text) of every message, its further lines included."""
    messages: list[tuple[str, str]] = []
    output = capsys.readouterr()
    assert output.out == ""
    for line in output.err.splitlines():
        begin = BEGIN.fullmatch(line)
        if begin:
            messages.append((begin[1], begin[2]))
        else:
            level, text = messages[-1]
            messages[-1] = (level, f"{text}\n{line}")
    return messages


class Failing(io.StringIO):
    """A stream on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError("No space left on device")


def raised(error: BaseException) -> BaseException:
    """`error` with a traceback, as an application leaves it."""

    def application() -> None:
        raise error

    try:
        application()
    except BaseException as found:
        return found
    raise AssertionError


# Messages.


@pytest.mark.parametrize("level", LEVELS)
def test_messages_of_at_least_the_level_are_written(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(level)
    for each in LEVELS:
        console.say(each, f"a message of {each}")
    assert said(capsys) == [(each.upper(), f"a message of {each}") for each in LEVELS[LEVELS.index(level) :]]


def test_info_is_the_usual_level(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("debug", "no")
    console.info("yes")
    assert said(capsys) == [("INFO", "yes")]


def test_a_warning_is_not_repeated_at_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one is that which begins the same: the counts in it differ each time."""
    warning = "no new connection could be accepted: Too many open files. {} are open"
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console = Console()
    for number in range(100):
        console.warn(warning.format(number))
    console.warn("another one")
    now += REPEAT_S - 0.1
    console.warn(warning.format(100))
    assert [text for _, text in said(capsys)] == [warning.format(0), "another one"]
    now += 0.2
    console.warn(warning.format(101))
    assert said(capsys) == [("WARNING", warning.format(101))]


def test_a_warning_at_the_start_of_the_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock counts from there, so it may be next to 0."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.5)
    Console().warn("a warning")
    assert said(capsys) == [("WARNING", "a warning")]


@pytest.mark.parametrize("stream", [None, Failing(), "closed"])
def test_nothing_can_be_said(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon without stderr, a full disk, a stream that somebody closed."""
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console()
    console.info("message")
    console.warn("message")
    console.on_error(ValueError("message"))
    console.on_disk_error(OSError("message"))
    console.report({}, ValueError("message"))


def test_a_stream_that_knows_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """LANG=C: what a traceback quotes may be written in any language."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding="ascii", errors="strict"))
    console = Console()
    console.info("Grüße")
    console.report({}, raised(ValueError("Grüße")))
    console.info("after")
    sys.stderr.flush()
    assert b"after" in written.getvalue()


# Faults of the server.


def test_a_fault_of_the_server_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    Console().on_error(raised(KeyError("oops")))
    [(level, text)] = said(capsys)
    first, *rest = text.splitlines()
    assert (level, first) == ("ERROR", "vivace failed; please report this")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "KeyError: 'oops'"


def test_an_error_of_the_system_that_was_only_noted(capsys: pytest.CaptureFixture[str]) -> None:
    Console().on_error(OSError(24, "Too many open files"))
    assert said(capsys) == [("ERROR", "[Errno 24] Too many open files")]


def test_a_body_that_could_not_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.on_disk_error(OSError(28, "No space left on device", "/tmp/x"))
    console.on_disk_error(OSError(28, "No space left on device", "/tmp/y"))
    assert said(capsys) == [
        (
            "WARNING",
            "a request body could not be kept: No space left on device (/tmp/x); "
            "free the disk, or set spill_dir to another one",
        )
    ]


# Failures of the application.


def test_a_failure_of_the_application_names_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    Console().report({"REQUEST_METHOD": "GET", "REQUEST_URI": "/path?a=b"}, raised(LookupError("oops")))
    [(level, text)] = said(capsys)
    first, *rest = text.splitlines()
    assert (level, first) == ("ERROR", "the application failed on GET /path?a=b")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "LookupError: oops"
    assert "in application" in text


def test_it_goes_where_the_environ_says(capsys: pytest.CaptureFixture[str]) -> None:
    """wsgi.errors (PEP 3333): a middleware may have put its own there."""
    stream = io.StringIO()
    Console().report({"wsgi.errors": stream}, raised(ValueError("oops")))
    assert "ValueError: oops" in stream.getvalue()
    assert said(capsys) == []


@pytest.mark.parametrize("stream", [Failing(), None, 5, object()])
def test_where_it_cannot_go_there_it_is_not_lost(stream: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Console().report({"wsgi.errors": stream}, raised(ValueError("oops")))
    assert "ValueError: oops" in capsys.readouterr().err


def test_a_rule_that_the_application_broke_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it happened is our code; what is wrong stands in the message."""
    Console().report({"REQUEST_METHOD": "GET", "REQUEST_URI": "/"}, raised(ApplicationError("Content-Length twice")))
    assert said(capsys) == [("ERROR", "the application failed on GET /\nApplicationError: Content-Length twice")]


def test_the_traceback_shows_the_application_and_not_the_server(
    vivace_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its first line is the application's own."""
    from wire import fetch

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError("oops")

    assert fetch(vivace_server(app)).status == 500
    text = capfd.readouterr().err
    assert "LookupError: oops" in text
    assert f'File "{__file__}"' in text
    assert "exchange.py" not in text


def test_causes_and_groups_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def chained() -> None:
        try:
            raise LookupError("first")
        except LookupError as error:
            raise ValueError("second") from error

    try:
        chained()
    except ValueError as error:
        Console().report({}, error)
    text = capsys.readouterr().err
    assert "LookupError: first" in text
    assert "direct cause" in text
    assert "ValueError: second" in text


def test_an_error_that_cannot_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Its `__str__` fails: the request is told all the same."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    Console().report({"REQUEST_METHOD": "GET", "REQUEST_URI": "/rude"}, raised(Rude()))
    text = capsys.readouterr().err
    assert "GET /rude" in text
    assert "Rude" in text


# JSON.


def as_json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_message_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Console(form="json").say("warning", 'a "message"\nof two lines: é')
    [tree] = as_json(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tree.pop("time"))
    assert tree == {"level": "warning", "pid": os.getpid(), "message": 'a "message"\nof two lines: é'}


def test_a_failure_of_the_application_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, wherever its parts come from."""
    console = Console(form="json")
    environ = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": '/a\x9b"b',
        "vivace.request_id": "4bf92f",
        "wsgi.errors": ErrorStream(console),
    }
    console.report(environ, raised(ValueError("one\ntwo")))
    [tree] = as_json(capsys)
    assert tree["message"] == 'the application failed on GET /a\\x9b\\"b'
    assert (tree["level"], tree["request_id"], tree["method"]) == ("error", "4bf92f", "GET")
    assert tree["traceback"].startswith("Traceback (most recent call last):\n")
    assert tree["traceback"].endswith("ValueError: one\ntwo\n")


def test_what_the_application_writes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    stream = ErrorStream(Console(form="json"))
    stream.write("one\ntwo\nthr")
    stream.write("ee")
    stream.flush()
    assert [(tree["source"], tree["message"]) for tree in as_json(capsys)] == [
        ("wsgi.errors", "one\ntwo"),
        ("wsgi.errors", "three"),
    ]


def test_a_fault_of_the_server_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Console(form="json").on_error(raised(ValueError("no")))
    [tree] = as_json(capsys)
    assert tree["message"] == "vivace failed; please report this"
    assert "ValueError: no" in tree["traceback"]


# The request's id.


def test_the_id_of_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("error", "it took too long\n  a second line", request_id="4bf\n92f")
    console.say("error", "no id", request_id="")
    assert said(capsys) == [
        ("ERROR", "it took too long [request 4bf\\x0a92f]\n  a second line"),
        ("ERROR", "no id"),
    ]


# Colours.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours(stream: io.StringIO, environ: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console()
    console.say("error", "a message")
    console.report({"wsgi.errors": stream}, ValueError("no"))
    console.info("plain")
    assert stream.getvalue().count("[\x1b[31mERROR\x1b[0m]") == (2 if coloured else 0)
    assert stream.getvalue().count("\x1b") == (4 if coloured else 0)


def test_no_colours_in_a_file_and_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console()
    console.file = LogFile(str(tmp_path / "log"), "log_file")
    console.say("error", "a message")
    assert "\x1b" not in (tmp_path / "log").read_text()
    Console(form="json").say("error", "a message")
    assert "\x1b" not in sys.stderr.getvalue()  # type: ignore[attr-defined]
