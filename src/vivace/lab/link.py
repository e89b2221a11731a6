"""One connection of a generator: its socket, and what is under way on it.

Rules: nothing here blocks, and nothing counts; `Link` has the state, the generator decides. A link is CLOSED,
CONNECTING, SHAKING (TLS), IDLE, WRITING or READING; only the last two and the connecting before them have a shot.
"""

from __future__ import annotations

import os
import socket
from errno import EINPROGRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext, SSLSocket
    from typing import Any, Final

    from vivace.lab.answer import Reader
    from vivace.lab.plan import Place
    from vivace.lab.prepared import Prepared

CLOSED: Final = 0
CONNECTING: Final = 1
SHAKING: Final = 2
IDLE: Final = 3
WRITING: Final = 4
READING: Final = 5


PROBE_S = 3.0


class Link:
    """A connection, or the place of one."""

    __slots__ = ("fd", "intended_s", "reader", "recv", "rest", "send", "sent_s", "shot", "sock", "state")

    def __init__(self) -> None:
        self.sock: Any = None
        self.fd = -1
        self.recv: Callable[[int], bytes]
        self.send: Callable[[bytes], int]
        self.state = CLOSED
        # Of the request under way.
        self.shot: Prepared | None = None
        self.intended_s = 0.0
        self.sent_s = 0.0
        self.rest = b""
        """What could not be written yet."""
        self.reader: Reader | None = None
        """An answer that did not come in one piece."""


class Dialer:
    """Opens links to one place. Its name is looked up once: the first address that listens is the one."""

    def __init__(self, place: Place) -> None:
        """Raises OSError if the name is not known, or nothing listens."""
        self._place = place
        if place.path:
            found: list[tuple[int, Any]] = [(socket.AF_UNIX, place.path)]
        else:
            names = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            found = [(family, address) for family, _, _, _, address in names]
        code = 0
        for self._family, self._address in found:
            # "localhost" may name ::1 first where only 127.0.0.1 is listened on.
            with socket.socket(self._family, socket.SOCK_STREAM) as probe:
                probe.settimeout(PROBE_S)
                code = probe.connect_ex(self._address)
            if not code:
                break
        else:
            raise OSError(code, os.strerror(code))
        self._tls = _tls(place.verify) if place.tls else None

    @property
    def blocked(self) -> tuple[type[OSError], ...]:
        """What a socket raises that has nothing now."""
        if self._tls is None:
            return (BlockingIOError,)
        from ssl import SSLWantReadError, SSLWantWriteError

        return (BlockingIOError, SSLWantReadError, SSLWantWriteError)

    def open(self, link: Link) -> None:
        """Begins to connect. Raises OSError when that fails at once."""
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if not self._place.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(self._address)
        if code not in (0, EINPROGRESS):
            sock.close()
            raise OSError(code, os.strerror(code))
        link.sock, link.fd = sock, sock.fileno()
        link.state = CONNECTING

    def on_connected(self, link: Link) -> None:
        """The link can be written to; after this it is IDLE or SHAKING. Raises OSError if the connection failed."""
        code = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if self._tls is None:
            self._ready(link)
            return
        wrapped: SSLSocket = self._tls.wrap_socket(
            link.sock, server_hostname=self._place.host, do_handshake_on_connect=False
        )
        link.sock = wrapped
        link.state = SHAKING

    def shake(self, link: Link) -> None:
        """One step of the handshake; IDLE when done. Raises one of `blocked`, or OSError."""
        link.sock.do_handshake()
        self._ready(link)

    def _ready(self, link: Link) -> None:
        link.recv, link.send = link.sock.recv, link.sock.send
        link.state = IDLE


def _tls(verify: bool) -> SSLContext:
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
