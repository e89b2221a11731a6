"""Counts the system calls of a process tree with `strace -f -c`. Knows nothing of servers, loads or reports."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .processes import Unfit

ATTACH_LIMIT_S = 5.0
# One line of strace's summary: "% time", seconds, usecs/call, calls, errors (may be empty), name.
LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z_0-9]+)$")


def counted(pids: Sequence[int], action: Callable[[], None], core: int) -> tuple[dict[str, int], float]:
    """Name -> count of the calls that `pids` and their threads made during `action`, and its length in
    seconds.
    """
    if shutil.which("strace") is None:
        raise Unfit("strace is not installed")
    with tempfile.TemporaryDirectory(prefix="vivace-bench-") as folder:
        summary = Path(folder) / "summary"
        argv = ["strace", "-f", "-c", "-o", str(summary)]
        for pid in pids:
            argv += ["-p", str(pid)]
        tracer = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            _wait_attached(tracer, len(pids))
            began = time.perf_counter()
            action()
            seconds = time.perf_counter() - began
        finally:
            tracer.send_signal(signal.SIGINT)
            try:
                tracer.communicate(timeout=ATTACH_LIMIT_S)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.communicate()
        return parse(summary.read_text() if summary.exists() else ""), seconds


def _wait_attached(tracer: subprocess.Popen[bytes], processes: int) -> None:
    """strace says "Process N attached" on stderr, once a process. Raises Unfit if it does not say so in time."""
    assert tracer.stderr is not None
    said = b""
    deadline = time.perf_counter() + ATTACH_LIMIT_S
    while said.count(b" attached") < processes:
        left = deadline - time.perf_counter()
        ready = left > 0 and select.select([tracer.stderr], [], [], left)[0]
        block = os.read(tracer.stderr.fileno(), 4096) if ready else b""
        if not block:
            raise Unfit(f"strace could not attach: {said.decode('utf-8', 'replace').strip()[-120:]}")
        said += block


def parse(summary: str) -> dict[str, int]:
    """strace's table as name -> calls, without its last line, the total."""
    found = {}
    for line in summary.splitlines():
        match = LINE.match(line)
        if match and match[2] != "total":
            found[match[2]] = int(match[1])
    return found
