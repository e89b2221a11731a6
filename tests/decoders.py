"""Decoders of the content codings, for tests: `decode` a whole body, or `decoder` for blocks as they come.

gzip is decoded by zlib. Others by what an installed package has, which is not what made them a stream.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any


class Gunzip:
    """Call it with what came; it returns what can be known of the body. `ended`: the end of the body was in it."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(31)

    def __call__(self, data: bytes) -> bytes:
        return self._decoder.decompress(data)

    @property
    def ended(self) -> bool:
        assert not self._decoder.unused_data, "bytes behind the end"
        return self._decoder.eof


class Unbrotli:
    """The same for br."""

    def __init__(self) -> None:
        import brotli

        self._decoder = brotli.Decompressor()

    def __call__(self, data: bytes) -> bytes:
        return bytes(self._decoder.process(data)) if data else b""

    @property
    def ended(self) -> bool:
        return bool(self._decoder.is_finished())


class Unzstd:
    """The same for zstd."""

    def __init__(self) -> None:
        zstd: Any
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        self._decoder = zstd.ZstdDecompressor()

    def __call__(self, data: bytes) -> bytes:
        return bytes(self._decoder.decompress(data)) if data else b""

    @property
    def ended(self) -> bool:
        return bool(self._decoder.eof)


DECODERS: dict[str, Any] = {"gzip": Gunzip, "br": Unbrotli, "zstd": Unzstd}


def decoder(coding: str) -> Any:
    """A decoder of one body."""
    return DECODERS[coding]()


def decode(coding: str | None, data: bytes) -> bytes:
    """A whole body; raises where it is not whole, or more than that."""
    if not coding:
        return data
    reader = decoder(coding)
    body: bytes = reader(data)
    assert reader.ended, "the body is not whole"
    return body
