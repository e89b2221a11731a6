"""Flask: routes named by `request.url_rule`, with blueprint prefixes and the mount point."""

from __future__ import annotations

from vivace.hooks import name_route, name_unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def init_app(app: Any) -> None:
    """Has `app`, a Flask application, tell the server which rule each request matched."""
    from flask import request

    def tell() -> None:
        rule = request.url_rule
        if rule is not None:
            name_route(request.environ, request.environ.get("SCRIPT_NAME", "") + rule.rule)
        elif getattr(request.routing_exception, "code", None) in (404, 405):  # else it is a redirect
            name_unmatched(request.environ)

    app.before_request(tell)
