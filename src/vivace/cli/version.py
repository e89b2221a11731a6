"""`vivace --version`: vivace's version, and the Python's that runs it."""

from __future__ import annotations

import sys

from vivace.version import __version__


def run(argv: list[str]) -> int:
    """Prints one line; arguments are not looked at."""
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"vivace {__version__} ({sys.implementation.name} {python}, {sys.platform})")
    return 0
