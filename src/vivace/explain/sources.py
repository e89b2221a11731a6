"""The lines of code that stand in a profile: their text, the loop and the `with` block around them.

Read from the files here, so only where the server runs on this machine; what cannot be read, or is no Python, is left
out. Rules: reads files of the application only (`frames.is_theirs`), of bounded size and number.
"""

from __future__ import annotations

import ast
import os

from vivace.explain.frames import is_theirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Block = tuple[int, int, int]

FILES_MAX = 200
FILE_BYTES_MAX = 1 << 20
_LOOPS = (ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def read(profile: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """{file: {"line": {"text", "loop", "outer" (the loop that is no comprehension), "with"}}} for the lines of the
    profile that are the application's own."""
    lines: dict[str, set[int]] = {}
    for _, file, line in profile["frames"]:
        if is_theirs(file) and (file in lines or len(lines) < FILES_MAX):
            lines.setdefault(file, set()).add(line)
    return {file: found for file, numbers in lines.items() if (found := _of_file(file, numbers))}


def _of_file(file: str, numbers: Iterable[int]) -> dict[str, dict[str, Any]]:
    text = _text(file)
    if not text:
        return {}
    rows = text.splitlines()
    loops, comprehensions, withs = _blocks(text)
    found: dict[str, dict[str, Any]] = {}
    wanted = set(numbers)
    wanted |= {head for begin, end, head in loops if any(begin <= line <= end for line in wanted)}
    for line in sorted(wanted):
        if 0 < line <= len(rows):
            found[str(line)] = {
                "text": rows[line - 1].strip()[:200],
                "loop": _innermost(loops, line),
                "outer": _innermost([loop for loop in loops if loop not in comprehensions], line),
                "with": _innermost(withs, line),
            }
    return found


def _text(file: str) -> str:
    try:
        if os.path.getsize(file) > FILE_BYTES_MAX:
            return ""
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except (OSError, ValueError):
        return ""


def _blocks(text: str) -> tuple[list[Block], list[Block], list[Block]]:
    """(first line that is repeated, last line, first line) of the loops; those of them that are comprehensions; and the
    same of the `with` blocks.

    What a `for` goes through is asked for once, at its head; a comprehension may have it on the line of what is
    repeated, so `spots.Spot.iterated` tells.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return [], [], []
    loops, comprehensions, withs = [], [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor):
            loops.append((max(node.body[0].lineno, node.lineno), node.body[-1].end_lineno or 0, node.lineno))
        elif isinstance(node, _LOOPS):
            loops.append((node.lineno, node.end_lineno or 0, node.lineno))
            if not isinstance(node, ast.While):
                comprehensions.append(loops[-1])
        elif isinstance(node, ast.With | ast.AsyncWith):
            withs.append((node.lineno, node.end_lineno or 0, node.lineno))
    return loops, comprehensions, withs


def _innermost(blocks: list[Block], line: int) -> int:
    """Where the shortest block around `line` begins; 0: there is none."""
    around = [(end - begin, head) for begin, end, head in blocks if begin <= line <= end]
    return min(around)[1] if around else 0
