"""The content codings of this process: whole bodies, and streams whose every block can be decoded at once.

gzip is always there. Brotli is with `brotli`, Zstandard with Python 3.14 or `backports.zstd`, and gzip is three times
as fast with `isal`: what is installed is found by `find_codings`, when compression is turned on, and not before.

Each coding has

* `name`, as in Content-Encoding;
* `encode(body, level, pad)`: the coded body. `level` is 1 to 9, or DYNAMIC or STORED, which are the levels that
  docs/compression.md has measurements for. `pad`: its length is made to vary, where the format allows it;
* `stream(level)`: an object with `add(block)`, whose result lets the client decode all of `block`, and `finish()`;
* `slow_bytes(level)`: what is coded in a millisecond, roughly: longer bodies are better not coded on a loop's thread.

All of them may be called by any thread at once, and let go of the GIL while they compute. A stream belongs to one
thread at a time. Must not know HTTP: what may be coded is the `compressor`'s to say.
"""

from __future__ import annotations

import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Stream(Protocol):
        """One body, block by block."""

        def add(self, block: bytes) -> bytes:
            """The next block, coded; never empty unless `block` is."""

        def finish(self) -> bytes:
            """The end of the body."""

    class Coding(Protocol):
        """One content coding: see the module."""

        name: str

        def encode(self, body: bytes, level: int, pad: bool = False) -> bytes:
            """`body`, coded."""

        def stream(self, level: int) -> Stream:
            """For a body that comes in blocks."""

        def slow_bytes(self, level: int) -> int:
            """What takes about a millisecond."""


DYNAMIC, STORED = 0, -1
"""Levels: for a response that is sent once, and for one that is kept."""

GZIP = 31
"""zlib's `wbits`: 15 for a window of 32 KiB, 16 for gzip's head and trailer."""

PAD_BYTES_MAX = 100
"""Django's GZipMiddleware.max_random_bytes has the same."""

NAMED = b"\x08"
"""gzip's FLG.FNAME (RFC 1952 section 2.3.1)."""

IDLE_MAX = 4
"""Compressors of one level that wait for their next body: making a new one takes 10 us, keeping it some 0.8 MiB."""


class Gzip:
    """RFC 1952. `isal` stands for the module isal.isal_zlib, or None."""

    name = "gzip"

    def __init__(self, isal: Any = None) -> None:
        self._isal = isal

    def encode(self, body: bytes, level: int, pad: bool = False) -> bytes:
        module, level = self._choose(level)
        coded: bytes = module.compress(body, level, GZIP)
        return _padded(coded) if pad else coded

    def stream(self, level: int) -> Stream:
        module, level = self._choose(level)
        return GzipStream(module.compressobj(level, zlib.DEFLATED, GZIP))

    def slow_bytes(self, level: int) -> int:
        module, level = self._choose(level)
        if module is zlib:
            return 100_000 if level < 4 else 50_000
        return 350_000 if level < 3 else 130_000

    def _choose(self, level: int) -> tuple[Any, int]:
        """isal knows levels 0 to 3, which are about as good as zlib's 1 to 3."""
        if self._isal is not None and DYNAMIC <= level <= 3:
            return self._isal, level or 2
        return zlib, {DYNAMIC: 3, STORED: 6}.get(level, level)


class GzipStream:
    """A gzip member that is flushed after each block (Z_SYNC_FLUSH)."""

    __slots__ = ("_begun", "_encoder")

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._begun = False

    def add(self, block: bytes) -> bytes:
        coded: bytes = self._encoder.compress(block) + self._encoder.flush(zlib.Z_SYNC_FLUSH)
        if not self._begun:
            self._begun = True
            return _padded(coded)
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._encoder.flush()
        return coded


