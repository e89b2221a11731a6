"""What an application can tell the server of the request that it works on: its route, a timing, what it does now.

    from vivace.hooks import name_route, phase, timing

    def app(environ, start_response):
        name_route(environ, "/users/<int:id>")
        with phase(environ, "query"):
            rows, seconds = look_up(environ)
        timing(environ, "db", seconds, "users by id")

Rules:

* None of them ever raises, and under any other server, or where nobody looks, they do nothing.
* They may be imported wherever the application is, and cost it no import besides.

Called on the thread of the request. See docs/tracing.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

ROUTE, REQUEST = "vivace.route", "vivace.request"
NAME_CHARS_MAX = 200
PHASE_CHARS_MAX = 40


def name_route(environ: Mapping[str, Any], name: str) -> None:
    """The request belongs to the route `name`, the rule that it matched: "/users/<int:id>", without the method."""
    request = environ.get(REQUEST)
    if request is not None:
        request.route = name[:NAME_CHARS_MAX]
    route = environ.get(ROUTE)
    if route is None:
        return
    full = f"{route.name.partition(' ')[0]} {name}"[:NAME_CHARS_MAX]
    if route.name != full:
        route.rename(full)


def name_unmatched(environ: Mapping[str, Any]) -> None:
    """No rule of the application matches: the request counts for "GET *" (or another method), with all of its kind.

    A route that has its name from a rule already keeps it: one template of the server may cover both.
    """
    route = environ.get(ROUTE)
    if route is None:
        return
    from vivace.schedule.routes import template_of

    method, _, template = route.name.partition(" ")
    if template == template_of(str(environ.get("PATH_INFO", ""))):
        route.rename(f"{method} *")


def timing(environ: Mapping[str, Any], name: str, seconds: float, description: str = "") -> None:
    """`seconds` of the request went into `name`: one more entry of its Server-Timing field, and of its span."""
    request = environ.get(REQUEST)
    if request is not None:
        request.add_timing(name, seconds, description)


class phase:  # noqa: N801 - used like a function
    """`with phase(environ, "query"):` - what the request does meanwhile, for those who look at it from outside."""

    __slots__ = ("_before", "_name", "_request")

    def __init__(self, environ: Mapping[str, Any], name: str) -> None:
        self._request = environ.get(REQUEST)
        self._name = name
        self._before = ""

    def __enter__(self) -> None:
        request = self._request
        if request is not None:
            self._before = request.phase
            request.phase = str(self._name)[:PHASE_CHARS_MAX]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._request is not None:
            self._request.phase = self._before
