"""`wsgi.file_wrapper`: a file as a response body (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import io
import os
import stat

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

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
