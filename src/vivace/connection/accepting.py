"""New connections: accepted while there is room, and read in the same turn, because most clients have sent their
request already. The poller watches a connection from the moment when nothing is left to be read of it: many a client
asks once.

Rules:

* Above `connections_max`, and when the system is out of descriptors or memory, the longest idle connections are
  closed to make room. Where none is idle the listeners are left alone until a connection closes, and whatever is
  answered meanwhile is told to close (`full`), so that the busy ones make room for those who wait without losing a
  request. Nobody is accepted and then dropped.
* `accept` can fail for reasons that are not the listener's (a client gone again, EMFILE): none of them stops the loop.

Called by the leader only.
"""

from __future__ import annotations

import errno
import os
import socket

from vivace.connection.connection import IDLE, OPENING, wait_readable
from vivace.connection.meter import clock
from vivace.connection.reading import READ_BYTES
from vivace.net.listen import close_listener
from vivace.net.poller import READ, SHARED
from vivace.observe.layout import S_CONNECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.loop import Loop
    from vivace.connection.site import Site
    from vivace.net.listen import Listener

ACCEPTS_MAX = 64
"""At most this many in a row; then it is the turn of the others (nginx: multi_accept takes all)."""

SHARED_ACCEPTS_MAX = 2
"""The same where other workers accept as well: what one does not take wakes another one, so that a burst is shared."""

EVICT_PART = 32
"""One in so many connections may be evicted at a time (nginx reuses at most 32 at once)."""

FIRST_REQUEST_S = 2.0
"""A new connection is not evicted before this: its first request is on the way."""

