"""What the trial of the cache asks for: a Flask site whose responses may be kept, and a bare route for many of them.

Each call of /work and /late adds a byte to the file BENCH_CALLS, so that all workers together are counted.
"""

from __future__ import annotations

import os
import time

from flask import Flask, Response
from mixed import LOOPS, burn

CALLS = os.environ.get("BENCH_CALLS", "")
WORK_SLEEP_S, LATE_S = 0.004, 0.5
KEPT = {"Cache-Control": "public, max-age=3600", "ETag": '"5d8c72a5edda8d6a"'}
SCANNED = [("Content-Type", "text/plain"), ("Content-Length", "1000"), ("Cache-Control", "max-age=3600")]
site = Flask(__name__)


def count():
    if CALLS:
        with open(CALLS, "ab", buffering=0) as file:
            file.write(b".")


@site.get("/")
def ready():
    return Response("ready", headers={"Cache-Control": "no-store"})


@site.get("/bytes/<int:size>")
def sized(size):
    return Response(b"x" * size, content_type="text/html; charset=utf-8", headers=KEPT)


@site.get("/work/<int:number>")
def work(number):
    """5 ms: 4 of sleep, as for a database, and 1 of CPU."""
    count()
    time.sleep(WORK_SLEEP_S)
    burn(LOOPS // 2)
    return Response(b"x" * 1000, content_type="text/html; charset=utf-8", headers=KEPT)


@site.get("/compute/<int:number>")
def compute(number):
    """5 ms of CPU."""
    count()
    burn(LOOPS * 5 // 2)
    return Response(b"x" * 1000, content_type="text/html; charset=utf-8", headers=KEPT)


@site.get("/late")
def late():
    count()
    time.sleep(LATE_S)
    return Response("late", headers={"Cache-Control": "max-age=1"})


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/scan/"):
        start_response("200 OK", SCANNED)
        return [b"x" * 1000]
    return site.wsgi_app(environ, start_response)
