"""A profile as a picture: one HTML file with search and zoom, or an SVG.

Rules: CPU and waiting are apart. Whatever came from the application (names of functions, files, routes) is text.
Pure but for reading its own files.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import vivace.admin
from vivace.explain.formats import everything
from vivace.explain.profile import RUNNING, WORDS, seconds, short, stacks_of, text
from vivace.lab.document import document
from vivace.observe.call_tree import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.profile import Profile

FILES = Path(__file__).parent / "files"
SHARED = Path(vivace.admin.__file__).parent / "files"
"""The dashboard draws the same."""

BODY = """<header><h1>{title}</h1><p class="muted">{subtitle}</p><button type="button" id="theme">Dark</button></header>
<main>
<section class="card" id="flame" aria-label="Flame graphs"></section>
<section class="card" aria-labelledby="table">
<h2 id="table">Where the time goes</h2><div class="scroll"><pre>{table}</pre></div></section>
</main>
<footer class="muted">{footer}</footer>"""


def page(profile: Profile, title: str, subtitle: str = "", made: str = "") -> str:
    """One HTML document."""
    style = (FILES / "profile.css").read_text("utf-8") + (SHARED / "flame.css").read_text("utf-8")
    script = (SHARED / "flame.js").read_text("utf-8") + (FILES / "profile.js").read_text("utf-8")
    body = BODY.format(
        title=escape(title), subtitle=escape(subtitle), table=escape(text(profile, 160)), footer=escape(made)
    )
    return document(title, style, body, script, profile)


# SVG.

WIDTH = 1200
ROW = 18
LETTER = 6.6
"""Of the font, at its size."""
SMALL = 0.0015
"""What is narrower than this share is left out."""
COLOURS = {
    "gil": "#e79a2f",
    "lock": "#b98ad0",
    "sleep": "#86b2e6",
    "io": "#6fc3a8",
    "disk": "#c2a27a",
    "child": "#d993b4",
    "other": "#a9b4ae",
}
WARM = ("#f08a4b", "#ea7458", "#f39c3d", "#e2663f", "#efc35a", "#e6b56e")
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 font-family="ui-monospace, DejaVu Sans Mono, Menlo, monospace" font-size="11">
<rect width="100%" height="100%" fill="#fffdf8"/>
<text x="8" y="18" font-size="14">{title}</text>
{body}
</svg>
"""


def svg(profile: Profile, title: str) -> str:
    """One SVG document, without a script: CPU above, waiting below."""
    all_s = seconds(profile)
    body: list[str] = []
    top = 30
    for name, running in (("CPU", True), ("Waiting", False)):
        part = _tree(profile, running)
        part_s = sum(node["seconds"] for node in part)
        share = part_s / all_s if all_s else 0.0
        body.append(f'<text x="8" y="{top + 12}">{name}: {share:.1%} of {all_s:.3g} s</text>')
        top += 20
        deepest = _draw(part, 0.0, part_s or 1.0, top, all_s, body)
        top = deepest + 14
    return SVG.format(width=WIDTH, height=top, title=escape(title), body="\n".join(body))


def _tree(profile: Profile, running: bool) -> list[dict[str, Any]]:
    """By function, with what it waits for innermost."""
    samples = []
    for _, state, places, weight in stacks_of(profile, everything):
        if (state == RUNNING) is running:
            by_function = [(function, file, 0) for function, file, _ in places]
            samples.append(([*by_function] if running else [*by_function, (state, "", 0)], state, weight))
    return tree(samples, SMALL)


def _draw(nodes: list[dict[str, Any]], left_s: float, part_s: float, top: int, all_s: float, body: list[str]) -> int:
    """Draws these side by side from `left_s` on, and what they called below; returns where that ends."""
    lowest = top
    for node in nodes:
        x, width = 8 + left_s / part_s * (WIDTH - 16), node["seconds"] / part_s * (WIDTH - 16)
        state = node["function"] if not node["file"] else ""
        name = WORDS.get(state, node["function"])
        colour = COLOURS.get(state) or WARM[sum(node["file"].encode()) % len(WARM)]
        where = f" ({short(node['file'])})" if node["file"] else ""
        letters = int((width - 6) / LETTER)
        shown = (name if len(name) <= letters else name[: letters - 1] + "…") if letters > 2 else ""
        body.append(
            f"<g><title>{escape(name + where)}: {node['seconds'] / all_s:.2%}, {node['seconds']:.3g} s</title>"
            f'<rect x="{x:.1f}" y="{top}" width="{max(0.5, width - 0.5):.1f}" height="{ROW - 1}" fill="{colour}"/>'
            f'<text x="{x + 3:.1f}" y="{top + 12.5}">{escape(shown)}</text></g>'
        )
        lowest = max(lowest, top + ROW, _draw(node["children"], left_s, part_s, top + ROW, all_s, body))
        left_s += node["seconds"]
    return lowest
