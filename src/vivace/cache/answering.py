"""What a client gets of an entry: the whole, a part of it, or that it has it already (RFC 9111 section 4). Pure.

Rules:

1. The fields of a 200 are those of the entry, and Age. They are made once for each second of its age.
2. A coding changes the body and says so: Content-Encoding, Vary, and a strong ETag becomes a weak one (RFC 9110
   section 8.8.1), since the bytes are others.
3. A range is one of the entry as it was stored, so it is answered without a coding.
4. A HEAD gets the fields of the whole; leaving the body out is the caller's.

Must not know: whether the entry may be used (`policy`).
"""

from __future__ import annotations

from vivace.cache.entry import NEGOTIATED
from vivace.http1.coded_head import coded, weak
from vivace.http1.preconditions import evaluate, range_applies
from vivace.http1.ranges import content_range, multipart, read_ranges, unsatisfied_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cache.entry import Entry
    from vivace.cache.wish import Wish

    Headers = list[tuple[str, str]]
    Answer = tuple[str, Headers, bytes]

# RFC 9110 section 15.4.5: what a 304 carries; with Age, and what tells caches behind how long (RFC 9213).
_OF_304 = frozenset(("cache-control", "cdn-cache-control", "content-location", "date", "etag", "expires", "vary"))
_OF_THE_WHOLE = frozenset(("content-length", "content-md5", "content-digest", "digest"))


def answer(entry: Entry, wish: Wish, environ: dict[str, Any], now: float, coding: str = "") -> Answer:
    """(status, headers, body). The headers are shared between answers: a caller that adds to them makes a new list."""
    age_s = int(now - entry.born_s)
    if not coding and not wish.partial:
        if age_s == entry.answered_age and entry.answered is not None:
            return entry.answered
        whole = _whole(entry, age_s, "")
        entry.answered, entry.answered_age = whole, age_s
        return whole
    # RFC 9110 section 13.2.1: conditions are for what would be a 2xx
    if wish.partial and entry.status[:1] == "2":
        return _partial(entry, wish, environ, age_s, coding)
    return _whole(entry, age_s, coding)


def _age(age_s: int) -> tuple[str, str]:
    return ("Age", str(max(0, age_s)))


def _whole(entry: Entry, age_s: int, coding: str) -> Answer:
    headers = [*entry.headers, _age(age_s)]
    body = entry.body
    if coding:
        body = entry.coded[coding]
        headers = coded(headers, coding)
    if coding or entry.flags & NEGOTIATED:
        _vary(headers, entry)
    return entry.status, headers, body


def _vary(headers: Headers, entry: Entry) -> None:
    if "accept-encoding" not in entry.vary:
        headers.append(("Vary", "Accept-Encoding"))


def _partial(entry: Entry, wish: Wish, environ: dict[str, Any], age_s: int, coding: str) -> Answer:
    # RFC 9111 section 4.3.2: without Last-Modified, Date stands in for it
    modified_s = entry.date_s if entry.modified_s is None else entry.modified_s
    outcome = evaluate(environ, entry.etag, modified_s)
    if outcome == 304:
        if coding or age_s != entry.answered_age_304:
            headers = _fields_of_304(entry, age_s, coding)
            if coding:
                return "304 Not Modified", headers, b""
            entry.answered_304, entry.answered_age_304 = headers, age_s
        return "304 Not Modified", entry.answered_304, b""
    if outcome == 412:
        return "412 Precondition Failed", [("Content-Type", "text/plain")], b"the precondition failed\n"
    if wish.ranged and entry.status[:3] == "200" and environ["REQUEST_METHOD"] == "GET":
        parts = read_ranges(environ["HTTP_RANGE"], len(entry.body))
        if parts is not None and range_applies(environ, entry.etag, entry.modified_s):
            return _ranged(entry, parts, age_s)
    return _whole(entry, age_s, coding)


def _fields_of_304(entry: Entry, age_s: int, coding: str) -> Headers:
    wanted = _OF_304 if entry.etag else _OF_304 | {"last-modified"}
    headers = [pair for pair in entry.headers if pair[0].lower() in wanted]
    if coding:
        headers = [(name, weak(value)) if name.lower() == "etag" else (name, value) for name, value in headers]
    headers.append(_age(age_s))
    if coding or entry.flags & NEGOTIATED:
        _vary(headers, entry)
    return headers


def _ranged(entry: Entry, parts: list[tuple[int, int]], age_s: int) -> Answer:
    size = len(entry.body)
    if not parts:
        headers = [("Content-Range", unsatisfied_range(size)), ("Content-Type", "text/plain")]
        return "416 Range Not Satisfiable", headers, b"there is no such range\n"
    headers = [pair for pair in entry.headers if pair[0].lower() not in _OF_THE_WHOLE]
    headers.append(_age(age_s))
    if entry.flags & NEGOTIATED:
        _vary(headers, entry)
    if len(parts) == 1:
        first, last = parts[0]
        headers.append(("Content-Range", content_range(first, last, size)))
        return "206 Partial Content", headers, entry.body[first : last + 1]
    media = next((value for name, value in headers if name.lower() == "content-type"), "")
    # RFC 2046 section 5.1.1: a boundary must not stand in a part.
    boundary = f"{int(entry.stored_s):x}{size:x}"
    while boundary.encode() in entry.body:
        boundary += "0"
    media, heads, end = multipart(parts, size, media, boundary)
    headers = [pair for pair in headers if pair[0].lower() != "content-type"]
    headers.append(("Content-Type", media))
    pieces: list[bytes] = []
    for head, (first, last) in zip(heads, parts, strict=True):
        pieces += (head, entry.body[first : last + 1])
    return "206 Partial Content", headers, b"".join([*pieces, end])
