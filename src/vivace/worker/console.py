"""What the server says to its operator: one line a message on stderr or in `log_file`, with time, process and level.

* As JSON (log_format) a message is one object on one line, its traceback a string in it.
* On a terminal the level is coloured, unless NO_COLOR is set (no-color.org).
* What the file does not take goes to stderr, and the file says so when it works again.
* `others` get each message as well: a syslog, Python's logging.

The standard `logging` package is not imported unless a setting asks for it: that costs more than the whole start of a
worker, and a handler that blocks would stop the loop.
"""

from __future__ import annotations

import errno
import os
import sys
import time

from vivace.errors import ApplicationError
from vivace.worker.escaping import as_text, escaped

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.worker.log_file import LogFile

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

LEVELS = ("debug", "info", "warning", "error", "critical")

COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
"""ECMA-48 section 8.3.117, SGR."""

REPEAT_S = 10.0
"""The same warning is written at most once in this time."""


class Console:
    """Writes messages of at least `level`, as text or json. Any thread."""

    def __init__(self, level: str = "info", form: str = "text") -> None:
        self.adopt(level, form)
        self._last: dict[str, float] = {}
        self.file: LogFile | None = None
        """Instead of stderr."""
        self._astray = 0
        """Messages that the file did not take."""
        self.others: list[Callable[[str, str, dict[str, str]], object]] = []
        """Who else gets each message: level, text, and what else is known of it. They neither raise nor wait."""
        self.mute = False
        """Neither stderr nor the file gets any: `others` do."""

    def adopt(self, level: str, form: str) -> None:
        """Those of new settings."""
        self._least = LEVELS.index(level)
        self._json = form == "json"

    @property
    def plain(self) -> bool:
        """Messages are text, on stderr, and nowhere else."""
        return self.file is None and not (self._json or self.others)

    @property
    def takes_errors(self) -> bool:
        """Whether what is written to `wsgi.errors` is to come here (`stray`) and not to stderr."""
        return not (self.plain or self.mute)

    def say(self, level: str, message: str, **facts: str) -> None:
        """One message; further lines of it follow as they are.

        `facts`: request_id, method, target; traceback, which follows the message. Empty ones do not count.
        """
        if LEVELS.index(level) >= self._least:
            self._emit(level, message, {name: value for name, value in facts.items() if value})

    def stray(self, text: str) -> None:
        """Whole lines that the application wrote to `wsgi.errors`."""
        if self._json:
            self._write(self._record("error", text.rstrip("\n"), {"source": "wsgi.errors"}))
        else:
            self._write(text)
        for other in self.others:
            other("error", text.rstrip("\n"), {})

    def alone(self, level: str, message: str) -> None:
        """A message that is none for the others, as it is about them."""
        self._write(self._record(level, message, {}))

    def _emit(self, level: str, message: str, facts: dict[str, str]) -> None:
        if not self.mute:
            self._write(self._record(level, message, facts))
        for other in self.others:
            other(level, message, facts)

    def _record(self, level: str, message: str, facts: dict[str, str]) -> str:
        if self._json:
            from vivace.worker.json_text import json_line

            now = time.time()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
            return json_line({"time": stamp, "level": level, "pid": os.getpid(), "message": message, **facts})
        return f"{_prefix(level, self.file is None)} {as_lines(message, facts)}\n"

    def _write(self, text: str) -> None:
        """Whole lines, as they are. Never raises: a full disk or a closed stderr must not cost a request."""
        if self.file is not None:
            try:
                self.file.write(text)
            except OSError as error:
                self._astray += 1
                if self._astray == 1:
                    why = f"log_file {self.file.path}: {error.strerror}; messages go here"
                    text = self._record("error", why, {}) + text
            else:
                self._found()
                return
        stream = sys.stderr
        if stream is None:
            return
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            pass

    def _found(self) -> None:
        """The file takes messages; says once how many it did not take before."""
        astray, self._astray = self._astray, 0
        if astray:
            self.warn(f"log_file is written again; {astray} messages went to stderr")

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
            self.say("error", "vivace failed; please report this", traceback=traceback_of(error))

    def on_disk_error(self, error: OSError) -> None:
        """A request body could not be kept."""
        advice = "free the disk, or set spill_dir to another one"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "raise the limit of open files (ulimit -n)"
        elif error.errno == errno.EFBIG:
            advice = "raise the limit of file sizes (ulimit -f), or lower body_bytes_max"
        self.warn(
            f"a request body could not be kept: {error.strerror or error}"
            + (f" ({error.filename})" if error.filename else "")
            + f"; {advice}"
        )

    def report(self, environ: dict[str, Any], error: BaseException) -> None:
        """The application failed: which request, and its traceback, on `wsgi.errors`."""
        facts = {
            "method": as_text(environ.get("REQUEST_METHOD") or ""),
            "target": as_text(environ.get("REQUEST_URI") or ""),
            "request_id": as_text(environ.get("vivace.request_id") or ""),
            "traceback": traceback_of(error),
        }
        message = f"the application failed on {escaped(facts['method'])} {escaped(facts['target'])}"
        errors = environ.get("wsgi.errors")
        if not self.plain and (errors is sys.stderr or getattr(errors, "console", None) is self):
            self._emit("error", message, {name: value for name, value in facts.items() if value})
            return
        # The application may have put anything there; what it cannot say there is said on stderr.
        for stream in (errors, sys.stderr):
            try:
                stream.write(f"{_prefix('error', stream is sys.stderr)} {as_lines(message, facts)}\n")  # type: ignore[union-attr]
                stream.flush()  # type: ignore[union-attr]
                return
            except Exception:
                continue


def as_lines(message: str, facts: dict[str, str]) -> str:
    """A message as text: the request's id behind its first line, the traceback below it."""
    if request_id := facts.get("request_id"):
        first, end, rest = message.partition("\n")
        message = f"{first} [request {escaped(request_id)}]{end}{rest}"
    traceback = facts.get("traceback", "").rstrip("\n")
    return f"{message}\n{traceback}" if traceback else message


def _prefix(level: str, to_stderr: bool) -> str:
    """`to_stderr`: which may be a terminal."""
    word = level.upper()
    if to_stderr and level in COLOURS and _has_colours(sys.stderr):
        word = f"\x1b[{COLOURS[level]}m{word}\x1b[0m"
    return f"[{time.strftime('%Y-%m-%d %H:%M:%S %z')}] [{os.getpid()}] [{word}]"


def _has_colours(stream: Any) -> bool:
    """no-color.org: NO_COLOR counts when it is not empty."""
    try:
        return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError, OSError):
        return False


def traceback_of(error: BaseException) -> str:
    """The traceback without vivace's own frames at its beginning."""
    if isinstance(error, ApplicationError):
        return f"{type(error).__name__}: {error}\n"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    try:
        import traceback

        return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    except (OSError, ImportError, MemoryError):
        return _plain_traceback(error, trace)


def _plain_traceback(error: BaseException, trace: Any) -> str:
    """The same without the lines of source, where there is no descriptor or memory left to look for them."""
    try:
        lines = []
        while trace is not None:
            code = trace.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}\n')
            trace = trace.tb_next
        return f"{''.join(lines)}{type(error).__name__}: {error}\n"
    except Exception:
        return f"{type(error).__name__}\n"
