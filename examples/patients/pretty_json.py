"""A Flask route whose answer is made by `json.dumps(indent=2)`: with an indent the encoder is the one in Python."""

from __future__ import annotations

import json
import time

from flask import Flask, Response

app = Flask(__name__)
ORDERS = [{"id": number, "lines": [{"article": n, "price": n * 1.5} for n in range(10)]} for number in range(20)]


@app.get("/orders")
def orders() -> Response:
    found = {"at": time.time_ns(), "orders": ORDERS}
    return Response(json.dumps(found, indent=2), mimetype="application/json")  # ILL: the encoder in Python
