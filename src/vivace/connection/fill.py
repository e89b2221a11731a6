"""One call of the application whose response may be kept: a WSGI application around the user's.

It hands everything on as the application gives it, and collects what may be kept on the way. Where the application
is only asked whether what is kept is still right, and says so (304), the kept response is handed on instead; the same
where it fails, if what is kept may stand in (stale-if-error, RFC 5861 section 4).

Rules:

* Of a response that is not to be kept nothing is touched: its body is the application's own object.
* Where others may wait for the response, what asks for a part of it, or for none if it is known already, is taken out
  of the request, so that all of it comes; the client then gets what it asked for from what has been kept.
* Only what has come whole is kept: to the end of the iterable, in the length that was announced, under the head that
  was judged. What is sent by `write` is not.
* What the application does wrong it does as if no cache were there: it is reported, and answered, the same.

Called on the thread of the application. Must not know: connections, threads, where responses are kept (see `Filler`).
"""

from __future__ import annotations

import os
from time import time

from vivace.cache import policy
from vivace.connection.copying import Single, Stream, chained, close, is_one
from vivace.connection.plan import CACHE_RESULT
from vivace.errors import ApplicationError
from vivace.wsgi.files import FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from vivace.cache.entry import Entry
    from vivace.cache.policy import Wish

    Environ = dict[str, Any]
    Headers = list[tuple[str, str]]

    class Filler(Protocol):
        """Whom a Fill tells what has come: see `caching`."""

        bytes_max: int

        def judge_made(self, fill: Fill, status: str, headers: Headers, now: float) -> tuple[Entry | None, str]:
            """What would be kept of such a response; or None, and why it is not."""

        def keep(self, fill: Fill, entry: Entry) -> None:
            """The whole response is here."""

        def give_up(self, fill: Fill, reason: str, *, failed: bool = False) -> None:
            """It will not be kept. More than once does no harm. `failed`: the next one may well be."""

        def let_go(self, fill: Fill) -> None:
            """Nobody is to wait for it any more, although it may come yet. Any thread."""

        def found_elsewhere(self, fill: Fill) -> Entry | None:
            """What another machine has kept of it, fresh; may wait."""

        def freshen(self, fill: Fill, headers: Headers, now: float) -> Entry:
            """What becomes of the stale entry, which the application has found right, and is handed on."""

        def told_by_head(self, fill: Fill, status: str, headers: Headers, now: float) -> None:
            """The application has answered a HEAD for the stale entry."""

        def stands_in(self, fill: Fill, code: int, now: float) -> bool:
            """Whether the stale entry is handed on in place of this status, or of no response at all (0)."""

        def code(self, entry: Entry, environ: Environ) -> str:
            """The coding in which this client gets `entry`, which has the body in it by now; "" for none."""

        def status_field(self, text: str) -> Headers:
            """Cache-Status, where it is wanted."""

        def report(self, environ: Environ, error: BaseException) -> None:
            """The application failed, and its client does not see it."""


