"""`quadratic`, cured: a dict knows at once whether it has a word, and keeps the order."""

from __future__ import annotations

import random

WORDS = [f"{random.Random(number).getrandbits(16):x}" for number in range(1100)]


def distinct(words: list[str]) -> list[str]:
    """In the order of their first sight."""
    return list(dict.fromkeys(words))


def scores(words: list[str]) -> str:
    """Work that has to be done."""
    return " ".join(f"{word}:{sum(map(ord, word * 24))}" for word in words)


def app(environ, start_response):
    offset = int(environ.get("QUERY_STRING") or 0) % len(WORDS)
    body = scores(distinct(WORDS[offset:] + WORDS[:offset])).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
