"""benchmarks/tuning.py: its grid, its rounds, what it keeps and the table that it writes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import tuning

from vivace.config.load import load
from vivace.lab.tune_run import words_of

ROW = {
    "chosen": "workers 2",
    "tune_s": 70.2,
    "tune_runs": 60,
    "objective": "requests a second",
    "best": "workers 2, threads 64",
    "cells": 20,
    "cells_in_all": 24,
    "grid_s": 28.0,
    "grid_precise_s": 300.0,
    "combinations": 1200,
    "combinations_precise_s": 14_400.0,
    "ratios": {"tuned": {"ratio": 0.99, "low": 0.96, "high": 1.02, "rounds": 5}, "untouched": None},
    "bottlenecks": 0,
}


@pytest.mark.parametrize("app", tuning.LOADS)
def test_a_grid_has_every_combination_and_each_can_be_set(app: str) -> None:
    cells = tuning.grid(app)
    assert len({tuning.label(cell) for cell in cells}) == len(cells) == 24
    assert {tuple(cell) for cell in cells} == {
        ("workers", "threads", "cache" if app == "cacheable" else "switch_interval_s", "gc_threshold")
    }
    for cell in cells:
        settings = load(words_of(cell), {}, "/nowhere")
        assert {name: getattr(settings, name) for name in cell} == cell


@pytest.mark.parametrize("app", tuning.LOADS)
def test_every_application_answers(app: str) -> None:
    spec = importlib.util.spec_from_file_location("tuned", tuning.APPS / "tuned.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = []
    for shot in tuning.LOADS[app][1]:
        body = b"".join(getattr(module, app)({"PATH_INFO": shot.target}, lambda *head: said.append(head)))
        assert len(body) == 600
    assert {status for status, _ in said} == {"200 OK"}


def test_rounds_are_mirrored_and_share_the_best() -> None:
    asked: list[int] = []

    def value(values: dict[str, int]) -> float:
        asked.append(values["threads"])
        return 100.0 * values["threads"]

    rows = {name: {"threads": count} for name, count in (("best", 4), ("tuned", 2), ("untouched", 1))}
    found = tuning.against(rows, value, time.monotonic() + 60)
    assert len(asked) == 6 * tuning.ROUNDS
    assert all(asked[at : at + 6] == asked[at : at + 6][::-1] for at in range(0, len(asked), 6))
    assert found["tuned"] is not None
    assert found["untouched"] is not None
    assert found["tuned"]["ratio"] == pytest.approx(0.5)
    assert found["untouched"]["ratio"] == pytest.approx(0.25)
    assert tuning.against(rows, value, time.monotonic() - 1) == {"tuned": None, "untouched": None}


def test_a_grid_of_all_that_was_tried_has_each_value_and_none_of_a_knob() -> None:
    tried = [{"knob": knob} for knob in ("workers", "threads", "threads", "collections", "collections", "preload")]
    assert tuning._combinations(tried) == 2 * 3 * 3 * 2
    assert tuning._combinations([]) == 1


def test_the_table_is_written_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, kept = tmp_path / "tune.md", tmp_path / "tuning.json"
    page.write_text(f"before\n\n{tuning.BEGIN}\nold\n{tuning.END}\n\nafter\n")
    monkeypatch.setattr(tuning, "PAGE", page)
    monkeypatch.setattr(tuning, "KEPT", kept)
    kept.write_text(json.dumps({"apps": {"cpu": ROW}, "conditions": "made up"}))
    assert tuning.main(["--report-only"]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n\n{tuning.BEGIN}\n\n| application |")
    assert text.endswith(f"made up\n\n{tuning.END}\n\nafter\n")
    assert "old" not in text
    assert (
        "| cpu (requests a second) | workers 2 | 70 s, 60 runs | 20 of 24 cells: workers 2, threads 64 | 28 s (300 s) "
        "| 1,200 settings, 14,400 s; `tune` took 0.5% of that | 0.99x [0.96, 1.02] | no time |"
    ) in text
    assert tuning.main(["--apps", "nothing"]) == 2


def test_what_is_whole_is_kept_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, kept = tmp_path / "tune.md", tmp_path / "tuning.json"
    page.write_text(f"{tuning.BEGIN}\n{tuning.END}\n")
    monkeypatch.setattr(tuning, "PAGE", page)
    monkeypatch.setattr(tuning, "KEPT", kept)

    def measured(app: str, seconds: float, say: object) -> dict[str, object]:
        if app == "tiny":
            raise KeyboardInterrupt
        assert seconds == pytest.approx(15 * 58 / 2)
        return dict(ROW)

    monkeypatch.setattr(tuning, "measured", measured)
    assert tuning.main(["--apps", "cpu,tiny"]) == 0
    assert list(json.loads(kept.read_text())["apps"]) == ["cpu"]
    assert "| cpu (" in page.read_text()
