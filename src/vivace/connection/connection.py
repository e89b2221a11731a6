"""One connection: what is known of it, and how bytes leave it.

Rules:

* A connection has one owner at a time, the thread that may touch it: the leader of the loop, except in the state
  RUNNING, when it is the thread that runs its request. Ownership passes by the poller (see `serving`), never by a lock.
* `state` is one of the names below; its transitions stand in `reading`, `serving` and `sweeping`. A thread that gives a
  connection back sets `state` last: until then the leader takes it for RUNNING and leaves it alone.
* What the peer does not take at once is kept in `pending`. Up to `Limits.response_buffer_bytes` the producing thread
  goes on; beyond that it waits, for at most `write_timeout_s` without progress, after it has given the loop away.

The descriptor is used as it is, without a socket object: `os.read` and `os.write` cost the same as `recv` and `send`,
and ten thousand idle connections cost two objects less each.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import deque
from time import perf_counter as clock

from vivace.connection.file_region import FileRegion, send_more
from vivace.errors import PeerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.wsgi.exchange import Closer
    from vivace.wsgi.files import Piece

IDLE = 0  # between requests: nothing of the next one has come. 0, so that the loop tests `if conn.state`
HEAD = 1  # a part of a head has come
BODY = 2  # the head is complete, the body is coming
RUNNING = 3  # a thread other than the leader owns it, or it waits for one
DRAINING = 4  # the response is complete, the peer has not taken all of it
LINGERING = 5  # the last answer is out, what still comes is read and dropped (RFC 9112 section 9.6)
CLOSED = 6
OPENING = 7  # before the first request: a TLS handshake, a PROXY header

SEND_BYTES_MAX = 1 << 20
"""At most this much is offered to one system call."""

FILE_SENDS_MAX = 8
"""At most this many parts of a file are sent in a row: then it is the turn of the others."""

WAIT_PIECE_S = 1.0
"""At most this long is waited for a client in one system call."""

READ_FILE_BYTES = 262144
NOT_BY_THE_SYSTEM = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW)
"""sendfile(2) on a file system that cannot: the file is read instead."""

RESET = struct.pack("ii", 1, 0)
"""struct linger: close sends RST, so that a cut-off response cannot pass for a whole one."""


class Connection:
    """State of one connection; see the module for who may touch it when."""

    __slots__ = (
        "answered",
        "arrived",
        "asked",
        "at",
        "buffer",
        "close_reason",
        "environ",
        "exchange",
        "expires",
        "fd",
        "fill",
        "filter",
        "flags",
        "forgiven",
        "held",
        "host",
        "incoming",
        "keep_alive",
        "memo",
        "meter",
        "mode",
        "outbox",
        "pending",
        "pending_bytes",
        "port",
        "reset",
        "route",
        "row",
        "scanned",
        "site",
        "slot",
        "state",
        "table",
        "taken",
        "token",
        "waited_s",
    )

    def __init__(self, fd: int, host: str, port: str, site: Any, expires: float) -> None:
        # for its whole life
        self.fd = fd
        self.host = host
        self.port = port
        self.site = site
        self.memo = site.memo
        self.filter: Any = None  # between the bytes on the wire and HTTP's, see `filters`
        # owner
        self.state = IDLE
        self.mode = 0  # what the poller watches, 0 nothing yet
        self.expires = expires
        self.answered = 0.0  # when the last answer was out: no request has come before
        self.buffer: Any = b""  # a bytearray while a head is coming
        self.at = 0
        self.forgiven = False  # the empty line before a head
        self.scanned = 0  # of a head that is coming: looked at so far
        self.route: Any = None  # of its last request
        self.incoming: Any = None
        # the request that it holds
        self.environ: Any = None
        self.flags = 0
        self.fill: Any = None  # what stands between it and the application, where responses are kept (`fill`)
        self.exchange: Any = None  # while the application reads the body itself
        self.arrived = 0.0
        self.asked = b""  # its bytes, while it waits for the response to another one
        # writing
        self.held = b""  # whole answers that wait for the next one, to share a write with it
        self.outbox: Any = None  # where its answer may wait for others, during its call
        self.pending: deque[Any] | None = None
        self.pending_bytes = 0
        self.keep_alive = True
        self.close_reason = ""
        self.reset = False
        self.taken = False  # by whoever answers in place of the application (`limiter`): its bytes go nowhere
        self.meter: Any = None  # of its call, if that is watched
        self.token = 0  # of its place in the heavy lane's book
        self.slot = 0  # where the shared page names its request
        self.row: Any = None  # what is counted of it when its response is out
        self.waited_s = 0.0  # for the client, within the call
        self.table: list[Any] | None = None  # where its baton lies, while the loop's own thread runs it

    # The sink of an exchange.

    @property
    def gone(self) -> bool:
        """Whether the client has left, was too slow with its body, or has been answered in place of the application."""
        return self.taken or self.close_reason in ("client_early", "client_gone", "body_timeout", "write_timeout")

    def put(self, data: bytes, last: bool = False) -> None:
        """Sends what the peer takes, keeps the rest; unless it is the `last`, waits where too much is kept. Raises
        PeerGone."""
        if self.held:
            data = self.held + data
            self.held = b""
        if not self.pending:
            if last and self.outbox is not None and self.table:  # which still leads
                self.outbox.append((self, data))
                return
            sent = self.send(data)
            if sent == len(data):
                return
            self.keep(memoryview(data)[sent:])
        else:
            self.keep(data)
        if not last:
            self.wait_for_room()

    def put_pair(self, head: bytes, block: bytes, last: bool = False) -> None:
        """`put` for two buffers without joining them."""
        if self.held:
            head = self.held + head
            self.held = b""
        if self.pending:
            self.keep(head)
            self.keep(block)
        else:
            try:
                sent = os.writev(self.fd, (head, block))
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise PeerGone from error
            if sent == len(head) + len(block):
                return
            if sent < len(head):
                self.keep(head[sent:])
                self.keep(block)
            else:
                self.keep(memoryview(block)[sent - len(head) :])
        if not last:
            self.wait_for_room()

    def put_file(self, head: bytes, file: Closer, fd: int, pieces: list[Piece], own: bool) -> None:
        """Sends what goes at once of head and pieces of a file, keeps the rest, and closes `file` after the last.

        `own`: nobody else closes `fd` before."""
        self.keep(self.held + head)
        self.held = b""
        regions = [FileRegion(fd, *piece) for piece in pieces if type(piece) is tuple]
        parts = iter(regions)
        for piece in pieces:
            self.keep(next(parts) if type(piece) is tuple else piece)
        last = regions[-1]
        last.file = file
        if not self.flush() and not last.closed and not own:
            last.hold()
            for region in regions:
                region.fd = last.fd

    def release_held(self) -> None:
        """Sends the answers that waited for company."""
        if self.held:
            self.put(b"", True)

    def abort(self, reset: bool) -> None:
        """The response is cut off: the connection closes, with a reset where its end would look whole."""
        self.close_reason = "aborted"
        self.reset = reset

    def end_fill(self) -> None:
        """Its request needs the application no more."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.end()

    def farewell(self, reason: str) -> None:
        """What has to be said before the connection closes for `reason`: nothing, in clear."""

    # Taking the wire away from the owner while it is in the application. Another thread, see `limiter`.

    answers_plainly = True
    """Whether bytes may be written to the wire by another thread than the owner. A subclass that keeps a state of its
    own between HTTP and the wire says False: that state may be in use."""

    def copy_wire(self) -> Connection | None:
        """A new connection on the same wire; None where no descriptor is left for it."""
        try:
            return Connection(os.dup(self.fd), self.host, self.port, self.site, self.expires)
        except OSError:
            return None

    def lose_wire(self, dead: int) -> None:
        """From now on what the owner sends goes nowhere, and it finds the client gone.

        `dead`, a socket without a peer, gets the number of the descriptor.
        """
        self.taken = True
        os.dup2(dead, self.fd, False)

    # Sending.

    def send(self, data: Any) -> int:
        """What one system call takes of `data`; raises PeerGone."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerGone from error

    def keep(self, item: Any) -> None:
        """Appends bytes or a FileRegion to what is still to be sent."""
        if self.pending is None:
            self.pending = deque()
        self.pending.append(item)
        if type(item) is not FileRegion:
            self.pending_bytes += len(item)

    def flush(self) -> bool:
        """Sends pending items while the peer takes them; whether all are out. Raises PeerGone."""
        pending = self.pending
        while pending:
            item = pending[0]
            if type(item) is FileRegion:
                if not self._send_region(item):
                    return False
                pending.popleft()
                item.close()
                continue
            size = len(item)
            if size <= SEND_BYTES_MAX and len(pending) > 1 and type(pending[1]) is FileRegion:
                sent = send_more(self.fd, item)
            else:
                sent = self.send(item[:SEND_BYTES_MAX] if size > SEND_BYTES_MAX else item)
            self.pending_bytes -= sent
            if sent == size:
                pending.popleft()
            else:
                if sent:
                    pending[0] = memoryview(item)[sent:]
                if sent < SEND_BYTES_MAX:
                    return False  # the peer takes no more now: asking again would only cost the refusal
        return True

    def _send_region(self, region: FileRegion) -> bool:
        for _ in range(FILE_SENDS_MAX):
            if region.count == 0:
                return True
            offered = min(region.count, SEND_BYTES_MAX)
            try:
                sent = os.sendfile(self.fd, region.fd, region.offset, offered)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in NOT_BY_THE_SYSTEM:
                    raise PeerGone from error
                data = os.pread(region.fd, min(region.count, READ_FILE_BYTES), region.offset)
                offered = len(data)
                sent = self.send(data)
                if sent == 0 and os.fstat(region.fd).st_size > region.offset:
                    return False  # the peer takes nothing now
            if sent == 0:  # the file became shorter than its Content-Length
                self.abort(False)
                raise PeerGone
            region.offset += sent
            region.count -= sent
            if region.count > 0 and sent < offered:
                return False  # as in `flush`; and a file that became shorter shows the next time
        return region.count == 0

    def wait_for_room(self) -> None:
        """Waits until less than the response buffer is pending; gives the loop away first. Raises PeerGone."""
        site = self.site
        if self.pending_bytes <= site.response_buffer_bytes:
            return
        site.step_aside(self)
        began = clock()
        while self.pending_bytes > site.response_buffer_bytes // 2:
            if not wait_writable(self.fd, site.write_timeout_s):
                self.close_reason = "write_timeout"
                raise PeerGone
            self.flush()
        self.waited_s += clock() - began

    def drop_pending(self, on_error: Callable[[BaseException], None]) -> None:
        """Forgets what could not be sent, and closes the files in it."""
        pending, self.pending = self.pending, None
        self.pending_bytes = 0
        for item in pending or ():
            if type(item) is FileRegion:
                try:
                    item.close()
                except Exception as error:
                    on_error(error)


def wait_writable(fd: int, timeout_s: float) -> bool:
    """Whether `fd` became writable (or failed) within `timeout_s`."""
    return _wait(fd, select.POLLOUT, timeout_s)


def wait_readable(fd: int, timeout_s: float) -> bool:
    """Whether `fd` became readable (or ended) within `timeout_s`."""
    return _wait(fd, select.POLLIN, timeout_s)


def _wait(fd: int, event: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, event)
    # In pieces: the wire may be taken away meanwhile (`lose_wire`), which wakes nobody who waits for it already.
    while timeout_s > WAIT_PIECE_S:
        if poll.poll(WAIT_PIECE_S * 1000):
            return True
        timeout_s -= WAIT_PIECE_S
    return bool(poll.poll(timeout_s * 1000))


def shut_down_reading(fd: int) -> None:
    """What comes next of `fd` is its end."""
    sock = socket.socket(fileno=fd)
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    finally:
        sock.detach()


def shut_down_writing(fd: int, reset: bool) -> None:
    """Half-closes `fd`, or arranges that closing it resets the connection."""
    sock = socket.socket(fileno=fd)
    try:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        else:
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        sock.detach()
