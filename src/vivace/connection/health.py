"""The paths that the server itself answers, for whoever decides whether to send it requests or to end it.

* livez: 200 as long as the loop turns, whatever the application's threads do.
* readyz: 200 while new requests are welcome, 503 from the signal to stop on.

Each is a route of its own in the table, for GET and HEAD, in a lane that never leaves the loop's thread and needs none
of the application's. So they are answered when every thread is busy and when requests are refused for overload, and
they cost a plain request nothing. Whatever holds for a response (HEAD, HTTP/1.0, pipelining, order) holds for these,
because they are answered by the same means.

What they cannot outlive: with threads = 1 the application runs on the loop's own thread; at connections_max with none
idle, a probe waits in the backlog with everybody else.
"""

from __future__ import annotations

from vivace.connection.own_route import OwnRoute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.loop import Loop

FIELDS = (("Content-Type", "text/plain"), ("Cache-Control", "no-store"))
"""RFC 9111 section 5.2.2.5: an answer of a moment ago is none."""

METHODS = ("GET", "HEAD")


def add_health(loop: Loop, livez_path: str, readyz_path: str) -> None:
    """Puts the health paths that are not "" in front of the application's."""

    def livez(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [*FIELDS])
        return [b"ok\n"]

    def readyz(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        if loop.closing and not loop.gentle:  # else this process stops, and the server does not
            start_response("503 Service Unavailable", [*FIELDS])
            return [b"stopping\n"]
        return livez(environ, start_response)

    for path, answer in ((livez_path, livez), (readyz_path, readyz)):
        for method in METHODS if path else ():
            route = OwnRoute(f"{method} {path}", answer, annotated=False, logged=loop.plan.log_health)
            loop.routes.preset(method, path, route)
