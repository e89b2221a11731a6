"""What the tests of `vivace.simple_server` share: servers that run on a thread, and small applications."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vivace.simple_server import WSGIRequestHandler, make_server
from wire import TIMEOUT_S, Client, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wire import Response

TEXT = (("Content-Type", "text/plain"),)
"""To be copied: the standard module adds Content-Length to the list that it is given."""


class Quiet(WSGIRequestHandler):
    """The usual way to have no log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What everybody begins with."""
    start_response("200 OK", [*TEXT])
    return [b"hello"]


def made(app: Any = hello, *classes: Any, **settings: Any) -> Any:
    """A server on a free port of 127.0.0.1, quiet if nothing else is said."""
    settings.setdefault("handler_class", Quiet)
    return make_server("127.0.0.1", 0, app, *classes, **settings)


def url(server: Any) -> str:
    """As `wire` wants it."""
    return f"http://127.0.0.1:{server.server_port}"


class Background:
    """A call on a thread of its own; `join` waits for it and raises what it raised."""

    def __init__(self, call: Any, *args: Any) -> None:
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(call, *args))
        self.thread.start()

    def _run(self, call: Any, *args: Any) -> None:
        try:
            call(*args)
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive(), "the call has not returned"
        if self._error is not None:
            raise self._error


@contextmanager
def serving(server: Any, *args: Any) -> Iterator[str]:
    """Serves by `serve_forever` while the block runs; the block gets the url. Closes the server."""
    background = Background(server.serve_forever, *args)
    try:
        yield url(server)
    finally:
        server.shutdown()
        background.join()
        server.server_close()


def answer_one(server: Any, data: bytes | str = "/") -> Response:
    """The response to one request, served by `handle_request`."""
    background = Background(server.handle_request)
    with Client(url(server)) as client:
        client.send(request(data) if isinstance(data, str) else data)
        response = client.read_response()
        client.has_ended()
    background.join()
    return response
