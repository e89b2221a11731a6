"""vivace: a WSGI server in pure Python, drop-in for `wsgiref.simple_server`.

`serve(app)` serves until Ctrl-C; `with background(app) as server:` serves meanwhile; `RequestTimeout` is what a request
past `request_timeout` gets. All are imported on first use, so that `import vivace` costs nothing.
"""

from __future__ import annotations

from vivace.version import __version__

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from vivace.embed import background, serve
    from vivace.errors import RequestTimeout

__all__ = ["RequestTimeout", "__version__", "background", "serve"]


def __getattr__(name: str) -> Any:
    if name in ("background", "serve"):
        from vivace import embed

        return getattr(embed, name)
    if name == "RequestTimeout":
        from vivace.errors import RequestTimeout

        return RequestTimeout
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
