"""A Flask route that holds its lock while it asks a service of elsewhere: one request at a time."""

from __future__ import annotations

import threading
from urllib.request import urlopen

import upstream
from flask import Flask

app = Flask(__name__)
LOCK = threading.Lock()
URL = upstream.start()
asked = 0


@app.get("/rate")
def rate() -> str:
    global asked
    with LOCK:  # ILL: held during the call below
        asked += 1
        found = urlopen(f"{URL}/rate?ms=10").read().decode()  # ILL: in the lock
    return f"{asked}: {found}"
