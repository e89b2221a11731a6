"""Two routes of Flask, each with an illness: one looks for a module that is not there; one holds a lock."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.request import urlopen

import upstream
from flask import Flask

app = Flask(__name__)
LOCK = threading.Lock()
URL = upstream.start()
asked = 0


def as_json(value: Any) -> str:
    try:
        import quickest_json as quick  # ILL: what is not there is looked for on all of sys.path, each time
    except ImportError:
        return json.dumps(value)
    return quick.dumps(value)


@app.get("/list")
def listed() -> str:
    return "[" + ",".join(as_json({"number": number}) for number in range(40)) + "]"


@app.get("/rate")
def rate() -> str:
    global asked
    with LOCK:  # ILL: held during the call below
        asked += 1
        found = urlopen(f"{URL}/rate?ms=20").read().decode()  # ILL: in the lock
    return f"{asked}: {found}"
