"""A connection under TLS: a filter for what comes, a Connection for what goes, on memory BIOs.

Rules:

* OpenSSL never sees the socket. What was read is put into `received`, what it wants sent is taken from `made`: so a
  handshake waits in the poller like everything else, and nothing here blocks the loop.
* Everything that OpenSSL holds decrypted is taken out before the loop waits again, else a request could be stuck there.
* Order on the wire is the order of encryption. What the peer does not take of it stands in `pending` as a Sealed, in
  front of everything; what has to follow stays plain behind it until it is its turn.
* Only the owner of a connection touches its SSLObject, which is not safe for threads; see `serving` for how ownership
  passes.
* Bytes that are no TLS are never HTTP: before the first record they are told so in clear, later they end the
  connection with an alert.

RFC 8446 (TLS 1.3), RFC 5246 (1.2), RFC 2818 for HTTP over TLS. Imported only when TLS is on.
"""

from __future__ import annotations

import os
import ssl
from collections import deque

from vivace.connection.connection import (
    FILE_SENDS_MAX,
    IDLE,
    READ_FILE_BYTES,
    Connection,
    shut_down_reading,
)
from vivace.connection.file_region import FileRegion
from vivace.connection.filters import opened
from vivace.connection.meter import clock
from vivace.errors import PeerGone, Refused
from vivace.net.tls import distinguished_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.site import Site
    from vivace.net.tls import Certificates

HANDSHAKE = 22
"""RFC 8446 section 5.1: the type of the first record, and so the first byte that a client sends."""

RECORD_BYTES = 16384
"""The most plaintext that a record carries (RFC 8446 section 5.1)."""

SEAL_BYTES = 131072
"""So much is encrypted before it is offered to the socket: at most this is held twice where the peer is slow."""

SEALED_BYTES_MAX = 4 * SEAL_BYTES
"""A peer that has TLS itself answer (KeyUpdate, RFC 8446 section 4.6.3) and reads none of it is cut off here."""

NO_MEMO: dict[bytes, Any] = {}
"""What is read from the socket is no request by itself."""

CUT_OFF = (
    "aborted",
    "bug",
    "client_early",
    "client_gone",
    "garbled",
    "handshake",
    "handshake_timeout",
    "write_timeout",
)
"""Ends without close_notify: the client must see that something is missing (RFC 8446 section 6.1)."""


class Sealed:
    """Ciphertext that the peer has not taken yet."""

    __slots__ = ("data",)

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)


class SecureConnection(Connection):
    """Encrypts what is sent. Until the first record has come (`tls` is None) it speaks in clear."""

    __slots__ = ("made", "tls")

    answers_plainly = False
    """Its SSLObject is the owner's: nobody else may answer in place of the owner."""

    def __init__(self, fd: int, host: str, port: str, site: Any, expires: float) -> None:
        super().__init__(fd, host, port, site, expires)
        self.memo = NO_MEMO
        self.tls: ssl.SSLObject | None = None
        self.made: ssl.MemoryBIO

    def begin(self, context: ssl.SSLContext, received: ssl.MemoryBIO) -> ssl.SSLObject:
        """From now on everything is encrypted."""
        self.made = ssl.MemoryBIO()
        self.tls = context.wrap_bio(received, self.made, server_side=True)
        return self.tls

    def push(self) -> bool:
        """Writes what TLS has made while the peer takes it; whether all of it is out. Raises PeerGone."""
        data = self.made.read()
        pending = self.pending
        if pending and type(pending[0]) is Sealed:
            kept = pending.popleft()
            self.pending_bytes -= len(kept)
            data = b"".join((kept.data, data))
        if not data:
            return True
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise PeerGone from error
        if sent == len(data):
            return True
        rest = Sealed(memoryview(data)[sent:])
        if len(rest) > SEALED_BYTES_MAX:
            raise PeerGone
        if pending is None:
            pending = self.pending = deque()
        pending.appendleft(rest)
        self.pending_bytes += len(rest)
        return False

    # What writes, of Connection.

    def send(self, data: Any) -> int:
        """How much of `data` was encrypted, as long as the peer took what came of it. The rest of that, if there is
        one, stands in `pending`. Raises PeerGone."""
        tls = self.tls
        if tls is None:
            return Connection.send(self, data)
        size = len(data)
        at = 0
        try:
            if 0 < size <= RECORD_BYTES:  # one record, one write: what most answers are
                at = tls.write(data)
                self.push()
                return at
            view = memoryview(data)
            while at < size:
                stop = min(size, at + SEAL_BYTES)
                while at < stop:
                    at += tls.write(view[at:stop])
                if not self.push():
                    break
        except ssl.SSLError as error:  # the peer has broken TLS before, and was told so
            raise PeerGone from error
        return at

    def put_pair(self, head: bytes, block: bytes, last: bool = False) -> None:
        """`put` for two buffers; the head shares a record with the beginning of the block."""
        if self.tls is None:
            Connection.put_pair(self, head, block, last)
            return
        first = max(0, RECORD_BYTES - len(head))
        self.put(head + block[:first], True)
        if len(block) > first:
            self.keep(memoryview(block)[first:])
            self.flush()
        if not last:
            self.wait_for_room()

    def flush(self) -> bool:
        """Sends pending items while the peer takes them; whether all are out. Raises PeerGone."""
        if self.tls is None:
            return Connection.flush(self)
        pending = self.pending
        while pending:
            item = pending[0]
            if type(item) is Sealed:
                if not self.push():
                    return False
            elif type(item) is FileRegion:
                if not self._send_region(item):
                    return False
                pending.popleft()
                item.close()
            else:
                pending.popleft()
                self.pending_bytes -= len(item)
                sent = self.send(item)
                if sent < len(item):
                    pending.insert(1, memoryview(item)[sent:])  # behind what is sealed
                    self.pending_bytes += len(item) - sent
                if pending and type(pending[0]) is Sealed:
                    return False
        return True

    def _send_region(self, region: FileRegion) -> bool:
        """As in Connection, but read: the system cannot encrypt what it sends (docs/tls.md, "Kernel TLS")."""
        for _ in range(FILE_SENDS_MAX):
            if region.count == 0:
                return True
            try:
                data = os.pread(region.fd, min(region.count, READ_FILE_BYTES), region.offset)
            except OSError:
                data = b""
            if not data:  # the file cannot be read, or became shorter than its Content-Length
                self.abort(False)
                raise PeerGone
            sent = self.send(data)
            region.offset += sent
            region.count -= sent
            if self.pending and type(self.pending[0]) is Sealed:
                return False
        return region.count == 0

    def farewell(self, reason: str) -> None:
        """close_notify (RFC 8446 section 6.1), unless the client is to see that something is missing. Twice does no
        harm."""
        if self.tls is None or self.pending or self.reset or reason in CUT_OFF:
            return
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # the client's own close_notify has not come, and is not waited for
        try:
            self.push()
        except PeerGone:
            pass


