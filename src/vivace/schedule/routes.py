# HOT  bench: benchmarks/bench_routes.py  budget: 0.15 us (find, known path)
"""From a method and a path to a Route, in bounded memory. Pure.

Rules
* A path seen before is found by two dict lookups.
* A path not seen before is reduced to a template: a segment that looks like an identifier (digits, hexadecimal,
  UUID, a long token with digits) becomes `{}`; a trailing slash stays, because it may be another route.
* Everything is bounded: paths remembered (all are forgotten when there are too many), templates, methods, and the
  length of what is remembered at all. A peer that invents paths can make the table forget; it cannot make it grow.
* When the templates are full, those in the inline lane go first: what is lost is only that they were quick. So junk
  paths cannot push out what was learned. If nothing is left to forget, all others share one route per method.

Must not know: the application's own routing. A framework integration may name routes better.

Threads: only the thread that leads the loop.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.schedule.policy import Route

PATHS_MAX = 4096  # about 1.5 MB with the longest paths
PATH_CHARS_MAX = 256  # a longer path is reduced each time and not remembered
TEMPLATE_CHARS_MAX = 256  # of a path, beyond which it is not looked at
TEMPLATES_MAX = 1000
TEMPLATES_KEPT_MAX = 750  # slow ones kept when the table is full: some room is always left for the new
OTHER = "*"

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""RFC 9110 section 9.3 and RFC 5789; all others share OTHER."""

# A whole segment (RFC 3986 section 3.3, decoded) with the slash before it. Possessive, so linear.
IDENTIFIER = re.compile(
    r"/(?:"
    r"[0-9]++(?:[.,:_-][0-9]++)*+"  # 42, 2024-11-22, 10.0.0.1
    r"|[0-9a-fA-F]{8,}+"  # a digest, an object id
    r"|(?=(?:[^0-9/]*+[0-9]){3})[A-Za-z0-9_=~+-]{8,}+"  # three digits in eight characters: INV-2024001, UUID, ULID
    r"|(?=[^0-9/]*+[0-9])[A-Za-z0-9_=~+-]{20,}+"  # base64url, a title with a number
    r"|[A-Za-z0-9_=~+-]{40,}+"  # a long token without any
    r")(?=/|\Z)"
)


def template_of(path: str) -> str:
    """The path with identifier-like segments collapsed to `{}`: "/users/42/" -> "/users/{}/"."""
    return IDENTIFIER.sub("/{}", path[:TEMPLATE_CHARS_MAX])


class RouteTable:
    """Routes by method and path. `new_route` makes one from its name: `Policy.new_route`."""

    __slots__ = ("_full", "_known", "_new_route", "_paths", "templates")

    def __init__(self, new_route: Callable[[str], Route]) -> None:
        self._new_route = new_route
        self._paths: dict[str, dict[str, Route]] = {method: {} for method in (*METHODS, OTHER)}
        self._known = 0
        self._full = 0  # new templates to refuse before looking for room again
        self.templates: dict[str, Route] = {}
        """Name -> Route, e.g. "GET /users/{}"."""

    def find(self, method: str, path: str) -> Route:
        """The route of a request; always one, whatever the peer sends."""
        try:
            return self._paths[method][path]
        except KeyError:
            return self._find_new(method, path)

    def _find_new(self, method: str, path: str) -> Route:
        if method not in self._paths:
            return self.find(OTHER, path)
        route = self._route(method, template_of(path))
        if len(path) <= PATH_CHARS_MAX:
            if self._known >= PATHS_MAX:
                self._forget_paths()
            self._known += 1
            self._paths[method][path] = route
        return route

    def _route(self, method: str, template: str) -> Route:
        name = f"{method} {template}"
        route = self.templates.get(name)
        if route is not None:
            return route
        if len(self.templates) >= TEMPLATES_MAX and not self._make_room():
            name = f"{method} {OTHER}"
            route = self.templates.get(name)
        if route is None:
            route = self.templates[name] = self._new_route(name)
        return route

    def _forget_paths(self) -> None:
        for paths in self._paths.values():
            paths.clear()
        self._known = 0

    def _make_room(self) -> bool:
        """Forgets the templates in the inline lane; False if those are too few to be worth it."""
        if self._full:
            self._full -= 1
            return False
        kept = {name: route for name, route in self.templates.items() if route.lane}
        if len(kept) > TEMPLATES_KEPT_MAX:
            self._full = TEMPLATES_MAX
            return False
        self.templates = kept
        self._forget_paths()
        return True
