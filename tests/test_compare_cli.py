"""cli/compare.py: the command line, exit codes, and one comparison with real servers and a real load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import Command
from vivace.cli import compare
from vivace.cli import main as cli_main
from vivace.cli.main import main
from vivace.lab.compare import Duel
from vivace.lab.plan import CLOSED, OPEN
from vivace.lab.result import Result, Slice

if TYPE_CHECKING:
    from typing import Any

APP = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"


def options(*words: str) -> compare.Options:
    return compare.Options(["vivace", "wsgiref", *words])


def test_what_is_sent_and_how_often() -> None:
    load = options("--path", "/a", "--path=/b", "-H", "Accept: x", "-c", "7", "--time", "500ms").load
    assert [(shot.method, shot.target, shot.headers) for shot in load.shots] == [
        ("GET", "/a", [("Accept", "x")]),
        ("GET", "/b", [("Accept", "x")]),
    ]
    assert (load.mode, load.connections, load.seconds, load.warmup_s) == (CLOSED, 7, 1.0, 0.5)
    load = options("--rate", "100", "-d", "{}", "--warmup", "0").load
    assert (load.mode, load.rate, load.seconds) == (OPEN, 100.0, 2.0)
    assert (load.shots[0].method, load.shots[0].body) == ("POST", b"{}")


def test_the_requests_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "asked.json").write_text('{"requests": [{"path": "/a"}, {"path": "/b", "weight": 3}]}')
    given = options("-r", str(tmp_path / "asked.json"))
    assert [(shot.target, shot.weight) for shot in given.load.shots] == [("/a", 1), ("/b", 3)]


def test_how_many_rounds() -> None:
    given = options("--find", "3%", "--budget", "5m", "--fail-if", "p99 > 1.05x", "--fail-if=errors > 0")
    assert (given.find, given.budget_s, len(given.gates)) == (0.03, 300.0, 2)
    assert (options().rounds, options("--rounds", "4").rounds) == (10, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vivace"], "give two sides, not 1"),
        (["a", "b", "c"], "give two sides, not 3"),
        (["a", "b", "--nothing"], "'--nothing' is not understood"),
        (["a", "b", "--app"], "lacks its value"),
        (["a", "b", "--rounds", "0"], "--rounds 0: give a number from 1"),
        (["a", "b", "--rounds", "5", "--find", "3%"], "give one of them"),
        (["a", "b", "--find", "no"], "--find no: give the smallest difference"),
        (["a", "b", "--time", "2x"], "--time 2x: give a time"),
        (["a", "b", "--budget", "0"], "--budget 0: give a time"),
        (["a", "b", "-H", "nothing"], "give a field as"),
        (["a", "b", "--fail-if", "p99"], "give a condition"),
        (["a", "b", "--rate", "100", "--fail-if", "rate < 0.9x"], "the rate is given, not measured"),
        (["a", "b", "--path", "nowhere"], "a path begins with /"),
        (["a", "b", "--host", "x"], "--host is for the requests of a file"),
        (["a", "b", "-r", "x", "-d", "y"], "-d is for one request"),
        (["a", "b", "-r", "none"], "none"),
        (["nothing", "b"], "'nothing' is no server to compare"),
    ],
)
def test_what_makes_no_sense(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds without servers, in which B answers 0.7 times as many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_main, "STARTERS", ())

    def one(answers: int) -> Result:
        total = Slice(answers=answers, latency={1000: answers}, statuses={"2xx": answers}, slowest_s=1.0)
        return Result("", CLOSED, 2.0, 10, total=total)

    def run(duel: Duel, order: str, on_run: Any = None) -> None:
        on_run("A")
        duel.rounds.append({"A": (one(1000), one(1000)), "B": (one(700), one(700))})
        duel.orders.append(order)

    monkeypatch.setattr(Duel, "run", run)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["--fail-if", "rate < 0.9x"], 3),
        (["--fail-if", "rate < 0.5x"], 0),
        (["--fail-if", "rate < 0.7x"], 0),
        (["--fail-if", "rate < 0.7x", "--strict"], 3),
    ],
)
def test_exit_codes(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "vivace", "wsgiref", "--app", "app:app", *words]) == code
    assert "B answers 30% fewer a second" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_ctrl_c_ends_the_rounds_and_what_is_whole_is_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Duel.run

    def interrupted(duel: Duel, order: str, on_run: Any = None) -> None:
        if len(duel.rounds) == 6:
            raise KeyboardInterrupt
        run(duel, order, on_run)

    monkeypatch.setattr(Duel, "run", interrupted)
    assert main(["compare", "vivace", "wsgiref", "--app", "app:app"]) == 0
    assert "6 rounds. " in capsys.readouterr().out
    monkeypatch.setattr(Duel, "run", lambda duel, order, on_run: interrupted(duel, order) if duel.rounds else _end())
    assert main(["compare", "vivace", "wsgiref", "--app", "app:app"]) == 130


def _end() -> None:
    raise KeyboardInterrupt


def test_two_servers_under_a_load(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    words = (
        "--app",
        "app:app",
        "--rounds",
        "1",
        "--time",
        "0.2",
        "--warmup",
        "100ms",
        "-c",
        "2",
        "--json",
        "--html",
        "both.html",
    )
    ours = os.sched_getaffinity(0)
    with Command("compare", "vivace", "wsgiref", *words, "--json", "--html", "both.html", cwd=tmp_path) as command:
        assert command.wait() == 0, command.log
    found = json.loads(command.log)
    assert "</html>" in (tmp_path / "both.html").read_text()
    assert found["sides"] == {"A": "vivace", "B": "wsgiref"}
    assert found["figures"]["rate"]["A"] > found["figures"]["rate"]["B"] > 10
    assert found["figures"]["rate"]["verdict"] == "too few rounds"
    assert found["figures"]["memory"]["A"] > 2**20
    assert found["sound"], found["notes"]
    assert [sorted(one) for one in found["rounds"]] == [["A", "B", "order"]]
    assert os.sched_getaffinity(0) == ours
