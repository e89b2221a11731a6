"""A Flask application that keeps much in memory, and collects garbage after each request "so that memory stays low".

What is loaded before the server forks or serves is out of the collector's sight (`gc.freeze`); this is loaded later.
"""

from __future__ import annotations

import functools
import gc
from typing import Any

from flask import Flask, Response

app = Flask(__name__)


@functools.cache
def articles() -> dict[int, dict[str, Any]]:
    return {number: {"name": f"Article {number}", "tags": [number, number + 1]} for number in range(8_000)}


@app.get("/article/<int:number>")
def article(number: int) -> str:
    return f"{articles()[number]['name']}: {articles()[number]['tags']}"


@app.after_request
def tidy(response: Response) -> Response:
    gc.collect()  # ILL: looks at every object of the process
    return response