def _padded(coded: bytes) -> bytes:
    """What begins a gzip member, with a file name of random length in its head, which decoders skip ("Heal the Breach",
    Palacios et al., IEEE Access 2022): who measures lengths must ask many times more often."""
    if coded[:4] != b"\x1f\x8b\x08\x00":
        return coded
    length = int.from_bytes(os.urandom(2), "big") % PAD_BYTES_MAX
    return b"".join((coded[:3], NAMED, coded[4:10], b"a" * length, b"\0", coded[10:]))


class Brotli:
    """RFC 7932, by the module `brotli`."""

    name = "br"

    def __init__(self, module: Any) -> None:
        self._module = module

    def encode(self, body: bytes, level: int, pad: bool = False) -> bytes:
        # A window no larger than the body: with 4 MiB, level 9 takes ten times as long for a page of 20 KB.
        window = max(16, min(22, len(body).bit_length()))
        coded: bytes = self._module.compress(body, self._module.MODE_GENERIC, _brotli_level(level), window)
        return coded

    def stream(self, level: int) -> Stream:
        return BrotliStream(self._module.Compressor(self._module.MODE_GENERIC, _brotli_level(level), 18))

    def slow_bytes(self, level: int) -> int:
        return 70_000 if _brotli_level(level) < 5 else 40_000


def _brotli_level(level: int) -> int:
    # 4 is shorter than 2 and 3, and in a server quicker: those fill a large table, anew for each body. 10 and 11 take
    # 40 ms for a page of 20 KB, and 9 does for one of 100 KB.
    return min({DYNAMIC: 4, STORED: 6}.get(level, level), 8)


class BrotliStream:
    """A Brotli stream that is flushed after each block."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def add(self, block: bytes) -> bytes:
        coded: bytes = self._encoder.process(block) + self._encoder.flush()
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._encoder.finish()
        return coded


class Zstd:
    """RFC 8878, by the module `compression.zstd` or its backport. All levels that are used have windows of at most
    8 MiB, which is what clients must take (RFC 9659)."""

    name = "zstd"

    def __init__(self, module: Any) -> None:
        self._module = module
        self._idle: dict[int, list[Any]] = {}

    def encode(self, body: bytes, level: int, pad: bool = False) -> bytes:
        level = _zstd_level(level)
        idle = self._idle.setdefault(level, [])
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = self._module.ZstdCompressor(level=level)
        coded: bytes = compressor.compress(body, compressor.FLUSH_FRAME)
        if len(idle) < IDLE_MAX:
            idle.append(compressor)
        return coded

    def stream(self, level: int) -> Stream:
        # By itself it would take 800 KiB for as long as a stream lasts, for 0.1% less to send.
        of = self._module.CompressionParameter
        options = {of.compression_level: _zstd_level(level), of.window_log: 17, of.hash_log: 14, of.chain_log: 14}
        return ZstdStream(self._module.ZstdCompressor(options=options))

    def slow_bytes(self, level: int) -> int:
        return 220_000 if _zstd_level(level) < 5 else 60_000


def _zstd_level(level: int) -> int:
    return {DYNAMIC: 3, STORED: 7}.get(level, level)


class ZstdStream:
    """A frame that is flushed after each block."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def add(self, block: bytes) -> bytes:
        coded: bytes = self._encoder.compress(block, self._encoder.FLUSH_BLOCK)
        return coded

    def finish(self) -> bytes:
        coded: bytes = self._encoder.flush()
        return coded


def find_codings() -> dict[str, Coding]:
    """What this process can do, the server's favourite first: at DYNAMIC levels Zstandard makes a page of 20 KB shorter
    than zlib's gzip in half of its time, and Brotli shorter still, in twice. Imports what is installed."""
    found: list[Coding] = []
    zstd = _module("compression.zstd") if sys.version_info >= (3, 14) else _module("backports.zstd")
    if zstd is not None:
        found.append(Zstd(zstd))
    brotli = _module("brotli")
    if brotli is not None:
        found.append(Brotli(brotli))
    found.append(Gzip(_module("isal.isal_zlib")))
    return {coding.name: coding for coding in found}


def _module(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        return None
