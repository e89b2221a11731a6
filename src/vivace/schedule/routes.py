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
from collections import deque

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vivace.schedule.route import Route

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

    __slots__ = (
        "_full",
        "_known",
        "_mounts",
        "_new_route",
        "_number_route",
        "_paths",
        "_presets",
        "_renames",
        "on_forget",
        "templates",
    )

    def __init__(self, new_route: Callable[[str], Route], number_route: Callable[[str], int] | None = None) -> None:
        """`number_route` gives a new route of that name its number, for those who look from outside."""
        self._new_route = new_route
        self._number_route = number_route
        self.on_forget: Callable[[Iterable[Route]], None] | None = None
        """Hears of routes that are about to be forgotten."""
        self._paths: dict[str, dict[str, Route]] = {method: {} for method in (*METHODS, OTHER)}
        self._presets: dict[tuple[str, str], Route] = {}
        self._mounts: list[tuple[str, dict[str, Route]]] = []
        self._known = 0
        self._full = 0  # new templates to refuse before looking for room again
        self._renames: deque[tuple[Route, str]] = deque()
        self.templates: dict[str, Route] = {}
        """Name -> Route, e.g. "GET /users/{}"; where the application named that route, the one with its name."""

    def find(self, method: str, path: str) -> Route:
        """The route of a request; always one, whatever the peer sends."""
        try:
            return self._paths[method][path]
        except KeyError:
            return self._find_new(method, path)

    def all(self) -> Iterable[Route]:
        """Every route there is."""
        mounted = {route for _, routes in self._mounts for route in routes.values()}
        return (*self.templates.values(), *self._presets.values(), *mounted)

    def preset(self, method: str, path: str, route: Route) -> None:
        """From now on the route of exactly this method, one of METHODS, and path, whatever is forgotten."""
        self._presets[method, path] = self._paths[method][path] = route

    def preset_under(self, path: str, routes: dict[str, Route]) -> None:
        """From now on the routes, by method (METHODS and OTHER), of `path` and all that lies under it; "" is all. What
        is preset for a longer path, or for one alone, goes before."""
        self._mounts.append((path, routes))
        self._mounts.sort(key=lambda mount: -len(mount[0]))

    def _find_new(self, method: str, path: str) -> Route:
        if method not in self._paths:
            return self.find(OTHER, path)
        route = self._mounted(method, path) or self._route(method, template_of(path))
        if len(path) <= PATH_CHARS_MAX:
            if self._known >= PATHS_MAX:
                self._forget_paths()
            self._known += 1
            self._paths[method][path] = route
        return route

    def _mounted(self, method: str, path: str) -> Route | None:
        for mount, routes in self._mounts:
            if path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
                return routes[method]
        return None

    def _route(self, method: str, template: str) -> Route:
        name = f"{method} {template}"
        route = self.templates.get(name)
        if route is not None:
            return route
        if len(self.templates) >= TEMPLATES_MAX and not self._make_room():
            name = f"{method} {OTHER}"
            route = self.templates.get(name)
        if route is None:
            route = self._add(name)
        return route

    def _add(self, name: str) -> Route:
        route = self.templates[name] = self._new_route(name)
        route.renames = self._renames
        if self._number_route is not None:
            route.number = self._number_route(name)
        return route

    # Names that the application gives.

    def apply_renames(self) -> tuple[list[tuple[Route, Route]], bool]:
        """Puts routes with the application's names in the place of those that `Route.rename` was called for.

        Returns pairs (a route, what took its place), and whether heads are remembered that still lead to one of old.
        Where a template covers several rules of the application, it keeps its own name.
        """
        pairs: list[tuple[Route, Route]] = []
        stale = False
        while self._renames:
            route, name = self._renames.popleft()
            if route.became is not None:
                stale = True
            elif route.sources is not None:
                if name != route.name:
                    stale = True
                    for source in [source for source in route.sources if "{}" in source.name]:
                        route.sources.remove(source)
                        source.became = source.renames = None
                        self._replace(source.name, route, source)
            elif name != route.name:
                named = self.templates.get(name) or self._add(name)
                if named.sources is None:
                    named.sources = []
                named.sources.append(route)
                route.became = named
                self._replace(route.name, route, named)
                pairs.append((route, named))
        return pairs, stale

    def _replace(self, name: str, route: Route, other: Route) -> None:
        """From now on `other` is what the template in `name` leads to."""
        if name in self.templates:
            self.templates[name] = other
        method, _, template = name.partition(" ")
        paths = self._paths[method]
        for path in list(paths) if "{}" in template else [template]:
            if paths.get(path) is route and template_of(path) == template:
                paths[path] = other

    def _forget_paths(self) -> None:
        for paths in self._paths.values():
            paths.clear()
        for (method, path), route in self._presets.items():
            self._paths[method][path] = route
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
        if self.on_forget is not None:
            self.on_forget([route for name, route in self.templates.items() if name not in kept])
        self.templates = kept
        self._forget_paths()
        return True
