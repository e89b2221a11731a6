"""Which lines leave memory behind: `tracemalloc` for some seconds, as an answer to the question "tracemalloc".

Tracing makes a worker several times slower as long as it lasts (a small Flask application: 4 times with one frame, 25
times with six), so one worker is asked, for seconds. What was allocated meanwhile and is alive after a collection is
looked at PARTS times: a line that has more each time is growing.

Rules: it ends early where more than KEPT_BYTES_MAX were kept, and never leaves tracing on that it has switched on. Must
not know: who asks. Imported only when somebody does.

Threads: one at a time, any.
"""

from __future__ import annotations

import gc
import os
import time
import tracemalloc

from vivace.observe import heap, keepers
from vivace.observe.collector import is_application
from vivace.observe.stacks import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Told = dict[str, Any]
    Stack = tuple[tuple[str, int], ...]
    """(file, line), outermost first."""

FOR_S = 5.0
FOR_S_MAX = 60.0
FRAMES = 1
FRAMES_MAX = 32
PARTS = 3
KEPT_BYTES_MAX = 512 << 20
LOOK_S = 0.25
TOLD_MAX = 12
TOLD_SHARE = 0.01
"""A line that has less of what the first one has is not told."""
OURS = (os.path.abspath(__file__), os.path.abspath(keepers.__file__), tracemalloc.__file__)


def trace(question: Told, requests: Callable[[], int]) -> Told:
    """The topic "tracemalloc": {"for_s", "frames"}. See `explain.memory` for the answer.

    "parts": the requests at the end of each part of the time, and of each line its bytes then.
    """
    for_s = min(FOR_S_MAX, max(0.3, float(question.get("for_s", FOR_S))))
    frames = min(FRAMES_MAX, max(1, int(question.get("frames", FRAMES))))
    gc.collect()
    look, looked = keepers.Look().take(), requests()
    whole, lengths = look.whole, look.numbers()
    types = heap.types()
    was_tracing = tracemalloc.is_tracing()
    served, began = requests(), time.monotonic()
    if was_tracing:
        frames = tracemalloc.get_traceback_limit()
    else:
        tracemalloc.start(frames)
    try:
        parts, at = _parts(for_s, requests)
        seconds, number = time.monotonic() - began, at[-1] - served
    finally:
        if not was_tracing:
            tracemalloc.stop()
    types_now = heap.types()
    look, meanwhile = keepers.Look().take(), requests() - looked
    notes = []
    if was_tracing:
        notes.append("tracing was on before, so all that was allocated since then counts")
    if len(parts) < PARTS:
        notes.append(f"it ended early: more than {KEPT_BYTES_MAX >> 20} MiB were kept")
    if not (whole and look.whole):
        notes.append(f"more than {keepers.OBJECTS_MAX} objects: not all containers were looked at")
    return {
        "seconds": seconds,
        "requests": number,
        "frames": frames,
        "kept_bytes": sum(size for size, _ in parts[-1].values()),
        "parts": [each - served for each in at],
        "lines": _lines(parts, number),
        "types": keepers.types_grown(types, types_now, look, meanwhile),
        "kept_by": keepers.grown(lengths, look, meanwhile),
        "note": "; ".join(notes),
    }


def _parts(for_s: float, requests: Callable[[], int]) -> tuple[list[dict[Stack, tuple[int, int]]], list[int]]:
    """What is alive at the end of each part of the time, stack -> (bytes, blocks), and the requests so far."""
    at: list[int] = []
    parts: list[dict[Stack, tuple[int, int]]] = []
    for _ in range(PARTS):
        until = time.monotonic() + for_s / PARTS
        while (left_s := until - time.monotonic()) > 0 and tracemalloc.get_traced_memory()[0] < KEPT_BYTES_MAX:
            time.sleep(min(LOOK_S, left_s))
        gc.collect()
        at.append(requests())
        parts.append(_alive())
        if left_s > 0:
            break
    return parts, at


def _alive() -> dict[Stack, tuple[int, int]]:
    found: dict[Stack, tuple[int, int]] = {}
    for each in tracemalloc.take_snapshot().statistics("traceback"):
        stack = tuple((frame.filename, frame.lineno) for frame in each.traceback)
        if not any(file in OURS for file, _ in stack) and not is_own(stack):
            found[stack] = each.size, each.count
    return found


def is_own(stack: Stack) -> bool:
    """Whether vivace has allocated for itself: its frames alone, or with the library's within them."""
    theirs = False
    for file, _ in stack:
        if file.startswith(PACKAGE):
            theirs = False
        elif is_application(file) or "-packages" in file:
            theirs = True
    return not theirs and any(file.startswith(PACKAGE) for file, _ in stack)


def _lines(parts: list[dict[Stack, tuple[int, int]]], number: int) -> list[Told]:
    """By the line of the application, or else the innermost one: those that have most, with their fullest stack."""
    lines: dict[tuple[str, int], list[Any]] = {}
    for stack, (size, count) in sorted(parts[-1].items(), key=lambda item: -item[1][0]):
        row = lines.setdefault(place_of(stack), [0, 0, stack])
        row[0] += size
        row[1] += count
    rows = sorted(lines.items(), key=lambda item: -item[1][0])[:TOLD_MAX]
    sizes: list[dict[tuple[str, int], int]] = []
    for part in parts:
        at: dict[tuple[str, int], int] = {}
        for stack, (size, _) in part.items():
            at[place_of(stack)] = at.get(place_of(stack), 0) + size
        sizes.append(at)
    return [
        {
            "file": place[0],
            "line": place[1],
            "bytes": size,
            "count": count,
            "bytes_per_request": round(size / number, 1) if number else 0.0,
            "parts": [at.get(place, 0) for at in sizes],
            "stack": [[file, line] for file, line in stack],
        }
        for place, (size, count, stack) in rows
        if size >= TOLD_SHARE * rows[0][1][0]
    ]


def place_of(stack: Stack) -> tuple[str, int]:
    """The line that is to be told: the innermost of the application; else the innermost that is not vivace's."""
    theirs = [place for place in reversed(stack) if not place[0].startswith(PACKAGE)]
    return next((place for place in theirs if is_application(place[0])), theirs[0] if theirs else stack[-1])
