"""A deterministic profiler that keeps to its thread (sys.setprofile), with the few methods of `cProfile` that are used.

Since Python 3.12 cProfile counts the calls of all threads, and `profile` cannot be run twice. The time that this one
takes itself is taken off what it measures.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Function = tuple[str, int, str]
    """(file, line, function), as pstats has them."""

clock = time.perf_counter


class CallCounter:
    """`stats` has, once `create_stats` was called, what pstats wants."""

    def __init__(self) -> None:
        self.stats: dict[Function, tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]] = {}
        self._rows: dict[Function, list[Any]] = {}
        self._stack: list[list[Any]] = []
        """[function, began, seconds of what it called]"""
        self._depth: dict[Function, int] = {}
        self._lost_s = 0.0
        """What was spent here."""

    def runcall(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """What `function` returns or raises. One thread at a time."""
        self._stack = []
        self._depth = {}
        sys.setprofile(self._on_event)
        try:
            return function(*arguments)
        finally:
            sys.setprofile(None)

    def create_stats(self) -> None:
        """Makes `stats`."""
        self.stats = {
            function: (*row[:4], {caller: tuple(times) for caller, times in row[4].items()})
            for function, row in self._rows.items()
        }

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        entered = clock()
        now = entered - self._lost_s
        if event == "call":
            code = frame.f_code
            self._push((code.co_filename, code.co_firstlineno, code.co_name), now)
        elif event == "c_call":
            self._push(("~", 0, f"<{argument.__module__ or 'built-in'}.{argument.__qualname__}>"), now)
        elif self._stack:  # the return of sys.setprofile itself has none
            self._pop(now)
        self._lost_s += clock() - entered

    def _push(self, function: Function, now: float) -> None:
        self._stack.append([function, now, 0.0])
        self._depth[function] = self._depth.get(function, 0) + 1

    def _pop(self, now: float) -> None:
        function, began, callees_s = self._stack.pop()
        seconds = now - began
        self._depth[function] -= 1
        outermost = not self._depth[function]
        row = self._rows.setdefault(function, [0, 0, 0.0, 0.0, {}])
        _add(row, outermost, seconds - callees_s, seconds)
        if self._stack:
            above = self._stack[-1]
            above[2] += seconds
            _add(row[4].setdefault(above[0], [0, 0, 0.0, 0.0]), outermost, seconds - callees_s, seconds)


def _add(row: list[Any], outermost: bool, own_s: float, seconds: float) -> None:
    row[0] += outermost
    row[1] += 1
    row[2] += own_s
    if outermost:  # else it is in the time of the call that called it
        row[3] += seconds
