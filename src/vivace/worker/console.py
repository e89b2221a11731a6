"""What the server says to its operator: one line a message on stderr, with time, process and level.

The standard `logging` package is not used: importing it costs more than the whole start of a worker, and a
handler that blocks would stop the loop.
"""

from __future__ import annotations

import os
import sys
import time

from vivace.errors import ApplicationError

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

LEVELS = ("debug", "info", "warning", "error", "critical")

REPEAT_S = 10.0
"""The same warning is written at most once in this time."""


class Console:
    """Writes messages of at least `level`. Any thread."""

    def __init__(self, level: str = "info") -> None:
        self._least = LEVELS.index(level)
        self._last: dict[str, float] = {}

    def say(self, level: str, message: str) -> None:
        """One message; further lines of it (a traceback) follow as they are."""
        stream = sys.stderr
        if LEVELS.index(level) < self._least or stream is None:
            return
        try:
            stream.write(f"{_prefix(level.upper())} {message}\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # a full disk or a closed stderr must not cost a request

    def info(self, message: str) -> None:
        self.say("info", message)

    def warn(self, message: str) -> None:
        """A warning; its repetition within `REPEAT_S` is swallowed."""
        now = time.monotonic()
        key = message[:40]
        if now - self._last.get(key, -REPEAT_S) >= REPEAT_S:
            self._last[key] = now
            self.say("warning", message)

    def on_error(self, error: BaseException) -> None:
        """A fault of vivace itself or of the system below it."""
        if isinstance(error, OSError) and error.__traceback__ is None:
            self.say("error", str(error))
        else:
            self.say("error", "vivace failed; please report this:\n" + _traceback(error))

    def on_disk_error(self, error: OSError) -> None:
        """A request body could not be kept."""
        self.warn(
            f"a request body could not be kept: {error.strerror or error}"
            + (f" ({error.filename})" if error.filename else "")
            + "; free the disk, or set spill_dir to another one"
        )

    def report(self, environ: dict[str, Any], error: BaseException) -> None:
        """The application failed: which request, and its traceback, on `wsgi.errors`."""
        line = f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}"
        message = f"{_prefix('ERROR')} the application failed on {line}\n{_traceback(error)}"
        # The application may have put anything there; what it cannot say there is said on stderr.
        for stream in (environ.get("wsgi.errors"), sys.stderr):
            try:
                stream.write(message)  # type: ignore[union-attr]
                stream.flush()  # type: ignore[union-attr]
                return
            except Exception:
                continue


def _prefix(level: str) -> str:
    return f"[{time.strftime('%Y-%m-%d %H:%M:%S %z')}] [{os.getpid()}] [{level}]"


def _traceback(error: BaseException) -> str:
    """The traceback without vivace's own frames at its beginning."""
    import traceback

    if isinstance(error, ApplicationError):
        return f"{type(error).__name__}: {error}\n"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
