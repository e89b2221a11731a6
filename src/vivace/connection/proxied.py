"""The filter that reads a PROXY protocol header off the front of a connection, and gives way to what follows it.

Rules:

* The header comes from a trusted proxy or the connection ends unanswered (`untrusted`): whoever may send one can say
  that he is anybody.
* From then on `conn.host` and `conn.port` are those of the header's client, and so is everything that follows from
  them: the environ, the site (whether fields of *that* address are believed), the log. Where the header names nobody
  (a health check of the proxy's own), they stay the proxy's.
* A wrong header is refused as HTTP would be, 400, unless something other than HTTP (TLS) is to follow.

Called by the leader only.
"""

from __future__ import annotations

from vivace.connection.filters import opened
from vivace.connection.meter import clock
from vivace.errors import PeerGone, Refused
from vivace.http1.proxy_header import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.site import Site


class HeaderRules:
    """What the headers at one listener are subject to, and what follows them."""

    __slots__ = ("head_timeout_s", "on_untrusted", "then", "then_timeout_s", "trusted")

    def __init__(
        self,
        trusted: Callable[[str], bool],
        on_untrusted: Callable[[str], None],
        *,
        head_timeout_s: float,
        then: Callable[[Connection], Any] | None = None,
        then_timeout_s: float = 0.0,
    ) -> None:
        """`trusted` and `on_untrusted` take a peer's address. `then` makes the filter that follows, with its own
        deadline; None: plain HTTP follows."""
        self.trusted = trusted
        self.on_untrusted = on_untrusted
        self.head_timeout_s = head_timeout_s
        self.then = then
        self.then_timeout_s = then_timeout_s


class HeaderFilter:
    """Reads the header of one connection (see `filters`)."""

    __slots__ = ("_buffer", "_conn", "_rules")

    def __init__(self, conn: Connection, rules: HeaderRules) -> None:
        self._conn = conn
        self._rules = rules
        self._buffer = b""

    def receive(self, data: bytes) -> bytes:
        """What follows the header; b"" while it is not complete. Raises Refused, PeerGone."""
        conn, rules = self._conn, self._rules
        if not rules.trusted(conn.host):
            conn.close_reason = "untrusted"
            rules.on_untrusted(conn.host)
            raise PeerGone
        self._buffer += data
        try:
            found = read_header(self._buffer)
        except Refused:
            if rules.then is not None:
                raise PeerGone from None
            raise
        if found is None:
            return b""
        client, size = found
        rest, self._buffer = self._buffer[size:], b""
        if client.host is not None and client.port is not None:
            place(conn, client.host, client.port, tls=client.tls)
        now = clock()
        if rules.then is None:
            conn.filter = None
            opened(conn, now, rules.head_timeout_s)
            return rest
        conn.expires = now + rules.then_timeout_s
        following = conn.filter = rules.then(conn)
        return bytes(following.receive(rest)) if rest else b""


def place(conn: Connection, host: str, port: str, *, tls: bool) -> None:
    """`conn` is the connection of the client at `host` from now on; `tls`: which reached its proxy by TLS."""
    conn.host = host
    conn.port = port
    site: Site = conn.site
    if site.for_client is not None:
        site = conn.site = site.for_client(host, tls)
        if not site.secure:
            conn.memo = site.memo
