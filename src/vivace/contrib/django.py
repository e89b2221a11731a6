"""Django: routes named by `resolver_match.route`, a pattern as in urls.py."""

from __future__ import annotations

from vivace.hooks import name_route, name_unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class RouteNames:
    """A middleware: put "vivace.contrib.django.RouteNames" first in MIDDLEWARE."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self._get_response(request)
        if request.resolver_match is None and response.status_code == 404:
            name_unmatched(request.META)
        return response

    def process_view(self, request: Any, view: Any, args: Any, keywords: Any) -> None:
        """The pattern is known, and the view about to be called."""
        rule = request.resolver_match.route.lstrip("^")  # of a regular expression
        name_route(request.META, f"{request.META.get('SCRIPT_NAME', '')}/{rule}")
