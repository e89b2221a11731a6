"""The metrics table: names by the conventions, and the page that is made of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vivace
from vivace.observe.metrics import COUNTER, METRICS, page

DOCS = Path(vivace.__file__).parent.parent.parent / "docs" / "metrics.md"


def test_names_follow_the_conventions() -> None:
    for name, row in METRICS.items():
        assert re.fullmatch(r"(vivace|process)(_[a-z]+)+", name)
        assert not name.endswith("_total"), "the format adds it"
        assert not row.unit or name.endswith(f"_{row.unit}"), "OpenMetrics: the unit ends the name"
        assert row.unit in ("", "seconds", "bytes")
        assert row.help.endswith(".")
        assert row.created <= (row.kind != "gauge")
        assert len(set(row.labels)) == len(row.labels)


def test_every_counter_that_the_page_keeps_says_since_when() -> None:
    kept = [row for row in METRICS.values() if row.kind == COUNTER and "worker" not in row.labels]
    assert [row.name for row in kept if not row.created] == ["vivace_listener_overflows", "vivace_listener_drops"]


@pytest.mark.skipif(not DOCS.is_file(), reason="vivace is installed without its repository")
def test_the_reference_is_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == page(), "python -m vivace.observe.metrics > docs/metrics.md"
