"""cli/tune.py, lab/tune_run.py: the command line, one look and one run with a real server, and a whole tuning."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

from vivace.cli import main as cli_main
from vivace.cli import tune
from vivace.cli.main import main
from vivace.errors import SettingError
from vivace.lab import crew, tune_run
from vivace.lab.goals import read_goal
from vivace.lab.plan import OPEN, Load, Shot
from vivace.lab.processes import shared_fairly
from vivace.lab.tune_model import Profile
from vivace.lab.tune_run import CPU, RATE, Bench, words_of
from vivace.lab.tune_worth import Sample

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

APP = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        time.sleep(0.003)
    start_response("200 OK", [("Content-Length", "2"), ("Cache-Control", "max-age=5")])
    return [b"ok"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_main, "STARTERS", ())
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_what_is_given() -> None:
    words = "app:app --path /a -c 7 --time=2s --goal p99<50ms --only workers,switch-interval --budget 2m --stale 500ms"
    options = tune.Options([*words.split(), "--", "--threads", "8"])
    assert (options.app, options.words, options.file) == ("app:app", ["--threads", "8"], "vivace.toml")
    assert (options.load.connections, options.load.seconds, options.budget_s) == (7, 2.3, 120.0)
    assert (options.only, options.stale_s) == (["workers", "switch interval"], 0.5)
    assert [shot.target for shot in options.load.shots] == ["/a"]


def test_requests_of_a_file(folder: Path) -> None:
    (folder / "asked.json").write_text('{"requests": [{"path": "/a"}, {"path": "/b", "weight": 3}]}')
    options = tune.Options(["app:app", "--requests", "asked.json", "-o", "other.toml"])
    assert [shot.weight for shot in options.load.shots] == [1, 3]
    assert options.file == "other.toml"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a:a", "b:b"], "'b:b' is not understood"),
        (["a:a", "--nothing"], "'--nothing' is not understood"),
        (["a:a", "--budget"], "lacks its value"),
        (["a:a", "--budget", "0"], "--budget 0: give a time"),
        (["a:a", "--goal", "fast"], "give a figure and its limit"),
        (["a:a", "--goal", "errors<1%"], "give one of a latency"),
        (["a:a", "--only", "workers,wings"], "--only wings: give some of workers, threads"),
        (["a:a", "-o", "nowhere/vivace.toml"], "nothing can be written"),
        (["a:a", "-r", "none"], "none"),
        (["a:a", "--host", "x"], "tune: --host is for the requests of a file"),
        (["a:a", "--", "--threads", "none"], "--threads"),
    ],
)
def test_what_makes_no_sense(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_settings_file_that_nobody_named_is_not_written_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "vivace.toml").write_text("threads = 3\n")
    assert main(["tune", "app:app"]) == 2
    assert "there is a vivace.toml already; say where to write with -o FILE" in capsys.readouterr().err
    assert tune.Options(["app:app", "-o", "vivace.toml"]).file == "vivace.toml"


def test_an_application_that_does_not_start(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "app.py").write_text("raise RuntimeError('no database')")
    assert main(["tune", "app:app", "--budget", "5s"]) == 2
    assert "no database" in capsys.readouterr().err
    assert not (folder / "vivace.toml").exists()


def test_settings_as_words() -> None:
    values = {
        "workers": "2",
        "preload": True,
        "cache": False,
        "switch_interval_s": 0.005,
        "cache_rule": ("/a 1s", "/b 1s"),
    }
    assert words_of(values) == [
        *("--workers", "2", "--preload", "--no-cache", "--switch-interval", "5ms"),
        *("--cache-rule", "/a 1s", "--cache-rule", "/b 1s"),
    ]


def fire(load: Load, place: Any, pid: int) -> Any:
    return crew.run(load, place, pid=pid)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_run, "ALONE_S", 1.0)
    monkeypatch.setattr(tune_run, "LEVEL_S", 0.1)
    monkeypatch.setattr(tune_run, "LOOK_WARMUP_S", 0.1)


@pytest.mark.usefixtures("short")
def test_a_look_at_an_application() -> None:
    load = Load([Shot(target="/wait")], connections=2, seconds=0.3, warmup_s=0.1)
    bench = Bench("app:app", ["--threads", "4"], load, fire, goals=[read_goal("p99<50ms")])
    profile = bench.look()
    assert [count for count, _ in profile.levels] == [1, 2]
    assert profile.waits
    assert 0.002 < profile.wait_s < 0.05
    assert profile.usl is not None
    assert [(answer.status, answer.fields["cache-control"]) for answer in profile.answers] == [(200, "max-age=5")]
    assert [route.name for route in profile.routes] == ["GET /wait"]
    assert (bench.load.mode, bench.objective.title) == (OPEN, "p99")
    assert bench.rate == bench.load.rate == round(0.7 * profile.rate)


def test_a_run() -> None:
    bench = Bench("app:app", [], Load([Shot()], connections=4, seconds=0.3, warmup_s=0.1), fire)
    sample = bench.take({"workers": "2", "cache": True, "compress": True})
    assert sample.statuses == {"2xx": 1.0}
    assert sample.failed == 0
    assert {"rate", "memory", "bytes", "p99"} <= sample.figures.keys()
    assert sample.figures["memory"] > 10 << 20


def test_settings_that_do_not_serve() -> None:
    bench = Bench("app:nothing", [], Load([Shot()], connections=1, seconds=0.2, warmup_s=0.1), fire)
    with pytest.raises(SettingError, match="nothing"):
        bench.take({"threads": 1})


def test_a_loader_that_is_the_bottleneck_changes_what_is_compared() -> None:
    bench = Bench("app:app", [], Load([Shot()]), fire)
    bench._decide(Profile(1e-5, 0.0, bottleneck="it ran 99% of the time"))
    assert bench.objective is CPU
    bench = Bench("app:app", [], Load([Shot()]), fire)
    bench._decide(Profile(1e-5, 0.0))
    assert bench.objective is RATE


def test_memory_of_this_process() -> None:
    import os

    assert shared_fairly([os.getpid()]) > 5 << 20
    assert shared_fairly([2**22 + 5]) == 0


class Made:
    """Runs without servers: two workers are 1.7 times as quick."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.load = Load([Shot()], connections=32, seconds=1.3, warmup_s=0.3)
        self.goals: list[Any] = []
        self.rate, self.objective = 0.0, RATE
        self.count = 0

    def look(self, tell: Any) -> Profile:
        tell("a look")
        return Profile(0.002, 0.0, 1e-4, 32, 2, rate=480.0, levels=[(1, 400.0), (32, 480.0)])

    def take(self, values: dict[str, Any]) -> Sample:
        self.count += 1
        rate = 480 * (1.7 if values.get("workers") == "2" else 1) * (1 + 0.01 * (self.count % 3))
        return Sample({"rate": rate, "cpu": 2000.0, "memory": 5e7, "bytes": 200.0}, {"2xx": 1.0})


def test_a_tuning_writes_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "Bench", Made)
    assert main(["tune", "app:app", "--only", "workers", "--", "--threads", "8"]) == 0
    out = capsys.readouterr().out
    assert "A request computes for 2 ms" in out
    assert "TAKEN" in out
    assert "  threads: it was given" in out or "  threads: not asked for" in out
    assert out.endswith("vivace.toml is written.\n")
    text = (folder / "vivace.toml").read_text()
    assert tomllib.loads(text) == {"workers": "2", "threads": 8}
    assert "# vivace tune app:app: " in text
    assert main(["tune", "app:app", "--only", "workers", "-o", "again.toml", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] == {}, "the settings file has it already"
    assert found["tried"] == []
    assert found["not_tried"]["workers"] == "there is a worker for each processor"
