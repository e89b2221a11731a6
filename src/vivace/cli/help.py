"""`vivace --help`: how to call it, and every setting by section, generated from the settings table."""

from __future__ import annotations

import os
import sys
import textwrap

from vivace.config import kinds
from vivace.config.settings import ROWS, SECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.row import Row

INDENT = 26  # the column of the explanations
COLUMNS_MAX = 100  # longer lines are hard to read

USAGE = """\
vivace serves a WSGI application over HTTP.

usage: vivace [serve] [APP] [options]
       vivace ctl status|reload|upgrade|scale N|stop|reopen [SERVER]
       vivace top [SERVER] [--once] [--json]      what the server does now
       vivace cache [SERVER] stats|ls|purge|why   what it keeps of responses
       vivace slow [SERVER] [--running]           slow requests, and why
       vivace profile [SERVER] [-o FILE.html]     where its time goes
       vivace bench URL|APP [--rate N]            how much it answers, how soon
       vivace compare A B [--app APP]             which is better, by how much
       vivace doctor [SERVER|APP]                 what makes it slow, what to do
       vivace tune APP [--goal 'p99<50ms']        which settings pay, by trying
       python -m vivace ...

  vivace app:app                      the object app in app.py
  vivace 'app:create_app("prod")'     what the factory returns
  vivace path/to/app.py               application or app in that file
  vivace                              wsgi.py, app.py, main.py or a Django site
  vivace vivace.demo:app              a page to try the server with

Each option is also a variable (--head-timeout 20: VIVACE_HEAD_TIMEOUT=20) and a
key in vivace.toml or in [tool.vivace] of pyproject.toml (head_timeout = 20).
TIME: 30, 30s, 500ms, 2m, 1h. SIZE: 65536, 64KiB, 1MB.
gunicorn's options are understood, too, and its file: vivace -c gunicorn.conf.py

Commands
  -h, --help              this text
  -V, -v, --version       the version
  --check-config          are the settings right, does the application import?
  --print-config          print every setting and where it came from
"""


def run(argv: list[str]) -> int:
    """Prints the help; arguments are not looked at."""
    print(text(_columns()), end="")
    return 0


def text(columns: int) -> str:
    """The whole help, folded to lines of at most `columns`."""
    parts = [USAGE]
    for section, title in SECTIONS.items():
        parts.append(f"\n{title}\n")
        parts += [_entry(row, columns) for row in ROWS.values() if row.section == section]
    return "".join(parts)


def _entry(row: Row, columns: int) -> str:
    head = "  " + (f"-{row.short}, " if row.short else "") + _spelling(row)
    default = "" if row.name in ("app", "app_dir", "config") else f" [{kinds.show(row, row.default) or 'empty'}]"
    zero = f" 0: {row.zero}." if row.zero else ""
    lines = textwrap.wrap(row.help + zero + default, columns - INDENT, break_on_hyphens=False)
    if len(head) > INDENT - 2:
        return f"{head}\n" + "".join(f"{'':{INDENT}}{line}\n" for line in lines)
    return f"{head:{INDENT}}{lines[0]}\n" + "".join(f"{'':{INDENT}}{line}\n" for line in lines[1:])


def _spelling(row: Row) -> str:
    if row.name == "app":
        return "APP"
    if row.kind == "bool":
        return f"--[no-]{row.option[2:]}"
    if row.kind == "list" and "address" in row.unit:
        return f"{row.option} ADDRESS"
    names = {"seconds": "TIME", "bytes": "SIZE", "int": "N", "dir": "PATH", "mode": "MODE"}
    return f"{row.option} {'|'.join(row.choices) or names.get(row.kind, 'TEXT')}"


def _columns() -> int:
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, COLUMNS_MAX)
    except (OSError, ValueError):
        return 80
