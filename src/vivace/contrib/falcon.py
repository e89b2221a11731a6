"""Falcon: routes named by their URI templates."""

from __future__ import annotations

from vivace.hooks import name_route, name_unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RouteNames:
    """A middleware component: `falcon.App(middleware=[RouteNames()])`."""

    def process_resource(self, request: Any, response: Any, resource: Any, parameters: Any) -> None:
        """A resource was found, and is about to be called."""
        if request.uri_template is not None:  # None: a sink
            name_route(request.env, request.env.get("SCRIPT_NAME", "") + request.uri_template)

    def process_response(self, request: Any, response: Any, resource: Any, succeeded: bool) -> None:
        """The response is ready."""
        if resource is None and str(response.status).startswith("404"):
            name_unmatched(request.env)
