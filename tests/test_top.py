"""vivace top: the command in a real terminal (a pty), looking at real servers; and as one snapshot."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from command import Command
from crowd import Crowd
from vivace.cli.main import main
from vivace.embed import background
from vivace.observe.page import page_of
from vivace.observe.snapshot import take
from wire import TIMEOUT_S, Client, fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

SOURCE = str(Path(vivace.__file__).parent.parent)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
APP = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Top:
    """`vivace top` on a terminal of its own, of 80 columns and 24 lines."""

    def __init__(self, *arguments: str, code: str = "", **environ: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(slave)
        command = [sys.executable, *(["-c", code] if code else ["-m", "vivace", "top", *arguments])]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": SOURCE, "TERM": "xterm", **environ},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.slave = slave
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self) -> str:
        while select.select((self.master,), (), (), 0)[0]:
            self.raw += os.read(self.master, 65536).decode()
        return self.raw

    @property
    def lines(self) -> list[str]:
        """The last whole screen."""
        frames = self.read().split("\x1b[H")[1:]
        whole = [frame for frame in frames if frame.endswith("\x1b[J") or "\x1b[J" in frame]
        return ESCAPES.sub("", whole[-1]).split("\r\n") if whole else []

    def wait(self, part: str, timeout_s: float = TIMEOUT_S) -> str:
        """The screen, as soon as `part` is on it."""
        try:
            until(lambda: part in "\n".join(self.lines), timeout_s)
        except AssertionError:
            raise AssertionError(f"{part!r} is not on the screen:\n" + "\n".join(self.lines)) from None
        return "\n".join(self.lines)

    def end(self) -> int:
        """Waits for the end and checks that the terminal is as it was."""
        code = until(lambda: (self.read(), self.process.poll())[1] is not None and [self.process.returncode])[0]
        assert self.read().rindex(LEAVE) > self.raw.rindex(ENTER)
        assert "\x1b[?25h" in self.raw[self.raw.rindex(ENTER) :], "the cursor is back"
        assert termios.tcgetattr(self.slave) == self.before
        return int(code)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "app.py").write_text(APP)
    options = ("--bind", "127.0.0.1:0", "--workers", "2", "--threads", "4", "--shutdown-timeout", "1")
    with Command("app:app", *options, cwd=tmp_path) as command:
        assert command.url
        yield command


class Load(Crowd):
    """Three clients that keep asking, one of them for what takes its time."""

    def __init__(self, url: str) -> None:
        self._url = url
        targets = ("/", "/?query", "/wait?0.05")
        super().__init__(partial(self._ask, target) for target in targets)

    def _ask(self, target: str) -> None:
        while not self.stop.wait(0.01):
            try:
                fetch(self._url, target)
            except Exception:  # the server may be stopped, or end
                self.stop.wait(0.05)


def once(*arguments: str, code: int = 0) -> str:
    """What `vivace top ARGUMENTS` prints into a pipe."""
    command = [sys.executable, "-m", "vivace", "top", *arguments, "--interval", "0.2"]
    environ = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def port_of(server: Any) -> str:
    return str(server.url.rpartition(":")[2])


# Live.


def test_a_loaded_server_in_a_terminal(server: Command) -> None:
    with Load(server.url), Top(port_of(server), "--interval", "0.2") as top:
        shown = top.wait("GET /wait")
        assert ENTER in top.raw
        assert f"process {server.process.pid}" in shown
        assert len(shown.splitlines()) == 24
        assert "2/2 workers" in shown
        assert len(re.findall(r"^ \d +\d+ serving ", shown, re.MULTILINE)) == 2
        top.wait(" of 8 threads busy")
        top.press("h")
        top.wait("Ctrl-C      quit")
        top.press(" ")
        top.wait("ROUTES (2) by p99")
        top.press("sssss")
        top.wait("sort: queue")
        top.press("\x1b[B")
        top.wait("\n> GET")
        top.press("\r")
        top.wait("RESPONSE TIMES")
        top.press("\x1b")
        top.wait("ROUTES (2)")
        top.press("p")
        top.wait("PAUSED")
        top.press("p")
        top.resize(132, 40)
        until(lambda: len(top.lines) == 40)
        assert "memory     GIL     lag loop" in "\n".join(top.lines)
        top.press("q")
        assert top.end() == 0


def test_a_stopped_worker_is_shown_as_stuck_within_two_seconds(server: Command) -> None:
    with Top(str(server.process.pid)) as top:
        top.wait("serving")
        page = page_of(server.process.pid)
        assert page is not None
        worker = take(page)["workers"][1]["pid"]
        page.close()
        os.kill(worker, signal.SIGSTOP)
        try:
            shown = top.wait(f"STUCK: process {worker} is stopped", 2.0)
            assert re.search(rf"{worker} STUCK", shown)
            assert "STUCK" in once(port_of(server), code=1)
            found = json.loads(once(port_of(server), "--json", code=1))
            assert [row["stuck"] for row in found["figures"]["workers"]] == [False, True]
        finally:
            os.kill(worker, signal.SIGCONT)
        until(lambda: "STUCK" not in "\n".join(top.lines))
        top.press("\x03")
        assert top.end() == 0


def test_it_goes_on_over_a_reload_and_a_restart(server: Command, tmp_path: Path) -> None:
    fetch(server.url)
    port = port_of(server)
    with Top(str(server.process.pid), "--interval", "0.1") as top:
        top.wait("generation 1")
        server.send_signal(signal.SIGHUP)
        top.wait("generation 2, 2/2")
        server.send_signal(signal.SIGTERM)
        server.wait()
        top.wait(f"process {server.process.pid}, has ended; waiting for the next one")
        with Command("app:app", "--bind", f"127.0.0.1:{port}", "--workers", "0", cwd=tmp_path) as successor:
            shown = top.wait(f"process {successor.process.pid}, serving")
            assert "1 server in this process" in shown
            top.press("q")
            assert top.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)])
def test_a_signal_ends_it_and_the_terminal_is_as_before(number: int, code: int) -> None:
    with background(lambda environ, start_response: []) as _, Top(str(os.getpid())) as top:
        top.wait("serving")
        top.process.send_signal(number)
        assert top.end() == code


def test_it_comes_back_after_a_stop() -> None:
    with background(lambda environ, start_response: []) as _, Top(str(os.getpid()), NO_COLOR="1") as top:
        top.wait("serving")
        assert termios.tcgetattr(top.slave) != top.before
        top.press("\x1a")  # Ctrl-Z, where no shell could continue it: the system ignores it
        until(lambda: top.read().count(ENTER) == 2)
        os.kill(top.process.pid, signal.SIGSTOP)
        os.kill(top.process.pid, signal.SIGCONT)
        until(lambda: top.read().count(ENTER) == 3)
        top.wait("serving")
        assert "\x1b[1;31m" not in top.raw
        top.press("q")
        assert top.end() == 0


SUSPENDS = """
import os, signal
from vivace.cli.terminal import Terminal
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
os.setpgid(child, child)
os.tcsetpgrp(0, child or os.getpid())  # as a shell does, from both sides so that it is done before either goes on
if child:
    os.waitpid(child, os.WUNTRACED)
    print("STOPPED", flush=True)
    os.kill(child, signal.SIGCONT)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with Terminal(colours=True) as terminal:
    terminal.show([("", "one")])
    while (key := terminal.key(10)) != "q":
        terminal.show([("", f"key {key}")])
