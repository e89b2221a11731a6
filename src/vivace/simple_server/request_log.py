"""A line on stderr for each request, in the standard module's format, written in batches beside the request path.

A request costs one short string; what is left of the line is made once a tick of the loop, and at its end. A class that
overrides one of the log methods does not get here: its method is called for each request.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from vivace.http1.dates import MONTHS

if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.plan import Answer
    from vivace.wsgi.exchange import Exchange

BATCH_MAX = 1000
"""So many lines are written without waiting for the tick."""

CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
ESCAPES = {**CONTROLS, ord("\\"): "\\\\"}
"""As http.server: a log line is one line, whatever the client sent."""


class RequestLog:
    """Collects lines; `flush` writes them to the `sys.stderr` of that moment. Any thread."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, str, str]] = []

    def log(self, environ: dict[str, Any], exchange: Exchange | Answer, seconds: float) -> None:
        """After a response (see `Plan.log`)."""
        status = exchange.status
        if status is not None:
            self.add(
                environ.get("REMOTE_ADDR", ""),
                f'"{environ["REQUEST_METHOD"]} {environ["REQUEST_URI"]} {environ["SERVER_PROTOCOL"]}"'
                f" {status[:3]} {exchange.body_bytes}",
            )

    def refused(self, environ: dict[str, Any], status: int, detail: str) -> None:
        """After a refusal (see `Plan.refused`): two lines, as `send_error` writes them."""
        method = environ.get("REQUEST_METHOD")
        line = f"{method} {environ['REQUEST_URI']} {environ['SERVER_PROTOCOL']}" if method else ""
        self.add(environ.get("REMOTE_ADDR", ""), f"code {status}, message {detail}")
        self.add(environ.get("REMOTE_ADDR", ""), f'"{line}" {status} -')

    def add(self, host: str, message: str) -> None:
        self._rows.append((time.time(), host, message))
        if len(self._rows) >= BATCH_MAX:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        rows, self._rows = self._rows, []
        stream = sys.stderr
        if not rows or stream is None:
            return
        stamps: dict[int, str] = {}
        lines = []
        for when, host, message in rows:
            second = int(when)
            if second not in stamps:
                stamps[second] = stamp(second)
            if "\\" in message or not message.isprintable():  # nearly none; translate costs what the rest does
                message = message.translate(ESCAPES)
            lines.append(f"{host} - - [{stamps[second]}] {message}\n")
        try:
            stream.write("".join(lines))
            stream.flush()
        except (OSError, ValueError):
            pass  # a full disk or a closed stderr must not cost a request


def stamp(when: float) -> str:
    """Local time as `BaseHTTPRequestHandler.log_date_time_string` writes it: 22/Nov/2026 10:00:00."""
    now = time.localtime(when)
    return (
        f"{now.tm_mday:02d}/{MONTHS[now.tm_mon - 1]}/{now.tm_year:04d} "
        f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
    )
