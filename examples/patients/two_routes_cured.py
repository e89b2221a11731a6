"""`two_routes`, cured: what can be imported is known after the first import; the lock is for the count alone."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.request import urlopen

import upstream
from flask import Flask

try:
    import quickest_json as quick
except ImportError:
    quick = json

app = Flask(__name__)
LOCK = threading.Lock()
URL = upstream.start()
asked = 0


def as_json(value: Any) -> str:
    return quick.dumps(value)


@app.get("/list")
def listed() -> str:
    return "[" + ",".join(as_json({"number": number}) for number in range(40)) + "]"


@app.get("/rate")
def rate() -> str:
    global asked
    with LOCK:
        asked += 1
    found = urlopen(f"{URL}/rate?ms=20").read().decode()
    return f"{asked}: {found}"
