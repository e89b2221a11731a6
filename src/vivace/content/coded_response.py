"""One response on its way through the compressor: PEP 3333 towards the application, and towards the server.

Rules:

* The head is held back until it is known whether the body is coded whole, in blocks or not at all: until the first
  block. Everything that the application does wrong before passes to the server untouched, which answers it with 500.
* Each block of the application is passed on before the next is asked for.
* A body that fails is never ended: the client must see that it was cut off. Content-Length is still held against it,
  although the client is not told.
* `close()` of the application's iterable is the server's to call; it reaches it through `close` here.

Called by the thread that runs the application.
"""

from __future__ import annotations

from vivace.errors import ApplicationError
from vivace.http1.coded_head import CODABLE, NEVER, VARIES, coded, read, told_again, varied
from vivace.http1.dates import read_date
from vivace.http1.preconditions import evaluate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.content.coding import Coding, Stream
    from vivace.content.compressor import Compressor
    from vivace.http1.coded_head import Headers

# The states of a response.
UNSAID = 0
"""start_response has not been called."""
HELD = 1
"""It has, for something that may be coded; the server does not know yet."""
PLAIN = 2
"""The head is passed on, the body goes as it is."""
CODED = 3
"""The head of the coded response is passed on."""

END: Any = object()

FILE_BYTES_MAX = 1 << 20
"""Longer files are left to the system to send: coding them for each request would cost more than it saves."""


