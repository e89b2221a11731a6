"""Stacks of threads as numbers, so that one that is seen a thousand times is kept once.

`positions` walks from the innermost frame outwards, `number_of` says of each where it is: (function, file, line). Left
out are vivace's own frames and whatever lies outside of the outermost of these: how the thread was started. What is
left is what the application does.

Rules: a walk is one call of C, within which nobody takes the GIL: a stack whose inner frames are of one moment and
whose outer ones are of another is none. Bounded: STACKS_MAX stacks, of FRAMES_MAX frames each; code is kept alive by
being known here, until `forget_but`. No clock, no file. Must not know: who looks, and when.

Threads: one at a time.
"""

from __future__ import annotations

import sys
from itertools import accumulate, chain, starmap, takewhile
from operator import attrgetter, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import CodeType
    from typing import Any

    Place = tuple[str, str, int]
    """(function, file, line)"""
    Position = tuple[CodeType, int]
    """(code, offset of the instruction in it)"""

STACKS_MAX = 4096
PLACES_MAX = 32768
"""Positions in code, several for a line."""
FRAMES_MAX = 160
"""A deeper stack is kept without its outermost frames: a recursion, as a rule."""

STEPS = ("f_back",) * (FRAMES_MAX + 20)
"""Outwards, past some of vivace's own."""

NOTHING = 0
"""The number of no stack: none of its frames is the application's."""
TOO_MANY = 1
"""The number of each stack that there was no room for."""


_of = attrgetter("f_code", "f_lasti")


def positions(thread: int) -> list[Position]:
    """Where the frames of this thread are (`threading.get_ident`), the innermost first; none if it has ended."""
    frame: Iterable[Any] = map(dict.get, starmap(sys._current_frames, [()]), [thread])  # asked for by the call below
    outwards = accumulate(chain(frame, STEPS), getattr)
    return list(map(_of, takewhile(truth, outwards)))


class StackTable:
    """Gives numbers to stacks, and back."""

    def __init__(self, is_own_file: Callable[[str], bool]) -> None:
        """`is_own_file` says of the name of a file whether it is vivace's own."""
        self._is_own_file = is_own_file
        self._places: dict[tuple[int, int], int] = {}
        """(identity of the code, position in it) -> number of the frame, 0: it is vivace's own."""
        self._codes: dict[int, CodeType] = {}
        """Kept, so that no other code gets the same identity."""
        self.frames: list[Place] = [("", "", 0), ("(too many different stacks)", "", 0)]
        self._frame_numbers: dict[Place, int] = {}
        self._stacks: dict[int, tuple[int, ...]] = {NOTHING: (), TOO_MANY: (1,)}
        self._numbers: dict[tuple[int, ...], int] = {(): NOTHING}
        self._next = TOO_MANY + 1

    def number_of(self, positions: Iterable[Position]) -> int:
        """The number of this stack, the innermost frame first."""
        places = self._places
        found: list[int] = []
        theirs = -1
        for code, at in positions:
            number = places.get((id(code), at))
            if number is None:
                number = self._place(code, at)
            if number:
                found.append(number)
                if len(found) > FRAMES_MAX:
                    theirs = FRAMES_MAX
                    break
            else:
                theirs = len(found)
        return self._stack(tuple(found[:theirs] if theirs >= 0 else found))

    def stack(self, number: int) -> tuple[int, ...]:
        """Numbers of its frames, the innermost first; see `frames`."""
        return self._stacks[number]

    @property
    def is_full(self) -> bool:
        """Nothing new finds room before something is forgotten."""
        return len(self._stacks) >= STACKS_MAX or len(self._places) >= PLACES_MAX

    def forget_but(self, used: Collection[int]) -> None:
        """Forgets all stacks but these, which keep their numbers."""
        keep = {NOTHING, TOO_MANY, *used}
        self._stacks = {number: stack for number, stack in self._stacks.items() if number in keep}
        self._numbers = {stack: number for number, stack in self._stacks.items() if number != TOO_MANY}
        self._places.clear()
        self._codes.clear()
        self._forget_frames()

    def _forget_frames(self) -> None:
        """Frames get new numbers, those that are in no stack none."""
        old, self.frames = self.frames, self.frames[:2]
        self._frame_numbers = {}
        renamed: dict[int, int] = {1: 1}
        for number, stack in self._stacks.items():
            self._stacks[number] = tuple(self._renumbered(old, renamed, stack))
        self._numbers = {stack: number for number, stack in self._stacks.items() if number != TOO_MANY}

    def _renumbered(self, old: list[Place], renamed: dict[int, int], stack: Iterable[int]) -> Iterable[int]:
        for frame in stack:
            if frame not in renamed:
                renamed[frame] = self._frame(old[frame])
            yield renamed[frame]

    def _stack(self, frames: tuple[int, ...]) -> int:
        number = self._numbers.get(frames)
        if number is None:
            if len(self._stacks) >= STACKS_MAX:
                return TOO_MANY
            number = self._numbers[frames] = self._next
            self._stacks[number] = frames
            self._next += 1
        return number

    def _place(self, code: CodeType, at: int) -> int:
        if self._is_own_file(code.co_filename):
            number = 0
        else:
            number = self._frame((code.co_qualname, code.co_filename, line_of(code, at)))
        if len(self._places) < PLACES_MAX:
            self._codes[id(code)] = code
            self._places[id(code), at] = number
        return number

    def _frame(self, place: Place) -> int:
        number = self._frame_numbers.get(place)
        if number is None:
            number = self._frame_numbers[place] = len(self.frames)
            self.frames.append(place)
        return number


def line_of(code: CodeType, at: int) -> int:
    """The line of the instruction at this offset. Of one that has none, as the jump back to the head of a loop that is
    left for it by an `if`: the line from which one comes to it."""
    lines = list(code.co_lines())
    found = _line_in(lines, at)
    if found is None and lines and at < lines[-1][1]:
        import dis

        sources = [one.offset for one in dis.get_instructions(code) if one.opcode in dis.hasjrel and one.argval == at]
        known = [line for offset in sources if (line := _line_in(lines, offset)) is not None]
        known += [line for _, end, line in reversed(lines) if end <= at and line is not None]
        found = known[0] if known else None
    return code.co_firstlineno if found is None else found


def _line_in(lines: list[tuple[int, int, int | None]], at: int) -> int | None:
    return next((line for begin, end, line in lines if begin <= at < end), None)
