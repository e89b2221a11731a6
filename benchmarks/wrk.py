"""Runs wrk on the loader's core and reads its numbers. Knows nothing of servers or reports."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .clients import Address, Request
from .processes import Unfit, cpu_s

SCRIPT = Path(__file__).resolve().parent / "wrk.lua"
PERCENTILE = re.compile(r"^\s*(\d+)(?:\.0+)?%\s+([\d.]+)(us|ms|s)\s*$", re.MULTILINE)
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
GRACE_S = 15.0  # past its own duration, then it is ended


@dataclass(frozen=True)
class Numbers:
    """What one run of wrk found. Latencies in ms, None without a request.

    wrk waits for each answer before it sends again and fills in the requests it would have sent during a
    stall: its percentiles are partly calculated, a p99 above all.
    """

    requests: int
    seconds: float
    errors: int  # socket errors and time-outs of 2 s
    refused: int  # answers with a status of 400 and above
    p50_ms: float | None
    p99_ms: float | None
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def core(self) -> float:
        """The share of its core that wrk used."""
        return self.cpu_s / self.seconds


class Wrk:
    """One run in the background: `Wrk(...)` starts it, `result()` waits for it. wrk takes whole seconds only."""

    def __init__(
        self,
        address: Address,
        request: Request,
        connections: int,
        seconds: int,
        core: int,
        kind: str = "plain",
    ):
        """`kind`: as in wrk.lua; of "listed" the body of the request is the list of targets, one a line."""
        self._limit_s = seconds + GRACE_S
        self._body = tempfile.NamedTemporaryFile(prefix="vivace-bench-")
        self._body.write(request.body)
        self._body.flush()
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
        for name, value in request.fields:
            argv += ["-H", f"{name}: {value}"]
        argv += [
            f"http://{address[0]}:{address[1]}{request.path}",
            "--",
            kind,
            request.method,
        ]
        if request.body:
            argv.append(self._body.name)
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def result(self) -> Numbers:
        """Raises Unfit if wrk did not finish or could not connect."""
        used = _wait_and_read_cpu(self._process, self._limit_s)
        text = self._process.communicate()[0].decode("utf-8", "replace")
        self._body.close()
        return parse(text, used)


def _wait_and_read_cpu(process: subprocess.Popen[bytes], limit_s: float) -> float:
    """Waits for the end without reaping, so that the CPU clock can still be read. wrk's output fits into the
    pipe.
    """
    deadline = time.perf_counter() + limit_s
    used = 0.0
    while time.perf_counter() < deadline:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        used = max(used, cpu_s(process.pid))
        if ended is not None:
            return used
        time.sleep(0.02)
    process.kill()
    return used


def parse(text: str, used_s: float) -> Numbers:
    """The line that wrk.lua prints at the end. Raises Unfit without one."""
    for line in text.splitlines():
        if line.startswith("NUMBERS "):
            words = line.split()[1:]
            requests, micros, refused, errors = (int(word) for word in words[:4])
            p50, p99 = (float(word) / 1000 if requests else None for word in words[4:6])
            return Numbers(requests, max(micros, 1) / 1e6, errors, refused, p50, p99, used_s)
    last = (text.strip().splitlines() or ["it printed nothing"])[-1]
    raise Unfit(f"wrk failed: {last[:120]}")


def percentiles(text: str) -> dict[int, float]:
    """Seconds, by whole percents, from the table that wrk and wrk2 print with --latency."""
    return {int(share): float(value) * UNITS_S[unit] for share, value, unit in PERCENTILE.findall(text)}
