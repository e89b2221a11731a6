"""What stands at a line of a source file: its text, and the function around it.

Rules: never raises; "" where the file cannot be read, is too long or is no Python. It is read as it is now, which after
an edit need not be what the server runs.
"""

from __future__ import annotations

import ast
from functools import lru_cache

FILE_BYTES_MAX = 2 << 20
FILES_MAX = 64


def text_at(file: str, line: int) -> str:
    """The line without its indent."""
    lines = _lines(file)
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def function_at(file: str, line: int) -> str:
    """The qualified name of the innermost function that the line is in; "<module>" outside of any."""
    found = ""
    for first, last, name in _functions(file):  # outer ones first
        if first <= line <= last:
            found = name
    return found or ("<module>" if _functions(file) or _lines(file) else "")


@lru_cache(FILES_MAX)
def _lines(file: str) -> tuple[str, ...]:
    try:
        with open(file, encoding="utf-8", errors="replace") as source:
            return tuple(source.read(FILE_BYTES_MAX).splitlines())
    except (OSError, ValueError):
        return ()


@lru_cache(FILES_MAX)
def _functions(file: str) -> tuple[tuple[int, int, str], ...]:
    """(first line, last line, qualified name) of each function."""
    try:
        tree = ast.parse("\n".join(_lines(file)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found: list[tuple[int, int, str]] = []
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        node, prefix = pending.pop(0)
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.append((child.lineno, child.end_lineno or child.lineno, prefix + child.name))
                inner = f"{prefix}{child.name}.<locals>."
            elif isinstance(child, ast.ClassDef):
                inner = f"{prefix}{child.name}."
            pending.append((child, inner))
    return tuple(found)
