"""`pretty_json`, cured: without an indent the encoder in C does it."""

from __future__ import annotations

import json
import time

from flask import Flask, Response

app = Flask(__name__)
ORDERS = [{"id": number, "lines": [{"article": n, "price": n * 1.5} for n in range(10)]} for number in range(20)]


@app.get("/orders")
def orders() -> Response:
    found = {"at": time.time_ns(), "orders": ORDERS}
    return Response(json.dumps(found), mimetype="application/json")
