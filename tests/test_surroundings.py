"""Where the application's process stands, its variables and its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from command import Command
from vivace.config.load import load
from vivace.errors import SettingError
from vivace.worker import surroundings
from vivace.worker.surroundings import prepare
from wire import fetch

APP = """
import os, threading
from elsewhere import WORD

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    name = open("/proc/thread-self/comm").read().strip() if os.path.exists("/proc/thread-self/comm") else ""
    return ["\\n".join((os.getcwd(), os.environ["A"], os.environ["B"], WORD, name)).encode()]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("A", "B"):
        monkeypatch.setenv(name, "before")


def test_nothing_given_changes_nothing(tmp_path: Path) -> None:
    before = (dict(os.environ), list(sys.path))
    prepare(load([], {}, tmp_path))
    assert (dict(os.environ), list(sys.path)) == before
    assert os.getcwd() == str(tmp_path)


def test_directory_and_variables(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    prepare(load(["--chdir", "sub", "--env", "A=x=y,z", "--env", "B="], {}, tmp_path))
    assert os.getcwd() == str(tmp_path / "sub")
    assert (os.environ["A"], os.environ["B"]) == ("x=y,z", "")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no': No such file or directory; name a directory to work in"):
        prepare(load(["--chdir", "no"], {}, tmp_path))


def test_a_name_that_cannot_be_set_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    settings = load(["--name", "shop"], {}, tmp_path)
    monkeypatch.setattr(surroundings, "open", refuse, raising=False)
    prepare(settings)


def test_the_application_finds_all_of_it(tmp_path: Path) -> None:
    """In a worker that was forked, on whatever thread, at a socket whose path starts from that directory."""
    for name, text in (
        ("sub/web.py", APP),
        ("lib/elsewhere.py", "WORD = 'found'"),
        ("lib/web.py", "raise ImportError"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    given = ["--chdir", "sub", "--env", "A=1", "--env", "B=2", "--python-path", "../lib", "--name", "walzer"]
    with Command("web:app", "--bind", "unix:web.sock", "--workers", "1", *given, cwd=tmp_path) as command:
        assert command.urls == ["unix:web.sock"]
        found = fetch(f"unix:{tmp_path}/sub/web.sock").body.decode().split("\n")
        assert found[:4] == [str(tmp_path / "sub"), "1", "2", "found"]
        if sys.platform == "linux":
            assert found[4] == "walzer"
            assert Path(f"/proc/{command.process.pid}/comm").read_text() == "walzer\n"
        command.send_signal()
        assert command.wait() == 0
