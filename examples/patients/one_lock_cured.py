"""`one_lock`, cured: the lock is for the count alone."""

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
    with LOCK:
        asked += 1
    found = urlopen(f"{URL}/rate?ms=10").read().decode()
    return f"{asked}: {found}"
