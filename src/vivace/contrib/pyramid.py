"""Pyramid: routes named by the pattern of `matched_route`; what traversal finds keeps the server's own name."""

from __future__ import annotations

from vivace.hooks import name_route, name_unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def includeme(config: Any) -> None:
    """For `config.include("vivace.contrib.pyramid")`."""
    config.add_subscriber(_on_found, "pyramid.events.ContextFound")
    config.add_subscriber(_on_response, "pyramid.events.NewResponse")


def _on_found(event: Any) -> None:
    request = event.request
    route = getattr(request, "matched_route", None)
    if route is not None:
        name_route(request.environ, f"{request.script_name}/{route.pattern.lstrip('/')}")


def _on_response(event: Any) -> None:
    request = event.request
    if getattr(request, "matched_route", None) is None and event.response.status_int == 404:
        name_unmatched(request.environ)
