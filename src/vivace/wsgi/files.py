"""Files as response bodies: `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"), and parts of
one file with bytes between them."""

from __future__ import annotations

import io
import os
import stat

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Piece = bytes | tuple[int, int]
    """Bytes as they are, or (offset, bytes) of a file."""

BLOCK_BYTES = 65536
"""What one read takes where the system cannot send the file itself; 8 KiB, the usual default, costs 8 times the
calls."""


PLAIN_READS = (io.FileIO.read, io.BufferedReader.read, io.BufferedRandom.read)
READINTO = io.FileIO.readinto


class FileWrapper:
    """Iterates over `filelike` in blocks; what has a descriptor of a regular file is sent by `os.sendfile`."""

    def __init__(self, filelike: Any, blksize: int = BLOCK_BYTES) -> None:
        self.filelike = filelike
        self.blksize = max(blksize, BLOCK_BYTES)
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.blksize)
        if block:
            return block
        raise StopIteration

    def region(self) -> tuple[int, int, int] | None:
        """(descriptor, offset, bytes from there to the end) where the system can send it, else None.

        Only where reading is known to give the descriptor's own bytes: the object that reads must be a plain file. A
        GzipFile has a `fileno` as well, of other bytes.
        """
        read = getattr(self.filelike, "read", None)
        file: Any = getattr(
            getattr(read, "__wrapped__", read), "__self__", None
        )  # tempfile wraps the methods of a file
        raw = file.raw if isinstance(file, io.BufferedReader | io.BufferedRandom) else file
        if not isinstance(raw, io.FileIO) or type(file).read not in PLAIN_READS or type(raw).readinto is not READINTO:
            return None
        try:
            fd = raw.fileno()
            status = os.fstat(fd)
            offset = file.tell()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            return None  # files of size 0 may have content (proc(5)), and cost nothing to read if they have none
        return fd, offset, max(0, status.st_size - offset)

    def pieces(self) -> tuple[int, list[Piece]] | None:
        """(descriptor, what is sent of it) where the system can send it, else None."""
        region = self.region()
        return None if region is None else (region[0], [region[1:]])


class FileParts:
    """A body whose pieces are known: of one open, regular file, at least one, and bytes of any kind between them."""

    __slots__ = ("_fd", "_pieces", "close")

    def __init__(self, fd: int, pieces: list[Piece], close: Callable[[], None]) -> None:
        """`close` is called once, when the last piece is out or cannot be sent."""
        self._fd = fd
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        """The same by reading, for whoever stands between the server and this."""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            offset, left = piece
            while left and (block := os.pread(self._fd, min(left, BLOCK_BYTES), offset)):
                yield block
                offset += len(block)
                left -= len(block)

    def pieces(self) -> tuple[int, list[Piece]]:
        """As `FileWrapper.pieces`."""
        return self._fd, self._pieces
