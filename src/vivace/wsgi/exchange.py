# HOT  bench: benchmarks/bench_exchange.py  budget: 1.2 us (start_response, a list of one block)
"""One request's passage through the application: PEP 3333 on one side, a sink of bytes on the other.

The sink (a connection, or a test's list) has:

* `put(data, last)`: transmits now what the peer takes; keeps the rest, and waits if that is much and not the last of
  the response; raises `PeerGone`;
* `put_pair(head, block, last)`: the same for two buffers without joining them;
* `gone`: whether the client has left, sends its body too slowly, or is answered already (a time limit);
* `put_file(head, file, fd, pieces, own)`: the same for pieces of a file (`files.FileParts`); calls `file.close()`
  itself, later. `own`: until then nobody else closes `fd`.

Rules:

* A body that is a list or tuple is answered in one piece: `run` returns it and the caller sends it, so that the
  answers to
  pipelined requests can share a write. Every other block is put before the next one is asked for (PEP 3333, "Handling
  the `close()`..., Buffering and Streaming").
* What the application does wrong before the head is out becomes a clean 500; afterwards the response is cut off in
  a way that the client can tell (RFC 9112 section 8).
* `close()` of the iterable is called in every case, once, after the last block is put.

Must not know: sockets, threads, clocks, settings, other requests.
"""

from __future__ import annotations

from vivace.errors import ApplicationError, PeerGone, RequestTimeout
from vivace.http1.head import CHUNKED
from vivace.http1.response import NO_BODY, UNTIL_CLOSE
from vivace.wsgi.files import FileParts, FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.http1.response import ResponseHeads
    from vivace.wsgi.files import Piece

JOIN_BYTES_MAX = 65536
"""Up to this size head and block are joined into one buffer: the copy costs less than a second buffer does."""

FAILED = "500 Internal Server Error"
FAILED_BODY = b"Internal Server Error\n"
FAILED_HEADERS = [("Content-Type", "text/plain; charset=utf-8")]


class Closer:
    """Closes a body that outlives its exchange, and reports what that raises."""

    __slots__ = ("_body", "_environ", "_exchange")

    def __init__(self, exchange: Exchange, environ: dict[str, Any], body: Any) -> None:
        self._exchange = exchange
        self._environ = environ
        self._body = body

    def close(self) -> None:
        self._exchange.close_body(self._environ, self._body)


