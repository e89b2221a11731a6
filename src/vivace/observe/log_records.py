"""Counts the records that an application logs: how many, by which line, within which requests.

The factory of records (logging.setLogRecordFactory) is called once for each record that a logger lets through,
whatever its handlers make of it: from `begin` to `end` it counts as well. A program that never imported `logging` makes
none, and nothing is done. A factory that somebody has put in place meanwhile stays.
"""

from __future__ import annotations

import sys
from threading import Lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LINES_MAX = 500
TOLD_MAX = 20


class LogRecords:
    """`place`: what the calling thread, by its identity, works for: the name of a route, or ""."""

    def __init__(self, place: Callable[[int], str]) -> None:
        self._place = place
        self._guard = Lock()
        self._before: Any = None
        self._lines: dict[tuple[str, int, str, str, str], int] = {}
        self.count = 0

    def begin(self) -> None:
        logging: Any = sys.modules.get("logging")
        if logging is not None:
            self._before = logging.getLogRecordFactory()
            logging.setLogRecordFactory(self._make)

    def end(self) -> None:
        logging: Any = sys.modules.get("logging")
        if self._before is not None and logging.getLogRecordFactory() == self._make:
            logging.setLogRecordFactory(self._before)

    def told(self) -> list[list[Any]]:
        """File, line, logger, level, count, route: the most frequent first."""
        with self._guard:
            lines = sorted(self._lines.items(), key=lambda item: -item[1])
        return [[*line[:4], count, line[4]] for line, count in lines[:TOLD_MAX]]

    def of_routes(self) -> dict[str, int]:
        """Route -> records made within its requests."""
        found: dict[str, int] = {}
        with self._guard:
            for line, count in self._lines.items():
                found[line[4]] = found.get(line[4], 0) + count
        return found

    def _make(self, name: str, level: int, fn: str, lno: int, *more: Any, **named: Any) -> Any:
        record = self._before(name, level, fn, lno, *more, **named)
        key = (str(fn), lno, str(name), str(getattr(record, "levelname", level)), self._place(get_ident()))
        with self._guard:
            self.count += 1
            if key in self._lines or len(self._lines) < LINES_MAX:
                self._lines[key] = self._lines.get(key, 0) + 1
        return record
