"""Under what circumstances this process serves: its settings, its Python, the application, its logging.

For whoever asks {"ask": "settings"}; the shape stands in explain/facts.py.

Rules: only what is imported already is looked at. Secrets stay here: the value of a setting that is one, and whatever
may be in a URL of a database or in the application's own configuration.
"""

from __future__ import annotations

import gc
import sys

from vivace.config.settings import ROWS
from vivace.observe import uncollected
from vivace.observe.processors import processors
from vivace.version import __version__
from vivace.worker import development

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.config.settings import Settings

LOGGERS_MAX = 40
INFO = 20  # logging.INFO, without importing it

FLAGS = ("dev_mode", "optimize", "verbose", "debug", "inspect", "no_site", "isolated", "bytes_warning")
PACKAGES = ("werkzeug", "jinja2", "sqlalchemy", "django", "flask", "bottle", "falcon", "pyramid", "psycopg", "psycopg2")


def told(app: Any, settings: Settings) -> dict[str, Any]:
    """Everything, as plain data."""
    return {
        "vivace": {
            "version": __version__,
            "processors": processors(),
            "settings": {name: _plain(getattr(settings, name)) for name, row in ROWS.items() if not row.secret},
            "origins": {name: settings.origin(name) for name in ROWS if settings.origin(name) != "default"},
        },
        "python": _python(),
        "application": _application(app, settings.app),
        "development": development.found(app, reload=bool(settings.reload)),
        "logging": _logging(),
        "database": _database(),
    }


def _python() -> dict[str, Any]:
    enabled = getattr(sys, "_is_gil_enabled", None)
    flags = [f"{name}={value}" for name in FLAGS if (value := getattr(sys.flags, name))]
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "gil": True if enabled is None else bool(enabled()),
        "flags": flags + [f"-X {name}" for name in sys._xoptions],
        "tracemalloc": development.traced_frames(),
        "tracing": development.tracing(),
        "gc": {
            "enabled": uncollected.is_on(),
            "threshold": list(gc.get_threshold()),
            "frozen": gc.get_freeze_count(),
            "debug": gc.get_debug(),
        },
    }


def _application(app: Any, target: str) -> dict[str, Any]:
    parts = development.chain(app)
    framework = development.framework_of(app)
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    module = sys.modules.get(development.name_of(parts[0]).partition(":")[0])
    named = sys.modules.get(target.partition(":")[0])
    return {
        "target": target,
        "file": str(getattr(named or module, "__file__", "") or ""),
        "framework": framework,
        "version": versions.get(framework, ""),
        "chain": [development.name_of(part) for part in parts],
        "versions": versions,
    }


def _version(name: str) -> str:
    """Of a package that is imported; "" if it is not, or does not say."""
    module = sys.modules.get(name)
    if module is None:
        return ""
    version = vars(module).get("__version__", "")
    if not isinstance(version, str) or not version:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as version_of

        try:
            version = version_of(name)
        except PackageNotFoundError:
            version = ""
    return version


def _logging() -> dict[str, Any]:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return {"root": "", "handlers": [], "loud": []}
    root = logging.getLogger()
    loggers = [root]
    loggers += [each for each in list(root.manager.loggerDict.values()) if isinstance(each, logging.Logger)]
    handlers = [
        [logger.name, type(handler).__name__, logging.getLevelName(handler.level), _target(handler)]
        for logger in loggers
        for handler in list(logger.handlers)
    ]
    loud = [
        [logger.name, logging.getLevelName(logger.level)]
        for logger in loggers
        if logger.level and logger.level <= INFO and logger.hasHandlers()
    ]
    return {
        "root": logging.getLevelName(root.level),
        "handlers": handlers[:LOGGERS_MAX],
        "loud": loud[:LOGGERS_MAX],
    }


def _target(handler: Any) -> str:
    """Where a handler writes: a file or a stream."""
    file = getattr(handler, "baseFilename", None)
    if file is None:
        file = getattr(getattr(handler, "stream", None), "name", "")
    return str(file)


def _database() -> dict[str, Any]:
    settings = development.django_settings()
    if settings is None:
        return {}
    return {
        str(alias): {"engine": str(each.get("ENGINE", "")), "conn_max_age": each.get("CONN_MAX_AGE", 0)}
        for alias, each in settings.DATABASES.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value)
