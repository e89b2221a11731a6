"""What stands between the bytes on the wire and HTTP's: a PROXY header, TLS.

A filter belongs to one connection, as `conn.filter`. It has

* `receive(data)`: what `data`, read from the socket, means to HTTP; b"" where more has to come first. It may send, and
  may put another filter, or None, in its own place. Raises Refused, or PeerGone where nothing can be answered.

A connection whose filter has to hear from the client before HTTP may begin starts in the state OPENING, under a
deadline of its own (`expires`); the filter calls `opened` when it is satisfied. Only the owner of the connection calls
a filter. Connections without one pay nothing: those of a secure site are kept off the loop's fast path by their site.
"""

from __future__ import annotations

from vivace.connection.connection import IDLE, OPENING
from vivace.errors import PeerGone, Refused
from vivace.net.poller import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.ending import Ending


def through(server: Ending, conn: Connection, data: bytes) -> bytes:
    """`data` for HTTP, b"" if there is none yet or the connection has ended. Leader."""
    try:
        if found := conn.filter.receive(data):
            return bytes(found)
        if conn.state in (IDLE, OPENING):
            server.set_mode(conn, READ)  # it may be new, and unknown to the poller
    except Refused as refused:
        server.refuse(conn, refused.status, refused.detail, "refused")
    except PeerGone:
        # Where the client was told something it is read on for a moment, so that this is not lost to a reset.
        server.end(conn, conn.close_reason or ("handshake" if conn.state == OPENING else "client_early"))
    except Exception as error:
        server.on_bug(conn, error)
    return b""


def opened(conn: Connection, now: float, head_timeout_s: float) -> None:
    """HTTP may begin on `conn`. Owner."""
    conn.state = IDLE
    conn.expires = now + head_timeout_s
