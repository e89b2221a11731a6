"""Loading: precedence, everything that is wrong at once, names, files, keywords, and what it costs to start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import vivace
from vivace.config.load import from_keywords, load
from vivace.config.settings import ROWS
from vivace.errors import SettingError


def problems(argv: Sequence[str], environ: dict[str, str], directory: Path) -> tuple[str, ...]:
    with pytest.raises(SettingError) as caught:
        load(argv, environ, directory)
    return caught.value.problems


# --- where settings come from -----------------------------------------------------------------------------


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    settings = load([], {}, tmp_path)
    for name, row in ROWS.items():
        expected = str(tmp_path) if name == "app_dir" else row.default
        assert getattr(settings, name) == expected
        assert settings.origin(name) == "default"


def test_precedence(tmp_path: Path) -> None:
    names = ("backlog", "threads", "fields_max", "connections_max")
    (tmp_path / "pyproject.toml").write_text("[tool.vivace]\n" + "".join(f"{name} = 11\n" for name in names))
    (tmp_path / "vivace.toml").write_text("".join(f"{name} = 12\n" for name in names[1:]))
    environ = {"VIVACE_FIELDS_MAX": "13", "VIVACE_CONNECTIONS_MAX": "13", "HOME": "/"}
    settings = load(["--connections-max", "14"], environ, tmp_path)
    assert [getattr(settings, name) for name in names] == [11, 12, 13, 14]
    assert [settings.origin(name) for name in names] == [
        "pyproject.toml: tool.vivace.backlog",
        "vivace.toml: threads",
        "VIVACE_FIELDS_MAX",
        "--connections-max",
    ]


def test_config_names_the_one_file_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("threads = 1\nbacklog = 1")
    (tmp_path / "other.toml").write_text("threads = 2")
    (tmp_path / "third.toml").write_text("threads = 3")
    settings = load(["--config", "other.toml"], {}, tmp_path)
    assert (settings.threads, settings.backlog) == (2, 2048)
    assert settings.origin("threads") == "other.toml: threads"
    assert load([], {"VIVACE_CONFIG": "third.toml"}, tmp_path).threads == 3
    assert load(["-c", "other.toml"], {"VIVACE_CONFIG": "third.toml"}, tmp_path).threads == 2


def test_config_may_be_a_pyproject(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pyproject.toml").write_text("[tool.vivace]\nthreads = 5")
    settings = load(["--config=sub/pyproject.toml"], {}, tmp_path)
    assert settings.threads == 5
    assert settings.origin("threads") == "sub/pyproject.toml: tool.vivace.threads"


def test_directories_are_relative_to_where_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.toml").write_text('app_dir = "../src"\nspill_dir = "spill"')
    settings = load(["-cetc/a.toml"], {}, tmp_path)
    assert settings.app_dir == str(tmp_path / "src")
    assert settings.spill_dir == str(tmp_path / "etc" / "spill")
    settings = load(["--app-dir", "there"], {"VIVACE_SPILL_DIR": "/abs"}, tmp_path)
    assert (settings.app_dir, settings.spill_dir) == (str(tmp_path / "there"), "/abs")
    assert load([], {"VIVACE_SPILL_DIR": ""}, tmp_path).spill_dir == ""
    assert load(["--app-dir=~/x"], {}, tmp_path).app_dir == os.path.expanduser("~/x")


# --- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["app:app", "--threads", "8"],
        ["--threads=8", "app:app"],
        ["--threads", "1", "--threads", "8", "app:app"],
        ["--threads=8", "--", "app:app"],
    ],
)
def test_command_line_forms(argv: list[str], tmp_path: Path) -> None:
    settings = load(argv, {}, tmp_path)
    assert (settings.app, settings.threads) == ("app:app", 8)


def test_short_options_switches_and_lists(tmp_path: Path) -> None:
    settings = load(["-b", ":1", "-b:2", "--bind=unix:/a=b", "-b=:4", "--access-log", "--no-body-stream"], {}, tmp_path)
    assert settings.bind == (":1", ":2", "unix:/a=b", ":4")
    assert settings.access_log is True
    assert settings.body_stream is False
    assert settings.origin("body_stream") == "--no-body-stream"


def test_command_line_list_replaces_the_file_s(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text('bind = ["127.0.0.1:1", "127.0.0.1:2"]')
    assert load([], {}, tmp_path).bind == ("127.0.0.1:1", "127.0.0.1:2")
    assert load([], {"VIVACE_BIND": ":3, :4"}, tmp_path).bind == (":3", ":4")
    assert load(["-b:5"], {"VIVACE_BIND": ":3"}, tmp_path).bind == (":5",)


def test_value_that_looks_like_an_option_needs_an_equals_sign(tmp_path: Path) -> None:
    assert load(["--server-header=--x"], {}, tmp_path).server_header == "--x"
    assert problems(["--server-header", "--threads=2"], {}, tmp_path) == (
        "--server-header: the value is missing; give the value of a field",
    )


def test_both_spellings_of_a_name_are_understood_everywhere(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("tick_s = 0.002\nbody-memory = 7")
    settings = load(["--head-timeout-s=9"], {"VIVACE_WRITE_TIMEOUT_S": "8"}, tmp_path)
    assert settings.tick_s == 0.002
    assert settings.body_memory_bytes == 7
    assert settings.head_timeout_s == 9
    assert settings.write_timeout_s == 8


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--thraeds", "8", "app"], "--thraeds: no such option; did you mean --threads?"),
        (["--thread=8"], "--thread: no such option; did you mean --threads?"),
        (["--keep_alive_timeout", "8"], "--keep_alive_timeout: no such option; did you mean --keepalive-timeout?"),
        (["--port", "80", "app"], "--port: no such option; did you mean --bind?"),
        (["--gracefull-timeout=9"], "--gracefull-timeout: no such option; did you mean --shutdown-timeout?"),
        (["--no-acess-log"], "--no-acess-log: no such option; did you mean --no-access-log?"),
        (["--xyzzy"], "--xyzzy: no such option; see vivace --help"),
        (["-x"], "-x: no such option; see vivace --help"),
        (["--acces-log", "app"], "--acces-log: no such option; did you mean --access-log?"),
        (["--access-log=yes"], "--access-log: takes no value; give --access-log or --no-access-log"),
        (["--no-access-log=yes"], "--no-access-log: takes no value; give --access-log or --no-access-log"),
        (["--backlog"], "--backlog: the value is missing; give a whole number of connections, 1 to 65535"),
        (["a:b", "c:d"], "c:d: a second application after 'a:b'; give one"),
        (["a", "--", "--b"], "--b: a second application after 'a'; give one"),
        (["--threads", "0"], "--threads: 0 is too small; give a whole number of threads, 1 to 4096"),
        (["--tick", "2s"], '--tick: 2s is too large; give seconds, "500ms", "30s", "2m" or "1h", 0.5ms to 1s'),
        (["-b", "x:y"], "-b: 'x:y': 'y' is no port; write host:port with a port from 0 to 65535"),
    ],
)
def test_command_line_problems(argv: list[str], problem: str, tmp_path: Path) -> None:
    assert problems(argv, {}, tmp_path) == (problem,)


# --- variables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("VIVACE_THREDS", "8", "VIVACE_THREDS: no such variable; did you mean VIVACE_THREADS?"),
        ("VIVACE_PORT", "8001", "VIVACE_PORT: no such variable; did you mean VIVACE_BIND?"),
        ("VIVACE_XYZZY_PLUGH", "", "VIVACE_XYZZY_PLUGH: no such variable; unset it, or see vivace --help"),
        (
            "VIVACE_THREADS",
            "",
            "VIVACE_THREADS: the value is empty; give a whole number of threads, 1 to 4096",
        ),
        ("VIVACE_ACCESS_LOG", "maybe", "VIVACE_ACCESS_LOG: 'maybe' is neither true nor false; give true or false"),
    ],
)
def test_variable_problems(variable: str, text: str, problem: str, tmp_path: Path) -> None:
    assert problems([], {variable: text}, tmp_path) == (problem,)


def test_variables_of_a_kubernetes_service_called_vivace_are_not_ours(tmp_path: Path) -> None:
    environ = {
        "VIVACE_SERVICE_HOST": "10.0.0.1",
        "VIVACE_SERVICE_PORT": "80",
        "VIVACE_PORT": "tcp://10.0.0.1:80",
        "VIVACE_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load([], environ, tmp_path).threads == 64


# --- files ------------------------------------------------------------------------------------------------


def test_tables_named_by_section(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text(
        'app = "a:b"\n[limits]\nfields_max = 5\n[timeouts]\nhead-timeout = "3s"\n[logging]\naccess_log = true\n'
    )
    settings = load([], {}, tmp_path)
    assert (settings.app, settings.fields_max, settings.head_timeout_s, settings.access_log) == ("a:b", 5, 3.0, True)
    assert settings.origin("head_timeout_s") == "vivace.toml: timeouts.head-timeout"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("thredas = 8", "vivace.toml: thredas: no such setting; did you mean threads?"),
        ("[limit]\nx = 1", "vivace.toml: limit: no such setting; did you mean limits?"),
        ("[limits]\nfeilds_max = 1", "vivace.toml: limits.feilds_max: no such setting; did you mean fields_max?"),
        ("[limits]\nthreads = 1", "vivace.toml: limits.threads: belongs in [scheduler], or outside the tables"),
        ("host = 'x'", "vivace.toml: host: no such setting; did you mean bind?"),
        ("xyzzy = 1", "vivace.toml: xyzzy: no such setting; see vivace --help"),
        (
            "threads = '8'",
            "vivace.toml: threads: '8' is a string; give a whole number of threads, 1 to 4096, without quotes",
        ),
        ("threads = true", "vivace.toml: threads: True is a boolean; give a whole number of threads, 1 to 4096"),
        ("access_log = 1", "vivace.toml: access_log: 1 is a number; give true or false"),
        ("config = 'x'", "vivace.toml: config: has no meaning here; give --config or VIVACE_CONFIG"),
        ("tick = 1\ntick_s = 1", "vivace.toml: tick_s: vivace.toml: tick says the same; give one"),
        ("threads = {}", "vivace.toml: threads: {} is a table; give a whole number of threads, 1 to 4096"),
    ],
)
def test_file_problems(content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text(content)
    assert problems([], {}, tmp_path) == (problem,)


def test_broken_toml_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("threads = 8\nbacklog = = 3\n")
    (found,) = problems([], {}, tmp_path)
    assert found.startswith("vivace.toml: is no TOML: ")
    assert "line 2" in found
    (tmp_path / "vivace.toml").write_bytes(b"threads = '\xff'")
    (found,) = problems([], {}, tmp_path)
    assert found.startswith("vivace.toml: is no TOML: 'utf-8' codec")


def test_missing_and_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(["--config", "no.toml"], {}, tmp_path) == (
        "no.toml: no such file; --config names a TOML file or a gunicorn.conf.py",
    )
    assert problems(["--config", "/no/such.toml"], {}, tmp_path) == (
        "/no/such.toml: no such file; --config names a TOML file or a gunicorn.conf.py",
    )
    (tmp_path / "vivace.toml").write_text("")

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert problems([], {}, tmp_path) == ("vivace.toml: cannot be read: Permission denied",)


@pytest.mark.parametrize(
    "content", ["", "[tool.other]\nx = 1", "[project]\ndependencies = ['vivace']", "tool = 'vivace'", "[tool.vivace]"]
)
def test_pyproject_without_our_settings(content: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    assert load([], {}, tmp_path).threads == 64


def test_pyproject_problems(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nvivace = 3")
    assert problems([], {}, tmp_path) == ("pyproject.toml: tool.vivace is no table; write [tool.vivace]",)
    (tmp_path / "pyproject.toml").write_text("[tool.vivace]\nthraeds = 3\n[tool.vivace.limits]\nfields_max = 0")
    assert problems([], {}, tmp_path) == (
        "pyproject.toml: tool.vivace.thraeds: no such setting; did you mean threads?",
        "pyproject.toml: tool.vivace.limits.fields_max: 0 is too small; give a whole number of fields, 1 to 10000",
    )


# --- all together -----------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("threads = 0\nnovelty = 1")
    (tmp_path / "pyproject.toml").write_text("[tool.vivace]\nbacklog = 0")
    found = problems(["--tick", "x", "--lanes", "pol"], {"VIVACE_POLLER": "epol"}, tmp_path)
    assert [problem.split(": ")[0] for problem in found] == [
        "--tick",
        "--lanes",
        "VIVACE_POLLER",
        "vivace.toml",
        "vivace.toml",
        "pyproject.toml",
    ]


def test_keywords() -> None:
    settings = from_keywords(threads=1, bind="127.0.0.1:0", keepalive_timeout="5s", body_memory_bytes=9)
    assert (settings.threads, settings.bind) == (1, ("127.0.0.1:0",))
    assert (settings.keepalive_timeout_s, settings.body_memory_bytes) == (5.0, 9)
    assert settings.origin("threads") == "keyword argument"
    assert settings.app_dir == os.getcwd()


def test_keyword_problems() -> None:
    with pytest.raises(SettingError) as caught:
        from_keywords(thread=1, backlog="9", tick=2, config="x")
    assert caught.value.problems == (
        "thread: no such setting; did you mean threads?",
        "backlog: '9' is a string; give a whole number of connections, 1 to 65535, without quotes",
        'tick: 2s is too large; give seconds, "500ms", "30s", "2m" or "1h", 0.5ms to 1s',
        "config: has no meaning here; give --config or VIVACE_CONFIG",
    )


def test_a_good_start_imports_little(tmp_path: Path) -> None:
    """`vivace app:app` without files pays for none of these; see the rules of `load`, `argv` and `kinds`."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vivace.config.load import load; import vivace.worker.application, vivace.cli.serve, vivace.cli.main\n"
        "load(['app:app', '--threads=4', '--tick', '4ms'], {'VIVACE_BACKLOG': '9'}, sys.argv[2])\n"
        "print(*sys.modules)"
    )
    source = str(Path(vivace.__file__).parent.parent)
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, source, str(tmp_path)], capture_output=True, text=True, check=True
    )
    dear = {"argparse", "ast", "dataclasses", "difflib", "importlib.util", "inspect", "logging", "pathlib", "tomllib"}
    assert not dear & set(found.stdout.split())
