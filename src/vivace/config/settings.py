"""THE settings table: one row a setting, and everything else is generated from it.

A row gives the name, kind, default, limits, unit, section, help and precedent of one setting. From the rows
come the command-line options, the `VIVACE_*` variables, the TOML keys, the keywords of `vivace.serve`,
`vivace --help`, `--print-config` and `docs/reference.md`. To add a setting is to add a row to one of the
classes that `Settings` is made of.

Rules:

* The name in code is the row's name, unit last: `keepalive_timeout_s`, `body_memory_bytes`. Since a value may
  carry its own unit ("2m", "64KiB"), the name that users write leaves a last `_s` or `_bytes` off:
  `--keepalive-timeout 2m`. The full name is understood everywhere too.
* Every default cites its precedent, or says that there is none.
* A `Settings` is frozen: made once, at start-up, by `vivace.config.load`.
* Nothing here reads a file, a variable or an argument, and nothing below `worker` may see a Settings.
"""

from __future__ import annotations

from vivace.config import kinds
from vivace.config.limits import Limits
from vivace.config.row import Row
from vivace.config.serving import Serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

# The headings of the help and the reference, and the optional TOML tables, in their order.
SECTIONS: Final[dict[str, str]] = {
    "application": "Application",
    "listen": "Listening",
    "scheduler": "Threads and scheduling",
    "limits": "Limits on a request",
    "body": "Bodies",
    "timeouts": "Time limits",
    "logging": "Logging and identity",
}

# What gunicorn, waitress, uWSGI, Granian, uvicorn and Flask call it: only for "did you mean".
ELSEWHERE: Final[dict[str, str]] = {
    "host": "bind",
    "port": "bind",
    "listen": "bind",
    "address": "bind",
    "http_socket": "bind",
    "unix_socket": "bind",
    "unix_socket_perms": "unix_mode",
    "chmod_socket": "unix_mode",
    "chown_socket": "unix_owner",
    "chdir": "app_dir",
    "pythonpath": "app_dir",
    "worker_connections": "connections_max",
    "connection_limit": "connections_max",
    "blocking_threads": "threads",
    "keep_alive": "keepalive_timeout_s",
    "keepalive": "keepalive_timeout_s",
    "timeout_keep_alive": "keepalive_timeout_s",
    "channel_timeout": "keepalive_timeout_s",
    "graceful_timeout": "shutdown_timeout_s",
    "limit_request_line": "request_line_bytes_max",
    "limit_request_fields": "fields_max",
    "limit_request_field_size": "field_bytes_max",
    "max_request_header_size": "head_bytes_max",
    "max_request_body_size": "body_bytes_max",
    "inbuf_overflow": "body_memory_bytes",
    "outbuf_overflow": "response_buffer_bytes",
    "access_logfile": "access_log",
    "accesslog": "access_log",
    "loglevel": "log_level",
    "ident": "server_header",
}


class Settings(Serving, Limits):
    """Every setting's value, frozen, and where each came from. Made by `vivace.config.load`."""

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
        """By row name: the `values`, checked, without those left at their default; where each stood."""
        known = {name: values.get(name, setting.default) for name, setting in ROWS.items()}
        object.__setattr__(self, "_values", known)
        object.__setattr__(self, "_origins", dict(origins))

    _values: dict[str, Any]
    _origins: dict[str, str]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name} is decided at start-up")

    def origin(self, name: str) -> str:
        """Where the value of `name` came from: an option, a variable, "file: key", or "default"."""
        return self._origins.get(name, "default")

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={self._values[name]!r}" for name in ROWS if name in self._origins)
        return f"Settings({given})"


def _rows() -> dict[str, Row]:
    """Every row by name, in the order of SECTIONS and, inside one, of the table."""
    found = [item for part in (Serving, Limits) for item in vars(part).values() if isinstance(item, Row)]
    return {item.name: item for section in SECTIONS for item in found if item.section == section}


ROWS: Final[dict[str, Row]] = _rows()


def names() -> dict[str, Row]:
    """Every name that users may write, in snake_case, the preferred ones first."""
    return {setting.public: setting for setting in ROWS.values()} | ROWS


def meant(word: str) -> Row | None:
    """The row that an unknown name most likely means, or None."""
    word = word.strip("-").replace("-", "_").lower()
    found = ELSEWHERE.get(word) or kinds.nearest(word, names())
    return names()[found] if found else None
