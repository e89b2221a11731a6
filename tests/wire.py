"""A client that sees bytes, for tests that must know exactly what is on the wire.

It reads responses by RFC 9112 in the plainest way, shares no code with vivace or h11, and refuses (WireError) what is
not well-formed: a test that reads a response with it has checked the framing as well.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self

TIMEOUT_S = 10.0
"""Longer than anything a healthy server takes on a busy machine; a test that waits this long has failed."""

STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,16})")

CLOSED = "closed"
RESET = "reset"


class WireError(Exception):
    """What the server sent is no HTTP/1.1, or it ended where it must not."""


class Response:
    """One response. `whole`: the body came as its framing promised; `ended`: how the connection ended within it."""

    def __init__(self, head: bytes, version: str, status: int, reason: str, fields: list[tuple[str, str]]) -> None:
        self.head = head
        self.version = version
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = b""
        self.whole = True
        self.ended = ""
        self.chunks: list[bytes] = []

    def values(self, name: str) -> list[str]:
        """Every value of the field `name`."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name: str) -> str | None:
        """The one value of the field `name`, None where it is missing."""
        values = self.values(name)
        if len(values) > 1:
            raise WireError(f"{name} came {len(values)} times")
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the response says that it is the last one."""
        return "close" in (self.field("Connection") or "").lower()

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.fields} {self.body[:80]!r} whole={self.whole} {self.ended}>"


class Client:
    """One connection to `server` (its url, or what has one)."""

    def __init__(self, server: Any, *, timeout_s: float = TIMEOUT_S, receive_bytes: int = 0) -> None:
        self.buffer = b""
        self.ended = ""
        url = server if isinstance(server, str) else server.url
        unix = url.startswith("unix:")
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.settimeout(timeout_s)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            if unix:
                path = url[5:]
                self.socket.connect("\0" + path[1:] if path.startswith("@") else path)
            else:
                host, _, port = url.removeprefix("http://").rpartition(":")
                self.socket.connect((host, int(port)))
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    @property
    def port(self) -> int:
        """The client's own port."""
        return int(self.socket.getsockname()[1])

    # Sending.

    def send(self, data: bytes) -> Self:
        """Sends all of `data`; raises OSError."""
        self.socket.sendall(data)
        return self

    def send_slowly(self, data: bytes, size: int = 1) -> Self:
        """Sends `data` in pieces of `size`, each in a segment of its own (as far as the kernel lets one decide)."""
        for at in range(0, len(data), size):
            self.socket.sendall(data[at : at + size])
        return self

    def finish_sending(self) -> None:
        """Closes the client's half."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leaves without a word: the server gets RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Receiving.

    def _more(self) -> bool:
        """Takes what comes next; False at the end (then `ended` says which one). Raises TimeoutError."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = RESET
            return False
        if not data:
            self.ended = CLOSED
            return False
        self.buffer += data
        return True

    def wait(self) -> Self:
        """Waits until the first byte has come, and leaves it where it is."""
        if not self.buffer:
            self.socket.recv(1, socket.MSG_PEEK)
        return self

    def read_until(self, mark: bytes) -> bytes:
        """What comes up to and including `mark`. Raises WireError where the connection ends before."""
        while (at := self.buffer.find(mark)) < 0:
            if not self._more():
                raise WireError(f"{self.ended} before {mark!r}, after {self.buffer[-200:]!r}")
        at += len(mark)
        data, self.buffer = self.buffer[:at], self.buffer[at:]
        return data

    def read_bytes(self, count: int) -> bytes:
        """The next `count` bytes, fewer where the connection ends before."""
        while len(self.buffer) < count and self._more():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_head(self) -> Response:
        """The next head, interim ones included."""
        head = self.read_until(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        start = STATUS_LINE.fullmatch(first)
        if start is None:
            raise WireError(f"no status line: {first!r}")
        fields = []
        for line in lines:
            found = FIELD_LINE.fullmatch(line)
            if found is None:
                raise WireError(f"no field: {line!r}")
            fields.append((found[1].decode("latin-1"), found[2].decode("latin-1")))
        return Response(head, start[1].decode(), int(start[2]), start[3].decode("latin-1"), fields)

    def read_chunk(self) -> bytes | None:
        """The next chunk of a chunked body, b"" for the last one; None where the connection ended within it."""
        try:
            line = self.read_until(b"\r\n")[:-2]
        except WireError:
            return None
        size = CHUNK_LINE.fullmatch(line)
        if size is None:
            raise WireError(f"no chunk size: {line!r}")
        count = int(size[1], 16)
        data = self.read_bytes(count + 2)
        if len(data) < count + 2:
            return None
        if data[count:] != b"\r\n":
            raise WireError(f"no CRLF behind a chunk: {data[count:]!r}")
        return data[:count]

    def read_response(self, method: str = "GET") -> Response:
        """The next response, its body by RFC 9112 section 6.3; an interim one is a response of its own."""
        response = self.read_head()
        coding = response.field("Transfer-Encoding")
        length = response.field("Content-Length")
        if coding is not None and length is not None:
            raise WireError("Transfer-Encoding and Content-Length")
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        if coding is not None:
            if coding != "chunked":
                raise WireError(f"Transfer-Encoding: {coding}")
            while chunk := self.read_chunk():
                response.chunks.append(chunk)
            response.body = b"".join(response.chunks)
            response.whole = chunk is not None
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise WireError(f"Content-Length: {length}")
            response.body = self.read_bytes(int(length))
            response.whole = len(response.body) == int(length)
        else:
            response.body, ended = self.rest()
            response.whole = ended == CLOSED
        if not response.whole or (coding is None and length is None):
            response.ended = self.ended
        return response

    def read_responses(self, count: int, method: str = "GET") -> list[Response]:
        """The next `count` responses."""
        return [self.read_response(method) for _ in range(count)]

    def rest(self) -> tuple[bytes, str]:
        """Everything up to the end of the connection, and how it ended: CLOSED or RESET."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data, self.ended

    def has_ended(self) -> bool:
        """Waits for the end of the connection; raises WireError where anything but the end comes."""
        data, _ = self.rest()
        if data:
            raise WireError(f"instead of the end came {data[:200]!r}")
        return True


def request(
    target: str = "/",
    *fields: str,
    method: str = "GET",
    body: bytes | None = None,
    version: str = "HTTP/1.1",
    host: str | None = "h",
) -> bytes:
    """The bytes of a request; Content-Length is added where there is a body."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += fields
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def chunked(blocks: Iterable[bytes], trailers: bytes = b"") -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks if block) + b"0\r\n" + trailers + b"\r\n"


def fetch(server: Any, data: bytes | str = "/", method: str = "GET") -> Response:
    """One response on a connection of its own, to `data` (bytes) or to a GET of `data` (a target)."""
    with Client(server) as client:
        client.send(request(data) if isinstance(data, str) else data)
        return client.read_response(method)


def until(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S, what: str = "") -> Any:
    """Waits for `condition()` to become true and returns what it returned; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}")
        time.sleep(0.002)
    return found
