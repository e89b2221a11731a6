"""A list in place of a connection: what an exchange sends, and what came of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from apps import TEXT
from vivace.errors import PeerGone
from vivace.http1.flags import CLOSE, HEAD
from vivace.http1.response import ResponseHeads
from vivace.wsgi.exchange import JOIN_BYTES_MAX, Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.wsgi.files import FileWrapper

DATE = b"Date: now\r\n"
LARGE = b"x" * (JOIN_BYTES_MAX + 1)


class Sink:
    """A connection that takes everything, or stops taking after `room` calls."""

    gone = False

    def __init__(self, room: int = 1 << 30) -> None:
        self.data = b""
        self.puts: list[bytes] = []
        self.resets: list[bool] = []
        self.files: list[tuple[int, int]] = []
        self.room = room

    def put(self, data: bytes, *more: Any) -> None:
        assert data, "nothing is no reason for a system call"
        self.room -= 1
        if self.room < 0:
            raise PeerGone
        self.puts.append(data)
        self.data += data

    def put_pair(self, head: bytes, block: bytes, *more: Any) -> None:
        self.put(head + block)

    def put_file(
        self, head: bytes, file: FileWrapper, fd: int, pieces: list[bytes | tuple[int, int]], own: bool
    ) -> None:
        data = b""
        for piece in pieces:
            if isinstance(piece, tuple):
                self.files.append(piece)
                piece = os.pread(fd, piece[1], piece[0])
            data += piece
        try:
            self.put(head + data)
        finally:
            file.close()

    def abort(self, reset: bool) -> None:
        self.resets.append(reset)


class Outcome:
    """What came of one call: the bytes on the wire, whether the connection goes on, what was reported."""

    def __init__(self, sink: Sink, exchange: Exchange, last: bytes, keep: bool, reported: list[BaseException]) -> None:
        self.wire = sink.data + last
        self.last = last
        self.keep = keep
        self.reported = reported
        self.sink = sink
        self.exchange = exchange
        head, self.ended_head, self.body = self.wire.partition(b"\r\n\r\n")
        self.status, *self.fields = head.decode("latin-1").split("\r\n")

    @property
    def content(self) -> bytes:
        """The body without its chunk lines, which are checked."""
        if "Transfer-Encoding: chunked" not in self.fields:
            return self.body
        content, rest = b"", self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            assert rest[count : count + 2] == b"\r\n"
            content += rest[:count]
            if not count:
                assert rest == b"\r\n", "bytes behind the last chunk"
            rest = rest[count + 2 :] if count else b""
        return content


def exchange_of(sink: Sink, flags: int = 0, report: Callable[..., None] = lambda environ, error: None) -> Exchange:
    return Exchange(sink, flags, ResponseHeads("vivace"), DATE, report, 1.0)


def run(app: Any, flags: int = 0, sink: Sink | None = None) -> Outcome:
    """Calls `app` as a server does."""
    sink = sink or Sink()
    reported: list[BaseException] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET"}

    def report(given: dict[str, Any], error: BaseException) -> None:
        assert given is environ
        reported.append(error)

    exchange = exchange_of(sink, flags, report)
    last, keep = exchange.run(app, environ)
    return Outcome(sink, exchange, last, keep, reported)


def app_of(body: Any, status: Any = "200 OK", headers: Any = TEXT) -> Any:
    """An application that answers so; `body` may be a function."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return body() if callable(body) else body

    return app


def assert_clean_500(outcome: Outcome, flags: int = 0) -> None:
    """A whole 500 with nothing of the application in it, one report, a connection in step."""
    assert outcome.status == "HTTP/1.1 500 Internal Server Error"
    body = b"" if flags & HEAD else b"Internal Server Error\n"
    assert (outcome.body, outcome.ended_head) == (body, b"\r\n\r\n")
    assert "Content-Length: 22" in outcome.fields
    assert outcome.keep is not bool(flags & CLOSE)
    assert outcome.sink.resets == []
    assert len(outcome.reported) == 1
    assert outcome.exchange.status == "500 Internal Server Error"