class CodedResponse:
    """What `start_response` is to the application, and its iterable to the server."""

    __slots__ = (
        "_asked",
        "_blocks",
        "_body",
        "_coding",
        "_compressor",
        "_count",
        "_environ",
        "_head",
        "_headers",
        "_joined",
        "_single",
        "_size",
        "_start",
        "_status",
        "_stream",
        "_vary",
        "_write",
        "state",
    )

    _body: Any
    _blocks: Iterator[bytes]
    # Of the head that is held.
    _status: str
    _headers: Headers
    _vary: str | None
    _size: int | None
    """What the application says of the body's length."""
    _write: Any
    """The server's, once its start_response was called."""

    def __init__(self, compressor: Compressor, coding: Coding, environ: dict[str, Any], start_response: Any) -> None:
        # What the client asked: an application, a cache before all, may change it for itself.
        self._head = environ.get("REQUEST_METHOD") == "HEAD"
        self._asked = environ.get("HTTP_IF_NONE_MATCH")
        self._compressor = compressor
        self._coding = coding
        self._environ = environ
        self._start = start_response
        self._stream: Stream | None = None
        self._count = 0  # bytes that were coded
        self._joined = False  # the blocks are read at once: they are a short file
        self._single = False  # there is one block
        self.state = UNSAID

    # What the application calls.

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Any:
        """PEP 3333, "The start_response() Callable"."""
        state = self.state
        if state >= PLAIN:  # raises, if anything of it is out
            headers = self._compressor.plain_head(self._asked, status, headers, read(headers))
            self._write = self._start(status, headers, exc_info)
            self.state = PLAIN
            return self._write
        if state == HELD and exc_info is None:
            raise ApplicationError("start_response was called a second time without exc_info")
        exc_info = None
        facts = read(headers)
        compressor = self._compressor
        verdict = NEVER if facts is None else compressor.judge(status, facts)
        if facts is None or verdict != CODABLE:
            if verdict == VARIES:
                headers = compressor.plain_head(self._asked, status, headers, facts)
            self._write = self._start(status, headers)
            self.state = PLAIN
            return self._write
        self._status, self._headers, self._vary = status, headers, facts.get("vary")
        size = facts.get("content-length")
        self._size = None if size is None else int(size)
        self.state = HELD
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable"."""
        data = self._add(data)
        if data:
            self._write(data)

    # What the server gets.

    def answer(self, body: Any) -> Any:
        """The application has returned `body`: what to return in its place."""
        state = self.state
        if type(body) is list or type(body) is tuple:
            if state == HELD:
                return self._whole(body)
            if state == CODED:  # write() was used before
                return [self._add(block) for block in body if block or type(block) is not bytes] + [self._finish()]
            return body
        if state == PLAIN:
            return body
        self._body = body
        if state == HELD:
            if type(body) is self._environ.get("wsgi.file_wrapper"):
                size = _file_bytes(body) if self._size is None else self._size
                if self._leaves_file() or not (size is None or self._compressor.bytes_min <= size <= FILE_BYTES_MAX):
                    return self._plain(body)
                self._joined = size is not None
            else:
                self._single = hasattr(type(body), "__len__") and len(body) == 1
        return self

    def __iter__(self) -> CodedResponse:
        self._blocks = iter(self._body)
        return self

    def __next__(self) -> bytes:
        if self._joined and not self._head:
            self._joined = False
            return self._add_single(b"".join(self._blocks)[: self._size])
        while not (self.state == HELD and self._head):  # its application's body is not needed
            block = next(self._blocks, END)
            if block is END:
                break
            if not block and type(block) is bytes:
                continue  # sends nothing, not even the head (PEP 3333)
            if self.state == UNSAID or self.state == PLAIN:
                return block
            if self._single and self.state == HELD:
                return self._add_single(block)
            if self.state != HELD or not self._head:
                return self._add(block)
        last = self._finish()
        if last:
            return last
        raise StopIteration

    def close(self) -> None:
        """PEP 3333: whatever happened."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    # The parts.

    def _plain(self, body: Any) -> Any:
        """The head goes out as it was given; returns `body`."""
        self._write = self._start(self._status, varied(self._headers, self._vary))
        self.state = PLAIN
        return body

    def _code(self, size: int | None) -> None:
        """The head of the coded response goes out."""
        headers = coded(varied(self._headers, self._vary), self._coding.name, size)
        self._write = self._start(self._status, headers)
        self.state = CODED

    def _whole(self, blocks: Any) -> Any:
        """The whole body is there."""
        for block in blocks:
            if type(block) is not bytes:
                return self._plain(blocks)  # PEP 3333 allows nothing else: the exchange says so
        body = b"".join(blocks)
        size = len(body)
        if self._head:
            if size and size < self._compressor.bytes_min:
                return self._plain(blocks)
            self._code(None)
            return []
        if size < self._compressor.bytes_min or (self._size is not None and self._size != size):
            return self._plain(blocks)
        data = self._encode(body)
        return self._plain(blocks) if data is None else [data]

    def _encode(self, body: bytes) -> bytes | None:
        """The whole body, coded, and its head sent; None where that would not be shorter."""
        compressor = self._compressor
        compressor.make_way(self._coding, len(body), self._start)
        data = self._coding.encode(body, compressor.level, True)
        if len(data) >= len(body):
            return None
        self._count = len(body)
        self._code(len(data))
        return data

    def _leaves_file(self) -> bool:
        """Whether the server will answer with a part of the file, or that it has not changed."""
        fields = {name.lower(): value for name, value in self._headers}
        if "accept-ranges" in fields:
            return False  # the application has seen to it: see wsgi.partial
        etag, modified = fields.get("etag", ""), fields.get("last-modified")
        modified_s = None if modified is None else read_date(modified)
        if not evaluate(self._environ, etag, modified_s):
            return "HTTP_RANGE" in self._environ and not self._head
        self._headers = told_again(self._headers, etag, self._asked)
        return True

    def _add_single(self, block: bytes) -> bytes:
        """The only block there is; the head is still held."""
        size = len(_checked(block))
        if self._size is None:
            self._size = size
            self._headers = [*self._headers, ("Content-Length", str(size))]  # the server would have added it
        elif self._size > size:
            raise ApplicationError(f"the body has {size} bytes, but Content-Length says {self._size}")
        return self._add(block)

    def _add(self, block: bytes) -> bytes:
        """The next block, coded; the head goes out before the first one."""
        if not _checked(block):
            return b""
        if self.state == HELD:
            size = len(block)
            if self._head:
                self._code(None)
            elif size == self._size:
                data = self._encode(block) if size >= self._compressor.bytes_min else None
                return self._plain(block) if data is None else data
            else:
                self._code(None)
                self._stream = self._coding.stream(self._compressor.level)
        elif self.state == PLAIN:
            return block
        if self._head:
            return b""
        return self._next(block)

    def _next(self, block: bytes) -> bytes:
        """A block of a stream."""
        self._count += len(block)
        if self._size is not None and self._count > self._size:
            raise ApplicationError(f"the body has more bytes than its Content-Length, {self._size}")
        assert self._stream is not None
        self._compressor.make_way(self._coding, len(block), self._start)
        return self._stream.add(block)

    def _finish(self) -> bytes:
        """What comes behind the last block; the head, if nothing has come before."""
        if self.state == HELD:
            if self._head:
                self._code(None)
            else:
                self._plain(None)
        elif self.state == CODED and not self._head:
            if self._size is not None and self._count < self._size:
                missing = self._size - self._count
                raise ApplicationError(f"the body ended {missing} bytes short of its Content-Length, {self._size}")
            stream, self._stream = self._stream, None
            if stream is not None:
                return stream.finish()
        return b""


def _checked(block: Any) -> bytes:
    if not isinstance(block, bytes):
        raise ApplicationError(f"the body must be made of bytes (PEP 3333), not {type(block).__name__}")
    return block


def _file_bytes(body: Any) -> int | None:
    """What is left of a file that the system could send; None: something else."""
    region = getattr(body, "region", None)
    found = None if region is None else region()
    return None if found is None else int(found[2])
