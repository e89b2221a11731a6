"""worker.reloader: which files are watched, and what counts as a change."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from vivace.worker.reloader import Reloader
from wire import TIMEOUT_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("app.py", "pkg/views.py", "venv/lib.py", ".git/hook.py", "notes.txt", "conf/a.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def reloader(folder: Path, *extra: str) -> Reloader:
    return Reloader(str(folder), extra, lambda path: None, poll=True)


def relative(folder: Path, paths: object) -> set[str]:
    return {os.path.relpath(path, folder) for path in paths if str(path).startswith(str(folder))}  # type: ignore[attr-defined]


def test_files_that_are_watched(folder: Path) -> None:
    assert relative(folder, reloader(folder).files()) == {"app.py", "pkg/views.py"}
    extra = [str(folder / "notes.txt"), str(folder / "conf")]
    assert relative(folder, reloader(folder, *extra).files()) == {"app.py", "pkg/views.py", "notes.txt", "conf/a.toml"}


def test_imported_modules_from_elsewhere_are_watched(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far_module.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    watch = reloader(folder)
    __import__("far_module")
    path = str(elsewhere / "far_module.py")
    assert watch.changed() == "", "a module that is imported later has not changed"
    assert path in set(watch.files())
    (elsewhere / "far_module.py").write_text("x = 22\n")
    assert watch.changed() == path
    del sys.modules["far_module"]
    assert not any("/site-packages/" in name or name.startswith(os.path.dirname(os.__file__)) for name in watch.files())


def test_change_new_file_and_removed_file(folder: Path) -> None:
    watch = reloader(folder)
    assert watch.changed() == ""
    (folder / "app.py").write_text("x = 22\n")
    assert watch.changed() == str(folder / "app.py")
    watch = reloader(folder)
    (folder / "pkg" / "models.py").write_text("")
    assert watch.changed() == str(folder / "pkg" / "models.py")
    watch = reloader(folder)
    (folder / "pkg" / "views.py").unlink()
    assert watch.changed() == str(folder / "pkg" / "views.py")


@pytest.mark.parametrize("poll", [True, False], ids=["polling", "watchfiles"])
def test_thread_tells_once(folder: Path, poll: bool) -> None:
    told: list[str] = []
    event = threading.Event()

    def on_change(path: str) -> None:
        told.append(path)
        event.set()

    thread = Reloader(str(folder), [], on_change, poll=poll)
    thread.start()
    (folder / "notes.txt").write_text("not code")
    (folder / "pkg" / "views.py").write_text("x = 333\n")
    assert event.wait(TIMEOUT_S)
    thread.join(TIMEOUT_S)
    assert told == [str(folder / "pkg" / "views.py")]


def test_a_change_in_the_moment_before_the_system_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, told = watchfiles.watch, threading.Event()

    def late(*roots: str, **options: Any) -> Any:
        (folder / "pkg" / "views.py").write_text("x = 333\n")
        return watch(*roots, **options)

    monkeypatch.setattr(watchfiles, "watch", late)
    Reloader(str(folder), [], lambda path: told.set()).start()
    assert told.wait(TIMEOUT_S)


@pytest.mark.parametrize("poll", [False, True])
def test_a_change_within_the_second_is_not_hidden_by_bytecode(tmp_path: Path, poll: bool) -> None:
    """Python compares the time of change in whole seconds, and the size."""
    path, seen = tmp_path / "quick.py", threading.Event()
    load = [sys.executable, "-c", "import quick; print(quick.VERSION)"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def version() -> str:
        return subprocess.run(load, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout

    def write(text: str, changed_ns: int) -> None:
        path.write_text(text)
        os.utime(path, ns=(changed_ns, changed_ns))

    write("VERSION = 1\n", 10**18)
    assert version() == "1\n"
    Reloader(str(tmp_path), (), lambda path: seen.set(), poll=poll).start()
    write("VERSION = 2\n", 10**18 + 1)
    assert seen.wait(TIMEOUT_S)
    assert version() == "2\n"
