"""Thousands of clients that are slow on purpose, beside ordinary ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .. import clients
from ..processes import Running
from ..stats import paired_ratio
from ..wrk import Wrk
from .trial import Result, Setup

TITLE = "Slow heads, slow bodies and slow readers beside a normal load"
ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 16
KEEPS = 0.90
LIMITS = {"heads": 30, "bodies": 5, "readers": 60}
QUICK_LIMITS = {"heads": 3, "readers": 3}
PART = 0.4  # of the seconds: one measuring
SWEEP_S = 4.0  # the sweep, and the drip of one client, by which a limit is noticed later
READY_S = 60.0


class Slow:
    """The attack, as a process of its own on the loader's core."""

    def __init__(self, setup: Setup, server: Running, heads: int, bodies: int, readers: int) -> None:
        words = [sys.executable, "-m", "benchmarks.slow_clients", str(server.address[1])]
        self._process = subprocess.Popen(
            [*words, str(heads), str(bodies), str(readers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {setup.loader_core}),
        )

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def end(self) -> dict[str, Any]:
        self._process.terminate()
        return json.loads(self._process.communicate(timeout=READY_S)[0].splitlines()[-1])


def run(setup: Setup) -> Result:
    heads, bodies, readers = (500, 50, 50) if setup.quick else (5000, 500, 500)
    limits = dict(LIMITS, **QUICK_LIMITS) if setup.quick else LIMITS
    rounds = 2 if setup.quick else 3
    part_s = max(3, int(setup.seconds * PART))
    result = Result(
        "slow-clients",
        TITLE,
        f"{heads:,} clients send a byte of a head every 2 s, {bodies} a byte of a body, {readers} take one of 20 MB; "
        f"who is cut off comes again. wrk asks for two routes meanwhile ({CONNECTIONS} connections each), in {rounds} "
        f"rounds of {part_s} s without and with them, after {part_s} s with them alone. Limits: head {limits['heads']} "
        f"s, a body's rate from 5 s on, write {limits['readers']} s" + (" (defaults)." if limits == LIMITS else "."),
    )
    settings = ["--head-timeout", str(limits["heads"]), "--write-timeout", str(limits["readers"])]
    with setup.serving(*settings) as server, setup.watched(result, server):
        routes = {"hello": clients.Request(), "waits 20 ms": clients.Request(path="/sleep")}
        for request in routes.values():
            clients.warm(server.address, request, 0.5)
        alone: dict[str, list[float]] = {name: [] for name in routes}
        beside: dict[str, list[float]] = {name: [] for name in routes}
        totals: dict[str, dict[str, float]] = {}
        costs: list[float] = []
        for number in range(rounds):
            _measure(setup, server, routes, part_s, alone)
            attack = Slow(setup, server, heads, bodies, readers)
            attack.wait_ready()
            cpu_s = server.cpu_s()
            time.sleep(part_s)
            costs.append((server.cpu_s() - cpu_s) / part_s)
            _measure(setup, server, routes, part_s, beside)
            for kind, found in attack.end().items():
                _add(totals.setdefault(kind, dict.fromkeys(found, 0.0)), found)
            setup.say(f"slow clients, round {number + 1}: {alone} {beside} {costs} {totals}")
    _judge(result, alone, beside, totals, limits, sum(costs) / len(costs))
    return result


def _add(total: dict[str, float], found: dict[str, float]) -> None:
    for key, value in found.items():
        total[key] = max(total[key], value) if key.endswith("_s") else total[key] + value


def _measure(
    setup: Setup, server: Running, routes: dict[str, clients.Request], part_s: int, rates: dict[str, list[float]]
) -> None:
    for name, request in routes.items():
        numbers = Wrk(server.address, request, CONNECTIONS, part_s, setup.loader_core).result()
        rates[name].append((numbers.requests - numbers.refused) / numbers.seconds)


def _judge(
    result: Result,
    alone: dict[str, list[float]],
    beside: dict[str, list[float]],
    totals: dict[str, dict[str, float]],
    limits: dict[str, int],
    cost: float,
) -> None:
    for name in alone:
        kept = paired_ratio(beside[name], alone[name])
        assert kept is not None
        interval = f" [{kept.low:.2f}, {kept.high:.2f}]" if kept.low and kept.high else ""
        result.target(
            f"{name}: the normal load keeps 90% of its rate",
            f"{kept.median:.2f}{interval}; alone {sum(alone[name]) / len(alone[name]):,.0f}/s, beside them "
            f"{sum(beside[name]) / len(beside[name]):,.0f}/s; they alone take {cost:.1%} of the server's core",
            kept.median >= KEEPS,
        )
    for kind, found in totals.items():
        limit_s = limits[kind]
        result.target(
            f"slow {kind} are cut at their limits",
            f"{found['cut']:,.0f} of {found['opened']:,.0f} cut off, at {found['age_s']:.1f} s; the oldest lived "
            f"{found['oldest_s']:.1f} s",
            found["cut"] > 0 and found["oldest_s"] < limit_s + SWEEP_S + limit_s * 0.25,
        )
