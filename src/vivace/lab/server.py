"""A server under measurement: started on a free port, waited for until it answers, ended with all its processes.

Rules: every wait has a limit. A server runs in a session of its own, and only that session's processes are ended. What
it writes goes to a file that nobody sees unless it fails. Knows nothing of loads and reports.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time

from vivace.errors import SettingError
from vivace.lab.presets import PRESETS, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

HOST = "127.0.0.1"
START_LIMIT_S = 60.0
"""Django with many applications takes some seconds to import."""
STOP_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0
POLL_S = 0.002
WORDS_MAX = 4000
TRIES = 3
"""Between choosing a free port and binding it another process may have taken it."""


class Command:
    """How a server is started: `argv` with {host} and {port} in it, a working directory, variables that are added.

    `label` is what a report calls it. `address` is set instead of `argv` for a server that runs already.
    """

    __slots__ = ("address", "argv", "environ", "folder", "label")

    def __init__(
        self,
        label: str,
        argv: Sequence[str],
        folder: str = "",
        environ: dict[str, str] | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        self.label = label
        self.argv = list(argv)
        self.folder = folder or os.getcwd()
        self.environ = environ or {}
        self.address = address

    def words(self, port: int) -> list[str]:
        return [word.replace("{host}", HOST).replace("{port}", str(port)) for word in self.argv]


def from_words(text: str, folder: str = "") -> Command:
    """A server command as a shell would split it; it has {port} where the port belongs. Raises SettingError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingError(f"{text!r}: {error}") from None
    if not any("{port}" in word for word in words):
        raise SettingError(
            f"{text!r} does not say where the port belongs; write {{port}} there: 'flask run -p {{port}}'"
        )
    return Command(text, words, folder)


def from_preset(name: str, app: str, options: Sequence[str] = (), folder: str = "") -> Command:
    """A server of the table `presets` with an application, written as for the vivace command. Raises SettingError."""
    folder = folder or os.getcwd()
    where = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environ = {"PYTHONPATH": os.pathsep.join(paths if where in paths else [*paths, where])}
    if name != "vivace":
        if not app:
            raise SettingError(f"{name} needs an application; give one with --app module:name")
        environ |= {"LAB_APP": app, "LAB_APP_DIR": folder}
    words = [word for word in words_of(name, app, options) if word]
    return Command(" ".join([name, *options]), words, folder, environ)


def from_application(app: str, options: Sequence[str] = (), folder: str = "") -> Command:
    """vivace with an application: `app:app`, `path/app.py`. Raises SettingError."""
    command = from_preset("vivace", app, options, folder)
    command.label = " ".join([app or "vivace", *options])
    return command


def is_preset(text: str) -> bool:
    """Whether `text` is the name of a server in the table, with or without options behind it."""
    return text.split(maxsplit=1)[0] in PRESETS if text.strip() else False


class Running:
    """A server that answers. A context manager: at its end the server and its processes have ended."""

    def __init__(self, command: Command, cores: Iterable[int] = ()) -> None:
        """Starts it; `wait_ready` says when it answers. `cores`: the processors that it may use; empty: all."""
        self.command = command
        self.started_s = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()
        self.address = command.address or (HOST, free_port())
        if command.address is None:
            self._start(list(cores))

    def _start(self, cores: list[int]) -> None:
        words = self.command.words(self.address[1])
        ours = os.sched_getaffinity(0) if cores else set()
        try:
            if cores:  # a child begins with the processors of its parent
                os.sched_setaffinity(0, cores)
            self._process = subprocess.Popen(
                words,
                cwd=self.command.folder,
                env={**os.environ, **self.command.environ},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            raise SettingError(f"{self.command.label}: {words[0]} cannot be started: {error.strerror}") from None
        finally:
            if cores:
                os.sched_setaffinity(0, ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of its first process; 0 for one that was not started here."""
        return self._process.pid if self._process else 0

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def wait_ready(self, target: str = "/", limit_s: float = START_LIMIT_S) -> float:
        """Asks until something answers; returns the seconds since the start. Raises SettingError if nothing does, or
        if the answer is a failure (5xx).
        """
        give_up = time.monotonic() + limit_s
        while time.monotonic() < give_up:
            status = ask(self.address, target)
            # An answer on that port is not this server's if it has ended meanwhile.
            if self._process is not None and self._process.poll() is not None:
                raise _Ended(self._said("stopped at once", self._process.returncode))
            if status >= 500:
                raise SettingError(self._said(f"answers {status} to GET {target}"))
            if status:
                return time.monotonic() - self.started_s
            time.sleep(POLL_S)
        raise SettingError(self._said(f"does not answer within {limit_s:.0f} s"))

    def _said(self, what: str, code: int = 0) -> str:
        words = self.last_words()
        said = f"; its last words:\n{words}" if words else "; it wrote nothing"
        return f"the server {self.command.label!r} {what}{f' with exit code {code}' if code else ''}{said}"

    def last_words(self) -> str:
        """The end of what it has written, to stdout and stderr."""
        size = os.fstat(self._output.fileno()).st_size
        data = os.pread(self._output.fileno(), WORDS_MAX, max(0, size - WORDS_MAX))
        return data.decode("utf-8", "replace").strip()

    def running(self) -> bool:
        """Whether its first process lives; of one that was not started here nothing else is known."""
        return self._process is None or self._process.poll() is None

    def stop(self) -> None:
        """Asks it to end (SIGTERM), and ends what is left of its session after a while."""
        process, self._process = self._process, None
        if process is not None:
            _signal(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                pass
            _signal(process.pid, signal.SIGKILL)
            process.wait()
        self._output.close()


class _Ended(SettingError):
    """It has ended before it answered: perhaps its port was taken."""


def start(command: Command, target: str = "/", *, cores: Iterable[int] = (), limit_s: float = START_LIMIT_S) -> Running:
    """Starts a server and waits until it answers. Raises SettingError, with its last words, if it does not.

    To be used in `with`.
    """
    for left in reversed(range(TRIES)):
        running = Running(command, cores)
        try:
            running.wait_ready(target, limit_s)
        except _Ended as error:
            running.stop()
            if not left or "in use" not in str(error):
                raise
        except BaseException:
            running.stop()
            raise
        else:
            return running
    raise AssertionError


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def ask(address: tuple[str, int], target: str, limit_s: float = ANSWER_LIMIT_S) -> int:
    """The status of one GET, 0 if there is no answer."""
    request = f"GET {target} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(address, limit_s) as sock:
            sock.sendall(request.encode("latin-1"))
            data = b""
            while b"\n" not in data and len(data) < 4096:
                more = sock.recv(4096)
                if not more:
                    break
                data += more
    except OSError:
        return 0
    words = data.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1].isdigit() else 0


def _signal(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
