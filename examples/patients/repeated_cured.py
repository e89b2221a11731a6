"""`repeated`, cured: the answer may be kept for a second, and the manifest turns the cache on."""

from __future__ import annotations

import time
from itertools import pairwise

from flask import Flask, Response

app = Flask(__name__)


def smoothed(values: list[float]) -> list[float]:
    return [(a + b) / 2 for a, b in pairwise(values)]


def scaled(values: list[float]) -> list[float]:
    most = max(values)
    return [round(value / most * 100, 3) for value in values]


def drawn(values: list[float]) -> str:
    return "".join(f'<circle cx="{x}" cy="{y}" r="1"/>' for x, y in enumerate(values))


@app.get("/chart/<int:number>")
def chart(number: int) -> Response:
    values = [float((number * step) % 997 + 1) for step in range(3000)]
    picture = f"<svg>{drawn(scaled(smoothed(values)))}</svg>"
    return Response(picture, mimetype="image/svg+xml", headers={"Cache-Control": "public, max-age=1"})


@app.get("/now")
def now() -> Response:
    """What nobody could keep, for comparison."""
    return Response(drawn([float(time.time_ns() % 997)] * 800), mimetype="image/svg+xml")
