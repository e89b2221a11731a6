"""A Flask route that makes the same chart again for everybody who asks for it."""

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
def chart(number: int) -> Response:  # ILL: the same bytes each time
    values = [float((number * step) % 997 + 1) for step in range(3000)]
    picture = f"<svg>{drawn(scaled(smoothed(values)))}</svg>"
    return Response(picture, mimetype="image/svg+xml")


@app.get("/now")
def now() -> Response:
    """What nobody could keep, for comparison."""
    return Response(drawn([float(time.time_ns() % 997)] * 800), mimetype="image/svg+xml")
