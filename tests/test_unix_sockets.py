"""net.listen: the files of Unix sockets, whose they are, and who removes them."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from listeners import answers, opened, problem

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


def test_unix_socket(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    with opened(f"unix:{path}") as listener:
        assert listener.text == f"unix:{path}"
        assert (listener.server_name, listener.path) == ("localhost", path)
        assert answers(socket.AF_UNIX, path)
        assert not listener.socket.get_inheritable()
    assert not os.path.exists(path)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o000])
def test_mode_of_a_unix_socket(tmp_path: Path, mode: int) -> None:
    path = f"{tmp_path}/app.sock"
    before = os.umask(0o027)
    try:
        with opened(f"unix:{path}", unix_mode=mode):
            assert stat.S_IMODE(os.stat(path).st_mode) == mode
    finally:
        os.umask(before)


def test_owner_of_a_unix_socket(tmp_path: Path) -> None:
    """By name and by number; what is left out stays as it was."""
    path = f"{tmp_path}/app.sock"
    uid, gid = os.geteuid(), os.getegid()
    user, group = pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name
    for owner in (user, f":{group}", f"{user}:{group}", f"{uid}:{gid}", f"{user}:{gid}", ""):
        with opened(f"unix:{path}", unix_owner=owner):
            found = os.stat(path)
            assert (found.st_uid, found.st_gid) == (uid, gid)


@needs_root
@pytest.mark.parametrize(("owner", "ids"), [("1234", (1234, 0)), (":2345", (0, 2345)), ("1234:2345", (1234, 2345))])
def test_another_owner_of_a_unix_socket(tmp_path: Path, owner: str, ids: tuple[int, int]) -> None:
    path = f"{tmp_path}/app.sock"
    with opened(f"unix:{path}", unix_owner=owner):
        found = os.stat(path)
        assert (found.st_uid, found.st_gid) == ids


@pytest.mark.parametrize("owner", ["nosuchuser", ":nosuchgroup", "nosuchuser:nosuchgroup"])
def test_an_unknown_owner_leaves_nothing_behind(tmp_path: Path, owner: str) -> None:
    said = problem(f"unix:{tmp_path}/app.sock", unix_owner=owner)
    assert said.startswith(f"unix_owner {owner!r}: ")
    assert "nosuch" in said.removeprefix(f"unix_owner {owner!r}: ")
    assert os.listdir(tmp_path) == []


def test_an_owner_that_may_not_be_given_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", refuse)
    assert "not permitted" in problem(f"unix:{tmp_path}/app.sock", unix_owner="1234")
    assert os.listdir(tmp_path) == []


def test_the_file_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.listen()
    dead.close()
    with opened(f"unix:{path}"):
        assert answers(socket.AF_UNIX, path)
    assert not os.path.exists(path)


def test_the_file_of_a_live_server_is_left_alone(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    with opened(f"unix:{path}"):
        assert problem(f"unix:{path}") == (
            f"bind 'unix:{path}': another server listens there; stop it or choose another path"
        )
        assert answers(socket.AF_UNIX, path)


def test_the_file_of_a_busy_server_is_left_alone(tmp_path: Path) -> None:
    """Its backlog is full, so that the probe cannot connect: it lives all the same."""
    path = f"{tmp_path}/app.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            try:
                client.connect(path)
            except BlockingIOError:
                pass
        assert "another server listens there" in problem(f"unix:{path}")
        assert os.path.exists(path)
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    target = tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    else:
        (path if kind == "file" else target).write_text("precious")
        if kind == "link":
            path.symlink_to(target)
    assert problem(f"unix:{path}") == (
        f"bind 'unix:{path}': {path} exists and is no socket; remove it or choose another path"
    )
    assert path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    text = f"unix:{tmp_path}/missing/app.sock"
    assert problem(text) == f"bind {text!r}: the folder does not exist; create it first"


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    text = f"unix:{tmp_path}/{'x' * 200}"
    assert problem(text) == (
        f"bind {text!r}: the path is too long for a socket (about 100 bytes); choose a shorter one"
    )


def test_a_file_that_is_another_server_s_by_now_is_left_alone(tmp_path: Path) -> None:
    """A successor took the path over while this server was still draining."""
    path = f"{tmp_path}/app.sock"
    with socket.socket(socket.AF_UNIX) as successor:
        with opened(f"unix:{path}"):
            os.unlink(path)
            successor.bind(path)
            successor.listen()
        assert answers(socket.AF_UNIX, path)


def test_a_file_that_is_gone_already(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    with opened(f"unix:{path}"):
        os.unlink(path)
    assert os.listdir(tmp_path) == []


def test_the_same_path_twice_in_a_row(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(f"unix:{tmp_path}/app.sock"):
            assert os.listdir(tmp_path) == ["app.sock"]
        assert os.listdir(tmp_path) == []


def test_a_relative_path_is_removed_although_the_application_went_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    with opened("unix:app.sock"):
        assert answers(socket.AF_UNIX, "app.sock")
        os.chdir(elsewhere)
    assert os.listdir(tmp_path) == ["elsewhere"]


@needs_linux
def test_abstract_name() -> None:
    name = f"vivace-test-{os.getpid()}"
    with opened(f"unix:@{name}", unix_mode=0o600, unix_owner="nosuchuser") as listener:
        assert (listener.text, listener.path) == (f"unix:@{name}", "")
        assert answers(socket.AF_UNIX, f"\0{name}")
        assert "another program listens there" in problem(f"unix:@{name}")
    assert not answers(socket.AF_UNIX, f"\0{name}")
