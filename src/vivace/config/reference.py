"""The reference page of every setting, generated from the table.

`python -m vivace.config.reference > docs/reference.md`; a test holds the page in the repository against the
output. Nothing that serves imports this module.
"""

from __future__ import annotations

import sys

from vivace.config import kinds
from vivace.config.settings import ROWS, SECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.row import Row

OPENING = """\
# Settings

<!-- Generated from the settings table: python -m vivace.config.reference > docs/reference.md -->

A setting may stand in four places; the first that gives it wins:

1. the command line: `vivace app:app --threads 8`;
2. an environment variable: `VIVACE_THREADS=8`;
3. `vivace.toml` in the current directory: `threads = 8`;
4. `[tool.vivace]` in `pyproject.toml` in the current directory.

`--config FILE` (or `VIVACE_CONFIG`) names one file to read instead of 3 and 4; a file that is called
`pyproject.toml` is read as in 4, one that ends in `.py` as gunicorn reads it, any other as in 3. gunicorn's options
are understood on the command line, and in GUNICORN_CMD_ARGS, which comes after 2: see
[Coming from another server](migration.md). `vivace.serve(app, threads=8)` takes the same names as
keywords and reads neither files nor variables.

- In a file, keys may be gathered in tables named by section, `[limits]` and so on, or stand outside them; `-`
  and `_` are the same in a key.
- Lengths of time: a number of seconds, or `500ms`, `30s`, `2m`, `1h`. Sizes: a number of bytes, or `64KiB`
  (1024) and `64kB` (1000); also MiB, MB, GiB, GB. In a file these stand in quotes.
- Switches: `--body-stream` and `--no-body-stream`; `true` or `false` elsewhere.
- Lists: an option that is repeated; an array in a file; commas in a variable.
- A relative directory in a file is taken from where that file stands, or from the `chdir` beside it. Of an option
  that is given twice, the last one counts.
- All that is wrong is reported at once, unknown names too, with the nearest right one.

`vivace --check-config` says whether the settings are right and the application can be imported, without
serving. `vivace --print-config` prints every setting's value, and where it came from, in the form of a
`vivace.toml`.

Exit codes: 0, done, or stopped by a signal in order; 1, the application cannot be loaded, or the server could
not start or failed; 2, the command line, a variable or a settings file is wrong. `--check-config` knows 0
and 1 only.
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [OPENING]
    for section, title in SECTIONS.items():
        parts.append(f"\n## {title}: `[{section}]`\n")
        parts += [_entry(row) for row in ROWS.values() if row.section == section]
    return "".join(parts)


def _entry(row: Row) -> str:
    return f"\n### {row.public}\n\n{row.help}\n\n" + "".join(f"- {fact}\n" for fact in _facts(row))


def _facts(row: Row) -> list[str]:
    short = f"`-{row.short}` or " if row.short else ""
    negated = f" or `--no-{row.option[2:]}`" if row.kind == "bool" else ""
    return [
        f"Command line: {short}`{row.option}`{negated}; variable: `{row.variable}`"
        + ("" if row.in_files else "; not in a file"),
        f"Value: {_values(row)}",
        f"Default: {_default(row)}",
        f"Precedent: {row.precedent}",
    ]


def _default(row: Row) -> str:
    if row.name == "app_dir":
        return "the current directory"
    return f"`{kinds.show(row, row.default)}`" if row.default != "" else "empty"


def _values(row: Row) -> str:
    """What the setting may be, as a phrase."""
    if row.kind == "choice":
        return ", ".join(f"`{choice}`" for choice in row.choices)
    if row.kind == "bool":
        return "a switch"
    if row.kind == "list":
        return f"a list, each {row.unit}"
    if row.kind in ("str", "dir", "mode", "number"):
        return kinds.expected(row)
    noun = {"seconds": "a length of time", "bytes": "a size"}.get(row.kind, row.unit)
    zero = f"; 0 means {row.zero}" if row.zero else ""
    return f"{noun}, {kinds.limits(row)}{zero}"


if __name__ == "__main__":
    sys.stdout.write(page())
