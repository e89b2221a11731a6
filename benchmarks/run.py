"""Decides what is measured when: rounds, order, one fresh server after another. Knows nothing of reports.

Each trial starts a server, checks one answer, warms it up, measures it and ends it. In a round every server
is measured once, in an order drawn anew; vivace twice (see servers.CONTROL), so that the noise is measured
with the same means.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import clients, servers
from .apps import mixed
from .kinds import FRESH_KINDS, Trial, measured
from .loads import FILE_BYTES, MB, Load, file_block
from .processes import Running, Unfit, cores, cores_busy_s, free_port
from .servers import CONTROL, Server

WARM_S = 0.4
CHECK_LIMIT_S = 20.0
FAILURES_MAX = 2  # of a server under one load, then it is left out of the remaining rounds
CALIBRATIONS = 9
CONTROLLED_KINDS = ("quick", "bulk")
TIMED_KINDS = ("quick", "bulk", "mixed")  # their figures say how much of the cores was theirs


@dataclass(frozen=True)
class Plan:
    seconds: int
    rounds: int
    quick: bool = False  # two rounds at most, also for loads that fix their number
    seed: int = 1

    def rounds_of(self, load: Load) -> int:
        count = load.rounds or self.rounds
        return min(count, 2) if self.quick else count


class Bench:
    """What the trials share: a folder for files, the calibrated loop, the cores."""

    def __init__(self, folder: Path, plan: Plan, say: Callable[[str], None]):
        self.folder, self.plan, self.say = folder, plan, say
        self.server_core, self.loader_core = cores()
        os.sched_setaffinity(0, {self.loader_core})
        servers.compile_source()
        self.loops = loops_per_ms()
        self.file = folder / "file"
        self._draw = random.Random(plan.seed)

    def load(self, load: Load, chosen: Sequence[Server]) -> dict[str, Any]:
        """All rounds of one load: {"rounds": ..., "skipped": ...}."""
        runners, skipped = self._runners(load, chosen)
        if load.app == "files" and not self.file.exists():
            self.file.write_bytes(file_block() * (FILE_BYTES // MB))
        failures = dict.fromkeys((server.name for server in runners), 0)
        rounds: list[dict[str, Any]] = []
        for number in range(self.plan.rounds_of(load)):
            order = [server for server in runners if failures[server.name] < FAILURES_MAX]
            self._draw.shuffle(order)
            figures = {}
            for server in order:
                figures[server.name] = found = self.trial(load, server)
                failures[server.name] += "failed" in found
                self.say(f"{load.name} round {number + 1}: {server.name}: {told(found)}")
            rounds.append(figures)
        return {"skipped": skipped, "rounds": rounds}

    def _runners(self, load: Load, chosen: Sequence[Server]) -> tuple[list[Server], dict[str, str]]:
        runners, skipped = [], {}
        for server in chosen:
            reason = server.absent() or server.refuses(load.name, load.app)
            if reason:
                skipped[server.name] = reason
            else:
                runners.append(server)
        if load.kind in CONTROLLED_KINDS and any(server.name == "vivace" for server in runners):
            runners.append(CONTROL)
        return runners, skipped

    def trial(self, load: Load, server: Server) -> dict[str, Any]:
        """Figures of one trial, or {"failed": reason}."""
        with tempfile.TemporaryDirectory(prefix="vivace-bench-", dir=self.folder) as name:
            port = free_port()
            argv = servers.argv(server, load.app, load.settings, port, Path(name), str(self.file))
            apps = str(servers.HERE / "apps")
            try:
                with Running(argv, apps, self._environment(server), port, self.server_core) as running:
                    start_s = running.wait_ready(load.request)
                    seconds = max(self.plan.seconds, load.seconds_min)
                    trial = Trial(load, running, seconds, start_s, self.loader_core)
                    if load.kind in FRESH_KINDS:
                        found = measured(trial)
                        check(load, running)
                    else:
                        check(load, running)
                        warm(load, running)
                        found = self._watched(trial)
                    if running.process.poll() is not None:
                        raise Unfit(f"it died while measured: {running.last_words()}")
                    return found
            except Unfit as error:
                return {"failed": str(error)}

    def _watched(self, trial: Trial) -> dict[str, Any]:
        """The figures, and how much of the two cores anything else took meanwhile ("foreign", in cores)."""
        pair = {self.server_core, self.loader_core}
        busy, began = cores_busy_s(pair), time.perf_counter()
        found = measured(trial)
        if trial.load.kind not in TIMED_KINDS:
            return found
        taken = (cores_busy_s(pair) - busy) / (time.perf_counter() - began)
        ours = float(found.get("server_core") or 0) + float(found.get("loader_core") or 0)
        return {**found, "foreign": max(taken - ours, 0.0)}

    def _environment(self, server: Server) -> Mapping[str, str]:
        return {
            **servers.environment(server),
            "PYTHONDONTWRITEBYTECODE": "",
            "BENCH_FILE": str(self.file),
            "BENCH_LOOPS": str(self.loops),
        }


def check(load: Load, running: Running) -> None:
    """Raises Unfit for a wrong answer."""
    try:
        answer = clients.ask(running.address, load.check or load.request, timeout_s=CHECK_LIMIT_S)
    except OSError as error:
        raise Unfit(f"no answer to check: {error}") from error
    if answer.status != 200 or not right(load, answer.body):
        raise Unfit(f"wrong answer: status {answer.status}, {len(answer.body):,} bytes")


def warm(load: Load, running: Running) -> None:
    """Some requests before the measuring; large bodies need no warming. In the mixed loads both routes are met."""
    if load.body_bytes:
        return
    clients.warm(running.address, load.request, WARM_S)
    if load.kind == "mixed":
        clients.warm(running.address, clients.Request(), WARM_S)


def right(load: Load, body: bytes) -> bool:
    try:
        return load.expects(body)
    except (ValueError, KeyError, TypeError):
        return False


def loops_per_ms() -> int:
    """Turns of apps/mixed.burn that take 1 ms of CPU here: the best of CALIBRATIONS, as noise only adds time."""
    turns = 20_000
    best = float("inf")
    for _ in range(CALIBRATIONS):
        began = time.thread_time()
        mixed.burn(turns)
        best = min(best, time.thread_time() - began)
    return round(turns * 0.001 / best)


def told(found: Mapping[str, Any]) -> str:
    """One line of progress."""
    if "failed" in found:
        return f"failed: {found['failed']}"
    shown = {key: value for key, value in found.items() if value is not None and key != "detail"}
    return ", ".join(
        f"{key} {value:,.4g}" if abs(value) < 1000 else f"{key} {value:,.0f}" for key, value in shown.items()
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
