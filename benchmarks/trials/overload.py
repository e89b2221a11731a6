"""Twice as many requests as the server can answer, from clients that do not wait for each other."""

from __future__ import annotations

from dataclasses import dataclass

from .. import clients
from ..open_loop import OpenLoop, Outcome, percentile
from ..processes import Running
from ..wrk import Wrk
from .trial import Result, Setup

TITLE = "Twice the capacity, from clients that do not wait for each other"
HOW = (
    "For each route the capacity is measured by wrk (32 connections) before and after; between them twice that many "
    "requests a second arrive, at random moments, whether or not others are answered. Latency counts from the moment "
    "at which a request was to be sent. `--threads 16 --queue-timeout 0.2`."
)

TIMES = 2.0
GOAL_S = 0.5
REFUSED_S = 0.010
RECOVERY_S = 2.0
AFTER_S = 4.0
SETTINGS = ("--threads", "16", "--queue-timeout", "0.2")


@dataclass(frozen=True)
class Route:
    path: str
    words: str
    computes: bool  # its rate follows what the server gets of its core


ROUTES = (
    Route("/sleep", "waits 20 ms", False),
    Route("/cpu", "computes 2 ms", True),
    Route("/short", "computes 0.3 ms", True),
)


@dataclass
class Capacity:
    rate: float
    per_cpu_s: float  # requests a second of CPU


def run(setup: Setup) -> Result:
    result = Result("overload", TITLE, HOW)
    for route in ROUTES:
        with setup.serving(*SETTINGS) as server, setup.watched(result, server):
            _route(setup, result, server, route)
    return result


def _route(setup: Setup, result: Result, server: Running, route: Route) -> None:
    request = clients.Request(path=route.path)
    clients.warm(server.address, request, 1.0)
    before = _capacity(setup, server, request)
    wire = [request.wire(server.address)]
    cpu_s = server.cpu_s()
    found = OpenLoop(server.address, wire, before.rate * TIMES, setup.seconds).run()
    cpu_s = server.cpu_s() - cpu_s
    after = OpenLoop(server.address, wire, before.rate / 2, AFTER_S, seed=2).run()
    later = _capacity(setup, server, request)
    _judge(result, route, found, cpu_s, before, later)
    later_on = after.within(RECOVERY_S, AFTER_S)
    fine = sum(sample.status == 200 and sample.served_s < GOAL_S for sample in later_on) / max(1, len(later_on))
    result.target(
        f"{route.words}: recovery within {RECOVERY_S:.0f} s",
        f"at half of the capacity {fine:.1%} answered in time from then on",
        fine >= 0.99,
    )
    setup.say(f"overload {route.path}: {[target.found for target in result.targets[-4:]]}")


def _capacity(setup: Setup, server: Running, request: clients.Request) -> Capacity:
    cpu_s = server.cpu_s()
    numbers = Wrk(server.address, request, 32, max(2, int(setup.seconds / 6)), setup.loader_core).result()
    served = numbers.requests - numbers.refused
    return Capacity(served / numbers.seconds, served / (server.cpu_s() - cpu_s))


def _judge(result: Result, route: Route, found: Outcome, cpu_s: float, before: Capacity, later: Capacity) -> None:
    served, refused, lost = found.of(200), found.of(503), found.of(0)
    good = sum(sample.took_s < GOAL_S for sample in served)
    rate = good / found.seconds / ((before.rate + later.rate) / 2)
    per_cpu = good / cpu_s / ((before.per_cpu_s + later.per_cpu_s) / 2)
    part = max(rate, per_cpu) if route.computes else rate
    said = f"{rate:.1%} of {(before.rate + later.rate) / 2:,.0f}/s"
    if route.computes:
        said += f"; per second of CPU {per_cpu:.1%}"
    result.target(f"{route.words}: goodput (within {GOAL_S} s) at least 95% of capacity", said, part >= 0.95)
    slowest_s = percentile([sample.took_s for sample in served], 0.99)
    result.target(
        f"{route.words}: p99 of what is served under {GOAL_S} s",
        f"p50 {percentile([sample.took_s for sample in served], 0.5) * 1e3:.0f} ms, p99 {slowest_s * 1e3:.0f} ms",
        slowest_s < GOAL_S,
    )
    times = [sample.served_s for sample in refused]
    told = all(sample.retry_after for sample in refused)
    result.target(
        f"{route.words}: the rest get 503 with Retry-After in under {REFUSED_S * 1e3:.0f} ms (p95)",
        f"{len(refused):,} refused, {'all' if told else 'NOT all'} with Retry-After, {len(lost)} lost; p50 "
        f"{percentile(times, 0.5) * 1e3:.1f} ms, p95 {percentile(times, 0.95) * 1e3:.1f} ms, p99 "
        f"{percentile(times, 0.99) * 1e3:.1f} ms",
        bool(refused) and told and not lost and percentile(times, 0.95) < REFUSED_S,
    )
    result.row(
        f"{route.words}: load",
        f"{len(found.samples):,} requests on {found.connections:,} connections; the generator was late by "
        f"{found.late_s * 1e3:.1f} ms at p99 and used {found.cpu_s / found.seconds:.0%} of its core",
    )
