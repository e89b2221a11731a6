"""Counts the collections of garbage in this process, and how long they held everything up (`gc.callbacks`).

Of a collection that takes NOTED_S or more it is also noted in whose request it began, and at which line.

Rules: a callback that is in the way when an exception is raised in its thread from outside (`request_timeout`) would
swallow it. Where such exceptions may come there is none: collections are counted, and their length stays unknown.

Threads: `tell` by the leader, what is noted is read by any; a callback runs on whichever thread a collection happens to
begin, one at a time.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import deque

from vivace.observe.layout import S_LEADER, S_NOW, W_COLLECTING_NS, W_COLLECTIONS
from vivace.observe.stacks import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from vivace.observe.section import Section

    Line = tuple[str, int, str, int, int, bool]
    """(file, line, function, generation, route, whether the application asked for it)"""

NOTED_S = 0.0002
PAUSES_MAX = 64
LINES_MAX = 256
FRAMES_MAX = 30
"""So far out the application's frame is looked for."""


class CollectorWatch:
    """Counts into the words of `section` from `begin` to `end`; `timed`: with a callback."""

    __slots__ = (
        "_asked",
        "_before",
        "_began_ns",
        "_section",
        "_start",
        "_words",
        "longest_ns",
        "pauses",
        "places",
        "timed",
        "totals_ns",
    )

    def __init__(self, section: Section, *, timed: bool) -> None:
        self._section = section
        self._words = section.words
        self.timed = timed
        self._began_ns = 0
        self._asked = False
        self._before = self._start = collections()
        self.totals_ns = [0, 0, 0]
        self.longest_ns = [0, 0, 0]
        self.pauses: deque[tuple[float, int, float, int]] = deque(maxlen=PAUSES_MAX)
        """The last that were noted: (Unix time, generation, seconds, route)."""
        self.places: dict[Line, list[float]] = {}
        """Of those that were noted: [how many, seconds in all, the longest]."""

    def begin(self) -> None:
        self._before = self._start = collections()
        if self.timed:
            gc.callbacks.append(self._on_phase)

    def end(self) -> None:
        if self._on_phase in gc.callbacks:
            gc.callbacks.remove(self._on_phase)

    def tell(self) -> None:
        """How many there have been since the last call."""
        now = collections()
        for generation, (before, count) in enumerate(zip(self._before, now, strict=True)):
            self._words[W_COLLECTIONS + generation] += count - before
        self._before = now

    def counts(self) -> list[int]:
        """Collections of each generation since `begin`."""
        return [now - start for now, start in zip(collections(), self._start, strict=True)]

    def _on_phase(self, phase: str, info: dict[str, Any]) -> None:
        generation = info["generation"]
        if phase == "start":
            if generation == 2:  # one that comes by itself finds the youngest generation full
                self._asked = gc.get_count()[0] <= gc.get_threshold()[0]
            self._began_ns = time.perf_counter_ns()
        elif self._began_ns:
            took_ns = time.perf_counter_ns() - self._began_ns
            self._words[W_COLLECTING_NS + generation] += took_ns
            self.totals_ns[generation] += took_ns
            if took_ns > self.longest_ns[generation]:
                self.longest_ns[generation] = took_ns
            if took_ns >= NOTED_S * 1e9:
                self._note(generation, took_ns / 1e9, sys._getframe(1))

    def _note(self, generation: int, took_s: float, frame: FrameType) -> None:
        route = self._route()
        self.pauses.append((time.time(), generation, took_s, route))
        frame = _theirs(frame)
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        line = (code.co_filename, frame.f_lineno, name, generation, route, self._asked and generation == 2)
        told = self.places.get(line)
        if told is not None:
            told[0] += 1
            told[1] += took_s
            told[2] = max(told[2], took_s)
        elif len(self.places) < LINES_MAX:
            self.places[line] = [1, took_s, took_s]

    def _route(self) -> int:
        """The route that this thread runs; 0: none, as far as is known."""
        thread = threading.get_native_id()
        if thread == self._words[S_LEADER] and self._words[S_NOW]:
            return int(self._words[S_NOW])
        return next((route for _, _, route, runs in self._section.on_threads() if runs == thread), 0)


def _theirs(frame: FrameType) -> FrameType:
    """The innermost frame of the application from `frame` outwards; `frame` itself where there is none."""
    outer: FrameType | None = frame
    for _ in range(FRAMES_MAX):
        if outer is None:
            break
        if is_application(outer.f_code.co_filename) and not is_ours(outer):
            return outer
        outer = outer.f_back
    return frame


def is_application(file: str) -> bool:
    """Whether a source file is neither of the standard library nor of an installed package, nor made up."""
    if file[:1] == "<" or "/site-packages/" in file or "/dist-packages/" in file:
        return False
    return not file.startswith(LIBRARY)


LIBRARY = threading.__file__.rpartition("/")[0] + "/"


def collections() -> list[int]:
    """Collections of each generation since the process began."""
    return [generation["collections"] for generation in gc.get_stats()]
