"""Our own clients, where wrk cannot ask the question: one answer checked, large bodies, idle and half-sent
connections.

Rules: every socket has a time limit and every loop a deadline. Knows nothing of servers, loads or reports.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

Address = tuple[str, int]

# What a browser sends, without credentials; with Host six fields.
BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Connection", "keep-alive"),
)
CONNECTIONS_PER_SOURCE = 2000  # of one 127.0.0.x, far below its 28,000 ephemeral ports
DISCARD_BYTES = 4 << 20


@dataclass(frozen=True)
class Request:
    method: str = "GET"
    path: str = "/"
    fields: tuple[tuple[str, str], ...] = BROWSER
    body: bytes = b""

    def wire(self, address: Address) -> bytes:
        """The request as bytes, for clients that send it themselves."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Client:
    """One connection, requests one after another. Errors are OSError, also for an answer that is no HTTP."""

    def __init__(self, address: Address, timeout_s: float = 5.0):
        self._connection = http.client.HTTPConnection(*address, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def ask(self, request: Request) -> Answer:
        try:
            self._connection.request(request.method, request.path, request.body or None, dict(request.fields))
            response = self._connection.getresponse()
            return Answer(response.status, response.read())
        except http.client.HTTPException as error:
            raise OSError(f"no valid answer: {error!r}") from error


def ask(address: Address, request: Request, timeout_s: float = 5.0) -> Answer:
    """One request on a new connection."""
    with Client(address, timeout_s) as client:
        return client.ask(request)


def warm(address: Address, request: Request, seconds: float, requests_max: int = 400) -> None:
    """Some requests before the measuring, so that caches, pools and the interpreter have met the code."""
    deadline = time.perf_counter() + seconds
    with contextlib.suppress(OSError), Client(address) as client:
        for _ in range(requests_max):
            if time.perf_counter() > deadline:
                break
            client.ask(request)


# --- large bodies -------------------------------------------------------------------------------------------


@dataclass
class Tally:
    body_bytes: int = 0
    errors: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class _Download:
    """One connection of `bulk`. Body bytes are discarded in the kernel (MSG_TRUNC), not copied: a loader
    almost for free.
    """

    def __init__(self, address: Address, wire: bytes):
        self.socket = socket.create_connection(address, timeout=5.0)
        self.wire = wire
        self.head = b""
        self.remaining = 0
        self.last = False  # the server closes after this answer
        self.complete = False  # between two answers
        self.socket.sendall(wire)

    def on_readable(self, discard: bytearray, tally: Tally) -> bool:
        """Takes what is there; False if the connection is over (as it should be if `complete`)."""
        self.complete = False
        if self.remaining == 0:
            data = self.socket.recv(4096)
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end >= 0:
                taken = len(self.head) - end - 4
                self.remaining = _content_length(self.head[:end]) - taken
                self.last = _closes(self.head[:end])
                tally.body_bytes += taken
                self.head = b""
                return self._maybe_again()
            return bool(data)
        count = self.socket.recv_into(discard, min(self.remaining, DISCARD_BYTES), socket.MSG_TRUNC)
        self.remaining -= count
        tally.body_bytes += count
        return self._maybe_again() and count > 0

    def _maybe_again(self) -> bool:
        """Asks again at the end of an answer; False if the server will not hear it."""
        if self.remaining == 0:
            self.complete = True
            if self.last:
                return False
            self.socket.sendall(self.wire)
        return True


def _content_length(head: bytes) -> int:
    """Raises OSError for an answer other than 200 with a Content-Length."""
    lines = head.decode("latin-1").lower().split("\r\n")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name == "content-length" and lines[0].split()[1] == "200":
            return int(value)
    raise OSError(f"no 200 with a Content-Length: {lines[0]}")


def _closes(head: bytes) -> bool:
    lines = head.decode("latin-1").lower().split("\r\n")
    return lines[0].startswith("http/1.0") or any(line.replace(" ", "") == "connection:close" for line in lines)


def bulk(address: Address, request: Request, connections: int, seconds: float) -> Tally:
    """Asks for a large body again and again on each connection, counts bytes for `seconds`.

    A connection that ends is replaced; it is an error unless the server had announced it. Raises OSError if there is
    none to be had.
    """
    tally = Tally()
    wire = request.wire(address)
    discard = bytearray(DISCARD_BYTES)
    downloads = {}
    poller = select.epoll()
    try:

        def connect() -> None:
            download = _Download(address, wire)
            downloads[download.socket.fileno()] = download
            poller.register(download.socket, select.EPOLLIN)

        for _ in range(connections):
            connect()
        began, cpu = time.perf_counter(), time.process_time()
        while (elapsed := time.perf_counter() - began) < seconds:
            for descriptor, _ in poller.poll(seconds - elapsed):
                if not _alive(downloads[descriptor], discard, tally):
                    tally.errors += not downloads[descriptor].complete
                    poller.unregister(descriptor)
                    downloads.pop(descriptor).socket.close()
                    connect()
        tally.seconds = time.perf_counter() - began
        tally.cpu_s = time.process_time() - cpu
    finally:
        poller.close()
        for download in downloads.values():
            download.socket.close()
    return tally


def _alive(download: _Download, discard: bytearray, tally: Tally) -> bool:
    try:
        return download.on_readable(discard, tally)
    except OSError:
        return False


# --- connections that are only held -------------------------------------------------------------------------


def hold(address: Address, count: int, request: Request, limit_s: float) -> list[socket.socket]:
    """Opens `count` connections, has one request answered on each, and leaves them open. Raises OSError at
    `limit_s`.
    """
    wire = request.wire(address)
    held: list[socket.socket] = []
    deadline = time.perf_counter() + limit_s
    try:
        for number in range(count):
            if time.perf_counter() > deadline:
                raise OSError(f"only {number} connections within {limit_s:.0f} s")
            source = (f"127.0.0.{2 + number // CONNECTIONS_PER_SOURCE}", 0)
            held.append(socket.create_connection(address, timeout=5.0, source_address=source))
            held[-1].sendall(wire)
            _read_answer(held[-1])
    except OSError:
        release(held)
        raise
    return held


def _read_answer(connection: socket.socket) -> None:
    """Reads one small answer to its end, as its Content-Length says."""
    data = b""
    for _ in range(100):
        head, mark, body = data.partition(b"\r\n\r\n")
        if mark and len(body) >= _content_length(head):
            return
        block = connection.recv(4096)
        if not block:
            break
        data += block
    raise OSError("the connection closed before a whole answer")


def open_idle(address: Address, count: int, first_bytes: bytes) -> list[socket.socket]:
    """Connections on which only `first_bytes` are sent: nothing, or half a request head."""
    held = []
    for _ in range(count):
        held.append(socket.create_connection(address, timeout=5.0))
        if first_bytes:
            held[-1].sendall(first_bytes)
    return held


def still_open(held: Sequence[socket.socket]) -> int:
    """How many of them the server has not closed: nothing is waiting to be read on an idle connection."""
    poller = select.poll()
    for connection in held:
        poller.register(connection, select.POLLIN)
    return len(held) - len(poller.poll(0))


def release(held: Sequence[socket.socket]) -> None:
    for connection in held:
        connection.close()