class Fill:
    """See the module. `stale`: what is kept, and is to be asked about; `flight`: others may wait for the response."""

    __slots__ = (
        "_app",
        "_begun",
        "_entry",
        "_filler",
        "_head",
        "_instead",
        "_other",
        "_outer",
        "_request",
        "_said",
        "_start",
        "_write",
        "asked_s",
        "claimed",
        "confirmed",
        "done",
        "environ",
        "flight",
        "forwarded",
        "held",
        "key",
        "stale",
        "wish",
    )

    def __init__(
        self,
        filler: Filler,
        app: Callable[..., Iterable[bytes]],
        key: str,
        wish: Wish,
        *,
        stale: Entry | None,
        flight: Any,
        forwarded: str,
    ) -> None:
        """`forwarded`: why the application is asked, as Cache-Status says it (RFC 9211 section 2.2)."""
        self._filler = filler
        self._app = app
        self.key = key
        self.wish = wish
        self.stale = stale
        self.flight = flight
        self.forwarded = forwarded
        self.asked_s = 0.0
        self.claimed = ""
        """The key that other machines wait for."""
        self.confirmed = False
        """The application has found right what is kept."""
        self.done = False
        """It has been kept, or given up."""
        self.held: list[bytes] = []
        """Blocks that the server has not had yet."""
        self.environ: Environ = {}
        """The request as it came."""
        self._outer: Environ = {}  # the server's own
        self._request: Any = None  # what annotates it
        self._start: Any = None
        self._write: Any = None
        self._forget()

    def _forget(self) -> None:
        self._begun = False  # the server has the head
        self._head: tuple[str, Headers] | None = None
        self._entry: Entry | None = None  # what is being collected
        self._instead: bytes | None = None  # the body in place of the application's
        self._said: Headers = []  # its headers when it was judged
        self._other = False  # what the application has found right is something else than is kept

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        self._start = start_response
        self._outer = environ
        self._request = environ.get("vivace.request")
        self.environ = environ.copy()
        self.asked_s = time()
        elsewhere = self._filler.found_elsewhere(self)
        if elsewhere is not None:
            self._say("hit")
            self._answer(elsewhere, policy.cache_status(hit=True, detail="another machine"))
            return self._hand_instead()
        if self.stale is not None or self.flight is not None:
            for name in policy.CONDITIONS:
                environ.pop(name, None)
            environ.update(policy.revalidation(self.stale, environ))
        try:
            body, blocks = self._call(environ)
            if self._other:
                self._close(body)
                self._forget()
                self.stale = None
                again = self.environ.copy()
                for name in policy.CONDITIONS:
                    again.pop(name, None)
                body, blocks = self._call(again)
        except Exception as error:
            if self._begun or not self._stands_in(0):
                raise
            self._filler.report(environ, error)
            return self._hand_instead()
        return self._hand_on(body, blocks)

    def _call(self, environ: Environ) -> tuple[Any, Iterator[bytes] | None]:
        """What the application returns, and its blocks from the first one on where it had to be asked for that: its
        status is known then."""
        body = self._app(environ, self.start_response)
        if self._head is not None:
            return body, None
        try:
            iterator = iter(body)
            first = next(iterator, None)
        except BaseException:
            self._close(body)
            raise
        return body, iterator if first is None else chained(first, iterator)

    def end(self) -> None:
        """The request is over, however it ended."""
        if not self.done or self.flight is not None:  # it was struck by its time limit while it was kept
            self.done = False
            self._filler.give_up(self, "the response did not come whole", failed=True)

    def lose(self) -> None:
        """Its client was answered in place of the application: nobody is to wait for it any more. Any thread."""
        if self.flight is not None:
            self._filler.let_go(self)

    # What the application calls.

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Any:
        """PEP 3333, "The start_response() Callable". The server hears of it with the first block."""
        try:
            if self._begun:
                self._entry = None
                return self._start(status, headers, exc_info) if exc_info else self._start(status, headers)
            if self._head is not None and exc_info is None:
                raise ApplicationError("start_response was called a second time without exc_info")
        finally:
            exc_info = None
        self._head = (status, headers)
        self._entry = self._instead = None
        if type(status) is str and type(headers) is list:  # else the server says what is wrong with it
            self._decide(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable"."""
        self._drop("it is sent by write()")
        self._begin()
        held, self.held = self.held, []
        for block in held:
            self._write(block)
        self._write(data)

    # What becomes of it.

    def _decide(self, status: str, headers: Headers) -> None:
        now = time()
        if self.stale is not None and status[:3] == "304":
            if not policy.confirms(self.stale, headers):
                self._other = True
                return
            entry = self._filler.freshen(self, headers, now)
            self._say("revalidated")
            self._answer(entry, policy.cache_status(fwd=self.forwarded, fwd_status=304, stored=True), headers)
        elif status[:1] == "5" and self._stands_in(int(status[:3]) if status[:3].isdecimal() else 500):
            pass
        elif self.stale is not None and self.wish.method == "HEAD":
            self._filler.told_by_head(self, status, headers, now)
        else:
            self._entry, reason = self._filler.judge_made(self, status, headers, now)
            self._said = headers.copy()
            if self._entry is None:
                self._filler.give_up(self, reason, failed=status[:1] == "5")

    def _stands_in(self, code: int) -> bool:
        """Whether what is kept is handed on in place of a failure; then it is made ready."""
        if self.stale is None or not self._filler.stands_in(self, code, time()):
            return False
        self._filler.give_up(self, "the application failed, and what was kept stood in for it", failed=True)
        self._say("stale")
        self._answer(self.stale, policy.cache_status(hit=True, fwd=self.forwarded, fwd_status=code))
        return True

    def _say(self, result: str) -> None:
        """What became of the request: for the log and Server-Timing."""
        self._outer[CACHE_RESULT] = result
        if self._request is not None:
            self._request.cache = result

    def _answer(self, entry: Entry, said: str, made: Headers | None = None) -> None:
        """What the client gets of `entry` becomes the response. `made`: what the application has said to this request,
        of which the cookies are the client's own and are not kept."""
        coding = self._filler.code(entry, self.environ)
        status, headers, self._instead = policy.answer(entry, self.wish, self.environ, time(), coding)
        cookies = [pair for pair in made or () if pair[0].lower() == "set-cookie"]
        self._head = (status, headers + cookies + self._filler.status_field(said))

    def _hand_instead(self) -> list[bytes]:
        self._begin(plain=True)
        return [self._instead or b""]

    def _begin(self, *, plain: bool = False) -> None:
        """The server gets the head, where it has none yet. `plain`: as it stands."""
        if self._begun or self._head is None:
            return
        self._begun = True
        status, headers = self._head
        if not plain and type(headers) is list:
            said = policy.cache_status(fwd=self.forwarded, stored=self._entry is not None)
            headers = headers + self._filler.status_field(said)
        self._write = self._start(status, headers)

    def _drop(self, reason: str) -> None:
        """What was being collected is not kept."""
        self._entry = None
        if not self.done:
            self._filler.give_up(self, reason)

    def _hand_on(self, body: Any, blocks: Iterator[bytes] | None) -> Any:
        """What the server gets as the body, for what the application has returned."""
        if self._instead is not None:
            self._close(body)
            return self._hand_instead()
        if self._entry is None or self._begun:
            self._begin()
            return body if blocks is None else Stream(self, body, blocks)
        if type(body) is FileWrapper and blocks is None and (region := body.region()) is not None:
            return self._hand_file(body, region)
        if type(body) is list or type(body) is tuple:
            if all(type(block) is bytes for block in body):
                whole = self._whole(b"".join(body))
                return body if whole is None else [whole]
            self._drop("its body is not made of bytes")
            self._begin()
            return body
        kind = Single if blocks is None and is_one(body) else Stream
        return kind(self, body, iter(body) if blocks is None else blocks)

    def _hand_file(self, body: FileWrapper, region: tuple[int, int, int]) -> Any:
        """A file that the system can send: a copy is kept, and the server sends it in its own way."""
        fd, offset, size = region
        said = self._length()
        size = min(size, int(said)) if said is not None and said.isdecimal() else size
        if size > self._filler.bytes_max:
            self._drop("it is a file longer than what is kept")
        else:
            if self._entry is not None and self._entry.status[:3] == "200":
                self._entry.headers.append(("Accept-Ranges", "bytes"))  # as the server says of a file
            whole = b""
            while len(whole) < size and (block := os.pread(fd, size - len(whole), offset + len(whole))):
                whole += block
            handed = self._whole(whole)
            if handed is not None:
                self._close(body)
                return [handed]
        self._begin()
        return body

    def _whole(self, whole: bytes) -> bytes | None:
        """All of the response is here, and the server has had nothing of it: what it gets, None for all of it as it
        came."""
        entry = self._entry
        if (
            entry is not None
            and self._keep(entry, whole)
            and (self.wish.partial or self._filler.code(entry, self.environ))
        ):
            made = self._head[1] if self._head is not None else None
            self._answer(entry, policy.cache_status(fwd=self.forwarded, stored=True), made)
            return self._hand_instead()[0]
        self._begin()
        return None

    def _keep(self, entry: Entry, whole: bytes) -> bool:
        """Keeps it, unless it is too long, or not as long as it says."""
        if len(whole) > self._filler.bytes_max:
            self._drop("its body is longer than what is kept")
            return False
        if self._head is not None and self._head[1] != self._said:
            self._drop("its headers were changed after start_response had them")
            return False
        said = self._length()
        if said is not None and said.strip() != str(len(whole)):
            self._drop("its body is not as long as its Content-Length says")
            return False
        entry.body = whole
        self._filler.keep(self, entry)
        return True

    def _length(self) -> str | None:
        """Content-Length, as it was judged."""
        return next((value for name, value in self._said if name.lower() == "content-length"), None)

    def _close(self, body: Any) -> None:
        """PEP 3333: where there is something to call, and the server does not. What that raises is reported."""
        try:
            close(body)
        except Exception as error:
            self._filler.report(self.environ, error)