"""


def test_the_terminal_is_given_back_while_it_is_suspended() -> None:
    with Top(code=SUSPENDS) as top:
        top.wait("one")
        top.press("\x1a")  # Ctrl-Z
        until(lambda: top.read().count(ENTER) == 2)
        assert re.search(rf"{re.escape(LEAVE)}[^\x1b]*STOPPED[^\x1b]*{re.escape(ENTER)}", top.raw)
        top.press("x")
        top.wait("key x")
        top.press("\x1bOA")
        top.wait("key up")
        top.press("q")
        assert top.end() == 0


def test_a_failure_leaves_the_terminal_as_it_was() -> None:
    code = "from vivace.cli.terminal import Terminal\nwith Terminal(colours=True) as t: t.show([('', 'x')]); 1 / 0"
    with Top(code=code) as top:
        assert top.end() == 1
        assert "ZeroDivisionError" in top.read()[top.raw.rindex(LEAVE) :]


# One snapshot.


def test_into_a_pipe_it_prints_one_snapshot(server: Command) -> None:
    with Load(server.url):
        text = until(lambda: (found := once(port_of(server))) and "GET /wait" in found and found)
        assert "\x1b" not in text
        assert "ROUTES" in text
        found = json.loads(once("--json", port_of(server)))
        assert set(found) == {"snapshot", "figures"}
        assert found["figures"]["verdict"]
        text = once("--once", "--route=GET /wait", "--sort=rate", port_of(server))
        assert "RESPONSE TIMES" in text
        assert "ROUTE GET /wait" in text


@pytest.mark.parametrize(
    "argv",
    [
        ["--sort", "age"],
        ["--interval", "0"],
        ["--interval", "x"],
        ["--nonsense"],
        ["1", "2"],
        ["--sort"],
        ["--url", "ftp://a"],
        ["--url", "http://a:99999"],
        ["--url", "http://a", "8000"],
        ["--token", "@/nowhere", "--url", "http://a"],
        ["nobody.pid"],
    ],
)
def test_mistakes_are_said_in_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", *argv]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1


# Servers without a supervisor.


def test_a_server_without_a_supervisor_is_found_and_cannot_be_reloaded(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with background(app) as one, background(app) as other:
        fetch(one)
        for name in (str(os.getpid()), str(one.port), f"127.0.0.1:{other.port}"):
            assert "2 servers in this process" in once(name)
        for words in (["reload"], ["upgrade"], ["stop"], ["reopen"], ["scale", "2"]):
            assert main(["ctl", *words, str(one.port)]) == 2
            message = capsys.readouterr().err
            assert len(message.splitlines()) == 1
            assert f"process {os.getpid()} serves by itself" in message
        assert main(["ctl", "status", str(one.port)]) == 0
        assert "2 servers without a supervisor" in capsys.readouterr().out


# From an admin address.


class Admin(BaseHTTPRequestHandler):
    """Answers as an admin address: with the snapshot of this process, for whoever has the token."""

    def do_GET(self) -> None:
        status, body = 404, b"{}"
        if self.headers["Authorization"] != "Bearer secret":
            status = 401
        elif self.path == "/snapshot.json":
            page = page_of(os.getpid())
            assert page is not None
            status, body = 200, json.dumps(take(page)).encode()
            page.close()
        elif self.path == "/other/snapshot.json":
            status = 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def test_an_admin_address_is_read(tmp_path: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    (tmp_path / "token").write_text("secret\n")
    admin = HTTPServer(("127.0.0.1", 0), Admin)
    thread = threading.Thread(target=admin.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{admin.server_port}"
    try:
        with background(app) as server, Client(server.url):
            text = once("--url", url, f"--token=@{tmp_path}/token")
            assert f"process {os.getpid()}, serving" in text
            assert "401" in once("--url", url, "--token", "wrong", code=2)
            assert "see --token" in once("--url", url, code=2)
            assert "is no admin address" in once("--url", url + "/other/", "--token", "secret", code=2)
            assert "404" in once("--url", url + "/none", "--token", "secret", code=2)
    finally:
        admin.shutdown()
        thread.join()
        admin.server_close()
    assert "does not answer" in once("--url", url, code=2)
