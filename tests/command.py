"""The real command, `python -m vivace`, as a process of its own; and programs that stand for one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import vivace
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Self

SERVES = r" on (https?://\S+|unix:\S+)"


class Command:
    """`python -m vivace ARGUMENTS` in `cwd`; killed at the end of `with`, if it still runs."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        source: str = str(Path(vivace.__file__).parent.parent),
        **popen: Any,
    ) -> None:
        # Nothing of the surroundings: settings come from `arguments` alone.
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("VIVACE_", "LISTEN_"))}
        environ["PYTHONPATH"] = source
        command = [*prefix, python, "-m", "vivace", *arguments]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **popen
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return "".join(self._lines)

    def said(self, pattern: str, count: int = 1) -> list[str]:
        """What the log says, once it says it so often: a line may come after the answer that it is about."""

        def found() -> list[str]:
            matches = re.findall(pattern, self.log)
            return matches if len(matches) >= count else []

        try:
            matches: list[str] = until(found)
            return matches
        except AssertionError:
            raise AssertionError(f"it does not say {pattern!r}:\n{self.log}") from None

    @property
    def urls(self) -> list[str]:
        """Where it says that it serves; waits for the first line that says so."""
        return self.said(SERVES)

    @property
    def url(self) -> str:
        return self.urls[0]

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code; all of the log is there afterwards."""
        code = self.process.wait(3 * TIMEOUT_S)  # it may have servers of its own to start
        self._reader.join(TIMEOUT_S)
        return code

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that can import vivace, and ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(TIMEOUT_S)
        process.stdout.close()
