"""Weighed stacks as a tree: who called what, and how long each took. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Place = tuple[str, str, int]
    Node = dict[str, Any]

SMALL = 0.02
"""What took less of the whole is left out."""
LINES_MAX = 30


def tree(samples: Iterable[tuple[Sequence[Place], str, float]], small: float = SMALL) -> list[Node]:
    """From (places, outermost first, state, seconds) to nodes, the longest first:

    {"function", "file", "line", "seconds", "states": {state: seconds with nothing called}, "children": [nodes]}
    """
    roots: list[Node] = []
    total_s = 0.0
    for places, state, seconds in samples:
        total_s += seconds
        nodes, node = roots, None
        for place in places:
            node = _child(nodes, place)
            node["seconds"] += seconds
            nodes = node["children"]
        if node is not None:
            node["states"][state] = node["states"].get(state, 0.0) + seconds
    return _pruned(roots, total_s * small)


def written(nodes: list[Node], lines_max: int = LINES_MAX) -> list[str]:
    """A tree as lines of text: `1.20 s  function (file:line)  sleep 1.10 s`, indented."""
    lines: list[str] = []
    _write(nodes, "", lines)
    return lines if len(lines) <= lines_max else [*lines[:lines_max], f"... {len(lines) - lines_max} lines left off"]


def _write(nodes: list[Node], indent: str, lines: list[str]) -> None:
    for node in nodes:
        own = ", ".join(f"{state} {seconds:.3g} s" for state, seconds in sorted(node["states"].items(), key=_longest))
        lines.append(
            f"{indent}{node['seconds']:.3g} s  {node['function']} ({node['file']}:{node['line']})"
            + (f"  {own}" if own else "")
        )
        _write(node["children"], indent + "  ", lines)


def _child(nodes: list[Node], place: Place) -> Node:
    for node in nodes:
        if (node["function"], node["file"], node["line"]) == place:
            return node
    function, file, line = place
    node = {"function": function, "file": file, "line": line, "seconds": 0.0, "states": {}, "children": []}
    nodes.append(node)
    return node


def _pruned(nodes: list[Node], least_s: float) -> list[Node]:
    kept = sorted((node for node in nodes if node["seconds"] >= least_s), key=lambda node: -node["seconds"])
    for node in kept:
        node["children"] = _pruned(node["children"], least_s)
    return kept


def _longest(item: tuple[str, float]) -> float:
    return -item[1]
