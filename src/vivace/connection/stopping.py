"""The graceful end: nobody new, the idle go, the others are waited for. By the leader, a turn at a time."""

from __future__ import annotations

import os

from vivace.connection.connection import IDLE, OPENING
from vivace.connection.reading import READ_BYTES
from vivace.net.poller import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.loop import Loop

FIRST_REQUEST_S = 0.5
"""When the server stops, a connection that has sent nothing yet is given so long for its first request."""

IDLE_GRACE_S = 2.0
"""Where others serve on and an idle connection cannot be passed on to them (`sharing`), it is given so long for one
more request, which is answered with `Connection: close`: closing it at once would meet the request that is on its
way."""


def stop_turn(loop: Loop, now: float) -> None:
    """One turn towards the end; sets `loop.done` when no connection is left."""
    loop.sweeper.begin_stopping(now)
    try:
        loop.acceptor.close()
    except OSError as error:  # somebody else closed the listening socket
        loop.plan.on_error(error)
    for conn in list(loop.conns.values()):
        if conn.state == OPENING:
            conn.expires = min(conn.expires, now + FIRST_REQUEST_S)
            continue
        if conn.state != IDLE or conn.mode != READ:
            continue
        if loop.gentle and loop.acceptor.let_go(conn):
            continue
        if loop.gentle:
            conn.expires = min(conn.expires, now + IDLE_GRACE_S)
        elif conn.route is None:  # it was never used: its first request may be on the way
            conn.expires = min(conn.expires, now + FIRST_REQUEST_S)
        else:
            _close_idle(loop, conn, now)
    if not loop.conns:
        loop.done = True


def _close_idle(loop: Loop, conn: Connection, now: float) -> None:
    """Closes between requests; a request that is already in the socket's buffer is still served first."""
    try:
        data = os.read(conn.fd, READ_BYTES)
    except BlockingIOError:
        loop.close(conn, "stopping")
        return
    except OSError:
        data = b""
    loop.on_data(conn, data, [], now)
