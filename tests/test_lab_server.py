"""lab/server.py, lab/presets.py, lab/sides.py: what is started, how it is waited for, that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vivace.errors import SettingError
from vivace.lab import presets
from vivace.lab.server import Running, ask, free_port, from_preset, from_words, start
from vivace.lab.sides import Sides
from vivace.observe.processes import process_figures
from wire import until

APP = """
import os

def app(environ, start_response):
    status = "500 Oops" if environ["PATH_INFO"] == "/fails" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"one"]

def create(word):
    return app
"""

# A server of a few lines, with a child that would outlive it.
PLAIN = """
import http.server, os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("child", "w").write(str(os.getpid()))
    time.sleep(60)
print("it serves", flush=True)
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "plain.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("VIVACE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def gone(pid: int) -> bool:
    return process_figures(pid, threads=False).get("process_state", "Z") == "Z"


# Presets.


@pytest.mark.parametrize("name", ["vivace", "wsgiref", "gunicorn"])
def test_a_named_server_serves_an_application_as_vivace_is_told_of_it(folder: Path, name: str) -> None:
    if name == "gunicorn":
        pytest.importorskip("gunicorn")
    with start(from_preset(name, "app:create('x')")) as running:
        assert ask(running.address, "/") == 200
        assert ask(running.address, "/fails") == 500
        pid = running.pid
    assert gone(pid)
    assert ask(running.address, "/", 1.0) == 0


def test_every_preset_makes_a_command_with_a_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_installed", lambda row: "/bin/" + row.needs if row.program else "")
    for name, row in presets.PRESETS.items():
        words = from_preset(name, "app:app", ["--more"] if row.options else ()).words(1234)
        text = " ".join(words)
        assert "1234" in text, name
        assert "{" not in text, name
        assert ("--more" in words) is row.options
        assert row.why


def test_a_peer_that_is_not_installed_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name, path="": None)
    for name in ("gunicorn", "uwsgi"):
        with pytest.raises(SettingError, match=f"{name} is not installed .*pip install {name}"):
            from_preset(name, "app:app")


def test_a_preset_that_takes_no_options_says_so() -> None:
    with pytest.raises(SettingError, match="wsgiref takes no options"):
        from_preset("wsgiref", "app:app", ["--threads", "4"])
    with pytest.raises(SettingError, match="needs an application"):
        from_preset("wsgiref", "")


# Starting and stopping.


def test_a_server_ends_with_all_its_processes(folder: Path) -> None:
    command = from_words(f"{sys.executable} plain.py {{host}} {{port}}")
    with start(command) as running:
        child = int(until(lambda: (folder / "child").exists() and (folder / "child").read_text()))
        assert "it serves" in running.last_words()
        assert running.running()
        pid = running.pid
    assert gone(pid)
    until(lambda: gone(child))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{python} -c 'print(1/0)' {{port}}", r"stopped at once with exit code 1(?s:.*)ZeroDivisionError"),
        ("/no/such/program {{port}}", "/no/such/program cannot be started: No such file"),
        ("{python} -c 'import time; time.sleep(60)' {{port}}", "does not answer within 0 s; it wrote nothing"),
    ],
)
def test_a_server_that_does_not_come_up_says_why(folder: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        start(from_words(text.format(python=sys.executable)), limit_s=0.4 if "sleep" in text else 10)


def test_an_application_that_fails_at_once_is_not_measured(folder: Path) -> None:
    with pytest.raises(SettingError, match="answers 500 to GET /fails"):
        start(from_preset("vivace", "app:app"), "/fails")


def test_a_server_runs_on_the_cores_that_it_is_given(folder: Path) -> None:
    ours = os.sched_getaffinity(0)
    one = min(ours)
    with start(from_preset("wsgiref", "app:app"), cores=[one]) as running:
        assert os.sched_getaffinity(running.pid) == {one}
    assert os.sched_getaffinity(0) == ours


def test_a_command_without_a_port_is_refused() -> None:
    with pytest.raises(SettingError, match="does not say where the port belongs"):
        from_words("flask run")
    with pytest.raises(SettingError, match="No closing quotation"):
        from_words("flask 'run {port}")


def test_nothing_listens_on_a_free_port() -> None:
    assert ask(("127.0.0.1", free_port()), "/", 1.0) == 0


# Sides.


def test_what_a_side_may_be(folder: Path) -> None:
    (folder / "fast.toml").write_text("threads = 2\n")
    with Sides("app:app") as sides:
        preset = sides.read("gunicorn --threads 8") if presets.PRESETS["gunicorn"] and _has("gunicorn") else None
        assert preset is None or preset.argv[-2:] == ["--threads", "8"]
        settings = sides.read("fast.toml")
        assert settings.argv[-2:] == ["--config", str(folder / "fast.toml")]
        assert settings.label == "fast.toml"
        other = sides.read("other:app")
        assert "other:app" in other.argv
        assert "app:app" not in other.argv
        assert sides.read("flask run -p {port}").words(5)[-1] == "5"
        running = Running(sides.read("http://127.0.0.1:8000"))
        assert (running.address, running.pid, running.running()) == (("127.0.0.1", 8000), 0, True)
        running.stop()


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a side is empty"),
        ("nothing", "is no server to compare: give a preset"),
        ("none.toml", "no such settings file"),
        ("https://example.org", "over http:// only"),
        ("git:nothing", "is no revision of the git repository"),
        ("--output=x", "is no server to compare"),
    ],
)
def test_what_no_side_is(folder: Path, text: str, message: str) -> None:
    with Sides("app:app") as sides, pytest.raises(SettingError, match=message):
        sides.read(text)


def git(folder: Path, *words: str) -> str:
    config = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *config, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_revision_is_checked_out_and_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a subdirectory, with a library beside it on PYTHONPATH: both come from the revision."""
    (folder / "lib").mkdir()
    (folder / "site").mkdir()
    (folder / "lib" / "said.py").write_text("STATUS = '404 Not Found'\n")
    page = "import said\ndef app(e, s):\n    s(said.STATUS, [])\n    return []\n"
    (folder / "site" / "page.py").write_text(page)
    git(folder, "init", "-q")
    git(folder, "add", "lib", "site")
    git(folder, "commit", "-qm", "one")
    (folder / "lib" / "said.py").write_text("STATUS = '410 Gone'\n")
    monkeypatch.chdir(folder / "site")
    ours = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "lib"), ours]) if ours else str(folder / "lib"))
    with Sides("page:app") as sides:
        then, explicit = sides.read("HEAD"), sides.read("git:main wsgiref")
        assert then.label.startswith("HEAD (")
        assert explicit.label.endswith(" wsgiref")
        assert Path(then.folder).is_dir()
        for command, status in ((then, 404), (explicit, 404), (from_preset("vivace", "page:app"), 410)):
            with start(command) as running:
                assert ask(running.address, "/") == status
    assert not Path(then.folder).exists()
    assert git(folder, "worktree", "list").count("\n") == 1
