"""The command line: commands, exit codes, what goes to stdout and what to stderr, and no traceback of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vivace
from vivace.cli import help as help_command
from vivace.cli.main import FLAGS, WORDS, main
from vivace.config.settings import ROWS, SECTIONS, Settings
from vivace.errors import SettingError

GOOD = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("VIVACE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if not name.startswith("vivace"):
            del sys.modules[name]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would have been served: `run` of the process room replaced, so that nothing listens."""
    calls: list[tuple[Any, ...]] = []

    def run(settings: Settings, load: Any, *, beside: Any) -> int:
        assert beside is None
        calls.append((settings, *load()))
        return 7

    monkeypatch.setattr("vivace.embed.run", run)  # first: it takes the name from the other one
    monkeypatch.setattr("vivace.worker.process.run", run)
    monkeypatch.setenv("VIVACE_WORKERS", "0")  # in this process
    return calls


# --- serving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["web:app", "--threads=3"], ["serve", "--threads=3", "web:app"]])
def test_serve(argv: list[str], served: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(GOOD)
    assert main(argv) == 7
    ((settings, app, name),) = served
    assert isinstance(settings, Settings)
    assert settings.threads == 3
    assert app.__name__ == "app"
    assert name == "web:app"


def test_argv_is_taken_from_sys(served: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    monkeypatch.setattr(sys, "argv", ["vivace"])
    assert main() == 7
    assert served[0][2] == "app:app"


def test_wrong_settings_exit_2_and_serve_nothing(
    served: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVACE_THREDS", "3")
    assert main(["--threads=0", "--xyzzy"]) == 2
    assert capsys.readouterr() == (
        "",
        "vivace: --threads: 0 is too small; give a whole number of threads, 1 to 4096\n"
        "vivace: --xyzzy: no such option; see vivace --help\n"
        "vivace: VIVACE_THREDS: no such variable; did you mean VIVACE_THREADS?\n",
    )
    assert not served


def test_application_that_cannot_be_found_exits_1(
    served: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["no_such:app"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vivace: no module named 'no_such' in {tmp_path}; ")
    assert not served


def test_application_that_raises_shows_its_own_traceback(
    served: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("import inner_broken\n")
    (tmp_path / "inner_broken.py").write_text("x = {}['missing']\n")
    assert main(["broken:app"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.split('"')[1] for line in lines if line.startswith("  File")] == [
        str(tmp_path / "broken.py"),
        str(tmp_path / "inner_broken.py"),
    ]
    assert lines[-2:] == [
        "KeyError: 'missing'",
        "vivace: broken raised KeyError while it was imported; the traceback is the application's own",
    ]


def test_server_that_cannot_start_exits_1(
    monkeypatch: pytest.MonkeyPatch,
    served: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "web.py").write_text(GOOD)

    def refuse(*arguments: Any, **keywords: Any) -> int:
        raise SettingError("bind 'x': another program listens there")

    monkeypatch.setattr(sys.modules["vivace.worker.process"], "run", refuse)
    assert main(["web:app"]) == 1
    assert capsys.readouterr().err == "vivace: bind 'x': another program listens there\n"


def test_interrupt_while_the_application_is_imported(served: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "slow_import.py").write_text("raise KeyboardInterrupt")
    assert main(["slow_import:app"]) == 130


# --- the other commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stat"], "ctl stat: no such command; did you mean status?"),
        (["re", "8000"], "ctl re: no such command; did you mean reload or reopen?"),
        (["relaod"], "ctl relaod: no such command; did you mean reload?"),
        (["8000"], "ctl 8000: no such command; vivace ctl status|reload|"),
        ([], "ctl: vivace ctl status|reload|"),
        (["scale"], "ctl: vivace ctl status|reload|"),
    ],
)
def test_ctl_says_which_word_was_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", *words]) == 2
    assert capsys.readouterr().err.startswith(f"vivace: {said}")


@pytest.mark.parametrize("argv", [["--version"], ["-V"], ["app:app", "--version", "--threads=none"]])
def test_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith(f"vivace {vivace.__version__} (")


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["serve", "--help"], ["--threads", "--help"]])
def test_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert out.startswith("vivace serves a WSGI application")
    assert err == ""


@pytest.mark.parametrize("columns", [80, 100])
def test_help_has_every_option_under_its_section_and_fits(columns: int) -> None:
    text = help_command.text(columns)
    at = [text.index(f"\n{title}\n") for title in SECTIONS.values()]
    assert at == sorted(at)
    for row in ROWS.values():
        option = row.option if row.kind != "bool" else "--[no-]" + row.option[2:]
        assert option in text
    for flag in FLAGS:
        assert flag in text
    assert max(map(len, text.splitlines())) <= columns


def test_print_config_says_where_each_value_came_from_and_can_be_read_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vivace.toml").write_text("[limits]\nhead-bytes-max = '8KiB'\n")
    monkeypatch.setenv("VIVACE_TICK", "0.007")
    given = [
        "--print-config",
        'web:create("é")',
        "-b",
        "unix:/run/a b.sock",
        "-b",
        ":0",
        "--unix-mode=600",
        "--access-log",
    ]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert 'app = "web:create(\\"é\\")"  # APP\n' in printed
    assert "unix_mode = 0o600  # --unix-mode\n" in printed
    assert 'tick = "7ms"  # VIVACE_TICK\n' in printed
    assert 'head_bytes_max = "8KiB"  # vivace.toml: limits.head-bytes-max\n' in printed
    assert "backlog = 2048  # default\n" in printed
    assert set(tomllib.loads(printed)) == set(SECTIONS)
    (tmp_path / "vivace.toml").write_text(printed)
    monkeypatch.delenv("VIVACE_TICK")
    assert main(["--print-config"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == tomllib.loads(printed)


def test_print_config_with_wrong_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-config", "--backlog=x"]) == 2
    assert capsys.readouterr().out == ""


def test_check_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(GOOD)
    assert main(["web", "--check-config", "-b", "127.0.0.1:1", "-b", "[::1]:1"]) == 0
    assert capsys.readouterr().out == ("ok: the settings are valid and web:app can be served on 127.0.0.1:1, [::1]:1\n")


@pytest.mark.parametrize(("argv", "said"), [(["web:no"], "web has no attribute 'no'"), (["--tick=x"], "--tick: 'x'")])
def test_check_config_fails_with_1(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "web.py").write_text(GOOD)
    assert main(["--check-config", *argv]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"vivace: {said}")


def test_flags_after_two_dashes_are_no_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check-config", "--", "--help"]) == 1
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({*FLAGS.values(), *WORDS.values()}))
def test_every_command_has_its_module(command: str) -> None:
    module = __import__(f"vivace.cli.{command}", fromlist=["run"])
    assert callable(module.run)


# --- as processes -----------------------------------------------------------------------------------------


def vivace_process(*argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)}
    command = [sys.executable, "-m", "vivace", *argv]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, **more)


def test_module_can_be_run() -> None:
    done = vivace_process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vivace ")
    assert vivace_process("--nonsense").returncode == 2
    assert vivace_process("no_such:app").returncode == 1


def test_reader_that_leaves_early_gets_no_traceback() -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)}
    read_end, write_end = os.pipe()
    os.close(read_end)  # nobody reads: the first flush fails, as behind `| head`
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vivace", "--help"],
            env=environ,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")