class Exchange:
    """The state of one response. `run` is called once."""

    __slots__ = (
        "_heads",
        "_left",
        "_report",
        "allowance_s",
        "body_bytes",
        "date",
        "ended",
        "flags",
        "framing",
        "headers",
        "keep",
        "rest",
        "sink",
        "status",
    )

    def __init__(
        self,
        sink: Any,
        flags: int,
        heads: ResponseHeads,
        date: bytes,
        report: Callable[..., None],
        allowance_s: float,
    ) -> None:
        # given
        self.allowance_s = allowance_s  # for the monitor: an exchange is the baton while it runs inline
        self.sink = sink
        self.flags = flags
        self._heads = heads
        self.date = date
        self._report = report
        # what the application said
        self.status: str | None = None
        self.headers: Any = None
        # how the body is framed, once the head is out (None before)
        self.framing: int | None = None
        self.body_bytes = 0
        self.ended = False  # what the application keeps of it must not reach the next response

    _left: int
    """Bytes of a body with a Content-Length that are still to come, once the head is out."""
    keep: bool
    """Whether the connection may carry another request, once the head is out."""
    rest: bytes
    """What is still to be sent of a complete response, while its body is closed."""

    def run(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> tuple[bytes, bool]:
        """Calls `app`; returns (bytes still to be sent, whether the connection may carry another request).

        Raises PeerGone. Every other failure is reported and answered; KeyboardInterrupt is also raised again.
        """
        try:
            body = app(environ, self.start_response)
            if type(body) is list and len(body) == 1 and self.framing is None and self.status is not None:
                block = body[0]
                if type(block) is bytes:
                    size = len(block)
                    head, framing, keep = self._heads.encode(self.status, self.headers, self.flags, size, self.date)
                    if framing == size and size <= JOIN_BYTES_MAX:
                        self.body_bytes = size
                        self.ended = True
                        return head + block, keep
        except BaseException as error:
            try:
                return self._fail(environ, error)
            finally:
                self.ended = True
        try:
            return self._respond(environ, body)
        finally:
            self.ended = True

    # What the application calls.

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """PEP 3333, "The start_response() Callable"; returns the `write` callable."""
        if exc_info is not None:
            try:
                if self.framing is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise ApplicationError("start_response was called a second time without exc_info")
        self.status = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable": transmits `data` before it returns."""
        if self.status is None:
            raise ApplicationError("write() was called before start_response")
        if self.ended:
            raise ApplicationError("write() was called after the end of its request")
        self._put_block(data, None)

    def use_heads(self, heads: Any) -> None:
        """The head is encoded by `heads`, of the kind of ResponseHeads, from now on."""
        self._heads = heads

    # The body.

    def _respond(self, environ: dict[str, Any], body: Any) -> tuple[bytes, bool]:
        """Every body but the commonest; closes it in every case."""
        try:
            kind = type(body)
            if kind is list or kind is tuple:
                block = b"".join([self._checked(block) for block in body])
                last = self._whole(block)
            elif (
                (kind is FileWrapper or kind is FileParts)
                and self.framing is None
                and (found := body.pieces()) is not None
            ):
                last, pieces = self._encode_file(environ, found[1], kind is FileWrapper)
                if pieces:
                    file, body = Closer(self, environ, body), None  # the sink closes it, when the last byte is out
                    self.sink.put_file(last, file, found[0], pieces, kind is FileParts)
                    last = b""
            else:
                last = self._stream(body)
            self.rest = last
        except BaseException as error:
            try:
                return self._fail(environ, error)
            finally:
                self.close_body(environ, body)
        self.close_body(environ, body)
        return last, self.keep

    def _whole(self, block: bytes) -> bytes:
        """A list: everything is known before the head goes out, so a wrong length is still a clean 500."""
        size = len(block)
        if self.framing is not None:  # write() was used before
            if block:
                self._put_block(block, None)
            return self._finish()
        head, framing = self._encode(size)
        if framing == NO_BODY:
            return head
        if framing >= 0 and framing != size:
            self.framing = None
            raise ApplicationError(f"the body has {size} bytes, but Content-Length says {framing}")
        self.body_bytes = size
        if framing == UNTIL_CLOSE or size <= JOIN_BYTES_MAX:
            return head + block
        self.sink.put_pair(head, block, True)
        return b""

    def _stream(self, body: Iterable[bytes]) -> bytes:
        """An iterable: each block is put before the next is asked for."""
        # Asked of the type first: most frameworks' iterables have no length, and an exception costs ten times as much.
        try:
            only = hasattr(type(body), "__len__") and len(body) == 1  # type: ignore[arg-type]
        except TypeError:
            only = False
        for block in body:
            if block or type(block) is not bytes:
                self._put_block(block, len(block) if only and isinstance(block, bytes) else None)
                if self.framing == NO_BODY:
                    break
        if self.framing is None:
            head, framing = self._encode(0)
            if framing > 0:
                self.framing = None
                raise ApplicationError(f"the body is empty, but Content-Length says {framing}")
            return head
        return self._finish()

    def _put_block(self, block: bytes, length: int | None) -> None:
        """One block, with the head before it if that is not out yet. `length`: of the whole body, if known."""
        if not self._checked(block):
            return  # sends nothing, not even the head (PEP 3333), and is no last chunk (RFC 9112 section 7.1)
        size = len(block)
        head = b""
        framing = self.framing
        if framing is None:
            head, framing = self._encode(length)
        if framing >= 0:
            if size > self._left:
                self.keep = False
                block = block[: self._left]
                if head or block:
                    self.sink.put(head + block)
                self.body_bytes += len(block)
                self._left = 0
                raise ApplicationError(f"the body has more bytes than its Content-Length, {framing}")
            self._left -= size
        elif framing == CHUNKED:
            block = b"%x\r\n%b\r\n" % (size, block)
        elif framing == NO_BODY:
            if head:
                self.sink.put(head)
            return
        self.body_bytes += size
        last = framing >= 0 and self._left == 0
        if head and size > JOIN_BYTES_MAX:
            self.sink.put_pair(head, block, last)
        else:
            self.sink.put(head + block, last)

    def _encode_file(self, environ: dict[str, Any], pieces: list[Piece], whole: bool) -> tuple[bytes, list[Piece]]:
        """What goes out first for a file, and the pieces that follow: none where there is no body, or no file in it.

        `whole`: `pieces` is one, the file as the application gave it; who asks for a part of it gets that.
        """
        if whole and self.status is not None and self.status[:3] == "200":
            from vivace.wsgi.partial import narrow

            self.status, self.headers, pieces = narrow(environ, self.status, self.headers, pieces, self.date)
        size = sum([len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces])
        head, framing = self._encode(size)
        if framing == NO_BODY:
            return head, []
        if framing > size:
            self.framing = None
            raise ApplicationError(f"the file has {size} bytes left, but Content-Length says {framing}")
        self.body_bytes = size
        if type(pieces[0]) is bytes and len(pieces) == 1:
            return head + pieces[0], []
        if 0 <= framing < size:  # less than is left of the application's file
            self.body_bytes = framing
            pieces = [(pieces[0][0], framing)]
        return head, pieces

    def _finish(self) -> bytes:
        if self.framing == CHUNKED:
            self.sink.put(b"0\r\n\r\n", True)
        elif self.framing is not None and self.framing >= 0 and self._left:
            raise ApplicationError(f"the body ended {self._left} bytes short of its Content-Length, {self.framing}")
        return b""

    def _encode(self, length: int | None) -> tuple[bytes, int]:
        if self.status is None:
            raise ApplicationError("the application returned without calling start_response")
        head, framing, self.keep = self._heads.encode(self.status, self.headers, self.flags, length, self.date)
        self.framing = framing
        self._left = framing
        return head, framing

    @staticmethod
    def _checked(block: Any) -> bytes:
        if not isinstance(block, bytes):
            raise ApplicationError(f"the body must be made of bytes (PEP 3333), not {type(block).__name__}")
        return block

    # Failing.

    def _fail(self, environ: dict[str, Any], error: BaseException) -> tuple[bytes, bool]:
        """The ladder from an exception to an outcome."""
        self.keep = False
        if isinstance(error, PeerGone):
            raise error
        if isinstance(error, OSError | RequestTimeout) and self.sink.gone:
            raise PeerGone from error  # what its input raised came back, or what ends a request that takes too long
        self._report(environ, error)
        answer = b""
        if self.framing is None:
            self.status = FAILED
            self.headers = FAILED_HEADERS
            answer, framing, self.keep = self._heads.encode(
                FAILED, FAILED_HEADERS, self.flags, len(FAILED_BODY), self.date
            )
            self.framing = framing
            if framing != NO_BODY:
                self.body_bytes = len(FAILED_BODY)
                answer += FAILED_BODY
        else:
            self.sink.abort(self.framing == UNTIL_CLOSE)
        if isinstance(error, KeyboardInterrupt):
            if answer:
                self.sink.put(answer)
            raise error
        return answer, self.keep

    def close_body(self, environ: dict[str, Any], body: Any) -> None:
        """PEP 3333: `close()` is called whatever happened; what it raises is reported."""
        close = getattr(body, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            if not (isinstance(error, RequestTimeout) and self.sink.gone):
                self._report(environ, error)
            if isinstance(error, KeyboardInterrupt):
                raise
