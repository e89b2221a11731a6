"""A line for each request, in the common log format, written in batches beside the request path.

A request costs one `list.append`; formatting and writing happen once a tick of the loop, and at its end.
"""

from __future__ import annotations

import time

from vivace.connection.sweeping import MONTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BATCH_MAX = 1000
"""So many lines are written without waiting for the tick."""


class AccessLog:
    """Collects requests; `flush` writes them. `write` takes a text of whole lines."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._rows: list[tuple[float, dict[str, Any], str | None, int]] = []

    def log(self, environ: dict[str, Any], status: str | None, body_bytes: int, seconds: float) -> None:
        """After a response. Any thread."""
        self._rows.append((time.time(), environ, status, body_bytes))
        if len(self._rows) >= BATCH_MAX:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected. Any thread."""
        rows, self._rows = self._rows, []
        if rows:
            self._write("".join([line(*row) for row in rows]))


def line(now: float, environ: dict[str, Any], status: str | None, body_bytes: int) -> str:
    """One line of the common log format: host ident user [time] "request" status bytes."""
    local = time.localtime(now)
    offset = time.strftime("%z", local)
    stamp = f"{local.tm_mday:02d}/{MONTHS[local.tm_mon - 1]}/{local.tm_year}:" + time.strftime("%H:%M:%S", local)
    request = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}"
    request = request.replace("\\", "\\\\").replace('"', '\\"')
    host = environ.get("REMOTE_ADDR") or "-"
    code = status[:3] if status else "-"
    return f'{host} - - [{stamp} {offset}] "{request}" {code} {body_bytes or "-"}\n'
