"""The wire corpus: requests byte for byte, each with what must become of it. The files are tests/wire/*.wire:

    === name of the case
    POST /a?b HTTP/1.1\\r\\n
    Host: x\\r\\n
    Content-Length: 5\\r\\n
    \\r\\n
    hello
    --- served
    PATH_INFO = /a
    HTTP_COOKIE absent
    body = hello
    closes

The lines between === and --- are joined without their line ends: those on the wire are written \\r\\n. Escapes are
\\r \\n \\t \\\\ and \\xHH; {A*9000} stands for 9000 times A. A line that begins with # is a comment. After `--- refused
400` (a status, and the connection closes) nothing more is said. After `--- served` follow environ keys with their
values, keys that must be absent, `body` (empty if not given), `closes` if the connection does not persist, and
`expects` if the client waits for 100 (Continue).

The files attack_*.wire hold what was described as an attack; each case says where, in a comment `# source: ...`.

`load()` gives the cases. `exchange()` feeds one to http1 alone, in pieces, the way a connection does; the tests of
`connection` feed the same cases to a real server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vivace.errors import Refused
from vivace.http1.chunked import ChunkedDecoder
from vivace.http1.head import CHUNKED, CLOSE, EXPECTS, HeadLimits, incomplete_head, parse_head

FOLDER = Path(__file__).parent / "wire"
BODY_BYTES_MAX = 1 << 20  # of the servers that are fed the corpus
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[rnt\\])|\{(.)\*([0-9]+)\}", re.DOTALL)
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


class Case(NamedTuple):
    """One request and what must become of it."""

    name: str
    request: bytes
    status: int  # of the refusal; 0: served
    environ: dict[str, str]  # keys and values that environ must have
    absent: tuple[str, ...]  # keys that it must not have
    body: bytes
    closes: bool
    expects: bool


class Outcome(NamedTuple):
    """What became of the first request of a stream."""

    status: int  # of the refusal; 0: served; -1: not whole yet
    environ: dict[str, Any]
    body: bytes
    closes: bool
    expects: bool
    rest: bytes  # what follows it


def load() -> list[Case]:
    """All cases, in the order of files and lines."""
    sections = [
        (path.stem, section)
        for path in sorted(FOLDER.glob("*.wire"))
        for section in re.split(r"^=== ", path.read_text("ascii"), flags=re.MULTILINE)[1:]
    ]
    return [_case(stem, section) for stem, section in sections]


def _case(stem: str, section: str) -> Case:
    name, *lines = [line for line in section.splitlines() if not line.startswith("#")]
    verdict = next(index for index, line in enumerate(lines) if line.startswith("--- "))
    request = _unescape("".join(lines[:verdict])).encode("latin-1")
    environ: dict[str, str] = {}
    absent = []
    body = b""
    words = lines[verdict].split()
    expected = [line for line in lines[verdict + 1 :] if line.strip()]
    if words[1] == "refused":
        if expected or len(words) != 3:
            raise ValueError(f"{stem}: {name}: a refusal says its status and no more")
        return Case(f"{stem}: {name}", request, int(words[2]), {}, (), b"", True, False)
    for line in expected:
        key, equals, value = line.partition(" =")
        if equals and key == "body":
            body = _unescape(value[1:]).encode("latin-1")
        elif equals:
            environ[key] = _unescape(value[1:])
        elif line.endswith(" absent"):
            absent.append(line.split()[0])
        elif line not in ("closes", "expects"):
            raise ValueError(f"{stem}: {name}: what does {line!r} mean?")
    return Case(
        f"{stem}: {name}", request, 0, environ, tuple(absent), body, "closes" in expected, "expects" in expected
    )


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        escape, repeated, times = match.groups()
        if repeated:
            return str(repeated) * int(times)
        return _ESCAPES.get(escape) or chr(int(escape[1:], 16))

    return _ESCAPE.sub(one, text)


def exchange(pieces: Iterable[bytes], limits: HeadLimits | None = None) -> Outcome:
    """Feed a stream to http1 piece by piece, until the first request is whole or refused.

    Pieces that follow are joined to `rest`, unread.
    """
    stream = iter(pieces)
    environ: dict[str, Any] = {}
    try:
        buffer, length, flags = _head(stream, environ, limits or HeadLimits())
        if length == CHUNKED:
            body, buffer = _chunked(stream, buffer)
        else:
            while len(buffer) < length:
                buffer += _next(stream)
            body, buffer = buffer[:length], buffer[length:]
    except Refused as refused:
        return Outcome(refused.status, environ, b"", True, False, b"")
    except EOFError:
        return Outcome(-1, environ, b"", False, False, b"")
    return Outcome(0, environ, body, bool(flags & CLOSE), bool(flags & EXPECTS), buffer + b"".join(stream))


def _head(stream: Iterator[bytes], environ: dict[str, Any], limits: HeadLimits) -> tuple[bytes, int, int]:
    """(what follows the head, length, flags)."""
    buffer = b""
    skipped = False
    for piece in stream:
        buffer += piece
        if not skipped and buffer[:2] == b"\r\n":
            buffer = buffer[2:]
            skipped = True
        end = buffer.find(b"\r\n\r\n")
        if end >= 0:
            length, flags = parse_head(buffer[: end + 4], environ, limits)
            return buffer[end + 4 :], length, flags
        if buffer:
            incomplete_head(buffer, limits)
    raise EOFError


def _chunked(stream: Iterator[bytes], buffer: bytes) -> tuple[bytes, bytes]:
    """(body, what follows it)."""
    decoder = ChunkedDecoder(BODY_BYTES_MAX)
    body = []
    while True:
        blocks, consumed = decoder.feed(buffer)
        body += blocks
        if decoder.done:
            return b"".join(body), buffer[consumed:]
        buffer = _next(stream)


def _next(stream: Iterator[bytes]) -> bytes:
    for piece in stream:
        return piece
    raise EOFError
