"""Asking the application without a client: to renew what is kept while it is still served (stale-while-revalidate,
RFC 5861 section 3); and telling the cache of what an application has changed (RFC 9111 section 4.4).

A Job is done by the pool like any request; without a pool it runs on the loop's
thread once the clients that are ready have been served. No time limit is kept for it: the flight that it belongs to
lapses, and the next stale answer sends another one.
"""

from __future__ import annotations

from vivace.connection.limiter import EXTEND
from vivace.wsgi.body import EMPTY
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.connection.fill import Fill
    from vivace.connection.serving import Serving

    Environ = dict[str, Any]


class Job:
    """What no client waits for, and a pooled thread is to do."""

    __slots__ = ("run",)

    arrived = float("inf")  # it is never too late

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run


class Ghost:
    """A request without a client; the sink of its own response."""

    __slots__ = ("_environ", "_fill", "_loop", "host")

    gone = False
    slot = 0

    def __init__(self, environ: Environ, fill: Fill, loop: Serving) -> None:
        self._environ = environ | {"wsgi.input": EMPTY, "REQUEST_METHOD": "GET"}
        if EXTEND in environ:
            self._environ[EXTEND] = lambda seconds: None  # there is no limit to extend
        self._fill = fill
        self._loop = loop
        self.host = environ["REMOTE_ADDR"]

    def run(self) -> None:
        """Calls the application; what comes is kept by the Fill, and goes nowhere else."""
        loop = self._loop
        exchange = Exchange(self, 0, loop.heads, loop.date, loop.report, float("inf"))
        try:
            exchange.run(loop.wrapped(self._fill), self._environ)
        finally:
            self._fill.end()

    def put(self, data: bytes, last: bool = False) -> None:
        """Nobody reads it."""

    def put_pair(self, head: bytes, block: bytes, last: bool = False) -> None:
        """Nobody reads it."""

    def put_file(self, head: bytes, file: Any, fd: int, pieces: list[Any], own: bool) -> None:
        """Nobody reads it."""
        file.close()

    def abort(self, reset: bool) -> None:
        """There is nothing to cut off."""


class Invalidating:
    """A WSGI application around the user's, for a request that may change what is kept.

    What has changed is forgotten when the application is through with it, and before the client can know: when it has
    returned, or begins to send. Where it does more while it sends, what was kept meanwhile is forgotten at the end.
    """

    __slots__ = ("_app", "_changed", "_environ", "_late", "_returned", "_said", "_start", "_told", "_write")

    def __init__(self, changed: Callable[[Environ, str, Any], None], app: Callable[..., Iterable[bytes]]) -> None:
        """`changed` hears of the request, and of the status and headers of its response."""
        self._changed = changed
        self._app = app
        self._said: tuple[Any, Any] | None = None
        self._returned = False
        self._told = False
        self._late = True  # what it does is not over when it returns

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        self._environ = environ.copy()  # the application may change its own
        self._start = start_response
        body = self._app(environ, self.start_response)
        self._returned = True
        self._late = self._late and type(body) is not list and type(body) is not tuple
        self._tell()
        return body

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """PEP 3333's."""
        try:
            self._write = self._start(status, headers, exc_info) if exc_info else self._start(status, headers)
        finally:
            exc_info = None
        self._said = (status, headers)
        if self._returned:
            self._tell()
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's."""
        if not self._told:
            self._tell()
        self._write(data)

    def lose(self) -> None:
        """Its client was answered in place of the application, which may go on changing things."""

    def end(self) -> None:
        """The request is over."""
        if self._late:
            self._tell()

    def _tell(self) -> None:
        self._told = True
        if self._said is not None and type(self._said[0]) is str:
            self._changed(self._environ, *self._said)
