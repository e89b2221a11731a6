"""worker.pidfile: held by a lock, written whole, removed by its writer."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import vivace
from vivace.errors import SettingError
from vivace.worker.pidfile import Pidfile

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = """
import sys
from vivace.worker.pidfile import Pidfile
pidfile = Pidfile(sys.argv[1])
pidfile.write()
print("held", flush=True)
if sys.stdin.readline():
    pidfile.remove()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.pid"


class Holder:
    """Another process that holds the pidfile."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def die(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate("end\n")


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    holder = Holder(path)
    yield holder
    holder.die()


def test_the_number_is_there_and_goes(path: Path) -> None:
    pidfile = Pidfile(str(path))
    assert not path.exists(), "a constructor does nothing"
    umask = os.umask(0o077)
    try:
        pidfile.write()
    finally:
        os.umask(umask)
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == [path.name]
    pidfile.remove()
    assert os.listdir(path.parent) == []
    pidfile.remove()


def test_a_live_holder_is_named(path: Path, holder: Holder) -> None:
    with pytest.raises(SettingError, match=rf"pidfile .*app\.pid: process {holder.process.pid} holds it; stop that"):
        Pidfile(str(path)).write()
    assert path.read_text() == f"{holder.process.pid}\n"


def test_a_holder_that_was_killed_is_replaced(path: Path, holder: Holder) -> None:
    holder.die()
    assert path.exists()
    pidfile = Pidfile(str(path))
    pidfile.write()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()


def test_a_holder_that_ended_leaves_nothing(path: Path, holder: Holder) -> None:
    holder.end()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "1\n", "999999999999999999999999", f"{os.getppid()}\n"])
def test_a_number_that_nobody_locks_says_nothing(path: Path, content: str) -> None:
    """Process 1 lives, and so does this one's parent: the number has been given out again."""
    path.write_text(content)
    pidfile = Pidfile(str(path))
    pidfile.write()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()


def test_without_locks_the_number_decides(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(SettingError, match=f"process {os.getppid()} holds it"):
        Pidfile(str(path)).write()
    child = subprocess.Popen(["true"])
    child.wait()
    for content in (f"{child.pid}\n", f"{os.getpid()}\n", "9" * 15):
        path.write_text(content)
        pidfile = Pidfile(str(path))
        pidfile.write()
        assert path.read_text() == f"{os.getpid()}\n"
        pidfile.remove()


def test_a_successor_takes_over_from_its_predecessor(path: Path, holder: Holder) -> None:
    """A replaced binary: the old one still serves, and must not take the new one's file with it."""
    pidfile = Pidfile(str(path))
    with pytest.raises(SettingError):
        pidfile.write(predecessor=holder.process.pid + 1)
    pidfile.write(predecessor=holder.process.pid)
    holder.end()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert not path.exists()


def test_another_file_in_its_place_is_left_alone(path: Path) -> None:
    pidfile = Pidfile(str(path))
    pidfile.write()
    path.unlink()
    path.write_text("somebody else's")
    pidfile.remove()
    assert path.read_text() == "somebody else's"


def test_a_child_does_not_remove_it(path: Path) -> None:
    pidfile = Pidfile(str(path))
    pidfile.write()
    child = os.fork()
    if not child:
        pidfile.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()
    pidfile.remove()


def test_a_change_of_directory_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    pidfile = Pidfile(path.name)
    monkeypatch.chdir("/")
    pidfile.write()
    assert path.exists()
    pidfile.remove()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/app.pid", "No such file or directory"),
        (".", "Is a directory"),
        ("link", "Too many levels of symbolic links"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(SettingError, match=f"pidfile .*: {reason}; name a file in a directory"):
        Pidfile(str(tmp_path / name)).write()
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize("content", ["import vivace\n", "-1", "12 13", "1" * 31 + "x", b"\xff"])
def test_a_file_that_is_no_pidfile_is_left_alone(path: Path, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    with pytest.raises(SettingError, match="exists and is no pidfile; remove it, or name another file"):
        Pidfile(str(path)).write()
    assert path.read_bytes() == data


def test_what_is_no_file_is_left_alone(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(SettingError, match="exists and is no pidfile"):
        Pidfile(str(path)).write()
    assert path.is_fifo()


def test_a_disk_that_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(SettingError, match=r"app\.pid: No space left on device"):
        Pidfile(str(path)).write()
    assert path.read_bytes() == b""
    assert os.listdir(path.parent) == [path.name]


def test_of_many_that_start_at_once_one_holds_it(path: Path) -> None:
    """Locks belong to processes, so these are processes."""
    script = """
import sys
from vivace.errors import SettingError
from vivace.worker.pidfile import Pidfile
sys.stdin.readline()
try:
    Pidfile(sys.argv[1]).write()
    print("held", flush=True)
    sys.stdin.readline()
except SettingError as error:
    print("refused", flush=True)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said: list[str] = []
    readers = [
        threading.Thread(target=lambda process=process: said.append(process.stdout.readline().strip()))  # type: ignore[misc]
        for process in processes
    ]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join()
    for process in processes:
        process.communicate()
    assert sorted(said) == ["held", "refused", "refused"]
