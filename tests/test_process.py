"""worker.process: the single process from its start to its end. Pidfile, rights, service manager, signals."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command import Command
from unprivileged import readable
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = """
import json, os, time

IMPORTED_BY = os.getuid()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/stuck":
        open("stuck", "w").close()
        time.sleep(60)
    if environ["PATH_INFO"] == "/new":
        open("made", "w").close()
    return [json.dumps({
        "ids": [*os.getresuid(), *os.getresgid()],
        "groups": os.getgroups(),
        "imported_by": IMPORTED_BY,
        "env": dict(os.environ),
    }).encode()]
"""

SINGLE = ("app:app", "--workers", "0", "--bind", "127.0.0.1:0")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


class Manager:
    """systemd: what the service tells it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(str(self.path))

    def prefix(self, *more: str) -> list[str]:
        return ["env", f"NOTIFY_SOCKET={self.path}", *more]

    def hears(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    manager = Manager(folder)
    with manager.socket:
        yield manager


def asked(command: Command, path: str = "/") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fetch(command.url, path).body)
    return found


# The service manager.


def test_systemd_is_told(folder: Path, manager: Manager) -> None:
    with Command(*SINGLE, cwd=folder, prefix=manager.prefix()) as command:
        said = manager.hears()
        assert re.fullmatch(r"READY=1\nSTATUS=serves app:app on http://127\.0\.0\.1:[0-9]+", said)
        assert fetch(command.url).status == 200
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(asked(command)["env"]), "it is nobody else's"
        command.send_signal()
        assert manager.hears() == "STOPPING=1"
        assert command.wait() == 0


def test_systemd_is_not_told_of_a_service_that_does_not_start(folder: Path, manager: Manager) -> None:
    (folder / "app.py").write_text("import nothing_of_that_name")
    with Command(*SINGLE, cwd=folder, prefix=manager.prefix()) as command:
        assert command.wait() == 1
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hears()


@pytest.mark.parametrize("threads", ["1", "64"])
def test_the_watchdog_hears_from_the_loop_itself(folder: Path, manager: Manager, threads: str) -> None:
    """Idle or not; and nothing any more where the loop hangs, which only threads = 1 lets the application do."""
    prefix = manager.prefix("WATCHDOG_USEC=400000")
    with Command(*SINGLE, "--threads", threads, cwd=folder, prefix=prefix) as command:
        assert manager.hears().startswith("READY=1")
        for _ in range(3):
            assert manager.hears() == "WATCHDOG=1"
        with Client(command.url) as client:
            client.send(request("/stuck"))
            until((folder / "stuck").exists)
            while_stuck = []
            manager.socket.settimeout(1)
            try:
                while len(while_stuck) < 6:
                    while_stuck.append(manager.hears())
            except TimeoutError:
                pass
        assert (len(while_stuck) < 3) == (threads == "1")


# The pidfile.


def test_pidfile(folder: Path) -> None:
    path = folder / "app.pid"
    with Command(*SINGLE, "--pidfile", "app.pid", cwd=folder) as command:
        assert fetch(command.url).status == 200
        assert path.read_text() == f"{command.process.pid}\n"
        with Command(*SINGLE, "--pidfile", "app.pid", cwd=folder) as second:
            assert second.wait() == 1
        assert f"vivace: pidfile {path}: process {command.process.pid} holds it; stop that one" in second.log
        command.send_signal(signal.SIGINT)
        assert command.wait() == 0
    assert not path.exists()


def test_a_server_that_cannot_start_leaves_nothing(folder: Path) -> None:
    with Command(*SINGLE, cwd=folder) as first:
        taken = first.url.removeprefix("http://")
        for arguments in (("--bind", taken), ("--app-dir", "no"), ("--log-file", "no/where")):
            with Command(*SINGLE, "--pidfile", "app.pid", "--bind", "unix:x.sock", *arguments, cwd=folder) as second:
                assert second.wait() == 1
            assert set(os.listdir(folder)) - {"__pycache__"} == {"app.py"}, second.log


def test_a_pidfile_that_cannot_be_written(folder: Path) -> None:
    with Command(*SINGLE, "--pidfile", "no/app.pid", cwd=folder) as command:
        assert command.wait() == 1
    assert command.log == (
        f"vivace: pidfile {folder}/no/app.pid: No such file or directory; name a file in a directory that this user "
        "may write to, or leave it off (systemd and containers need none)\n"
    )


# Rights.


@as_root
def test_root_s_rights_are_given_up() -> None:
    """Before the application is imported; the files and sockets are the user's."""
    python, source = readable()
    nobody = pwd.getpwnam("nobody")
    room = Path(source).parent / f"{Path(source).name}-{os.getpid()}"
    room.mkdir(mode=0o755)
    try:
        (room / "app.py").write_text(APP)
        os.chown(room, nobody.pw_uid, nobody.pw_gid)
        pidfile = Path(source) / "app.pid"  # a folder like /run: root's, and everybody may look into it
        arguments = ("--user", "nobody", "--log-file", "log", "--pidfile", str(pidfile), "--umask", "027")
        arguments += ("--bind", "unix:app.sock")
        with Command(*SINGLE, *arguments, cwd=room, python=python, source=source) as command:
            log = room / "log"
            url = until(lambda: log.exists() and re.search(r"http://\S+", log.read_text()))[0]
            found = json.loads(fetch(url, "/new").body)
            assert found["ids"] == [nobody.pw_uid] * 3 + [nobody.pw_gid] * 3
            assert found["groups"] == [nobody.pw_gid]
            assert found["imported_by"] == nobody.pw_uid
            assert found["env"]["HOME"] == nobody.pw_dir
            for name, mode in (("log", 0o640), ("made", 0o640), ("app.sock", 0o660)):
                status = (room / name).stat()
                assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (nobody.pw_uid, mode), name
            assert pidfile.stat().st_uid == 0
            log.rename(room / "log.1")
            command.send_signal(signal.SIGUSR1)
            until(log.exists)
            command.send_signal()
            assert command.wait() == 0, command.log
            assert log.read_text().endswith("stopped\n")
        assert pidfile.read_text() == "", "it can only be emptied"
    finally:
        for path in sorted(room.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        room.rmdir()


def test_a_user_that_does_not_exist(folder: Path) -> None:
    with Command(*SINGLE, "--user", "no-such-user", cwd=folder) as command:
        assert command.wait() == 1
    assert command.log == (
        "vivace: user 'no-such-user': no such user on this machine; check the name, or create it first\n"
    )


# Signals.


def test_usr1_does_no_harm(folder: Path) -> None:
    """Without log files as well: its default is to end the process."""
    with Command(*SINGLE, cwd=folder) as command:
        for _ in range(3):
            assert fetch(command.url).status == 200
            command.send_signal(signal.SIGUSR1)
        assert fetch(command.url).status == 200
        command.send_signal()
        assert command.wait() == 0


def test_the_delay_before_the_end(folder: Path) -> None:
    """As Kubernetes sees it: SIGTERM, not ready but serving, and a second signal that does not wait."""
    health = ("--drain-delay", "60s", "--readyz-path", "/readyz")
    with Command(*SINGLE, *health, cwd=folder) as command:
        assert fetch(command.url, "/readyz").status == 200
        command.send_signal()
        until(lambda: fetch(command.url, "/readyz").status == 503)
        assert fetch(command.url).status == 200
        command.send_signal()
        assert command.wait() == 128 + signal.SIGTERM
