"""worker.log_file: whole lines at the end of a shared file, opened anew on demand, and a disk that is full."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from apps import app_of
from command import Command
from vivace.config.load import from_keywords
from vivace.connection.plan import Answer
from vivace.errors import SettingError
from vivace.worker.access_log import AccessLog, Outlet
from vivace.worker.console import Console
from vivace.worker.log_file import PIPE_BYTES, ErrorStream, LogFile, Logs, open_logs
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def file(path: Path) -> LogFile:
    return LogFile(str(path), "log_file")


class Full:
    """A disk with room for so many bytes more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        sent = self._write(fd, data[: self.room])
        self.room -= sent
        return sent


# Lines.


def test_text_is_appended(file: LogFile, path: Path) -> None:
    file.write("one\n")
    path.write_text(path.read_text() + "another process\n")
    file.write("Grüße \ud800\n")
    assert path.read_text(encoding="utf-8") == "one\nanother process\nGrüße \\ud800\n"
    assert path.stat().st_mode & 0o777 == 0o640 & ~umask()


def umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


def test_each_text_is_one_system_call(file: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: calls.append(len(data)) or write(fd, data))
    file.write("x" * 99_999 + "\n")
    assert calls == [100_000]


WRITER = """
import sys
from vivace.worker.log_file import LogFile
file = LogFile(sys.argv[1], "log_file")
sys.stdin.readline()
for number in range(300):
    file.write("".join(f"{sys.argv[2] * 60} {number} {line}\\n" for line in range(20)))
"""


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_processes_share_a_file_line_by_line(path: Path, kind: str) -> None:
    """A pipe is read meanwhile, and what is too much for it is lost in whole lines."""
    if kind == "pipe":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    source = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter], stdin=subprocess.PIPE, env=source)
        for letter in "ab"
    ]
    text = b""
    if kind == "pipe":
        for writer in writers:
            writer.stdin.write(b"\n")  # type: ignore[union-attr]
            writer.stdin.flush()  # type: ignore[union-attr]
        os.set_blocking(reader, True)
        while data := os.read(reader, 65536):
            text += data
        os.close(reader)
        for writer in writers:
            writer.communicate()
    else:
        threads = [threading.Thread(target=writer.communicate, args=(b"\n",)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        text = path.read_bytes()
        assert text.count(b"\n") == 2 * 300 * 20
    torn = [line for line in text.split(b"\n")[:-1] if line and not re.fullmatch(rb"(a{60}|b{60}) \d+ \d+", line)]
    assert torn == []


def test_a_pipe_is_written_in_pieces_that_stay_whole(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    calls: list[bytes] = []
    file = LogFile(str(path), "log_file")
    write = os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: calls.append(bytes(data)) or write(fd, data))
        file.write("x" * 100 + "\n" + "y" * PIPE_BYTES + "\n" + "z\n" * PIPE_BYTES)
    assert all(call.endswith(b"\n") for call in calls)
    assert [len(call) for call in calls] == [101, PIPE_BYTES + 1, PIPE_BYTES, PIPE_BYTES]
    os.close(reader)


def fill(write: Callable[[], None]) -> None:
    for _ in range(1000):
        write()


def test_a_pipe_that_nobody_reads_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(SettingError, match="No such device or address"):
        LogFile(str(path), "log_file")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path), "log_file")
    with pytest.raises(BlockingIOError):
        fill(lambda: file.write("x" * 1000 + "\n"))
    os.close(reader)


# Opening.


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/log", "No such file or directory"), (".", "Is a directory"), ("file/log", "Not a directory")],
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    for setting in ("log_file", "access_log_file"):
        with pytest.raises(SettingError, match=rf"^{setting} .*: {reason}; name a file in a folder that exists"):
            open_logs(from_keywords(**{setting: str(tmp_path / name)}))


