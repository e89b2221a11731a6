"""Lines of positions in code (`observe.stack_table.line_of`): also of the jump that ends a loop."""

from __future__ import annotations

import dis

import pytest

from vivace.observe.stack_table import line_of

LOOP = """
def distinct(words):
    seen = []
    for word in words:
        if word not in seen:
            seen.append(word)
    return seen
"""
LONG = "def long(words):\n    for word in words:\n        if word:\n" + "            word = word + 1\n" * 200


@pytest.mark.parametrize(("text", "name"), [(LOOP, "distinct"), (LONG, "long")])
def test_a_jump_back_is_within_its_loop(text: str, name: str) -> None:
    names: dict[str, object] = {}
    exec(compile(text, "loop.py", "exec"), names)
    code = names[name].__code__  # type: ignore[attr-defined]
    head = text.splitlines().index(next(line for line in text.splitlines() if "for word" in line)) + 1
    jumps = [step.offset for step in dis.get_instructions(code) if step.opname == "JUMP_BACKWARD"]
    assert jumps
    for at in jumps:
        assert head <= line_of(code, at) < text.count("\n") + 1


def test_every_other_instruction_has_the_line_that_python_says() -> None:
    code = line_of.__code__
    for step in dis.get_instructions(code):
        line = step.positions.lineno if step.positions else None
        if line is not None:
            assert line_of(code, step.offset) == line
        assert line_of(code, step.offset) >= code.co_firstlineno
