"""`wsgi.file_wrapper`: a file as a response body (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

BLOCK_BYTES = 65536
"""What one read takes where the system cannot send the file itself; 8 KiB, the usual default, costs 8 times the calls."""


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
        """(descriptor, offset, bytes from there to the end) where the system can send it, else None."""
        try:
            fd = self.filelike.fileno()
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return None
            offset = self.filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None
        return fd, offset, max(0, status.st_size - offset)
