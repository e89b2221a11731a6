"""The chunked coding of a request body, decoded piece by piece (RFC 9112 section 7.1).

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

Rules:

1. Strict: lines end with CRLF, a size is 1*HEXDIG and nothing else, an extension follows its grammar. A reader in front
   that sees another end of the body than this one is how requests are smuggled.
2. Extensions are checked and ignored (RFC 9112 section 7.1.1). Trailers are checked and kept apart: merging them
   into the fields would let them pass checks made on the head (RFC 9110 section 6.5.1).
3. Everything is bounded: sizes, lines, extensions and trailers in all, the body.

States: SIZE -> DATA -> DATA_END -> SIZE ... -> TRAILERS -> DONE. After a Refused the decoder is useless.

Must not know: who asked, where the body goes.
"""

from __future__ import annotations

import re

from vivace.errors import Refused
from vivace.http1.fields import CONTROLS, TOKEN, is_token

SIZE_DIGITS_MAX = 16  # 64 bits
LINE_BYTES_MAX = 4096  # a size with its extensions, as in Go's net/http
EXTENSIONS_BYTES_MAX = 16384  # in all, as in Go's net/http (CVE-2023-39326)
TRAILERS_BYTES_MAX = 16384
TRAILERS_MAX = 100

_HEXDIGITS = b"0123456789abcdefABCDEF"
# Changes every byte that is no hexadecimal digit, to one that is; see fields.CONTROLS.
_OTHERS = bytes(byte if byte in _HEXDIGITS else ord("0") for byte in range(256))
# RFC 9112 section 7.1.1, BWS being what a recipient must accept (RFC 9110 section 5.6.3):
# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ); chunk-ext-val = token / quoted-string
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_EXTENSION = rf"(?:[ \t]*;[ \t]*{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|{_QUOTED}))?)+"

# RFC 9110 section 6.5.1: these would change what the message is.
_NEVER_TRAILERS = frozenset(("content-length", "transfer-encoding", "host", "trailer", "content-encoding"))

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """Decodes one chunked body."""

    __slots__ = ("_body_left", "_left", "_line", "_overhead", "_state", "done", "trailers")

    def __init__(self, body_bytes_max: int) -> None:
        self.done = False
        self.trailers: list[tuple[str, str]] = []
        self._state = _SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._line = b""  # an unfinished line
        self._overhead = 0  # bytes of extensions, then of trailers
        self._body_left = body_bytes_max

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """Decode `data`: (blocks of the body, bytes consumed).

        All of `data` is consumed unless the body ends in it: then `done` is true and the rest belongs to the next
        request. Raises Refused 400 (framing), 413 (the body is larger than allowed), 431 (extensions or trailers).
        """
        blocks: list[bytes] = []
        position = 0
        size = len(data)
        while position < size and self._state != _DONE:
            if self._state == _SIZE and not self._line:
                position = self._take_whole_chunks(data, position, blocks)
                if position == size:
                    break
            if self._state == _DATA:
                end = position + self._left
                if end > size:
                    blocks.append(data[position:] if position else data)
                    self._left = end - size
                    return blocks, size
                blocks.append(data[position:end])
                position = end
                self._state = _DATA_END
                continue
            newline = data.find(b"\n", position)
            end = size if newline < 0 else newline + 1
            line = self._line + data[position:end]
            position = end
            if newline < 0:
                self._check_unfinished(line)
                self._line = line
            else:
                self._line = b""
                self._on_line(line)
        return blocks, position

    def _take_whole_chunks(self, data: bytes, position: int, blocks: list[bytes]) -> int:
        """Append to `blocks` the chunks that are whole, without extensions and right; returns where they end.

        A fast way for what the states would do with them a step at a time, and nothing more: whatever is odd is left.
        """
        while True:
            end = data.find(b"\r\n", position, position + SIZE_DIGITS_MAX + 2)
            if end <= position:
                return position
            digits = data[position:end]
            if digits.translate(_OTHERS) != digits:
                return position
            size = int(digits, 16)
            begin = end + 2
            end = begin + size
            if not size or size > self._body_left or data[end : end + 2] != b"\r\n":
                return position
            self._body_left -= size
            blocks.append(data[begin:end])
            position = end + 2

    def _on_line(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise Refused(400, "a line of the chunked body does not end with CRLF (RFC 9112 section 7.1)")
        line = line[:-2]
        if self._state == _SIZE:
            self._on_size(line)
        elif self._state == _DATA_END:
            if line:
                raise Refused(400, "a chunk is longer than its size (RFC 9112 section 7.1)")
            self._state = _SIZE
        elif line:
            self._on_trailer(line)
        else:
            self._state = _DONE
            self.done = True

    def _check_unfinished(self, line: bytes) -> None:
        """Refuse a growing line as soon as it cannot become a good one; its last byte may be the CR of its end."""
        if self._state == _DATA_END and line != b"\r":
            raise Refused(400, "a chunk is longer than its size (RFC 9112 section 7.1)")
        if self._state == _SIZE:
            self._check_size_line(line[:1], len(line) - 1)
        if self._state == _TRAILERS:
            self._check_trailers(len(line) - 1)

    def _check_size_line(self, first: bytes, size: int) -> None:
        if first.translate(_OTHERS) != first:
            raise Refused(400, "a chunk size is not a hexadecimal number (RFC 9112 section 7.1)")
        if size > LINE_BYTES_MAX:
            raise Refused(431, "the extensions of a chunk are too large")

    def _check_trailers(self, size: int) -> None:
        if self._overhead + size > TRAILERS_BYTES_MAX:
            raise Refused(431, "the trailers are too large")

    def _on_size(self, line: bytes) -> None:
        digits = line
        if line.translate(_OTHERS) != line:
            self._check_size_line(line[:1], len(line))
            digits = line.partition(b";")[0].rstrip(b" \t")
            extension = line[len(digits) :]
            self._overhead += len(extension)
            if self._overhead > EXTENSIONS_BYTES_MAX:
                raise Refused(431, "the extensions of the chunks are too large")
            if (
                extension.translate(CONTROLS) != extension
                or re.fullmatch(_EXTENSION, extension.decode("latin-1")) is None
            ):
                raise Refused(400, "a chunk size or extension is malformed (RFC 9112 section 7.1)")
        if not digits or len(digits) > SIZE_DIGITS_MAX or digits.translate(_OTHERS) != digits:
            raise Refused(400, "a chunk size is not a hexadecimal number of 1 to 16 digits (RFC 9112 section 7.1)")
        size = int(digits, 16)
        if size == 0:
            self._state = _TRAILERS
            self._overhead = 0
            return
        self._body_left -= size
        if self._body_left < 0:
            raise Refused(413, "the body is larger than this server accepts")
        self._left = size
        self._state = _DATA

    def _on_trailer(self, line: bytes) -> None:
        self._check_trailers(len(line))
        if len(self.trailers) >= TRAILERS_MAX:
            raise Refused(431, f"there are more than {TRAILERS_MAX} trailers")
        self._overhead += len(line)
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or is_token(name) is None or line.translate(CONTROLS) != line:
            raise Refused(400, "a trailer is no field line (RFC 9112 section 5)")
        if name.lower() in _NEVER_TRAILERS:
            raise Refused(400, "a trailer delimits or routes the message (RFC 9110 section 6.5.1)")
        self.trailers.append((name, value.strip(" \t")))
