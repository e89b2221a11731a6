"""What the tests of `request_timeout` share: an application that takes long, and what its client gets.

`LIMIT_S` is short; what must happen "in time" may take until `LATE_S` on a busy machine. conftest.py has the fixtures.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import vivace
from apps import TEXT
from wire import TIMEOUT_S, Client, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LIMIT_S = 0.1
LATE_S = 5.0


class Long:
    """An application: /next answers, every other path does what `work` does first. Notes what it was hit by."""

    def __init__(self, work: Callable[[], Any] | None = None) -> None:
        self.gate = threading.Event()
        self.hits: list[BaseException] = []
        self.left = threading.Event()
        """The call has run its `finally`."""
        self.environ: dict[str, Any] = {}
        self.work = work or (lambda: self.gate.wait(TIMEOUT_S))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/next":
            self.environ = environ
            try:
                self.work()
            except Exception:
                raise AssertionError("a framework would have swallowed it") from None
            except BaseException as error:
                self.hits.append(error)
                raise
            finally:
                self.left.set()
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"][1:].encode()]

    def assert_hit(self) -> None:
        assert self.left.wait(TIMEOUT_S)
        until(lambda: self.hits, what="RequestTimeout in the application")
        assert [type(hit) for hit in self.hits] == [vivace.RequestTimeout]


def spin() -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        pass


def stalling(gate: threading.Event, *blocks: bytes) -> Callable[[], Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        yield from blocks
        gate.wait(TIMEOUT_S)
        yield b"late"

    return body


def counts(server: vivace.background) -> dict[str, int]:
    return {reason: count for reason, count in server.server.loop.closed.snapshot().items() if count}


def assert_504(client: Client, method: str = "GET") -> None:
    """A whole 504, and the end of the connection."""
    response = client.read_response(method)
    assert (response.status, response.closes) == (504, True)
    assert response.whole
    assert response.body == (b"504 Gateway Timeout: the application took too long\n" if method != "HEAD" else b"")
    assert client.has_ended()
