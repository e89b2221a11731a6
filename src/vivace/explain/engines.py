"""Other profilers, where they are installed and asked for: py-spy, and Python's own `profiling.sampling` (3.15).

Both look at a process from outside, one worker each, and know nothing of routes. They write their files themselves.

The command line of `profiling.sampling` is as its documentation says; it was not run: no CPython 3.15 was at hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PY_SPY, TACHYON = "py-spy", "tachyon"
ENGINES = (PY_SPY, TACHYON)
FORMATS = {
    PY_SPY: {"svg": "flamegraph", "speedscope": "speedscope", "collapsed": "raw"},
    TACHYON: {"html": "--flamegraph", "collapsed": "--collapsed"},
}
MORE_S = 30.0
"""So much longer than asked it may take to write."""


def record(engine: str, pids: Sequence[int], seconds: float, hz: float, kind: str, output: str) -> list[str]:
    """Has the engine look at these processes, all at once, and returns the files it wrote: `output`, of several
    processes one each, with its number before the ending. Raises SettingError where that is not to be had."""
    if kind not in FORMATS[engine]:
        names = ", ".join(FORMATS[engine])
        raise SettingError(f"profile: --engine {engine} writes these formats: {names}; give one of them by -o")
    if not pids:
        raise SettingError(f"profile: --engine {engine}: this server has no worker to look at")
    files = [output if len(pids) == 1 else numbered(output, pid) for pid in pids]
    commands = [
        command(engine, pid, seconds, hz, FORMATS[engine][kind], file) for pid, file in zip(pids, files, strict=True)
    ]
    running = [
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    failed = []
    for pid, process in zip(pids, running, strict=True):
        try:
            said = process.communicate(timeout=seconds + MORE_S)[1].strip()
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1].strip() or "it did not end in time"
        if process.returncode:
            failed.append(f"profile: {engine} could not look at process {pid}: {said.rpartition(chr(10))[2]}")
    if failed:
        raise SettingError(*failed)
    return files


def command(engine: str, pid: int, seconds: float, hz: float, form: str, file: str) -> list[str]:
    """The words of one call. Raises SettingError if the engine is not installed."""
    whole = str(max(1, round(seconds)))
    if engine == TACHYON:
        python = _python_of(pid)
        return [python, "-m", "profiling.sampling", "attach", "-a", "-d", whole, form, "-o", file, str(pid)]
    found = shutil.which("py-spy") or _beside("py-spy")
    if not found:
        raise SettingError("profile: --engine py-spy: it is not installed; run: pip install py-spy")
    return [found, "record", "-p", str(pid), "-d", whole, "-r", str(round(hz)), "-f", form, "-o", file]


def numbered(name: str, pid: int) -> str:
    """`x.speedscope.json` as `x.123.speedscope.json`."""
    folder, file = os.path.split(name)
    stem, dot, ending = file.partition(".")
    return os.path.join(folder, f"{stem}.{pid}{dot}{ending}")


def _beside(name: str) -> str:
    """A program in the environment of this Python, which need not be on PATH."""
    path = os.path.join(os.path.dirname(sys.executable), name)
    return path if os.access(path, os.X_OK) else ""


def _python_of(pid: int) -> str:
    """The interpreter of the process: the profiler has to be of the same version."""
    try:
        python = os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        raise SettingError(
            f"profile: --engine tachyon: process {pid} cannot be looked into: {error.strerror}"
        ) from None
    found = subprocess.run([python, "-c", "import profiling.sampling"], capture_output=True, check=False)
    if found.returncode:
        raise SettingError(
            "profile: --engine tachyon: the server's Python has no profiling.sampling, which came with 3.15; "
            "leave --engine out, or give py-spy"
        )
    return python
