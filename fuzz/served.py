"""A whole server, over a socket: it answers each stream with what `exchange` reads in it, in order, and nothing else.

One server for all streams, so what it remembers of the earlier ones is there. Two are run in turns: the application
on the loop's own thread, and on pooled threads.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from typing import TYPE_CHECKING

import vivace
from wire import Client, WireError
from wire_corpus import BODY_BYTES_MAX, Outcome, exchange

from .invariants import Broken, holds, pieces

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

REQUESTS_MAX = 50
REFUSED = (b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 100")


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Says in a field what it got, so that HEAD is answered in full as well."""
    got = {key: value for key, value in environ.items() if type(value) is str}
    got["body"] = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Got", json.dumps(got))])
    return [b"served"]


class Server:
    """Two servers with one application; `check` asks one and then the other."""

    def __init__(self, app: Any = tell) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._servers = [
            vivace.background(
                app,
                bind=f"unix:{self._folder.name}/{threads}",
                threads=threads,
                lanes=lanes,
                body_bytes_max=BODY_BYTES_MAX,
                log_level="error",
            )
            for threads, lanes in ((1, "inline"), (4, "pool"))
        ]
        self._turn = 0

    def __enter__(self) -> Self:
        for server in self._servers:
            server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.stop()
        self._folder.cleanup()

    def check(self, stream: bytes, cuts: list[int]) -> None:
        """Raises Broken."""
        self._turn += 1
        server = self._servers[self._turn % len(self._servers)]
        with Client(server) as client:
            try:
                for piece in pieces(stream, cuts):
                    client.send(piece)
                client.finish_sending()
            except OSError:
                pass  # it has refused, and closed, before the last piece
            try:
                answered(client, stream)
            except (WireError, TimeoutError, KeyError, ValueError) as error:
                raise Broken(f"its answers cannot be read: {error!r}") from error
        faults = {
            name: count for name, count in server.server.loop.closed.snapshot().items() if name == "bug" and count
        }
        holds(not faults, "a fault of its own")


def answered(client: Client, stream: bytes) -> None:
    """Reads every answer to `stream` and the end of the connection."""
    left = stream
    for _ in range(REQUESTS_MAX):
        outcome = exchange([left])
        # A head that is not complete is looked at now and then: it may be refused, or just left.
        unfinished = outcome.status < 0 or (outcome.status > 0 and b"\r\n\r\n" not in left.removeprefix(b"\r\n"))
        if unfinished:
            break
        method = outcome.environ.get("REQUEST_METHOD", "GET") if outcome.status == 0 else refused_method(left)
        response = client.read_response(method)
        while response.status == 100:
            response = client.read_response(method)
        if outcome.status:
            holds(400 <= response.status < 600 and response.closes, "it is not refused", outcome.status, response)
            break
        holds(response.status == 200, "it is refused", response, outcome)
        same(json.loads(response.field("X-Got") or ""), outcome)
        holds(response.closes == outcome.closes, "it ends otherwise", response, outcome)
        if outcome.closes or not outcome.rest:
            break
        left = outcome.rest
    else:
        return
    rest, _ = client.rest()
    holds(not rest or (unfinished and rest.startswith(REFUSED)), "and then came", rest[:300])


def refused_method(stream: bytes) -> str:
    """A HEAD whose body is refused is answered without a body; one whose head is, cannot be known for one."""
    data = stream.removeprefix(b"\r\n")
    head = data[: data.find(b"\r\n\r\n") + 4]
    outcome = exchange([head]) if head.startswith(b"HEAD ") else None
    return "HEAD" if outcome is not None and outcome.status < 0 else "GET"


def same(got: dict[str, str], outcome: Outcome) -> None:
    """What the application got is what was sent, to the last key."""
    wanted = {key: value for key, value in outcome.environ.items() if type(value) is str}
    wanted["body"] = hashlib.sha256(outcome.body).hexdigest()
    if wanted.pop("HTTP_TRANSFER_ENCODING", None) is not None:
        wanted["CONTENT_LENGTH"] = str(len(outcome.body))
        got.pop("HTTP_TRANSFER_ENCODING", None)  # still there where the application read the body itself
        got.setdefault("CONTENT_LENGTH", wanted["CONTENT_LENGTH"])
    own = (
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_SOFTWARE",
        "SCRIPT_NAME",
        "wsgi.url_scheme",
        "REMOTE_ADDR",
        "REMOTE_PORT",
    )
    got = {key: value for key, value in got.items() if key not in own}
    holds(got == wanted, "the application got another request", got, wanted)
