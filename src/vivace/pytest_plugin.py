"""A pytest fixture that serves WSGI applications over real sockets.

def test_hello(vivace_server):
    server = vivace_server(app)
    assert requests.get(server.url + "/").text == "hello"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vivace.embed import background


@pytest.fixture
def vivace_server() -> Iterator[Callable[..., background]]:
    """A function (app, **settings) -> running server with `url`, `host` and `port`; all stop at the end of the test."""
    from vivace.embed import background

    running: list[background] = []

    def start(app: Any, **settings: Any) -> background:
        server = background(app, **settings).start()
        running.append(server)
        return server

    yield start
    for server in reversed(running):
        server.stop()
