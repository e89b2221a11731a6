"""`vivace profile`, asked of real servers, as a user does."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from browser import CHROMIUM, Browser
from command import Command
from vivace.cli import profile as command
from vivace.cli.main import EXIT_FAILED, EXIT_OK, EXIT_USAGE, main
from vivace.cli.profile import Options
from vivace.errors import SettingError
from vivace.observe import waits
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if not os.path.exists("/proc/self/task") or not waits._names:
    pytest.skip("this system does not tell", allow_module_level=True)

APP = """
import time

def linger():
    time.sleep(0.02)

def app(environ, start_response):
    linger()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Two workers that have work all the time."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "lingering.py").write_text(APP)
    over = threading.Event()
    with Command("lingering:app", "--bind", "127.0.0.1:0", "-w", "2", cwd=folder) as running:
        url = running.url

        def ask() -> None:
            while not over.is_set():
                with Client(url) as client:
                    for _ in range(20):
                        client.send(request("/slow/7"))
                        client.read_response()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            over.set()
            for thread in threads:
                thread.join()


def ask(server: Command, *arguments: str) -> int:
    return main(["profile", str(server.process.pid), *arguments])


def test_it_looks_for_a_while_and_says_where_the_time_went(server: Command, capsys: pytest.CaptureFixture[str]) -> None:
    until(lambda: ask(server, "--seconds", "0.4") == EXIT_OK)
    told = capsys.readouterr().out
    assert "GET /slow/{}" in told
    assert "linger  lingering.py" in told or "linger" in told
    assert "sleeping" in told


def test_what_has_been_is_there_at_once_in_every_format(
    server: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    until(lambda: ask(server, "--last", "1m") == EXIT_OK)
    for ending in (".html", ".svg", ".speedscope.json", ".pprof", ".collapsed", ".json"):
        assert ask(server, "--last", "1m", "--route", "/slow", "-o", str(tmp_path / f"x{ending}")) == EXIT_OK
    assert "GET /slow/{};app" in (tmp_path / "x.collapsed").read_text()
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["workers"] == 2
    assert {sample[0] for sample in found["samples"]} == {"GET /slow/{}"}
    capsys.readouterr()
    assert ask(server, "--last", "1m", "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["looks"] >= found["looks"]


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (apt-get install chromium)")
def test_the_page_draws_zooms_and_searches(server: Command, tmp_path: Path) -> None:
    until(lambda: ask(server, "--last", "1m", "-o", str(tmp_path / "x.html")) == EXIT_OK)
    with Browser() as browser:
        browser.open(f"file://{tmp_path}/x.html")
        boxes = "[...document.querySelectorAll('.flame-box')]"
        waiting = f"{boxes}.filter((box) => box.textContent === 'sleeping').length"
        assert browser.js(waiting) >= 1
        browser.js(f"{boxes}.find((box) => box.textContent === 'linger').click()")
        assert browser.js("document.querySelectorAll('.flame-box.above').length") >= 2
        browser.js(
            "(() => { const box = document.querySelector('input[type=search]'); box.value = 'linger';"
            " box.dispatchEvent(new Event('input')); })()"
        )
        assert browser.js("document.querySelectorAll('.flame-box.found').length") >= 1
        assert browser.problems == []


PY_SPY = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -o) file=$2;; -p) pid=$2;; -f) form=$2;; esac
    shift
done
[ "$FAIL" ] && { echo "Error: no rights" >&2; exit 1; }
echo "$form of $pid" > "$file"
"""


def test_another_profiler_looks_at_each_worker(
    server: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "py-spy").write_text(PY_SPY)
    (tmp_path / "py-spy").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    asked = ("--engine", "py-spy", "--seconds", "1", "-o", str(tmp_path / "x.speedscope.json"))
    assert ask(server, *asked) == EXIT_OK
    files = list(tmp_path.glob("x.*.speedscope.json"))
    assert len(files) == 2
    assert {file.read_text() for file in files} == {f"speedscope of {file.name.split('.')[1]}\n" for file in files}
    monkeypatch.setenv("FAIL", "1")
    assert ask(server, *asked) == EXIT_USAGE
    assert "Error: no rights" in capsys.readouterr().err
    assert ask(server, *asked[:-1], str(tmp_path / "x.html")) == EXIT_USAGE
    assert "writes these formats: svg, speedscope, collapsed" in capsys.readouterr().err
    assert ask(server, "--engine", "tachyon", "-o", str(tmp_path / "x.html")) == (
        EXIT_OK if sys.version_info >= (3, 15) else EXIT_USAGE
    )


def test_a_route_that_was_not_seen(server: Command, capsys: pytest.CaptureFixture[str]) -> None:
    until(lambda: ask(server, "--last", "1m") == EXIT_OK)
    assert ask(server, "--last", "1m", "--route", "/nowhere") == EXIT_USAGE
    assert "'/nowhere'; those that were seen: GET /slow/{}" in capsys.readouterr().err


def test_a_server_that_has_no_work_and_one_that_has_no_profiler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lingering.py").write_text(APP)
    with Command("lingering:app", "--bind", "127.0.0.1:0", cwd=tmp_path) as idle:
        assert idle.url
        assert ask(idle, "--seconds", "0.05") == EXIT_FAILED
        assert "no request was seen" in capsys.readouterr().out
    with Command("lingering:app", "--bind", "127.0.0.1:0", "--no-profile", cwd=tmp_path) as without:
        assert fetch(without.url).status == 200
        assert ask(without) == EXIT_USAGE
        assert "leave out --no-profile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frob"], "--frob"),
        (["8000", "8001"], "'8001' is not understood"),
        (["-o", "x.doc"], r"its ending says what to write: \.html"),
        (["--last", "5m", "--seconds", "3"], "for a new look"),
        (["--last", "soon"], "give a time"),
        (["--seconds", "0"], "give a time"),
        (["--hz", "0"], "from 1 to 1000"),
        (["--hz", "fast"], "from 1 to 1000"),
        (["--engine", "gprof", "-o", "x.svg"], "give one of py-spy, tachyon"),
        (["--engine", "py-spy"], "give -o FILE"),
        (["--engine", "py-spy", "-o", "x.svg", "--route", "/"], "neither --last nor --route"),
    ],
)
def test_a_command_line_that_makes_no_sense(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Options(arguments)


def test_a_command_line() -> None:
    options = Options(["8000", "--last=5m", "--route", "GET /", "--output=x.speedscope.json"])
    assert (options.server, options.last_s, options.route, options.format) == ("8000", 300.0, "GET /", "speedscope")
    assert Options(["-o", "x.json"]).format == "json"
    assert Options([]).seconds == command.SECONDS
