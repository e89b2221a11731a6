"""A request body that is arriving: what delimits it, and where it goes. Knows no connection."""

from __future__ import annotations

from vivace.http1.chunked import ChunkedDecoder
from vivace.http1.framing import CHUNKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.wsgi.body import Spool


class Incoming:
    """A body that is arriving: its framing, and where it goes."""

    __slots__ = ("_decoder", "_left", "done", "promised", "received", "spool", "started")

    def __init__(self, length: int, body_bytes_max: int, spool: Spool | None, started: float) -> None:
        self._decoder = ChunkedDecoder(body_bytes_max) if length == CHUNKED else None
        self._left = length
        self.spool = spool
        self.done = False
        self.promised = False
        """The client waits for 100 Continue, which was not sent yet."""
        self.started = started
        self.received = 0

    @property
    def chunked(self) -> bool:
        """Whether the client does not say how long it is."""
        return self._decoder is not None

    def decode(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        """Blocks of the body in `data` from `at`, and where the body stopped in it. Raises Refused."""
        if self._decoder is not None:
            blocks, used = self._decoder.feed(data[at:] if at else data)
            self.done = self._decoder.done
            self.received += used
            return blocks, at + used
        count = min(self._left, len(data) - at)
        self._left -= count
        self.done = self._left == 0
        self.received += count
        return [data[at : at + count]], at + count
