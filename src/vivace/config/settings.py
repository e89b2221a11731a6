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
from vivace.config.caching import Caching
from vivace.config.limits import Limits
from vivace.config.logs import Logging
from vivace.config.network import Network
from vivace.config.observing import Observing
from vivace.config.process import Process
from vivace.config.row import Row
from vivace.config.serving import Serving
from vivace.config.tracing import Tracing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

# The headings of the help and the reference, and the optional TOML tables, in their order.
SECTIONS: Final[dict[str, str]] = {
    "application": "Application",
    "listen": "Listening",
    "processes": "Worker processes",
    "scheduler": "Threads and scheduling",
    "limits": "Limits on a request",
    "body": "Bodies",
    "timeouts": "Time limits",
    "tls": "TLS",
    "proxies": "Behind a proxy",
    "privileges": "Privileges and files of the process",
    "health": "Health",
    "logging": "Logging and identity",
    "observing": "Measuring and showing",
    "tracing": "Ids, timings and traces",
    "caching": "Response cache",
    "compression": "Compression",
    "files": "Files",
}

# What waitress, uWSGI, mod_wsgi-express, Granian, uvicorn and Flask call it: only for "did you mean". gunicorn's names
# stand in `gunicorn`, because they are understood.
ELSEWHERE: Final[dict[str, str]] = {
    "host": "bind",
    "port": "bind",
    "listen": "bind",
    "address": "bind",
    "http": "bind",
    "http_socket": "bind",
    "http11_socket": "bind",
    "unix_socket": "bind",
    "uds": "bind",
    "unix_socket_perms": "unix_mode",
    "uds_permissions": "unix_mode",
    "chmod_socket": "unix_mode",
    "chown_socket": "unix_owner",
    "working_dir": "chdir",
    "working_directory": "chdir",
    "processes": "workers",
    "connection_limit": "connections_max",
    "limit_concurrency": "connections_max",
    "blocking_threads": "threads",
    "timeout_keep_alive": "keepalive_timeout_s",
    "keep_alive_timeout": "keepalive_timeout_s",
    "channel_timeout": "keepalive_timeout_s",
    "timeout_graceful_shutdown": "shutdown_timeout_s",
    "workers_kill_timeout": "shutdown_timeout_s",
    "harakiri": "request_timeout_s",
    "interrupt_timeout": "request_timeout_s",
    "startup_timeout": "boot_timeout_s",
    "maximum_requests": "max_requests",
    "limit_max_requests": "max_requests",
    "max_requests_delta": "max_requests_jitter",
    "max_worker_lifetime": "max_lifetime_s",
    "workers_lifetime": "max_lifetime_s",
    "restart_interval": "max_lifetime_s",
    "reload_on_rss": "memory_soft_bytes",
    "workers_max_rss": "memory_soft_bytes",
    "evil_reload_on_rss": "memory_hard_bytes",
    "reload_on_changes": "reload",
    "py_autoreload": "reload",
    "reload_dir": "reload_extra",
    "reload_paths": "reload_extra",
    "cpu_affinity": "pin_workers",
    "limit_post": "body_bytes_max",
    "limit_request_body": "body_bytes_max",
    "max_request_body_size": "body_bytes_max",
    "buffer_size": "head_bytes_max",
    "max_request_header_size": "head_bytes_max",
    "inbuf_overflow": "body_memory_bytes",
    "post_buffering": "body_memory_bytes",
    "outbuf_overflow": "response_buffer_bytes",
    "response_buffer_size": "response_buffer_bytes",
    "trusted_proxy": "trusted_proxies",
    "trust_proxy": "trusted_proxies",
    "url_prefix": "root_path",
    "url_path_prefix": "root_path",
    "mount_point": "root_path",
    "ssl_certificate": "certfile",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "ssl_certificate_key": "keyfile",
    "ssl_certificate_key_file": "keyfile",
    "ssl_ca": "tls_ca_file",
    "ssl_ca_certs": "tls_ca_file",
    "uid": "user",
    "gid": "group",
    "procname": "name",
    "process_name": "name",
    "ident": "server_header",
    "stats": "admin",
    "stats_server": "admin",
    "metrics_address": "admin",
    "metrics_port": "admin",
    "metrics_enabled": "metrics",
    "compress_responses": "compress",
    "gzip": "compress",
    "static_map": "static",
    "static_path_mount": "static",
    "url_alias": "static",
}


class Settings(Serving, Limits, Process, Network, Logging, Observing, Tracing, Caching):
    """Every setting's value, frozen, and where each came from. Made by `vivace.config.load`."""

    def __init__(
        self, values: Mapping[str, Any], origins: Mapping[str, str], directory: str = "", notes: Sequence[str] = ()
    ) -> None:
        """By row name: the `values`, checked, without those left at their default; where each stood.

        `directory` is the one that they were read in, `notes` are what the user should be told about them, a line each.
        """
        known = {name: values.get(name, setting.default) for name, setting in ROWS.items()}
        object.__setattr__(self, "_values", known)
        object.__setattr__(self, "_origins", dict(origins))
        object.__setattr__(self, "directory", directory)
        object.__setattr__(self, "notes", tuple(notes))

    _values: dict[str, Any]
    _origins: dict[str, str]
    directory: str
    notes: tuple[str, ...]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name} is decided at start-up")

    def origin(self, name: str) -> str:
        """Where the value of `name` came from: an option, a variable, "file: key", or "default"."""
        return self._origins.get(name, "default")

    def __repr__(self) -> str:
        given = [
            f"{name}={self._values[name]!r}" for name, row in ROWS.items() if name in self._origins and not row.secret
        ]
        return f"Settings({', '.join(given)})"


PARTS = (Serving, Limits, Process, Network, Logging, Observing, Tracing, Caching)


def _rows() -> dict[str, Row]:
    """Every row by name, in the order of SECTIONS and, inside one, of the table."""
    found = [item for part in PARTS for item in vars(part).values() if isinstance(item, Row)]
    return {item.name: item for section in SECTIONS for item in found if item.section == section}


ROWS: Final[dict[str, Row]] = _rows()


def names() -> dict[str, Row]:
    """Every name that users may write, in snake_case, the preferred ones first."""
    return {setting.public: setting for setting in ROWS.values()} | ROWS


def meant(word: str) -> Row | None:
    """The row that an unknown name most likely means, or None."""
    from vivace.config.gunicorn import WORDS

    word = word.strip("-").replace("-", "_").lower()
    rows = names()
    others = {other: rows[row] for other, row in (WORDS | ELSEWHERE).items()}
    known = others | rows
    return known.get(word) or known.get(kinds.nearest(word, known))
