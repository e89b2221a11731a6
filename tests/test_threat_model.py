"""THREAT_MODEL.md: every setting that it names exists and has the default that it says; no threat is without a test.

That the tests which it names exist is seen to by test_house.py, as for every document.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import vivace
from vivace.config import kinds
from vivace.config.settings import ROWS

PAGE = Path(vivace.__file__).parent.parent.parent / "THREAT_MODEL.md"
if not PAGE.is_file():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")
ROWS_BY_NAME = {row.public: row for row in ROWS.values()}
HEADER = "| threat | what is done about it | settings (default) | tests |"
SETTING = re.compile(r"`([a-z_]+)` \((`[^`]*`(?:, `[^`]*`)*|none|empty)\)")


def threats() -> list[list[str]]:
    """The cells of every row of the tables of threats."""
    found = []
    for table in TEXT.split(HEADER)[1:]:
        lines = table.strip("\n").partition("\n\n")[0].splitlines()[1:]
        found += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def default_of(row: Any) -> list[str]:
    """As the page shows it; [] for nothing."""
    if row.kind == "list":
        return [", ".join(row.default)] if row.default else []
    return [kinds.show(row, row.default)] if row.default != "" else []


def test_the_tables_are_read() -> None:
    assert len(threats()) > 35
    assert {len(cells) for cells in threats()} == {4}


def test_every_threat_has_a_test() -> None:
    assert [cells[0] for cells in threats() if "`test_" not in cells[3]] == []


def test_every_setting_exists_and_has_its_default() -> None:
    wrong = []
    named = set()
    for cells in threats():
        left = SETTING.sub("", cells[2]).strip(" ,")
        if left:
            wrong.append(f"not a setting with its default: {left}")
        for name, text in SETTING.findall(cells[2]):
            named.add(name)
            row = ROWS_BY_NAME.get(name)
            shown = re.findall(r"`([^`]*)`", text)
            if row is None:
                wrong.append(f"{name} does not exist")
            elif shown != default_of(row):
                wrong.append(f"{name} is {default_of(row)} by default, not {shown}")
    assert wrong == []
    limits = {row.public for row in ROWS.values() if row.section in ("limits", "timeouts", "privileges", "proxies")}
    assert len(limits - named) < 12, "most of what bounds a client stands there"


def test_every_file_of_tests_that_it_names_exists() -> None:
    files = set(re.findall(r"`(test_[a-z0-9_]+)\.py[:`]", TEXT))
    tests = PAGE.parent / "tests"
    assert len(files) > 20
    assert sorted(name for name in files if not (tests / f"{name}.py").is_file()) == []


def test_the_readme_leads_to_it() -> None:
    assert "(THREAT_MODEL.md)" in (PAGE.parent / "README.md").read_text(encoding="utf-8")
