"""`wsgi.input`: a request body that was collected before the application is called, or one read as it arrives.

Small bodies stay in memory, larger ones go to a temporary file, so that a slow upload holds neither a thread nor much
memory. All of them are files of the standard library's own kinds (`BytesIO`, `BufferedReader`): `read`, `readline`,
`readlines` and iteration end at the end of the body (`wsgi.input_terminated`).

Must not know sockets: a stream gets its blocks from a function.
"""

from __future__ import annotations

import io

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO


class EmptyInput(io.RawIOBase):
    """The body of a request that has none. One object serves every such request: it keeps no state."""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        return b""

    def readall(self) -> bytes:
        return b""

    def readline(self, size: int | None = -1, /) -> bytes:
        return b""

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        return []

    def readinto(self, buffer: Any, /) -> int:
        return 0

    def __next__(self) -> bytes:
        raise StopIteration

    def close(self) -> None:
        """Does nothing: the next request needs it open."""


EMPTY = EmptyInput()


class Spool:
    """Collects a body: in memory up to `memory_bytes_max`, beyond that in an unnamed temporary file."""

    __slots__ = ("_blocks", "_file", "_memory_bytes_max", "_spill_dir", "size")

    def __init__(self, memory_bytes_max: int, spill_dir: str) -> None:
        self.size = 0
        self._blocks: list[bytes] = []
        self._file: BinaryIO | None = None
        self._memory_bytes_max = memory_bytes_max
        self._spill_dir = spill_dir

    def add(self, block: bytes) -> None:
        """Takes the next bytes of the body; raises OSError where the disk does not take them."""
        self.size += len(block)
        if self._file is not None:
            self._file.write(block)
            return
        self._blocks.append(block)
        if self.size > self._memory_bytes_max:
            import tempfile

            self._file = tempfile.TemporaryFile(dir=self._spill_dir or None, prefix="vivace-body-")
            for kept in self._blocks:
                self._file.write(kept)
            self._blocks.clear()

    def finish(self) -> BinaryIO:
        """The whole body, to be read from its start."""
        if self._file is None:
            blocks = self._blocks
            return io.BytesIO(blocks[0] if len(blocks) == 1 else b"".join(blocks))
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Lets go of what was collected."""
        self._blocks.clear()
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # what a full disk has not taken is not missed any more; the descriptor is closed all the same


class BodyStream(io.RawIOBase):
    """A body read while it arrives. `receive()` returns the next block, b"" at the end, and may wait or raise."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        super().__init__()
        self._receive = receive
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        block = self._left or self._receive()
        count = min(len(block), len(buffer))
        buffer[:count] = block[:count]
        self._left = block[count:]
        return count


def stream_input(receive: Callable[[], bytes]) -> io.BufferedReader:
    """A body read while it arrives, with every method that PEP 3333 asks of `wsgi.input`."""
    return io.BufferedReader(BodyStream(receive), 65536)
