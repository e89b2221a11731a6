"""Small WSGI applications, and what the tests ask of a response to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wire import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from wire import Client, Response

TEXT = [("Content-Type", "text/plain")]


class Body:
    """An iterable that counts its closes, and has no other property of a list."""

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.blocks = blocks
        self.closes = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.blocks

    def close(self) -> None:
        self.closes += 1


def app_of(body: Any, status: Any = "200 OK", headers: Any = TEXT) -> Callable[..., Any]:
    """An application that answers so (`body` may be a function) on every path but /next, which is always "next"."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", list(TEXT))
            return [b"next"]
        start_response(status, list(headers) if isinstance(headers, list) else headers)
        return body() if callable(body) else body

    return app


def lengthy(size: int) -> list[tuple[str, str]]:
    """Header fields with a Content-Length."""
    return [*TEXT, ("Content-Length", str(size))]


def assert_follows(client: Client, response: Response) -> None:
    """The connection goes on with the next request, or it ends as `response` says: nothing stray is in between."""
    if response.closes:
        assert client.has_ended()
        return
    following = client.send(request("/next")).read_response()
    assert (following.status, following.body) == (200, b"next")


def assert_clean_500(client: Client) -> None:
    """A whole 500 that shows nothing of the application, and a connection that is still in step."""
    response = client.read_response()
    assert response.status == 500
    assert response.whole
    assert b"Traceback" not in response.body
    assert b"secret" not in response.head + response.body
    assert_follows(client, response)