@pytest.mark.parametrize("name", ["", "-"])
def test_standard_streams(name: str, capsys: pytest.CaptureFixture[str], vivace_server: Any) -> None:
    logs = open_logs(from_keywords(log_file=name, access_log_file=name))
    assert (logs.console.file, logs.access) == (None, None)
    logs.reopen()
    server = vivace_server(app_of([b"x"]), log_file=name, access_log_file=name)
    assert fetch(server).status == 200
    server.server.console.info("a message")
    output = capsys.readouterr()
    assert "a message" in output.err
    if name:
        until(lambda: "GET / HTTP/1.1" in capsys.readouterr().out)


def test_reopen(file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    file.write("old\n")
    path.rename(path.with_suffix(".1"))
    file.write("old too\n")
    before = len(os.listdir("/proc/self/fd"))
    file.reopen()
    file.write("new\n")
    assert len(os.listdir("/proc/self/fd")) == before
    assert path.with_suffix(".1").read_text() == "old\nold too\n"
    assert path.read_text() == "new\n"


def test_children_of_the_application_do_not_get_the_file(file: LogFile) -> None:
    for _ in range(2):
        assert not os.get_inheritable(file._fd)
        file.reopen()


def test_a_file_that_cannot_be_opened_anew_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    logs = open_logs(from_keywords(log_file=str(folder / "log"), access_log_file=str(folder / "access")))
    folder.rename(tmp_path / "moved")
    logs.reopen()
    logs.console.info("still here")
    text = (tmp_path / "moved" / "log").read_text()
    for name in ("log", "access"):
        assert f"[ERROR] {folder}/{name} cannot be opened anew: No such file or directory; the old file" in text
    assert "still here" in text


def test_nothing_is_written_to_a_number_that_is_somebody_else_s(file: LogFile, path: Path) -> None:
    """A descriptor that was closed is the next connection's: `reopen` never closes the one in use."""
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            file.write("line\n")

    writers = [threading.Thread(target=write) for _ in range(2)]
    for thread in writers:
        thread.start()
    for _ in range(300):
        file.reopen()
        reader, writer = os.pipe()
        os.close(writer)
        assert os.read(reader, 100) == b""
        os.close(reader)
    done.set()
    for thread in writers:
        thread.join()
    assert set(path.read_text().split("\n")) == {"line", ""}


def test_it_is_closed_with_its_last_user(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    file = LogFile(str(path), "log_file")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del file
    assert len(os.listdir("/proc/self/fd")) == before


# A disk that is full.


def test_a_line_that_was_torn_is_ended(file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Full(monkeypatch, 7)
    with pytest.raises(OSError, match="No space left"):
        file.write("one\ntwo\n")
    with pytest.raises(OSError, match="No space left"):
        file.write("three\n")
    disk.room = 1 << 20
    file.write("four\n")
    file.write("five\n")
    assert path.read_text() == "one\ntwo\nfour\nfive\n"


def test_a_disk_that_was_full_at_a_line_end(file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Full(monkeypatch, 4)
    with pytest.raises(OSError, match="No space left"):
        file.write("one\ntwo\n")
    disk.room = 1 << 20
    file.write("three\n")
    assert path.read_text() == "one\nthree\n"


def test_messages_go_to_stderr_meanwhile(
    file: LogFile, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.file = file
    console.info("one")
    disk = Full(monkeypatch, 0)
    for word in ("two", "three", "four"):
        console.info(word)
    disk.room = 1 << 20
    console.info("five")
    console.info("six")
    stderr = capsys.readouterr().err
    assert stderr.count(f"log_file {path}: No space left on device; messages go here") == 1
    assert re.findall(r"\] (\w+)$", stderr, re.MULTILINE) == ["two", "three", "four"]
    text = path.read_text()
    assert re.findall(r"\] (\w+)$", text, re.MULTILINE) == ["one", "five", "six"]
    assert "[WARNING] log_file is written again; 3 messages went to stderr" in text


def test_the_access_log_says_once_that_it_cannot_be_written() -> None:
    said: list[str] = []
    written: list[str] = []
    room = False

    def write(text: str) -> None:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(text)

    log = AccessLog([Outlet(write, said.append)])
    for _ in range(3):
        for _ in range(2):
            log.log({}, Answer("200 OK", 5), 0.1)
        log.flush()
    room = True
    log.log({}, Answer("200 OK", 5), 0.1)
    log.flush()
    log.log({}, Answer("200 OK", 5), 0.1)
    log.flush()
    assert said == [
        "the access log cannot be written: No space left on device. Lines are lost until it can",
        "the access log is written again; some 6 lines are lost",
    ]
    assert len(written) == 2


def test_a_full_disk_costs_no_request(capfd: pytest.CaptureFixture[str], vivace_server: Any) -> None:
    """/dev/full: every write to it fails."""
    server = vivace_server(app_of([b"x"]), log_file="/dev/full", access_log_file="/dev/full")
    with Client(server) as client:
        for _ in range(20):
            assert client.send(request()).read_response().body == b"x"
    stderr = ""

    def said() -> bool:
        nonlocal stderr
        stderr += capfd.readouterr().err
        return "the access log cannot be written: No space left on device" in stderr

    until(said)


# wsgi.errors.


@pytest.fixture
def stream(file: LogFile) -> ErrorStream:
    console = Console()
    console.file = file
    return ErrorStream(console)


def test_wsgi_errors(stream: ErrorStream, path: Path) -> None:
    """PEP 3333: write, writelines and flush."""
    print("a line", "of words", file=stream)
    assert path.read_text() == "a line of words\n"
    assert stream.write("begin") == 5
    assert path.read_text() == "a line of words\n"
    stream.writelines([" and", " end\nnext"])
    assert path.read_text() == "a line of words\nbegin and end\n"
    stream.flush()
    stream.flush()
    assert path.read_text() == "a line of words\nbegin and end\nnext\n"


def test_lines_of_threads_are_not_mixed(stream: ErrorStream, path: Path) -> None:
    def write(letter: str) -> None:
        for _ in range(300):
            stream.write(letter * 50 + "\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 1200
    assert {len(set(line)) for line in lines} == {1}


def test_what_the_application_says_goes_to_the_log(
    path: Path, vivace_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write("the application says\n")
        raise LookupError("oops")

    assert fetch(vivace_server(app, log_file=path)).status == 500
    text = path.read_text()
    assert text.startswith("the application says\n")
    assert "the application failed on GET /" in text
    assert "LookupError: oops" in text
    assert capfd.readouterr().err == ""


# A server.

LINE = re.compile(r'127\.0\.0\.1 - - \[[^\]]+\] "GET /([0-9]+) HTTP/1\.1" 200 1')


def numbers(path: Path) -> list[int]:
    return [int(LINE.fullmatch(line)[1]) for line in path.read_text().splitlines()]  # type: ignore[index]


def test_logs_are_rotated_under_load(tmp_path: Path) -> None:
    """Rename and USR1, as logrotate does it, again and again: every request has its one whole line."""
    (tmp_path / "app.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']\n"
    )
    access, log = tmp_path / "access", tmp_path / "log"
    arguments = ("--access-log-file", str(access), "--log-file", str(log), "--bind", "127.0.0.1:0", "--workers", "0")
    with Command("app:app", *arguments, cwd=tmp_path) as command:
        url = until(lambda: log.exists() and re.search(r"http://\S+", log.read_text()))[0]
        sent, rotations = 0, 5
        with Client(url) as client:
            for rotation in range(rotations):
                for _ in range(200):
                    assert client.send(request(f"/{sent}")).read_response().status == 200
                    sent += 1
                until(lambda: access.stat().st_size)
                access.rename(tmp_path / f"access.{rotation}")
                log.rename(tmp_path / f"log.{rotation}")
                command.send_signal(signal.SIGUSR1)
                until(lambda: access.exists() and log.exists())
        command.send_signal()
        assert command.wait() == 0
        assert command.log == "", "all of it is in the files"
    pieces = [tmp_path / f"access.{rotation}" for rotation in range(rotations)] + [access]
    found = [number for piece in pieces for number in numbers(piece)]
    assert found == list(range(sent))
    assert log.read_text().endswith("[INFO] stopped\n")


def test_logs_hold_what_they_are_given() -> None:
    console = Console()
    assert Logs(console).access is None
