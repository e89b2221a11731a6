"""A line for each request, in whatever format, written in batches beside the request path.

A request costs one `append` of what its line needs; formatting and writing happen once a tick of the loop, and at its
end.

Rules:

* A line is one line of printable ASCII, whatever client or application put into the values.
* A log that cannot be written costs no request: the lines are lost. It is said once, and once more when it works
  again.
* No environ is kept: the body of the request hangs on it.
"""

from __future__ import annotations

from collections import deque

from vivace.connection.plan import Answer
from vivace.worker.access_line import compile_format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

BATCH_MAX = 1000
"""So many lines are written without waiting for the tick."""


class Outlet:
    """Where lines go. `write` takes a text of whole lines; `warn` a sentence; `done` is what `write` does."""

    def __init__(
        self,
        write: Callable[[str], object],
        warn: Callable[[str], object] | None = None,
        done: str = "written",
    ) -> None:
        self._write = write
        self._warn = warn
        self._done = done
        self._lost = 0
        """Lines, since it was last written."""

    def put(self, text: str, count: int) -> None:
        """Writes `count` lines, or loses them. One thread at a time; never raises."""
        try:
            self._write(text)
        except (OSError, ValueError) as error:
            self.lose(count, str(getattr(error, "strerror", None) or error))
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._say(f"the access log is {self._done} again; some {lost} lines are lost")

    def lose(self, count: int, why: str) -> None:
        lost, self._lost = self._lost, self._lost + count
        if not lost:
            self._say(f"the access log cannot be {self._done}: {why}. Lines are lost until it can")

    def _say(self, message: str) -> None:
        if self._warn is not None:
            self._warn(message)


class AccessLog:
    """Collects requests; `flush` writes them to each of `outlets`. Raises ValueError for a format that is none."""

    def __init__(self, outlets: Sequence[Any], text: str = "common", skip: Iterable[str] = ()) -> None:
        self._outlets = outlets
        self._rows: deque[Any] = deque()
        make_log, self._lines = compile_format(text, skip)
        self.log = make_log(self._rows, self.flush, BATCH_MAX)
        """After a response (see `Plan.log`). Any thread."""

    def refused(self, environ: dict[str, Any], status: int, detail: str) -> None:
        """After a refusal; `environ` may know no more than the client's address. Any thread."""
        self.log(environ, Answer(str(status), len(detail)), 0.0)

    def flush(self) -> None:
        """Writes what was collected. Any thread."""
        lines = self._lines(self._rows)
        if lines:
            text, count = "".join(lines), len(lines)
            for outlet in self._outlets:
                outlet.put(text, count)
