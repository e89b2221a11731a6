"""worker.python_logging: both logs as records, and nothing of anybody's configuration touched."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from apps import app_of
from command import Command
from vivace.config.load import from_keywords
from vivace.errors import SettingError
from vivace.worker.log_file import open_logs
from wire import fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    loggers = [logging.getLogger(name) for name in ("vivace.error", "vivace.access")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def failing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["vivace.request_id"] = "4bf92f"
    raise ValueError("no")


def test_records_of_both(kept: Kept, vivace_server: Any, capfd: pytest.CaptureFixture[str]) -> None:
    server = vivace_server(failing, python_logging=True, access_log=True, access_log_format='%m "%U" %s')
    assert fetch(server, "/a%25b").status == 500
    until(lambda: len(kept.records) >= 2)
    error, access = kept.records
    assert (error.name, error.levelname) == ("vivace.error", "ERROR")
    assert error.getMessage() == "the application failed on GET /a%25b"
    assert (vars(error)["request_id"], vars(error)["method"], vars(error)["target"]) == ("4bf92f", "GET", "/a%25b")
    assert logging.Formatter("%(message)s").format(error).endswith("\nValueError: no")
    assert (access.name, access.levelname, access.getMessage()) == ("vivace.access", "INFO", 'GET "/a%b" 500')
    assert kept.threads == {"vivace-log"}
    assert capfd.readouterr() == ("", "")


def test_a_slow_handler_costs_no_request(kept: Kept, vivace_server: Any) -> None:
    go = threading.Event()
    kept.emit = lambda record: go.wait(10) and Kept.emit(kept, record)  # type: ignore[method-assign]
    server = vivace_server(app_of([b"x"]), python_logging=True)
    for _ in range(30):
        assert fetch(server).status == 200
    assert kept.records == []
    go.set()
    until(lambda: len(kept.records) == 30)


def test_files_that_are_named_are_written_as_well(kept: Kept, tmp_path: Path, vivace_server: Any) -> None:
    settings = {"log_file": str(tmp_path / "log"), "access_log_file": str(tmp_path / "access")}
    server = vivace_server(failing, python_logging=True, **settings)
    assert fetch(server).status == 500
    until(lambda: len(kept.records) == 2 and (tmp_path / "access").read_text())
    assert "the application failed on GET / [request 4bf92f]\n" in (tmp_path / "log").read_text()


def test_nothing_of_the_users_is_touched(vivace_server: Any) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("vivace").handlers, logging.raiseExceptions)
    fetch(vivace_server(app_of([b"x"]), python_logging=True))
    assert (list(root.handlers), root.level, logging.getLogger("vivace").handlers, logging.raiseExceptions) == before


def test_without_it_nothing_is_imported() -> None:
    import subprocess

    code = (
        "import sys, vivace.worker.server as s\nfrom vivace.config.load import from_keywords\n"
        "s.Server(None, from_keywords(access_log=True), [])\n"
        "print([name for name in ('logging', 'json', 'queue', 'vivace.worker.syslog') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# log_config.

TREE = """{"version": 1, "formatters": {"f": {"format": "%(name)s|%(levelname)s|%(message)s"}},
 "handlers": {"h": {"class": "logging.FileHandler", "filename": "FILE", "formatter": "f"}},
 "root": {"level": "INFO", "handlers": ["h"]}}"""

INI = """
[loggers]
keys = root
[handlers]
keys = h
[formatters]
keys = f
[logger_root]
level = INFO
handlers = h
[handler_h]
class = FileHandler
formatter = f
args = ("%(here)s/out",)
[formatter_f]
format = %(name)s|%(levelname)s|%(message)s
"""

TOML = """
version = 1
root = { level = "INFO", handlers = ["h"] }
handlers.h = { class = "logging.FileHandler", filename = "FILE", formatter = "f" }
formatters.f.format = "%(name)s|%(levelname)s|%(message)s"
"""

APP = """
import logging
def app(environ, start_response):
    logging.getLogger("mine").info("served")
    start_response("200 OK", [])
    return [b"x"]
"""


@pytest.mark.parametrize(
    ("name", "text", "workers"), [("c.json", TREE, "1"), ("c.toml", TOML, "0"), ("c.ini", INI, "1")]
)
def test_log_config(tmp_path: Path, name: str, text: str, workers: str) -> None:
    out = tmp_path / "out"
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / name).write_text(text.replace("FILE", str(out)))
    options = ("--log-config", name, "--workers", workers, "--access-log-format", "%m %U")
    with Command("app:app", "--bind", "127.0.0.1:0", *options, cwd=tmp_path) as command:
        until(lambda: out.exists() and "serves app:app on " in out.read_text())
        url = out.read_text().split(" on ")[1].split()[0]
        assert fetch(url, "/x").status == 200
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 0
    written = out.read_text()
    assert "mine|INFO|served\n" in written
    assert "vivace.access|INFO|GET /x\n" in written
    assert written.endswith("vivace.error|INFO|stopped\n")
    assert "GET" not in command.log


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ('{"version": 2}', "Unsupported version"),
        ('{"version": 1, "handlers": {"h": {"class": "no.Such"}}}', "Unable to configure handler 'h'"),
        ("nonsense", "no section headers"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "c"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingError) as caught:
        open_logs(from_keywords(log_config=str(path)))
    assert str(caught.value).startswith(f"log_config {path}: ")
    assert said in str(caught.value)
