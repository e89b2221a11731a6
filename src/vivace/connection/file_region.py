"""A part of a file on its way to a client: what a connection keeps of it."""

from __future__ import annotations

import os
import socket

from vivace.errors import PeerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.wsgi.exchange import Closer

MORE = getattr(socket, "MSG_MORE", 0)


class FileRegion:
    """The rest of a part of a file that is still to be sent; `file.close()` is called when it is, or when it cannot be.

    `file`: None of all parts of a file but the last."""

    __slots__ = ("_own", "closed", "count", "fd", "file", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self._own = False
        self.closed = False
        self.file: Closer | None = None
        self.fd = fd
        self.offset = offset
        self.count = count

    def hold(self) -> None:
        """Keeps the descriptor, whoever closes the file meanwhile (it may be the request's own body)."""
        try:
            self.fd = os.dup(self.fd)
            self._own = True
        except OSError:
            pass  # out of descriptors: then it has to do without

    def close(self) -> None:
        """The end, in either way."""
        if self._own:
            self._own = False
            os.close(self.fd)
        self.closed = True
        if self.file is not None:
            self.file.close()


def send_more(fd: int, data: Any) -> int:
    """What one system call takes of `data`, which a part of a file follows: they share a packet. Raises PeerGone.

    A packet for the head alone wakes the client twice and costs nearly what 100 KB of a file do (tcp(7): MSG_MORE).
    """
    sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)  # of any family: it is only written to
    try:
        return sock.send(data, MORE)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise PeerGone from error
    finally:
        sock.detach()
