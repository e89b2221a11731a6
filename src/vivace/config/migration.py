"""gunicorn's part of docs/migration.md, generated from the table in `gunicorn`.

`python -m vivace.config.migration` writes it between the two marks of the page; a test holds the page in the repository
against the output. Nothing that serves imports this module.
"""

from __future__ import annotations

import sys

from vivace.config.gunicorn import TABLE
from vivace.config.settings import ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from vivace.config.gunicorn import Entry

BEGIN: Final = "<!-- generated: python -m vivace.config.migration -->\n"
END: Final = "<!-- end of the generated part -->\n"


def part() -> str:
    """The tables of what is taken, what is not, and the hooks, in Markdown."""
    by_kind: dict[str, list[tuple[str, Entry]]] = {}
    for name, entry in TABLE.items():
        by_kind.setdefault("left" if entry.kind == "refused" else entry.kind, []).append((name, entry))
    lines = ["| gunicorn | option | vivace | what differs |", "|---|---|---|---|"]
    for name, entry in by_kind["taken"]:
        lines.append(f"| `{name}` | {_options(entry)} | `{ROWS[entry.row].public}` | {entry.note} |")
    lines += ["", "Not taken:", "", "| gunicorn | option | why, or what to do instead |", "|---|---|---|"]
    for entries in _by_note(by_kind["left"]):
        options = " ".join(_options(entry) for _, entry in entries if entry.options)
        ends = "an error: " if entries[0][1].kind == "refused" else ""
        lines.append(f"| {_names(entries)} | {options} | {ends}{entries[0][1].note} |")
    lines += ["", "Hooks, none of which is called:", "", "| gunicorn | instead |", "|---|---|"]
    lines += [f"| {_names(entries)} | {entries[0][1].note} |" for entries in _by_note(by_kind["hook"])]
    return "\n".join(lines) + "\n"


def _by_note(entries: list[tuple[str, Entry]]) -> list[list[tuple[str, Entry]]]:
    """Those of one sentence together, where the first of them stands."""
    found: dict[str, list[tuple[str, Entry]]] = {}
    for name, entry in entries:
        found.setdefault(entry.note, []).append((name, entry))
    return list(found.values())


def _names(entries: list[tuple[str, Entry]]) -> str:
    return ", ".join(f"`{name}`" for name, _ in entries)


def _options(entry: Entry) -> str:
    return " ".join(f"`{option}`" for option in entry.options)


def renewed(page: str) -> str:
    """The page with its generated part made anew. Raises ValueError if a mark is missing."""
    start = page.index(BEGIN) + len(BEGIN)
    return f"{page[:start]}\n{part()}\n{page[page.index(END) :]}"


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "docs/migration.md"
    with open(path, encoding="utf-8") as file:
        text = renewed(file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
