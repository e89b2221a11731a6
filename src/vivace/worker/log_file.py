"""The files of the server's two logs: its messages (`log_file`) and the access log (`access_log_file`).

Rules:

* What is written is whole lines, each text by one system call at the end of the file (O_APPEND): several processes
  share a file, and none cuts another's line.
* A file is opened anew on demand, by its name, under the number that its descriptor has: no thread can be caught
  writing to a number that is already somebody's connection. If it cannot be opened, the old one stays in use.
* Nothing waits for a reader: a full pipe loses lines as a full disk does. Whoever writes says so once, and once more
  when it works again.
* `write` raises OSError. A file that was asked for and cannot be opened at the start is a SettingError.

Rotation is logrotate's: rename, then USR1 (deploy/logrotate.conf). What was written before goes to the old file, what
comes after to the new one.
"""

from __future__ import annotations

import os
import stat
import threading

from vivace.errors import SettingError
from vivace.worker.console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.worker.carrier import Carrier
    from vivace.worker.privileges import Identity

STREAM = "-"
"""As a name: the standard stream, as with gunicorn."""

MODE = 0o640
"""Of a new file, before the umask: logs name clients (Debian's logrotate: create 0640)."""

PIPE_BYTES = 4096
"""PIPE_BUF of Linux (POSIX: at least 512): so much goes into a pipe in one piece (pipe(7))."""

OPEN = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class LogFile:
    """Appends text to the file at `path`. Any thread. Raises SettingError where it cannot be opened."""

    def __init__(self, path: str, setting: str) -> None:
        self.path = os.path.abspath(path)  # the application may change the directory
        self._fd = -1
        try:
            self._fd = os.open(self.path, OPEN, MODE)
            self._pipe = stat.S_ISFIFO(os.fstat(self._fd).st_mode)
        except OSError as error:
            raise SettingError(
                f"{setting} {path}: {error.strerror}; name a file in a folder that exists and that this user may "
                f"write to, or {STREAM} for the standard stream"
            ) from None
        self._torn = False
        """The last line could not be written to its end."""

    def write(self, text: str) -> None:
        """Appends `text`, whole lines. Raises OSError; then a part of them may be written."""
        data = text.encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        for piece in pieces(data) if self._pipe else (data,):
            sent = 0
            while sent < len(piece):
                try:
                    sent += os.write(self._fd, piece[sent:] if sent else piece)
                except OSError:
                    self._torn = piece[sent - 1 : sent] != b"\n" if sent else self._torn
                    raise
            self._torn = False

    def reopen(self) -> None:
        """Opens the file of that name, which may be another one by now. Any thread; raises OSError."""
        new = os.open(self.path, OPEN, MODE)
        try:
            os.dup2(new, self._fd, inheritable=False)
            self._pipe = stat.S_ISFIFO(os.fstat(new).st_mode)
            self._torn = False
        finally:
            os.close(new)

    def __del__(self) -> None:
        # Here, because nobody can be writing any more.
        if self._fd >= 0:
            os.close(self._fd)


def pieces(data: Any) -> Iterable[Any]:
    """`data` cut at line ends into pieces that a pipe takes whole; a longer line is a piece of its own."""
    end: Any = b"\n" if isinstance(data, bytes) else "\n"
    while len(data) > PIPE_BYTES:
        cut = data.rfind(end, 0, PIPE_BYTES) + 1 or data.find(end) + 1 or len(data)
        yield data[:cut]
        data = data[cut:]
    if data:
        yield data


class ErrorStream:
    """`wsgi.errors` into a log: text in, whole lines out (PEP 3333, "Input and Error Streams"). Any thread."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._line = ""
        self._guard = threading.Lock()

    def write(self, text: str) -> int:
        with self._guard:
            lines, end, rest = text.rpartition("\n")
            if end:
                self.console.stray(self._line + lines + "\n")
                self._line = rest
            else:
                self._line += rest
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Writes the beginning of a line as a line."""
        with self._guard:
            line, self._line = self._line, ""
            if line:
                self.console.stray(line + "\n")


class Logs:
    """Where a process writes its two logs."""

    def __init__(self, console: Console, access: LogFile | None = None) -> None:
        self.console = console
        self.access = access
        """None: stdout."""
        self.outlets: list[Any] = []
        """Of the access log, beside the file; stdout is one of them only if there is no other."""
        self.carrier: Carrier | None = None
        """Brings lines to those who may keep them waiting."""

    def begin(self) -> None:
        """This process serves from now on."""
        if self.carrier is not None:
            self.carrier.begin()

    def finish(self) -> None:
        """It does no longer; the last lines have been written."""
        if self.carrier is not None:
            self.carrier.finish()

    def reopen(self) -> None:
        """Opens both files anew (USR1). Any thread, or a signal handler. Never raises."""
        for file in (self.console.file, self.access):
            if file is None:
                continue
            try:
                file.reopen()
            except OSError as error:
                self.console.say(
                    "error", f"{file.path} cannot be opened anew: {error.strerror}; the old file stays in use"
                )

    def give(self, identity: Identity | None) -> None:
        """The files belong to `identity`, who will have to open them anew. Raises SettingError."""
        from vivace.worker.privileges import give

        for file in (self.console.file, self.access):
            if file is not None and identity is not None:
                give(file.path, identity)


def import_ahead(settings: Settings) -> None:
    """What the formats need, while no file of the application can stand in for it (THREAT_MODEL.md)."""
    if settings.log_format == "json" or settings.access_log_format.lstrip().startswith(("json", "{")):
        from vivace.worker import json_text  # noqa: F401


def open_logs(settings: Settings) -> Logs:
    """The logs that the settings name. Raises SettingError."""
    console = Console(settings.log_level, settings.log_format)
    if settings.log_file not in ("", STREAM):
        console.file = LogFile(settings.log_file, "log_file")
    access = None
    if settings.access_log_file not in ("", STREAM):
        access = LogFile(settings.access_log_file, "access_log_file")
    logs = Logs(console, access)
    import_ahead(settings)
    if settings.syslog or settings.access_log_syslog or settings.python_logging or settings.log_config:
        from vivace.worker.log_outlets import add_outlets

        add_outlets(logs, settings)
    return logs
