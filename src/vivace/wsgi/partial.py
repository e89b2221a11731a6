"""A file that the application answers 200 with, for a client that wants a part of it or has it already (RFC 9110
sections 13 and 14).

Rules:

* Only for GET and HEAD, and only where the application has not dealt with it: one that says Accept-Ranges, or has
  answered with anything but 200, has. So nothing is evaluated twice.
* A condition counts against the ETag and Last-Modified that the application gave. Without them there is none, and a
  Range without If-Range is still answered.
* The representation is what the application would send: from where its file stands, as long as its Content-Length.

Imported with the first such file. Must not know: sockets, settings, the clock: now is the Date of the response.
"""

from __future__ import annotations

import os

from vivace.http1.dates import read_date
from vivace.http1.framing import LENGTH_DIGITS_MAX
from vivace.http1.preconditions import evaluate, range_applies
from vivace.http1.ranges import content_range, multipart, read_ranges, unsatisfied_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.wsgi.files import Piece

    Headers = list[tuple[str, str]]
    Narrowed = tuple[str, Headers, list[Piece]]
    """Status, headers, and what is sent; the last without a file in it where the answer needs none."""

_OF_THE_BODY = ("content-length", "content-type", "content-encoding", "content-language")
"""What is not true of another body than the representation. RFC 9110 section 15.4.5: 304 leaves it out."""


def narrow(environ: dict[str, Any], status: str, headers: Any, pieces: list[Piece], date: bytes) -> Narrowed:
    """What to answer in place of `status`, 200, with `headers` and the one piece. `date`: the line of the response."""
    offset, size = pieces[0]
    method = environ.get("REQUEST_METHOD")  # the application may have emptied it
    whole = (status, headers, pieces)
    if (method != "GET" and method != "HEAD") or type(headers) is not list:
        return whole
    fields = _read(headers)
    if fields is None or "accept-ranges" in fields or "content-range" in fields:
        return whole
    told = fields.get("content-length", "")
    if told:
        if not told.isdecimal() or len(told) > LENGTH_DIGITS_MAX or int(told) > size:
            return whole  # the application is told that this is wrong
        size = int(told)
    etag, modified = fields.get("etag", ""), fields.get("last-modified")
    modified_s = None if modified is None else read_date(modified)
    outcome = evaluate(environ, etag, modified_s) if etag or modified_s is not None else 0
    if outcome == 304:
        return "304 Not Modified", _without(headers, _OF_THE_BODY), [b""]
    if outcome == 412:
        return _told("412 Precondition Failed", headers)
    headers = [*headers, ("Accept-Ranges", "bytes")]
    text = environ.get("HTTP_RANGE")
    if text is None or method != "GET" or not range_applies(environ, etag, modified_s, _now(date)):
        return status, headers, pieces
    parts = read_ranges(text, size)
    if parts is None:
        return status, headers, pieces
    if not parts:
        return _told("416 Range Not Satisfiable", headers, ("Content-Range", unsatisfied_range(size)))
    return _part(headers, parts, offset, size, fields.get("content-type", ""))


def _part(headers: Headers, parts: list[tuple[int, int]], offset: int, size: int, content_type: str) -> Narrowed:
    """206, with one part of the file or several (RFC 9110 section 15.3.7)."""
    chosen: list[Piece] = []
    if len(parts) == 1:
        first, last = parts[0]
        length = last - first + 1
        headers = _without(headers, ("content-length",))
        headers.append(("Content-Range", content_range(first, last, size)))
        chosen.append((offset + first, length))
    else:
        content_type, heads, closing = multipart(parts, size, content_type, os.urandom(15).hex())
        headers = _without(headers, ("content-length", "content-type"))
        headers.append(("Content-Type", content_type))
        for head, (first, last) in zip(heads, parts, strict=True):
            chosen += (head, (offset + first, last - first + 1))
        chosen.append(closing)
        length = sum([len(piece) if isinstance(piece, bytes) else piece[1] for piece in chosen])
    headers.append(("Content-Length", str(length)))
    return "206 Partial Content", headers, chosen


def _told(status: str, headers: Headers, *more: tuple[str, str]) -> Narrowed:
    """A failure, with a body that says so."""
    text = ("Content-Type", "text/plain; charset=utf-8")
    return status, [*_without(headers, _OF_THE_BODY), text, *more], [f"{status[4:]}\n".encode()]


def _read(headers: Headers) -> dict[str, str] | None:
    """Name in lower case -> value; None where these are no headers, which the encoder tells the application."""
    try:
        return {name.lower(): value.strip(" \t") for name, value in headers}
    except (AttributeError, TypeError, ValueError):
        return None


def _without(headers: Headers, names: tuple[str, ...]) -> Headers:
    return [header for header in headers if header[0].lower() not in names]


def _now(date: bytes) -> float | None:
    """The time of a Date line."""
    return read_date(date[6:-2].decode("latin-1"))
