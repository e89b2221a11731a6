"""The end of a response: where it is, and whether it is one. Pure.

A strict small reader (RFC 9112): what a browser would forgive is a bad response here, since a figure that counts it
as an answer would be a lie. Heads repeat, so what one says is remembered by the caller (`read_head` is pure).

Rules: `Reader` takes bytes as they come, keeps no body, and never reads past the end of the response; bytes after it
are an error, as nothing is pipelined. Head and chunk lines have limits.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of http.client: 100 lines of 64 KiB; of curl: 300 KiB in all. Real heads have 1 to 8 KiB."""
LINE_BYTES_MAX: Final = 4096

# status-line (RFC 9112 section 4): HTTP-version SP status-code SP [reason]; the second SP is often missing.
STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n")
# field-line (section 5): field-name ":" OWS field-value OWS; no obs-fold.
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*\r\n")
# chunk-size [chunk-ext] (section 7.1); sixteen digits are more than any body.
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")

UNTIL_CLOSE: Final = -1
CHUNKED: Final = -2


class BadResponse(Exception):
    """What came is no response, or not of HTTP/1."""


def read_head(head: bytes, headless: bool) -> tuple[int, int, bool]:
    """Status, length of the body (or UNTIL_CLOSE, CHUNKED) and whether the connection stays open.

    `head` ends with its empty line; `headless`: it answers HEAD (RFC 9112 section 6.3). Raises BadResponse.
    """
    status_line = STATUS.match(head)
    if status_line is None:
        raise BadResponse(f"no status line of HTTP/1: {head[:40]!r}")
    status = int(status_line[2])
    keep = status_line[1] == b"1"
    lengths: set[bytes] = set()
    codings: list[bytes] = []
    at, end = status_line.end(), len(head) - 2
    while at < end:
        field = FIELD.match(head, at)
        if field is None:
            raise BadResponse(f"no header field: {head[at : at + 40]!r}")
        at = field.end()
        name, value = field[1].lower(), field[2]
        if name == b"content-length":
            lengths.add(value)
        elif name == b"transfer-encoding":
            codings += value.lower().replace(b" ", b"").split(b",")
        elif name == b"connection":
            options = value.lower().replace(b" ", b"").split(b",")
            keep = b"close" not in options and (keep or b"keep-alive" in options)
    if len(lengths) > 1 or not all(value.isdigit() and len(value) <= 18 for value in lengths):
        raise BadResponse(f"Content-Length {b', '.join(sorted(lengths))!r}")
    if codings and (codings != [b"chunked"] or lengths):
        raise BadResponse("Transfer-Encoding that is not chunked, or beside Content-Length")
    if headless or status in (204, 304) or status < 200:
        return status, 0, keep
    if codings:
        return status, CHUNKED, keep
    if lengths:
        return status, int(lengths.pop()), keep
    return status, UNTIL_CLOSE, False


class Reader:
    """One response as it comes."""

    __slots__ = ("_buffer", "_headless", "_left", "_stage", "done", "keep", "status")

    def __init__(self, headless: bool) -> None:
        self.status = 0
        self.keep = False
        self.done = False
        self._headless = headless
        self._buffer = b""
        self._left = 0
        self._stage = "head"

    @property
    def until_close(self) -> bool:
        """The end of the connection ends this response, too."""
        return self._stage == "close"

    def feed(self, data: bytes) -> bool:
        """True when the response is whole. Raises BadResponse."""
        data = self._buffer + data
        self._buffer = b""
        while not self.done:
            stage = self._stage
            if stage == "body":
                if len(data) < self._left:
                    self._left -= len(data)
                    return False
                data = data[self._left :]
                self.done = True
            elif stage == "close":
                return False
            else:
                rest = self._feed_head(data) if stage == "head" else self._feed_chunked(data)
                if rest is None:
                    return False
                data = rest
        if data:
            raise BadResponse(f"bytes after its end: {data[:40]!r}")
        return True

    def _feed_head(self, data: bytes) -> bytes | None:
        """What is left after the head; None: more is needed."""
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            if len(data) > HEAD_BYTES_MAX:
                raise BadResponse(f"no end of its head in {HEAD_BYTES_MAX} bytes")
            if not b"HTTP/1."[: len(data)] == data[:7]:
                raise BadResponse(f"no status line of HTTP/1: {data[:40]!r}")
            self._buffer = data
            return None
        self.status, length, self.keep = read_head(data[:end], self._headless)
        if self.status < 200:
            if self.status == 101:
                raise BadResponse("it switches protocols, and nobody asked")
            return data[end:]  # an interim response; the final one follows
        self._stage = {CHUNKED: "size", UNTIL_CLOSE: "close"}.get(length, "body")
        self._left = length
        return data[end:]

    def _feed_chunked(self, data: bytes) -> bytes | None:
        """As `_feed_head`, for one part of a chunked body: a size, a chunk with its CRLF, or a trailer field."""
        if self._stage == "chunk":
            if len(data) < self._left:
                # All but the CRLF is passed over; that is checked in one piece.
                passed = min(len(data), self._left - 2)
                self._left -= passed
                self._buffer = data[passed:]
                return None
            if data[self._left - 2 : self._left] != b"\r\n":
                raise BadResponse("a chunk is longer than it says")
            self._stage = "size"
            return data[self._left :]
        end = data.find(b"\r\n")
        if end > LINE_BYTES_MAX or (end < 0 and len(data) > LINE_BYTES_MAX):
            raise BadResponse("a line of its chunks is too long")
        if end < 0:
            self._buffer = data
            return None
        line, rest = data[:end], data[end + 2 :]
        if self._stage == "trailer":
            if line and FIELD.fullmatch(line + b"\r\n") is None:
                raise BadResponse(f"no trailer field: {line[:40]!r}")
            self.done = not line
            return rest
        size = CHUNK.fullmatch(line)
        if size is None:
            raise BadResponse(f"no chunk size: {line[:40]!r}")
        self._left = int(size[1], 16) + 2
        self._stage = "chunk" if self._left > 2 else "trailer"
        return rest