class TlsFilter:
    """Decrypts what comes. State OPENING, and then for as long as the connection lives."""

    __slots__ = ("_certificates", "_conn", "_ended", "_head_timeout_s", "_open", "_received", "_tls", "facts")

    def __init__(self, conn: SecureConnection, certificates: Certificates, head_timeout_s: float) -> None:
        self._conn = conn
        self._certificates = certificates
        self._head_timeout_s = head_timeout_s
        self._open = False
        self._ended = False  # the client has sent close_notify
        self._received: ssl.MemoryBIO
        self._tls: Any = None  # made when the first byte has come: who sends nothing costs nothing
        self.facts: dict[str, str] = {}
        """What every environ of the connection is told of its TLS."""

    def receive(self, data: bytes) -> bytes:
        """`data` decrypted, b"" where more has to come first. Raises Refused, PeerGone. Owner."""
        if self._tls is None:
            self._begin(data)
        self._received.write(data)
        if not self._open and not self._shake_hands():
            return b""
        return self._read()

    def _begin(self, data: bytes) -> None:
        if data[0] != HANDSHAKE:
            if data[:1].isalpha():  # a method (RFC 9110 section 9.1)
                raise Refused(400, "this port speaks TLS: use https://")
            raise PeerGone
        self._received = ssl.MemoryBIO()
        self._tls = self._conn.begin(self._certificates.context(clock()), self._received)

    def _shake_hands(self) -> bool:
        conn, tls = self._conn, self._tls
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError:
            self._give_up("handshake")
        else:
            done = True
        if not conn.push() and not done:
            # The client waits for bytes that it does not read. A server's part of a handshake (some 4 KB) fits into
            # every socket's empty buffer.
            raise PeerGone
        if done:
            self._open = True
            self.facts = facts_of(tls, self._certificates.verifies)
            opened(conn, clock(), self._head_timeout_s)
        return done

    def _read(self) -> bytes:
        conn, tls, received = self._conn, self._tls, self._received
        blocks = []
        try:
            while received.pending or tls.pending():
                block = tls.read(RECORD_BYTES)
                if not block:
                    self._ended = True
                    break
                blocks.append(block)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError:
            self._give_up("garbled")
        if conn.made.pending:
            conn.push()
        if self._ended:
            if not blocks:
                if conn.state == IDLE:
                    conn.close_reason = "client"
                raise PeerGone
            # What has come is answered; the next read finds the end, as after FIN.
            shut_down_reading(conn.fd)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _give_up(self, reason: str) -> None:
        """The peer broke TLS: it gets the alert that OpenSSL has made (RFC 8446 section 6.2). Raises PeerGone."""
        self._conn.push()
        self._conn.close_reason = reason
        raise PeerGone


def facts_of(tls: Any, verifies: bool) -> dict[str, str]:
    """The environ of a connection, by the names of Apache's mod_ssl ("Environment Variables")."""
    facts = {"SSL_PROTOCOL": tls.version(), "SSL_CIPHER": tls.cipher()[0], "SSL_CLIENT_VERIFY": "NONE"}
    if tls.asked_for:
        facts["SSL_TLS_SNI"] = tls.asked_for
    peer = tls.getpeercert() if verifies else None
    if peer:  # verified, or the handshake would have failed
        facts |= {
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_S_DN": distinguished_name(peer["subject"]),
            "SSL_CLIENT_I_DN": distinguished_name(peer["issuer"]),
            "SSL_CLIENT_M_SERIAL": peer["serialNumber"],
            "SSL_CLIENT_V_START": peer["notBefore"],
            "SSL_CLIENT_V_END": peer["notAfter"],
            "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)),
        }
    return facts


def secure(site: Site, certificates: Certificates, opening_timeout_s: float, head_timeout_s: float) -> None:
    """Has `site` speak TLS. Before its first connection."""

    def make_filter(conn: Any) -> TlsFilter:
        return TlsFilter(conn, certificates, head_timeout_s)

    site.base = {**site.base, "wsgi.url_scheme": "https", "HTTPS": "on"}
    site.secure = True
    site.make_connection = SecureConnection
    site.make_filter = make_filter
    site.opening_timeout_s = opening_timeout_s
