"""Where a thread of this process is in its Python code, seen from another thread.

A look costs some microseconds and stops nobody for longer; only the writing out reads source files.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    Line = tuple[FrameType, int]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
DEMO = os.path.join(PACKAGE, "demo") + os.sep

FRAMES_MAX = 60
"""A deeper stack is written without its middle."""


def stack_of(thread: int) -> list[Line]:
    """The frames of the thread with this identity and where each is now, the innermost first; empty: it has ended."""
    frame = sys._current_frames().get(thread)
    lines = []
    while frame is not None:
        lines.append((frame, frame.f_lineno))  # now: the frame itself goes on
        frame = frame.f_back
    return lines


def is_ours(frame: FrameType) -> bool:
    """Whether the frame is of vivace itself; the demo is an application like any other."""
    return is_own_file(frame.f_code.co_filename)


def is_own_file(name: str) -> bool:
    """Whether code of the file with this name is vivace's own."""
    return name.startswith(PACKAGE) and not name.startswith(DEMO)


def written(lines: list[Line]) -> str:
    """A stack as a traceback has it, the innermost frame last, vivace's own left off."""
    import traceback

    theirs = [line for line in reversed(lines) if not is_ours(line[0])]
    if not theirs:
        return ""
    if len(theirs) > FRAMES_MAX:
        left_off = len(theirs) - FRAMES_MAX
        first = traceback.StackSummary.extract(iter(theirs[: FRAMES_MAX // 2])).format()
        last = traceback.StackSummary.extract(iter(theirs[-FRAMES_MAX // 2 :])).format()
        return "".join([*first, f"  ... {left_off} frames left off ...\n", *last])
    return "".join(traceback.StackSummary.extract(iter(theirs)).format())
