"""A line for each request, in the common log format, written in batches beside the request path.

A request costs one `append`; formatting and writing happen once a tick of the loop, and at its end.

Rules:

* A line is one line of printable ASCII with seven fields, whatever client or application put into the values.
* A log that cannot be written costs no request: it is said once, and the lines are lost.
"""

from __future__ import annotations

import time
from collections import deque

from vivace.connection.sweeping import MONTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Row = tuple[float, object, object, object, object, str | None, int]

BATCH_MAX = 1000
"""So many lines are written without waiting for the tick."""

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}
ESCAPES[ord('"')] = '\\"'
ESCAPES[ord("\\")] = "\\\\"


class AccessLog:
    """Collects requests; `flush` writes them. `write` takes a text of whole lines; `warn` a sentence."""

    def __init__(self, write: Callable[[str], object], warn: Callable[[str], object] | None = None) -> None:
        self._write = write
        self._warn = warn
        self._rows: deque[Row] = deque()

    def log(self, environ: dict[str, Any], status: str | None, body_bytes: int, seconds: float) -> None:
        """After a response. Any thread. Keeps no environ: the body of the request hangs on it."""
        get = environ.get  # the application may have emptied it
        method, target, protocol = get("REQUEST_METHOD"), get("REQUEST_URI"), get("SERVER_PROTOCOL")
        self._rows.append((time.time(), get("REMOTE_ADDR"), method, target, protocol, status, body_bytes))
        if len(self._rows) >= BATCH_MAX:
            self.flush()

    def refused(self, environ: dict[str, Any], status: int, detail: str) -> None:
        """After a refusal; `environ` may know no more than the client's address. Any thread."""
        self.log(environ, str(status), len(detail), 0.0)

    def flush(self) -> None:
        """Writes what was collected. Any thread."""
        rows, lines = self._rows, []
        while True:
            try:
                lines.append(line(*rows.popleft()))
            except IndexError:
                break
        if not lines:
            return
        try:
            self._write("".join(lines))
        except (OSError, ValueError) as error:
            if self._warn is not None:
                self._warn(f"the access log cannot be written: {error}. {len(lines)} lines are lost")


def line(
    now: float, host: object, method: object, target: object, protocol: object, status: str | None, body_bytes: int
) -> str:
    """One line of the common log format: host ident user [time] "request" status bytes."""
    local = time.localtime(now)
    stamp = f"{local.tm_mday:02d}/{MONTHS[local.tm_mon - 1]}/{local.tm_year}:" + time.strftime("%H:%M:%S %z", local)
    request = f"{escaped(method)} {escaped(target)} {escaped(protocol)}" if method else "-"
    code = status[:3] if status else ""
    if len(code) != 3 or not code.isascii() or not code.isdigit():
        code = "-"
    shown = escaped(host).replace(" ", "\\x20") if host else "-"
    return f'{shown} - - [{stamp}] "{request}" {code} {body_bytes or "-"}\n'


def escaped(value: object) -> str:
    """`value` in printable ASCII, quotes and backslashes escaped."""
    return str(value).translate(ESCAPES).encode("ascii", "backslashreplace").decode("ascii")
