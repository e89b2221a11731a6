"""A route that computes: words that were seen already are looked for in a list, from its begin, for each word."""

from __future__ import annotations

import random

WORDS = [f"{random.Random(number).getrandbits(16):x}" for number in range(1100)]


def distinct(words: list[str]) -> list[str]:
    """In the order of their first sight."""
    seen: list[str] = []
    for word in words:
        if word not in seen:  # ILL: a list is searched from its begin
            seen.append(word)
    return seen


def scores(words: list[str]) -> str:
    """Work that has to be done."""
    return " ".join(f"{word}:{sum(map(ord, word * 24))}" for word in words)


def app(environ, start_response):
    offset = int(environ.get("QUERY_STRING") or 0) % len(WORDS)
    body = scores(distinct(WORDS[offset:] + WORDS[:offset])).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
