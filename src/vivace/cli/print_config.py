"""`vivace --print-config`: every setting's value as a vivace.toml, with a comment on where it came from."""

from __future__ import annotations

import os

from vivace.cli.main import tell
from vivace.config import kinds
from vivace.config.load import load
from vivace.config.settings import ROWS, SECTIONS, Settings


def run(argv: list[str]) -> int:
    """Prints the settings as they would be used. Raises SettingError if they are wrong."""
    settings = load(argv, os.environ, os.getcwd())
    tell(settings.notes)
    print(as_toml(settings), end="")
    return 0


def as_toml(settings: Settings) -> str:
    """The settings as TOML with a table for each section; reading it again gives the same values."""
    lines: list[str] = []
    for section, title in SECTIONS.items():
        lines += ["", f"[{section}]  # {title}"]
        for name, row in ROWS.items():
            if row.section == section and row.in_files:
                value = kinds.to_toml(row, getattr(settings, name))
                if row.secret and getattr(settings, name):
                    lines.append(f"# {row.public} is given and not shown  # {settings.origin(name)}")
                else:
                    lines.append(f"{row.public} = {value}  # {settings.origin(name)}")
    return "\n".join(lines[1:]) + "\n"
