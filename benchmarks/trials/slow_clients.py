"""Thousands of clients that are slow on purpose, beside ordinary ones."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import clients
from ..processes import Running, cpu_s
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
FULL = 0.97
"""More of its core than this, and a loader can make no more load."""


@dataclass
class Load:
    """What one route was asked for, round by round."""

    rates: list[float] = field(default_factory=list)
    """Answers a second ..."""
    capacities: list[float] = field(default_factory=list)
    """... and for each second of the server's CPU, whatever that was spent on."""
    loader: list[float] = field(default_factory=list)
    """The share of the loader's core that wrk and the slow clients took."""


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

    def cpu_s(self) -> float:
        """What it has cost its core so far."""
        return cpu_s(self._process.pid)

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
        f"s, a body's rate from 5 s on, write {limits['readers']} s{' (defaults)' if limits == LIMITS else ''}. "
        "The slow clients share the loader's core with wrk. Where the two fill it, there is less of the normal load "
        "because nobody makes it: then what the server answers for each second of its CPU is compared, slow clients "
        "and all.",
    )
    settings = ["--head-timeout", str(limits["heads"]), "--write-timeout", str(limits["readers"])]
    with setup.serving(*settings) as server, setup.watched(result, server):
        routes = {"hello": clients.Request(), "waits 20 ms": clients.Request(path="/sleep")}
        for request in routes.values():
            clients.warm(server.address, request, 0.5)
        alone = {name: Load() for name in routes}
        beside = {name: Load() for name in routes}
        totals: dict[str, dict[str, float]] = {}
        costs: list[float] = []
        for number in range(rounds):
            _measure(setup, server, routes, part_s, alone)
            attack = Slow(setup, server, heads, bodies, readers)
            attack.wait_ready()
            used_s = server.cpu_s()
            time.sleep(part_s)
            costs.append((server.cpu_s() - used_s) / part_s)
            _measure(setup, server, routes, part_s, beside, attack)
            for kind, found in attack.end().items():
                _add(totals.setdefault(kind, dict.fromkeys(found, 0.0)), found)
            setup.say(f"slow clients, round {number + 1}: {alone} {beside} {costs} {totals}")
    _judge(result, alone, beside, totals, limits, sum(costs) / len(costs))
    return result


def _add(total: dict[str, float], found: dict[str, float]) -> None:
    for key, value in found.items():
        total[key] = max(total[key], value) if key.endswith("_s") else total[key] + value


def _measure(
    setup: Setup,
    server: Running,
    routes: dict[str, clients.Request],
    part_s: int,
    loads: dict[str, Load],
    attack: Slow | None = None,
) -> None:
    for name, request in routes.items():
        slow_s = attack.cpu_s() if attack is not None else 0.0
        used_s = server.cpu_s()
        numbers = Wrk(server.address, request, CONNECTIONS, part_s, setup.loader_core).result()
        answers = numbers.requests - numbers.refused
        loads[name].capacities.append(answers / (server.cpu_s() - used_s))
        loads[name].rates.append(answers / numbers.seconds)
        slow_s = attack.cpu_s() - slow_s if attack is not None else 0.0
        loads[name].loader.append(numbers.core + slow_s / numbers.seconds)


def _judge(
    result: Result,
    alone: dict[str, Load],
    beside: dict[str, Load],
    totals: dict[str, dict[str, float]],
    limits: dict[str, int],
    cost: float,
) -> None:
    for name in alone:
        rate = _kept(beside[name].rates, alone[name].rates)
        capacity = _kept(beside[name].capacities, alone[name].capacities)
        loader = statistics.median(beside[name].loader)
        full = loader > FULL
        result.target(
            f"{name}: the normal load keeps 90% of its rate",
            f"{rate[1]}; alone {statistics.mean(alone[name].rates):,.0f}/s, beside them "
            f"{statistics.mean(beside[name].rates):,.0f}/s, with {loader:.0%} of the loader's core in use"
            f"{', so by' if full else ';'} the answers for each second of the server's CPU: {capacity[1]}; they alone "
            f"take {cost:.1%} of the server's core",
            (capacity if full else rate)[0] >= KEEPS,
        )
    for kind, found in totals.items():
        limit_s = limits[kind]
        result.target(
            f"slow {kind} are cut at their limits",
            f"{found['cut']:,.0f} of {found['opened']:,.0f} cut off, at {found['age_s']:.1f} s; the oldest lived "
            f"{found['oldest_s']:.1f} s",
            found["cut"] > 0 and found["oldest_s"] < limit_s + SWEEP_S + limit_s * 0.25,
        )


def _kept(beside: list[float], alone: list[float]) -> tuple[float, str]:
    """The ratio, and how it is told."""
    kept = paired_ratio(beside, alone)
    assert kept is not None
    return kept.median, f"{kept.median:.2f}" + (f" [{kept.low:.2f}, {kept.high:.2f}]" if kept.low and kept.high else "")
