"""benchmarks/adapting.py: its table, what it keeps, and that it fits into its time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import adapting
from benchmarks.apps import adapting as application

RECORD = {
    "rounds": [{"fixed": [[600.0 + n], [610.0]], "adaptive": [[1200.0], [1230.0 + n]]} for n in range(5)],
    "news": ["threads 64 -> 128 is kept: +95.7% [+67.9%, +128.1%] in 3 pairs of windows"],
    "cores": 2,
    "others": 0.1,
    "date": "2026-01-02",
}


def test_the_whole_table_fits_into_its_time() -> None:
    assert sum(row.takes_s for row in adapting.ROWS.values()) < adapting.LIMIT_S


def test_every_path_is_one_of_the_application() -> None:
    assert {stream.path for row in adapting.ROWS.values() for stream in row.streams} == set(application.CALLS)


def test_loads_that_can_be_sent() -> None:
    for row in adapting.ROWS.values():
        for stream in row.streams:
            load = stream.load(row.seconds, 0.3, 1)
            assert (load.mode == "open") == stream.open
    burst = adapting.Stream("/gated", bursts=True).load(5.0, 0.0, 1)
    assert len(burst.at_times) == 2 * adapting.BURST


def test_the_table_has_ratios_and_verdicts() -> None:
    text = adapting.table({"wait": RECORD})
    row = next(line for line in text.splitlines() if "`/wait`" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["`/wait`, 200 clients", "607", "1,215"]
    assert cells[3].startswith("2.01 [")
    assert cells[5] == "better"
    assert "other work used 0.1 to 0.1 of them" in text
    assert cells[6].endswith("in 3 pairs of windows")


def test_what_was_measured_is_put_into_the_page_and_read_again(tmp_path: Path) -> None:
    page, records = tmp_path / "page.md", tmp_path / "records.json"
    page.write_text(f"before\n{adapting.BEGIN}old\n{adapting.END}after\n")
    records.write_text(json.dumps({"wait": RECORD, "gone": RECORD}))
    found = adapting.kept(records)
    assert list(found) == ["wait"]
    adapting.publish(page, found)
    once = page.read_text()
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    adapting.publish(page, found)
    assert page.read_text() == once
    assert adapting.kept(tmp_path / "none.json") == {}
