"""Stacks as numbers: what is left out, what is kept once, and what is forgotten."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from vivace.observe import stack_table
from vivace.observe.stack_table import FRAMES_MAX, NOTHING, TOO_MANY, StackTable, line_of, positions

if TYPE_CHECKING:
    from types import CodeType, FrameType

OWN = "/server/of/its/own.py"


def frame_in(source: str, name: str = "application.py") -> FrameType:
    """The innermost frame of a call of `source`, a function called `outer`."""
    found: list[FrameType] = []
    scope = {"found": found, "frame": sys._getframe}
    exec(compile(source, name, "exec"), scope)
    scope["outer"]()
    return found[0]


def table() -> StackTable:
    """One to which this file is the server's, as are those named so."""
    return StackTable(lambda name: name in (OWN, __file__))


def places(known: StackTable, number: int) -> list[tuple[str, int]]:
    return [(known.frames[frame][0], known.frames[frame][2]) for frame in known.stack(number)]


def walked(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    found = []
    while frame is not None:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found


NESTED = """
def outer():
    inner()

def inner():
    found.append(frame())
"""


def test_a_stack_has_function_and_line_of_each_frame_from_within_the_server_the_innermost_first() -> None:
    known = table()
    assert places(known, known.number_of(walked(frame_in(NESTED)))) == [("inner", 6), ("outer", 3)]


def test_what_lies_outside_of_the_outermost_frame_of_the_server_is_left_out() -> None:
    """pytest has called this file."""
    known = table()
    number = known.number_of(walked(sys._getframe()))
    assert number == NOTHING
    assert known.stack(number) == ()


def test_frames_of_the_server_between_those_of_the_application_are_left_out() -> None:
    scope = {"inner": lambda: frame_in(NESTED)}
    exec(compile("def outer():\n    return inner()", "application.py", "exec"), scope)
    frame = scope["outer"]()  # type: ignore[operator]
    known = table()
    assert places(known, known.number_of(walked(frame))) == [("inner", 6), ("outer", 3), ("outer", 2)]


def test_the_same_stack_has_one_number_another_line_another_one() -> None:
    known = table()
    one, two = known.number_of(walked(frame_in(NESTED))), known.number_of(walked(frame_in(NESTED)))
    other = known.number_of(walked(frame_in(NESTED.replace("    inner()", "    pass; inner()\n"))))
    assert one == two != other


def test_no_frame_is_no_stack() -> None:
    assert table().number_of([]) == NOTHING


def test_a_recursion_is_kept_without_its_outermost_frames() -> None:
    deep = """
def outer(depth=300):
    if depth:
        outer(depth - 1)
    else:
        found.append(frame())
"""
    known = table()
    stack = places(known, known.number_of(walked(frame_in(deep))))
    assert stack == [("outer", 6)] + [("outer", 4)] * (FRAMES_MAX - 1)


def test_what_is_not_used_is_forgotten_and_the_rest_keeps_its_number() -> None:
    known = table()
    first = known.number_of(walked(frame_in(NESTED.replace("inner", "first"))))
    second = known.number_of(walked(frame_in(NESTED)))
    before = places(known, second)
    known.forget_but({second})
    assert places(known, second) == before
    assert known.number_of(walked(frame_in(NESTED))) == second
    assert all(function != "first" for function, _, _ in known.frames)
    with pytest.raises(KeyError):
        known.stack(first)
    assert known.number_of(walked(frame_in(NESTED.replace("inner", "first")))) not in (first, second)


def test_stacks_that_there_is_no_room_for_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_table, "STACKS_MAX", 3)
    known = table()
    one = known.number_of(walked(frame_in(NESTED)))
    assert known.is_full
    assert known.number_of(walked(frame_in(NESTED.replace("inner", "other")))) == TOO_MANY
    assert known.frames[known.stack(TOO_MANY)[0]][0] == "(too many different stacks)"
    assert known.number_of(walked(frame_in(NESTED))) == one
    known.forget_but(())
    assert known.number_of(walked(frame_in(NESTED.replace("inner", "other")))) != TOO_MANY


def test_the_line_of_an_instruction() -> None:
    code = compile("a = 1\nb = 2\n", "lines.py", "exec")
    begins = {line: begin for begin, _, line in code.co_lines() if line}
    assert [line_of(code, begins[line]) for line in (1, 2)] == [1, 2]
    assert line_of(code, 10_000) == code.co_firstlineno


def test_a_jump_without_a_line_stands_for_the_line_that_one_comes_from() -> None:
    source = (
        "def view(rows):\n"  # 1
        "    seen = []\n"
        "    for row in rows:\n"
        "        if row not in seen:\n"
        "            seen.append(row)\n"
    )
    names: dict[str, object] = {}
    exec(compile(source, "jumps.py", "exec"), names)
    code = names["view"].__code__  # type: ignore[attr-defined]
    nowhere = [line_of(code, begin) for begin, _, line in code.co_lines() if line is None]
    assert set(nowhere) <= {4, 5}  # only some versions of Python have such jumps


# Walking.


def test_a_walk_finds_what_is_around() -> None:
    here = sys._getframe()
    (own, _), (code, _), *around = positions(threading.get_ident())
    assert (own, code) == (positions.__code__, here.f_code)
    assert around == walked(here.f_back)
    assert positions(1) == [], "no thread has this identity"


TWO_WAYS = """
def left(depth=40):
    if depth:
        left(depth - 1)

def right(depth=40):
    if depth:
        right(depth - 1)

def run():
    while not over:
        left()
        right()
"""


def test_inner_and_outer_frames_are_of_one_moment() -> None:
    """A walk of many frames, by one of four threads that all want the GIL as soon as they can have it."""
    scope: dict[str, Any] = {"over": False}
    exec(compile(TWO_WAYS, "application.py", "exec"), scope)
    threads = [threading.Thread(target=scope["run"]) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        lines = {"left": 12, "right": 13}
        seen = set()
        for _ in range(400):
            for thread in threads:
                found = [(code.co_name, line_of(code, at)) for code, at in positions(thread.ident or 0)]
                inner = {name for name, _ in found if name in lines}
                outer = [line for name, line in found if name == "run" and line in lines.values()]
                if inner:
                    assert [lines[name] for name in inner] == outer
                    seen |= inner
        assert seen == {"left", "right"}
    finally:
        scope["over"] = True
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
