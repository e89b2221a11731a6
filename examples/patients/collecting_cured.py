"""`collecting`, cured: Python collects when there is reason to."""

from __future__ import annotations

import functools
from typing import Any

from flask import Flask

app = Flask(__name__)


@functools.cache
def articles() -> dict[int, dict[str, Any]]:
    return {number: {"name": f"Article {number}", "tags": [number, number + 1]} for number in range(8_000)}


@app.get("/article/<int:number>")
def article(number: int) -> str:
    return f"{articles()[number]['name']}: {articles()[number]['tags']}"
