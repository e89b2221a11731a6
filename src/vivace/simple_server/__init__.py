"""Drop-in for `wsgiref.simple_server`: the same names, signatures and contract, served by vivace's loop.

    from vivace.simple_server import make_server      # was: from wsgiref.simple_server import make_server

The application runs on the thread that called `serve_forever()`, one request at a time, unless
`socketserver.ThreadingMixIn` is mixed in or `threads=` is given. Subclasses work as they are: what they may override,
what it costs, and when the standard library's own code serves instead, stands in docs/simple_server.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from wsgiref.simple_server import demo_app

from vivace.simple_server.engine import checked as _checked
from vivace.simple_server.handler import ServerHandler as ServerHandler
from vivace.simple_server.handler import WSGIRequestHandler
from vivace.simple_server.handler import __version__ as __version__
from vivace.simple_server.handler import server_version as server_version
from vivace.simple_server.handler import software_version as software_version
from vivace.simple_server.handler import sys_version as sys_version
from vivace.simple_server.server import WSGIServer

if TYPE_CHECKING:
    from typing import Any

__all__ = ["WSGIRequestHandler", "WSGIServer", "demo_app", "make_server"]


def make_server(
    host: str,
    port: int,
    app: Any,
    server_class: Any = WSGIServer,
    handler_class: Any = WSGIRequestHandler,
    **settings: Any,
) -> Any:
    """A server at (host, port) for `app`, bound and listening.

    `settings`, `threads` for one, are vivace's, for a `server_class` that is. Raises SettingError where one is wrong.
    """
    if settings:
        settings = _checked(settings)
        if not (isinstance(server_class, type) and issubclass(server_class, WSGIServer)):
            raise TypeError(
                f"{', '.join(settings)}: {server_class!r} is no subclass of vivace.simple_server.WSGIServer"
            )
    server = server_class((host, port), handler_class)
    if settings:
        server.vivace_settings = {**server.vivace_settings, **settings}
    server.set_app(app)
    return server
