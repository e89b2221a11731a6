"""What tests of route names share: a route as it stands in an environ, and an application that notes the names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vivace.schedule.routes import template_of

if TYPE_CHECKING:
    from typing import Any


class Route:
    """As `environ["vivace.route"]`; remembers the names that it was given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: list[str] = []

    def rename(self, name: str) -> None:
        self.name = name
        self.names.append(name)


class Named:
    """`app`, each of whose requests has a route by its template; `names` has what they are called afterwards."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.names: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        route = environ["vivace.route"] = Route(f"{environ['REQUEST_METHOD']} {template_of(path)}")
        try:
            return self._app(environ, start_response)
        finally:
            self.names[f"{environ['REQUEST_METHOD']} {path}"] = route.name
