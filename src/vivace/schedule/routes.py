# HOT  bench: benchmarks/bench_routes.py  budget: 0.12 us (find, known path)
"""From a method and a path to a Route, in bounded memory. Pure.

Rules
* A path seen before is found by two dict lookups.
* A path not seen before is reduced to a template: a segment that looks like an identifier (digits, hexadecimal,
  UUID, a long token with digits) becomes `{}`; a trailing slash stays, because it may be another route.
* Everything is bounded: paths remembered (the dict is emptied when full), templates (then one "other" route
  per method), the methods, and the length of what is remembered at all. A peer that invents paths can make
  the table forget; it cannot make it grow.

Must not know: the application's own routing. A framework integration may name routes better.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.schedule.policy import Route

PATHS_MAX = 4096  # paths remembered for each method
PATH_CHARS_MAX = 256  # a longer path is reduced each time and not remembered
SEGMENTS_MAX = 16  # segments beyond these are one "..."
TEMPLATES_MAX = 1000
OTHER = "*"

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
)  # RFC 9110 9.3, RFC 5789

# An identifier-like segment.
IDENTIFIER = re.compile(
    r"[0-9]+(?:[.,:_-][0-9]+)*"  # 42, 2024-11-22, 10.0.0.1
    r"|[0-9a-fA-F]{8,}"  # a digest, an object id
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # RFC 9562 section 4
    r"|(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_=~-]{16,}"  # base64url, ULID, slug-with-number
    r"|[A-Za-z0-9_=~+-]{40,}"  # a long token without a digit
)


def template_of(path: str) -> str:
    """The path with identifier-like segments collapsed to `{}`: "/users/42/" -> "/users/{}/"."""
    segments = path[:4096].split("/")
    if len(segments) > SEGMENTS_MAX:
        segments[SEGMENTS_MAX:] = ["..."]
    match = IDENTIFIER.fullmatch
    return "/".join(["{}" if match(segment) else segment[:64] for segment in segments])


class RouteTable:
    """Routes by method and path. `new_route` makes one from its name: `Policy.new_route`."""

    __slots__ = ("_new_route", "_paths", "templates")

    def __init__(self, new_route: Callable[[str], Route]) -> None:
        self._new_route = new_route
        self._paths: dict[str, dict[str, Route]] = {method: {} for method in (*METHODS, OTHER)}
        self.templates: dict[str, Route] = {}  # name -> Route, e.g. "GET /users/{}"

    def find(self, method: str, path: str) -> Route:
        """The route of a request; always one, whatever the peer sends."""
        try:
            return self._paths[method][path]
        except KeyError:
            return self._add(method, path)

    def _add(self, method: str, path: str) -> Route:
        paths = self._paths.get(method)
        if paths is None:
            method = OTHER
            paths = self._paths[OTHER]
            if path in paths:
                return paths[path]
        name = method + " " + template_of(path)
        route = self.templates.get(name)
        if route is None:
            if len(self.templates) >= TEMPLATES_MAX:
                name = method + " " + OTHER
                route = self.templates.get(name)
            if route is None:
                route = self.templates[name] = self._new_route(name)
        if len(path) <= PATH_CHARS_MAX:
            if len(paths) >= PATHS_MAX:
                paths.clear()
            paths[path] = route
        return route
