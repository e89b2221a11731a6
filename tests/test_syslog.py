"""worker.syslog and its way there: RFC 3164 and 5424, to a Unix socket and by UDP, and a syslog that is gone."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from apps import app_of
from command import Command
from vivace.config.load import from_keywords
from vivace.errors import SettingError
from vivace.worker.log_file import open_logs
from vivace.worker.syslog import LINE_BYTES_MAX, Syslog
from wire import fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Daemon:
    """A syslog of datagrams."""

    def __init__(self, path: Path | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0) if path is None else str(path))
        self.socket.settimeout(5)
        self.address = f"unix:{path}" if path else f"udp://127.0.0.1:{self.socket.getsockname()[1]}"

    def line(self) -> str:
        return self.socket.recv(65536).decode()

    def waiting(self) -> list[str]:
        """What is there already."""
        lines = []
        self.socket.setblocking(False)
        try:
            while True:
                lines.append(self.line())
        except BlockingIOError:
            self.socket.settimeout(5)
            return lines


@pytest.fixture(params=["unix", "udp"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path / "log" if request.param == "unix" else None)
    with found.socket:
        yield found


def syslog_to(address: str, **more: Any) -> Syslog:
    return Syslog(address, "syslog", **{"form": "rfc3164", "facility": "user", "tag": "vivace", **more})


STAMP = r"[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d"


def test_rfc_3164(daemon: Daemon) -> None:
    """As syslog(3) writes it: by a Unix socket there is no host in it."""
    syslog_to(daemon.address).send("a line\n", "warning", "error")
    host = "" if daemon.address.startswith("unix") else re.escape(socket.gethostname()) + " "
    assert re.fullmatch(rf"<12>{STAMP} {host}vivace\[{os.getpid()}\]: a line", daemon.line())


def test_rfc_5424(daemon: Daemon) -> None:
    syslog_to(daemon.address, form="rfc5424", facility="local3", tag="shop").send("a line\n", "info", "access")
    host = "-" if daemon.address.startswith("unix") else re.escape(socket.gethostname())
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    assert re.fullmatch(rf"<158>1 {stamp} {host} shop {os.getpid()} access - a line", daemon.line())


def test_each_line_is_a_datagram_and_is_cut(daemon: Daemon) -> None:
    syslog_to(daemon.address).send("one\n\n  two \ud800\n" + "x" * 10_000 + "\n", "error", "error")
    lines = [daemon.line() for _ in range(3)]
    assert lines[0].endswith(": one")
    assert lines[1].endswith(":   two \\ud800")
    assert len(lines[2]) == LINE_BYTES_MAX


@pytest.mark.parametrize(
    ("severity", "number"), [("critical", 10), ("error", 11), ("warning", 12), ("info", 14), ("debug", 15)]
)
def test_severities(tmp_path: Path, severity: str, number: int) -> None:
    daemon = Daemon(tmp_path / "log")
    with daemon.socket:
        syslog_to(daemon.address).send("x\n", severity, "error")
        assert daemon.line().startswith(f"<{number}>")


def test_a_daemon_that_comes_back(tmp_path: Path) -> None:
    """Under the old name, with a new socket; nothing of the next line is lost."""
    path = tmp_path / "log"
    syslog = syslog_to(f"unix:{path}")
    with pytest.raises(FileNotFoundError):
        syslog.send("lost\n", "info", "error")
    for text in ("one", "two"):
        daemon = Daemon(path)
        with daemon.socket:
            syslog.send(text + "\n", "info", "error")
            assert daemon.line().endswith(text)
        path.unlink()


def test_a_daemon_that_does_not_read(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "log")
    with daemon.socket, pytest.raises(TimeoutError):
        syslog_to(daemon.address).send("x\n" * 100_000, "info", "error")


# Addresses.


@pytest.mark.parametrize(
    "address",
    ["/dev/log", "unix:/dev/log", "unix:///dev/log", "unix:///dev/log#dgram", "udp://localhost", "udp://[::1]:5514"],
)
def test_addresses(address: str) -> None:
    assert from_keywords(syslog=address).syslog == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost", "is no address of a syslog"),
        ("udp:localhost", "is no address of a syslog"),
        ("udp://localhost:x", "is no address of a syslog"),
        ("udp://", "is no address of a syslog"),
        ("tcp://localhost:514", "can pass it on by TCP"),
        ("unix:///dev/log#stream", "can pass it on by TCP"),
    ],
)
def test_addresses_that_are_none(address: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        from_keywords(access_log_syslog=address)


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(SettingError, match=r"syslog udp://nowhere\.invalid: .*; name a host that is known"):
        open_logs(from_keywords(syslog="udp://nowhere.invalid"))


@pytest.mark.parametrize(
    ("name", "value"), [("syslog_facility", "local8"), ("syslog_tag", "a b"), ("syslog_tag", ""), ("syslog_tag", "a:")]
)
def test_other_settings(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        from_keywords(**{name: value})


# In a server.


def test_both_logs(daemon: Daemon, vivace_server: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["vivace.request_id"] = "4bf92f"
        raise ValueError("no")

    server = vivace_server(app, syslog=daemon.address, access_log_syslog=daemon.address, access_log_format="%m %U %s")
    assert fetch(server, "/path").status == 500
    lines: list[str] = []
    until(lambda: lines.extend(daemon.waiting()) or any("GET /path 500" in line for line in lines))
    assert any(re.match(r"<11>.*\]: .*the application failed on GET /path \[request 4bf92f\]", line) for line in lines)
    assert any(re.match(r"<14>.*\]: GET /path 500$", line) for line in lines)
    assert "the application failed on GET /path [request 4bf92f]" in capfd.readouterr().err


def test_a_dead_syslog_costs_no_request_and_is_said_once(
    tmp_path: Path, vivace_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    server = vivace_server(app_of([b"x"]), access_log_syslog=f"unix:{path}", syslog=f"unix:{path}")
    said = f"the access log cannot be sent to syslog unix:{path}: No such file or directory"
    output = ""

    def seen(text: str) -> bool:
        nonlocal output
        output += capfd.readouterr().err
        return text in output

    for _ in range(3):
        assert fetch(server).status == 200
        until(lambda: seen(said))
    daemon = Daemon(path)
    with daemon.socket:
        assert fetch(server).status == 200
        until(lambda: seen("the access log is sent to syslog"))
        assert daemon.line()
    assert output.count(said) == 1


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_last_lines_arrive_before_the_end(tmp_path: Path, workers: str) -> None:
    (tmp_path / "app.py").write_text("def app(e, s):\n    s('200 OK', [])\n    return [b'x']\n")
    daemon = Daemon(tmp_path / "log")
    options = ("--workers", workers, "--access-log-syslog", daemon.address, "--access-log-format", "%U")
    with daemon.socket, Command("app:app", "--bind", "127.0.0.1:0", *options, cwd=tmp_path) as command:
        for number in range(5):
            assert fetch(command.url, f"/{number}").status == 200
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 0
        assert [line.rpartition(" ")[2] for line in daemon.waiting()] == [f"/{number}" for number in range(5)]
