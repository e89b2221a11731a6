"""Flask-Caching: its values in the memory of the response cache.

CACHE_TYPE = "vivace.contrib.flask_caching.backend"
CACHE_OPTIONS = {"namespace": "shop", "scope": "machine"}       # what Store takes, if it is to be something else
"""

from __future__ import annotations

from vivace.cache.application import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def backend(app: Any, config: Any, args: list[Any], options: dict[str, Any]) -> Store:
    """As Flask-Caching calls a backend."""
    return Store(*args, **{"namespace": "flask-caching", **options})
