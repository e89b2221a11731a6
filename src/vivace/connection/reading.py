"""From bytes to a whole request: the head, then the body, collected or streamed.

Rules:

* `take` consumes the front of `conn.buffer` from `conn.at`, and leaves in the connection either a whole request
  (`environ`, `flags`, `route`) or the state in which more bytes are needed (HEAD, BODY).
* A head that is repeated byte for byte costs one lookup (the memos). A head is remembered at its second sighting, and
  never if it carries credentials or a field that differs in every request (PRIVATE).
* Nothing here sends, except `100 Continue`.

RFC 9112 sections 2 to 7; RFC 9110 section 10.1.1 for Expect.
"""

from __future__ import annotations

import errno
import os
from io import BytesIO
from time import perf_counter as clock

from vivace.connection import sweeping
from vivace.connection.connection import BODY, HEAD, IDLE, Connection, wait_readable
from vivace.connection.incoming import Incoming
from vivace.errors import PeerGone, Refused
from vivace.http1.head import EXPECTS, PRIVATE, HeadLimits, incomplete_head, parse_head
from vivace.wsgi.body import Spool, stream_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.schedule.routes import RouteTable

MEMO_HEADS_MAX = 1024
MEMO_HEAD_BYTES_MAX = 2048
SEEN_MAX = 8192
READ_BYTES = 65536
"""What one read takes: the size the kernel's socket buffer hands over without a second call in nearly every case."""

BODY_READ_BYTES = 262144

SHORTEST_HEAD = len(b"A / HTTP/1.0\r\n\r\n")

PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What keeps a body from a file only as long as others hold what it needs."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Reader:
    """Takes requests off connections. One a server; called by the leader only, but for `receive`."""

    def __init__(
        self,
        routes: RouteTable,
        limits: HeadLimits,
        *,
        body_bytes_max: int,
        body_memory_bytes: int,
        spill_dir: str,
        stream: bool,
        lazy_max: int,
        head_timeout_s: float,
        body_timeout_s: float,
        body_rate_bytes_min: int,
        step_aside: Callable[[Connection], None],
        on_disk_error: Callable[[OSError], None],
    ) -> None:
        self._routes = routes
        self._limits = limits
        self._body_bytes_max = body_bytes_max or (1 << 63)
        self._body_memory_bytes = body_memory_bytes
        self._piece_bytes_max = 0 if stream else min(self._body_bytes_max, body_memory_bytes)
        self._spill_dir = spill_dir
        self._stream = stream
        self._lazy_max = lazy_max
        self._head_timeout_s = head_timeout_s
        self._body_timeout_s = body_timeout_s
        self._body_rate_bytes_min = body_rate_bytes_min
        self._step_aside = step_aside
        self._on_disk_error = on_disk_error
        self._lazy: set[Connection] = set()

    def take_whole(self, conn: Connection, data: bytes) -> tuple[dict[str, Any], int, Any] | None:
        """(environ, flags, route) if `data` is exactly one request; else None, and `take` will tell."""
        site = conn.site
        if site.secure:
            return None
        try:
            if (known := site.blocks.parse(data, self._limits)) is not None:
                environ, flags = known
                environ["REMOTE_ADDR"] = conn.host
                environ["REMOTE_PORT"] = conn.port
            else:
                end = data.find(b"\r\n\r\n") + 4
                if end < SHORTEST_HEAD:
                    return None
                if end != len(data):
                    return self._take_with_body(conn, data, end)
                environ = site.base.copy()
                environ["REMOTE_ADDR"] = conn.host
                environ["REMOTE_PORT"] = conn.port
                length, flags = parse_head(data, environ, self._limits)
                if length:
                    return None
                if flags & PRIVATE:
                    site.blocks.learn(data)
            if site.adapt is not None:
                flags |= site.adapt(environ)
        except Refused:
            return None
        route = environ["vivace.route"] = self._routes.find(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if not flags & PRIVATE and len(data) <= MEMO_HEAD_BYTES_MAX:
            _remember(site.seen, site.memo, data, environ, flags, route)
        return environ, flags, route

    def _take_with_body(self, conn: Connection, data: bytes, end: int) -> tuple[dict[str, Any], int, Any] | None:
        """As `take_whole`, where the head ends at `end` and all of a small body has come with it. Raises Refused."""
        site, head = conn.site, data[:end]
        size = len(data) - end
        entry = site.body_memo.get(head)
        if entry is not None:
            template, flags, route = entry
            if int(template["CONTENT_LENGTH"]) != size:
                return None
            environ = template.copy()
            environ["REMOTE_ADDR"] = conn.host
            environ["REMOTE_PORT"] = conn.port
        else:
            environ = site.base.copy()
            environ["REMOTE_ADDR"] = conn.host
            environ["REMOTE_PORT"] = conn.port
            length, flags = parse_head(head, environ, self._limits)
            if length != size or size > self._piece_bytes_max or flags & EXPECTS:
                return None
            if site.adapt is not None:
                flags |= site.adapt(environ)
            route = environ["vivace.route"] = self._routes.find(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if not flags & PRIVATE and end <= MEMO_HEAD_BYTES_MAX:
                _remember(site.seen, site.body_memo, head, environ, flags, route)
        environ["wsgi.input"] = BytesIO(data[end:])
        return environ, flags, route

    def take(self, conn: Connection, now: float) -> bool:
        """Whether a whole request could be taken off `conn.buffer`. Raises Refused, PeerGone."""
        if conn.state != BODY and not self._take_head(conn, now):
            return False
        if conn.incoming is None:
            return True
        return self._take_body(conn, now)

    def _take_head(self, conn: Connection, now: float) -> bool:
        buffer, at = conn.buffer, conn.at
        if buffer.startswith(b"\r\n", at) and not conn.forgiven:
            # RFC 9112 section 2.2: one empty line before the request line is forgiven.
            conn.forgiven = True
            if conn.state == HEAD:
                del buffer[:2]
                conn.scanned = 0
            else:
                at = conn.at = at + 2
        end = buffer.find(b"\r\n\r\n", max(at, conn.scanned - 3))
        if end < 0:
            self._await_head(conn, now)
            return False
        end += 4
        conn.forgiven = False
        if conn.state == HEAD:
            conn.state = IDLE
            conn.scanned = 0
            buffer = conn.buffer = bytes(buffer)
        head = buffer[at:end]
        conn.at = end
        site = conn.site
        entry = site.memo.get(head)
        if entry is not None:
            template, conn.flags, conn.route = entry
            environ = template.copy()
            environ["REMOTE_ADDR"] = conn.host
            environ["REMOTE_PORT"] = conn.port
        else:
            environ = site.base.copy()
            environ["REMOTE_ADDR"] = conn.host
            environ["REMOTE_PORT"] = conn.port
            length, conn.flags = parse_head(head, environ, self._limits)
            if site.adapt is not None:
                conn.flags |= site.adapt(environ)
            conn.route = environ["vivace.route"] = self._routes.find(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if length:
                conn.environ = environ
                conn.arrived = now
                self._begin_body(conn, length, now)
                return True
            if not conn.flags & PRIVATE and len(head) <= MEMO_HEAD_BYTES_MAX:
                _remember(site.seen, site.memo, head, environ, conn.flags, conn.route)
        conn.environ = environ
        conn.arrived = now
        return True

    def _await_head(self, conn: Connection, now: float) -> None:
        """Only a part of a head has come, or nothing."""
        if conn.state != HEAD:
            rest = conn.buffer[conn.at :]
            conn.at = 0
            if not rest and not conn.forgiven:
                conn.buffer = b""
                return
            conn.buffer = bytearray(rest)
            conn.state = HEAD
            conn.expires = now + self._head_timeout_s
        size = len(conn.buffer)
        # Looked at again when a line has ended (there are at most fields_max of them), when a limit is passed, and when
        # it has grown by a quarter: so a head that comes in drops costs little more than one that comes in one piece.
        limits = self._limits
        passed = (
            limits.request_line_bytes_max + 1,
            limits.head_bytes_max,
            conn.buffer.rfind(b"\n") + limits.field_bytes_max + 2,
        )
        if (
            size > conn.scanned * 5 // 4
            or conn.buffer.find(b"\n", conn.scanned) >= 0
            or any(conn.scanned <= limit < size for limit in passed)
        ):
            incomplete_head(bytes(conn.buffer), self._limits)
            conn.scanned = size

    def _begin_body(self, conn: Connection, length: int, now: float) -> None:
        if length > self._body_bytes_max:
            raise Refused(413, f"the body is larger than this server takes ({self._body_bytes_max} bytes)")
        lazy = bool(conn.flags & EXPECTS) and len(self._lazy) < self._lazy_max
        spool = None if lazy or self._stream else Spool(self._body_memory_bytes, self._spill_dir)
        incoming = conn.incoming = Incoming(length, self._body_bytes_max, spool, now)
        if conn.flags & EXPECTS and conn.at >= len(conn.buffer):
            if spool is None:
                incoming.promised = True
            else:
                conn.put(CONTINUE)
        if spool is None:
            self._lazy.add(conn)
            conn.environ["wsgi.input"] = stream_input(lambda: self.receive(conn, incoming))

    def _take_body(self, conn: Connection, now: float) -> bool:
        incoming = conn.incoming
        spool = incoming.spool
        if spool is None:
            return True
        conn.state = BODY
        blocks, conn.at = incoming.decode(conn.buffer, conn.at)
        conn.expires = now + self._body_timeout_s
        try:
            for block in blocks:
                spool.add(block)
            if not incoming.done:
                conn.buffer = b""
                conn.at = 0
                return False
            environ = conn.environ
            environ["wsgi.input"] = spool.finish()
            conn.arrived = now  # what it waits for from here on is the server, not the client
        except OSError as error:
            self._on_disk_error(error)
            if error.errno in PASSING:
                raise Refused(503, "the server cannot keep the body now; try again in a moment") from error
            raise Refused(507, "the server has no room to keep the body") from error
        if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
            environ["CONTENT_LENGTH"] = str(spool.size)
        return True

    # A body that the application reads itself.

    def receive(self, conn: Connection, incoming: Incoming) -> bytes:
        """The next block of a streamed body, b"" at its end. On the thread of the application; waits.

        Raises OSError (ConnectionError, TimeoutError) for a peer that is gone or too slow, ValueError for a broken
        body: what an application expects of a file.
        """
        # An input that outlives its request is at its end: what comes now belongs to the next one.
        while conn.incoming is incoming and not incoming.done:
            if conn.at >= len(conn.buffer):
                conn.buffer = self._receive(conn, incoming)
                conn.at = 0
            try:
                blocks, conn.at = incoming.decode(conn.buffer, conn.at)
            except Refused as refused:
                conn.close_reason = "refused"
                raise ValueError(refused.detail) from refused
            if incoming.done:
                conn.exchange.flags = conn.flags  # the connection can go on
            block = b"".join(blocks)
            if block:
                return block
        return b""

    def _receive(self, conn: Connection, incoming: Incoming) -> bytes:
        if incoming.promised:
            incoming.promised = False
            # RFC 9110 section 15.2: interim responses come before the final one.
            if conn.exchange.framing is None:
                try:
                    conn.put(CONTINUE)
                except PeerGone:
                    raise ConnectionResetError("the client is gone") from None
        while True:
            if sweeping.too_slow(incoming, clock(), self._body_rate_bytes_min):
                conn.close_reason = "body_timeout"
                raise TimeoutError("the client sends its body too slowly")
            try:
                data = os.read(conn.fd, READ_BYTES)
            except BlockingIOError:
                self._step_aside(conn)
                began = clock()
                came = wait_readable(conn.fd, self._body_timeout_s)
                conn.waited_s += clock() - began
                if not came:
                    conn.close_reason = "body_timeout"
                    raise TimeoutError("the client sends its body too slowly") from None
                continue
            except OSError:
                conn.close_reason = "client_early"
                raise
            if not data:
                conn.close_reason = "client_early"
                raise ConnectionResetError("the client closed the connection within the body")
            if conn.filter is not None:
                try:
                    data = conn.filter.receive(data)
                except PeerGone:
                    conn.close_reason = "client_early"
                    raise ConnectionResetError("the client broke off within the body") from None
                if not data:
                    continue
            return data

    def release(self, conn: Connection) -> bool:
        """After the response: lets go of the body; whether the next request may follow on the connection."""
        incoming = conn.incoming
        conn.incoming = None
        if incoming.spool is not None:
            incoming.spool.close()
            return True
        self._lazy.discard(conn)
        conn.exchange = None
        if not incoming.done:
            conn.close_reason = conn.close_reason or "unread"
        return bool(incoming.done)

    def forget(self, conn: Connection) -> None:
        """The connection closes: whatever of a body was collected goes with it."""
        incoming, conn.incoming = conn.incoming, None
        if incoming is not None:
            self._lazy.discard(conn)
            if incoming.spool is not None:
                incoming.spool.close()


def _remember(
    seen: set[int], memo: dict[bytes, Any], head: bytes, environ: dict[str, Any], flags: int, route: Any
) -> None:
    """Keeps a copy of `environ` for `head`, if the head has been seen before."""
    key = hash(head)
    if key in seen:
        if len(memo) >= MEMO_HEADS_MAX:
            memo.clear()
        memo[head] = (environ | {"REMOTE_ADDR": "", "REMOTE_PORT": ""}, flags, route)
        return
    if len(seen) >= SEEN_MAX:
        seen.clear()
    seen.add(key)
