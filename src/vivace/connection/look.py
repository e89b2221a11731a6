"""One request and its response, looked at while they pass (see `facts`), and the bodies around an application's.

Rules: nothing of the response is changed. A list and a file are the application's own object; of any other iterable
each block is handed on before the next is asked for (PEP 3333), and one that says that it has a single block still says
so.

Called on the thread of the application.
"""

from __future__ import annotations

import zlib

from vivace.connection.copying import close, is_one
from vivace.connection.meter import clock
from vivace.connection.route_facts import read_head
from vivace.http1.flags import HEAD
from vivace.http1.response import NO_BODY
from vivace.wsgi.files import FileParts, FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from vivace.connection.facts import Facts
    from vivace.schedule.route import Route
    from vivace.wsgi.exchange import Exchange

    Environ = dict[str, Any]
    Application = Callable[..., Iterable[bytes]]

DIGEST_BYTES_MAX = 1 << 18
"""Of a longer body the beginning and the end are compared, half as much of each, and the length."""

KEPT = (
    *("REQUEST_METHOD", "REQUEST_URI", "HTTP_HOST", "SERVER_PROTOCOL", "HTTP_CONNECTION", "HTTP_COOKIE"),
    *("HTTP_AUTHORIZATION", "HTTP_ACCEPT_ENCODING", "HTTP_USER_AGENT", "REMOTE_ADDR", "CONTENT_LENGTH"),
)
ASKING = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")


class Look:
    """One request and its response."""

    __slots__ = (
        "_digest",
        "_exchange",
        "_facts",
        "_inner",
        "asked",
        "block_bytes",
        "blocks",
        "chunked",
        "code",
        "environ",
        "first",
        "framing",
        "head",
        "held_s",
        "route",
        "seconds",
        "size",
    )

    def __init__(self, facts: Facts, exchange: Exchange, environ: Environ) -> None:
        conn = exchange.sink
        self._facts = facts
        self._exchange = exchange
        self._digest: int | None = None
        self._inner = False
        """The digest is of what the application gave to the compressor."""
        self.environ = {key: environ[key] for key in KEPT if key in environ}
        self.asked = {key: environ[key] for key in ASKING if key in environ}
        self.route: Route = conn.route
        self.chunked = conn.incoming is not None and conn.incoming.chunked
        self.code = "500"
        self.head: dict[str, str] = {}
        self.blocks = self.block_bytes = self.size = self.framing = 0
        self.first = b""
        self.seconds = clock()
        """In the application; until that has ended, when it was called."""
        self.held_s = 0.0

    def digested(self, app: Application) -> Application:
        """`app`, whose body is compared before it is compressed."""

        def inner(environ: Environ, start_response: Any) -> Iterable[bytes]:
            body = app(environ, start_response)
            self._inner = True
            if type(body) is list or type(body) is tuple:
                self._digest = digest_of(body)
                return body
            if type(body) is FileWrapper or type(body) is FileParts:
                return body
            return Inner(self, body) if not is_one(body) else InnerOne(self, body)

        return inner

    def on_inner(self, digest: int) -> None:
        """The application's body has come whole, to the compressor."""
        self._digest = digest

    def on_list(self, body: Any) -> None:
        """The application has returned all of its body."""
        try:
            self.size = self._exchange.body_bytes + sum([len(block) for block in body])
            self.first = max(body, key=len, default=b"")
            if not self._inner and self._exchange.framing is None:
                self._digest = digest_of(body)
        except TypeError:
            pass  # no body, as the exchange will find
        self._end()

    def on_file(self) -> None:
        """It has returned a file."""
        self.size = -1
        self._end()

    def on_blocks(self, digest: int | None, blocks: int) -> None:
        """The last block is handed on. `digest`: None if that was not the end."""
        self.blocks, self.block_bytes = blocks, self._exchange.body_bytes
        self.size = self._exchange.body_bytes
        framing = self._exchange.framing
        self.framing = 0 if framing is None or framing == NO_BODY else framing
        if not self._inner:
            self._digest = digest
        self._end()

    def on_failure(self) -> None:
        """It has raised something."""
        self._end()

    def _end(self) -> None:
        exchange = self._exchange
        self.held_s = getattr(exchange.sink, "waited_s", 0.0)
        self.seconds = max(0.0, clock() - self.seconds - self.held_s)
        if isinstance(exchange.status, str):
            self.code = exchange.status[:3]
        self.head = read_head(exchange.headers)
        if self.size < 0:
            length = self.head.get("content-length", "")
            self.size = int(length) if length.isdecimal() else 0
        if exchange.flags & HEAD or self.code in ("204", "304"):
            self.size = 0
        self._facts.note(self, self._digest)


class Blocks:
    """An iterable body on its way: each block is handed on before the next is asked for (PEP 3333)."""

    __slots__ = ("_body", "_look")

    def __init__(self, look: Look, body: Any) -> None:
        self._look = look
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        look = self._look
        digest, size, count, whole = 0, 0, 0, False
        try:
            for block in self._body:
                if type(block) is bytes:
                    count += bool(block)
                    digest = zlib.crc32(block, digest)
                    size += len(block)
                    if len(block) > len(look.first):
                        look.first = block
                yield block
            whole = True
        finally:
            self._tell(hash((digest, size)) if whole else None, count)

    def _tell(self, digest: int | None, blocks: int) -> None:
        self._look.on_blocks(digest, blocks)

    def close(self) -> None:
        """PEP 3333: the application's, whatever happened."""
        close(self._body)


class One(Blocks):
    """... that says that it has one block: its length is known with that."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


class Inner(Blocks):
    """... on its way to the compressor."""

    __slots__ = ()

    def _tell(self, digest: int | None, blocks: int) -> None:
        if digest is not None:
            self._look.on_inner(digest)


class InnerOne(Inner, One):
    """Both."""

    __slots__ = ()


def digest_of(blocks: Any) -> int:
    """Of a body that is here whole."""
    digest = size = 0
    for block in blocks:
        half = DIGEST_BYTES_MAX // 2
        if len(block) > DIGEST_BYTES_MAX:
            digest = zlib.crc32(block[-half:], zlib.crc32(block[:half], digest))
        else:
            digest = zlib.crc32(block, digest)
        size += len(block)
    return hash((digest, size))
