"""Bottle: routes named by the rule of `bottle.route`."""

from __future__ import annotations

from importlib import import_module

from vivace.hooks import name_route, name_unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def init_app(app: Any) -> None:
    """Has `app`, a Bottle application, tell the server which rule each request matched."""
    request: Any = import_module("bottle").request

    def tell() -> None:
        environ = request.environ
        route = environ.get("bottle.route")
        if route is not None:
            name_route(environ, environ.get("SCRIPT_NAME", "") + route.rule)
        else:
            name_unmatched(environ)

    app.add_hook("after_request", tell)  # there is no other hook behind the routing
