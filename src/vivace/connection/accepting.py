"""New connections: accepted while there is room, and read at once, because most clients have sent their request
already.

Rules:

* Above `connections_max`, and when the system is out of descriptors or memory, the longest idle connections are
  closed to make
  room; where none is idle the listeners are left alone until a connection closes. Nobody is accepted and then dropped.
* `accept` can fail for reasons that are not the listener's (a client gone again, EMFILE): none of them stops the loop.

Called by the leader only.
"""

from __future__ import annotations

import errno
import os

from vivace.connection.connection import IDLE, Connection, wait_readable
from vivace.connection.meter import clock
from vivace.connection.reading import READ_BYTES
from vivace.net.listen import close_listener
from vivace.net.poller import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.loop import Loop
    from vivace.connection.reading import Site
    from vivace.net.listen import Listener

ACCEPTS_MAX = 64
"""At most this many in a row; then it is the turn of the others (nginx: multi_accept takes all)."""

EVICT_PART = 32
"""One in so many connections may be evicted at a time (nginx reuses at most 32 at once)."""

FIRST_REQUEST_S = 2.0
"""A new connection is not evicted before this: its first request is on the way."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """The listeners of a loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._sites: dict[int, tuple[Listener, Site]] = {}
        self._paused = False

    def add(self, listener: Listener, site: Site) -> None:
        """Begins to accept at `listener`."""
        fd = listener.socket.fileno()
        self._sites[fd] = (listener, site)
        self._loop.poller.add(fd, READ)

    def on_readable(self, fd: int, table: list[Any], now: float) -> bool:
        """Accepts what waits at the listener `fd`; True: the leader was overtaken meanwhile."""
        found = self._sites.get(fd)
        if found is None:
            return False
        listener, site = found
        loop = self._loop
        hook = loop.plan.accept
        accept = listener.socket._accept  # type: ignore[attr-defined]
        expires = now + loop.plan.head_timeout_s
        # Somebody waits here: the listener was reported. Later in the batch nobody is known to, and nobody is evicted.
        if len(loop.conns) >= loop.connections_max and not self._make_room():
            return False
        for _ in range(ACCEPTS_MAX):
            if len(loop.conns) >= loop.connections_max:
                return False
            try:
                conn_fd, peer = accept() if hook is None else hook(listener.socket)
            except BlockingIOError:
                return False
            except OSError as error:
                self._on_accept_error(error)
                return False
            os.set_blocking(conn_fd, False)
            host, port = peer_name(peer)
            conn = Connection(conn_fd, host, port, site, expires)
            loop.conns[conn_fd] = conn
            loop.sweeper.awake()
            try:
                data = os.read(conn_fd, READ_BYTES)
            except BlockingIOError:
                loop.set_mode(conn, READ)
                continue
            except OSError:
                loop.close(conn, "client")
                continue
            if loop.on_data(conn, data, table, now):
                return True
        return False

    def maybe_resume(self) -> None:
        """Accepts again, if there is room again or could be made."""
        loop = self._loop
        if self._paused and (len(loop.conns) < loop.connections_max or self._idle()):
            self._paused = self._loop.full = False
            for fd in self._sites:
                self._loop.poller.add(fd, READ)

    def close(self) -> None:
        """Stops listening. What the kernel had already accepted is served, not reset."""
        sites, self._sites = self._sites, {}
        for fd, (listener, site) in sites.items():
            if listener.owned:
                self._take_last(listener, site)
            if not self._paused:
                self._loop.poller.remove(fd)
            close_listener(listener)

    def _take_last(self, listener: Listener, site: Site) -> None:
        loop = self._loop
        expires = loop.sweeper.next_s + loop.plan.head_timeout_s
        while len(loop.conns) < loop.connections_max:
            try:
                fd, peer = listener.socket._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            os.set_blocking(fd, False)
            conn = loop.conns[fd] = Connection(fd, *peer_name(peer), site, expires)
            loop.set_mode(conn, READ)

    def _make_room(self) -> bool:
        """Closes idle connections, the longest idle first; where there is none, waits for one to close."""
        loop = self._loop
        idle = self._idle()
        idle.sort(key=lambda conn: (conn.route is None, conn.expires))
        wanted = max(1, len(loop.conns) // EVICT_PART)
        evicted = 0
        for conn in idle:
            if evicted == wanted:
                break
            if not wait_readable(conn.fd, 0):  # else its next request is there already
                loop.close(conn, "evicted")
                evicted += 1
        if not evicted:
            self._pause()
        return evicted > 0

    def _idle(self) -> list[Connection]:
        """Connections that may be closed to make room: between requests, or waiting for the first one for long."""
        loop = self._loop
        opened_before = clock() - FIRST_REQUEST_S + loop.plan.head_timeout_s
        return [
            conn
            for conn in loop.conns.values()
            if conn.state == IDLE and conn.mode == READ and (conn.route is not None or conn.expires < opened_before)
        ]

    def _pause(self) -> None:
        if not self._paused:
            self._paused = self._loop.full = True
            for fd in self._sites:
                self._loop.poller.remove(fd)

    def _on_accept_error(self, error: OSError) -> None:
        if error.errno not in EXHAUSTED:
            return  # the client was gone before it was accepted (accept(2): ECONNABORTED and network errors)
        loop = self._loop
        loop.plan.warn(
            f"no new connection could be accepted: {error.strerror}. {len(loop.conns)} are open; "
            "raise the limit of open files (ulimit -n) or lower connections_max"
        )
        self._make_room()
        loop.sweeper.awake()


def peer_name(peer: Any) -> tuple[str, str]:
    """The client's address and port as the environ shows them; a Unix client has neither."""
    if type(peer) is not tuple:
        return "", ""
    host = peer[0]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]  # an IPv4 client of a listener for both (RFC 4291 section 2.5.5.2)
    return host, str(peer[1])