EVICT_IDLE_S = 0.2
"""Who has been idle for less is between two requests, and the next one may be on the way: closing it loses that."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """The listeners of a loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._sites: dict[int, tuple[Listener, Site]] = {}
        self._by_name: dict[str, Site] = {}
        self._paused = False
        self._siblings = loop.plan.siblings
        if self._siblings is not None:
            loop.watch(self._siblings.inbox.fileno(), self.fetch)
        self._new: list[Connection] = []
        """Accepted in this turn or before it. What is read in its turn is watched or closed then."""
        self._burst = 1
        """How many are accepted in a row. An `accept` that finds nobody costs as much as two that do, and who is
        left is reported again: so it grows while there are enough, and falls back to what there was."""

    def add(self, listener: Listener, site: Site) -> None:
        """Begins to accept at `listener`."""
        fd = listener.socket.fileno()
        self._sites[fd] = (listener, site)
        self._by_name[listener.text] = site
        site.name = listener.text
        self._loop.poller.add(fd, SHARED if listener.shared else READ)

    def sites(self) -> list[Site]:
        """Those of the listeners. Connections may have others, made for a kind of client."""
        return [site for _, site in self._sites.values()]

    def on_readable(self, fd: int, table: list[Any], now: float, events: list[tuple[int, int]]) -> bool:
        """Accepts what waits at the listener `fd`, and adds it to the `events` of the turn; what is not HTTP from its
        first byte on is read here. True: the leader was overtaken meanwhile."""
        found = self._sites.get(fd)
        if found is None:
            return False
        listener, site = found
        loop = self._loop
        hook = loop.plan.accept
        siblings = self._siblings
        accept = listener.socket._accept  # type: ignore[attr-defined]
        expires = now + loop.plan.head_timeout_s
        # Somebody waits here: the listener was reported. Later in the batch nobody is known to, and nobody is evicted.
        if len(loop.conns) >= loop.connections_max and not self._make_room():
            return False
        loop.sweeper.awake()
        self._new = self._unread()
        for taken in range(min(self._burst, SHARED_ACCEPTS_MAX) if listener.shared else self._burst):
            if len(loop.conns) >= loop.connections_max:
                return False
            try:
                conn_fd, peer = accept() if hook is None else hook(listener.socket)
            except BlockingIOError:
                self._burst = max(1, taken)
                return False
            except OSError as error:
                self._on_accept_error(error)
                return False
            if siblings is not None and siblings.relieve(len(loop.conns), conn_fd, listener.text):
                os.close(conn_fd)
                continue
            os.set_blocking(conn_fd, False)
            host, port = peer_name(peer)
            conn = loop.conns[conn_fd] = self._make(conn_fd, host, port, site, expires, now)
            loop.section.words[S_CONNECTIONS] = len(loop.conns)
            conn.arrived = now if loop.tally is None else loop.tally.arrivals.accepted(conn_fd, now)
            if conn.state == IDLE:
                self._new.append(conn)
                events.append((conn_fd, READ))
                loop.seen += 1
            elif self._open(conn, table):
                return True
        self._burst = min(2 * self._burst, ACCEPTS_MAX)
        return False

    def _open(self, conn: Connection, table: list[Any]) -> bool:
        """Reads what has come already of what stands before HTTP; True: the leader was overtaken meanwhile."""
        loop = self._loop
        try:
            data = os.read(conn.fd, READ_BYTES)
        except OSError as error:
            loop.on_read_error(conn, error)
            return False
        return loop.on_data(conn, data, table, conn.arrived)

    def watch_new(self) -> None:
        """A thread begins to lead: what the one before it had accepted, and not read, is reported from now on."""
        unread, self._new = self._unread(), []
        for conn in unread:
            self._loop.set_mode(conn, READ)

    def _unread(self) -> list[Connection]:
        """Who was accepted, and has neither been read to the end nor closed yet."""
        return [conn for conn in self._new if not conn.mode and conn.state == IDLE]

    def maybe_resume(self) -> None:
        """Accepts again, if there is room again or could be made."""
        loop = self._loop
        if self._paused and (len(loop.conns) < loop.connections_max or self._idle()):
            self._paused = loop.full = False
            loop.renew_fast()
            for fd, (listener, _) in self._sites.items():
                loop.poller.add(fd, SHARED if listener.shared else READ)

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
            conn = loop.conns[fd] = self._make(fd, *peer_name(peer), site, expires, expires)
            loop.set_mode(conn, READ)

    def let_go(self, conn: Connection) -> bool:
        """Gives an idle connection to whoever has the fewest, because this worker stops; False: it cannot be."""
        siblings = self._siblings
        # What came before HTTP (TLS, a PROXY header) would be due again there.
        if siblings is None or conn.site.make_filter is not None or conn.at < len(conn.buffer):
            return False
        place = siblings.lightest()
        if place is None or not siblings.give(place, conn.fd, conn.site.name):
            return False
        self._loop.close(conn, "passed_on")
        return True

    def fetch(self) -> None:
        """Takes the connections that siblings have passed on."""
        if self._siblings is not None:
            self._siblings.look()
            self._siblings.fetch(self._take_gift)

    def _take_gift(self, fd: int, listener: str) -> None:
        loop = self._loop
        site = self._by_name.get(listener)
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                peer = copy.getpeername()
        except OSError:
            site = None  # it is gone, or nobody knows where it came
        if site is None:
            os.close(fd)
            return
        os.set_blocking(fd, False)
        now = clock()
        conn = loop.conns[fd] = self._make(fd, *peer_name(peer), site, now + loop.plan.head_timeout_s, now)
        loop.section.words[S_CONNECTIONS] = len(loop.conns)
        loop.sweeper.awake()
        loop.set_mode(conn, READ)

    @staticmethod
    def _make(fd: int, host: str, port: str, site: Site, expires: float, now: float) -> Connection:
        if site.for_client is not None:
            site = site.for_client(host, False)
        conn = site.make_connection(fd, host, port, site, expires)
        if site.make_filter is not None:
            conn.filter = site.make_filter(conn)
            conn.state = OPENING
            conn.expires = now + site.opening_timeout_s
        return conn

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
        """Connections that may be closed to make room: between requests, or waiting for the first one, or for what
        comes before it, for long."""
        loop = self._loop
        now = clock()
        opening_before = now - FIRST_REQUEST_S
        opened_before = now - FIRST_REQUEST_S + loop.plan.head_timeout_s
        answered_before = now - EVICT_IDLE_S + loop.plan.keepalive_timeout_s

        def idle(conn: Connection) -> bool:
            if conn.state == OPENING:
                return bool(conn.expires < opening_before + conn.site.opening_timeout_s)
            before = opened_before if conn.route is None else answered_before
            return conn.state == IDLE and conn.expires < before

        return [conn for conn in loop.conns.values() if conn.mode == READ and idle(conn)]

    def _pause(self) -> None:
        if not self._paused:
            self._paused = self._loop.full = True
            self._loop.renew_fast()
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
    if host[:7] == "::ffff:" and "." in host:
        host = host[7:]  # an IPv4 client of a listener for both (RFC 4291 section 2.5.5.2)
    return host, str(peer[1])
