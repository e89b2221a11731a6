"""Six applications to tune, each with another need: `cpu`, `blocking`, `mixed`, `cacheable`, `hungry`, `tiny`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

TEXT = b"x" * 600
TABLE = [(number, str(number)) for number in range(300_000)]
"""Of `hungry`: some 40 MB that stay."""

Start = Callable[..., Any]


def _answer(start_response: Start, *fields: tuple[str, str]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(TEXT))), *fields])
    return [TEXT]


def _compute(rounds: int) -> int:
    return sum(number * number for number in range(rounds))


def cpu(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """A millisecond or so of Python."""
    _compute(15_000)
    return _answer(start_response)


def blocking(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """As with a database that takes 50 ms."""
    time.sleep(0.05)
    return _answer(start_response)


def mixed(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """By path: quick, computing, waiting."""
    path = environ["PATH_INFO"]
    if path == "/cpu":
        _compute(15_000)
    elif path == "/wait":
        time.sleep(0.02)
    return _answer(start_response)


def cacheable(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Computes what may be kept for a minute."""
    _compute(15_000)
    return _answer(start_response, ("Cache-Control", "public, max-age=60"))


def hungry(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Makes thousands of objects for each request, which live as long as it."""
    rows = [{"number": number, "text": text, "more": [number]} for number, text in TABLE[:4000]]
    assert rows[-1]["more"]
    return _answer(start_response)


def tiny(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Nothing but an answer."""
    return _answer(start_response)
