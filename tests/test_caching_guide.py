"""docs/caching.md: every program in it runs, and is kept or not as it says; every command is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from command import Command
from vivace.cli.cache import Options
from vivace.config.load import load
from wire import Response, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(vivace.__file__).parent.parent.parent / "docs"
if not DOCS.is_dir():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)

PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("caching.md", "caching-stores.md")}
PROGRAMS = {
    what: (file, f"# {file}: {what}\n{source}")
    for file, what, source in re.findall(
        r"^```python\n# (\w+\.py): ([^\n]+)\n(.*?)^```$", PAGES["caching.md"], re.M | re.S
    )
}


def commands() -> Iterator[list[str]]:
    for page in PAGES.values():
        for block in re.findall(r"^```(?:sh|console)\n(.*?)^```$", page, re.M | re.S):
            for line in block.splitlines():
                if line.removeprefix("$ ").startswith("vivace "):
                    yield shlex.split(line.removeprefix("$ "), comments=True)[1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_is_understood(words: list[str], tmp_path: Path) -> None:
    if words[0] == "cache":
        assert Options(words[1:]).verb == words[1]
    else:
        assert load(words, {}, tmp_path).cache


def said(response: Response) -> str:
    """What the cache did."""
    return response.values("Cache-Status")[0]


@pytest.mark.parametrize("what", ["Flask", "Django"])
def test_a_recipe_does_what_it_says(what: str, tmp_path: Path) -> None:
    file, source = PROGRAMS[what]
    (tmp_path / file).write_text(source)
    with Command(f"{file[:-3]}:app", "--cache", "--bind", "127.0.0.1:0", cwd=tmp_path) as server:
        first = fetch(server.url, request("/news"))
        assert first.body == b"the news\n"
        until(lambda: said(fetch(server.url, request("/news"))).startswith("vivace; hit"), what="it is kept once sent")
        for line in ("Cookie: who=me", "Accept: */*"):
            again = fetch(server.url, request("/news", line))
            assert (again.body, said(again)[:11]) == (b"the news\n", "vivace; hit")
        same = fetch(server.url, request("/news", f"If-None-Match: {first.field('ETag')}"))
        assert (same.status, said(same)[:11]) == (304, "vivace; hit")
        for _ in range(3):
            mine = fetch(server.url, request("/account", "Cookie: who=me"))
            assert said(mine) == "vivace; fwd=uri-miss"
        if what == "Flask":
            assert fetch(server.url, request("/news", method="POST", body=b"")).body == b"published\n"
            assert said(fetch(server.url, request("/news"))) == "vivace; fwd=uri-miss; stored"


def test_every_program_is_run_here() -> None:
    assert set(PROGRAMS) == {"Flask", "Django"}
