"""How each kind of load is measured: one function per kind, from a running server to a dict of figures (see
metrics).

Rules: a function measures one server once and judges nothing. It raises Unfit where there is no figure to be
had, with the reason for the report. "errors" counts what went wrong without making the figures void.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import clients
from .processes import Running, Unfit, memory_kib
from .stats import median
from .syscalls import counted
from .wrk import Numbers, Wrk

if TYPE_CHECKING:
    from .loads import Load

Figures = dict[str, float | str | None]

IDLE_LIMIT_S = 60.0
ISOLATION_LIMIT_S = 5.0
ISOLATION_REQUESTS = 21
SYSCALL_REQUESTS = 500
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "


@dataclass(frozen=True)
class Trial:
    """One server, running and checked, under one load for one round."""

    load: Load
    server: Running
    seconds: int
    start_s: float  # from exec to the first answer
    loader_core: int


def quick(trial: Trial) -> Figures:
    """wrk with one request: rate, CPU, latencies."""
    load, server = trial.load, trial.server
    before = server.cpu_s()
    kind = "fresh" if load.fresh else "plain"
    run = Wrk(server.address, load.request, load.connections, trial.seconds, trial.loader_core, kind)
    numbers = run.result()
    used = server.cpu_s() - before
    if numbers.requests == 0:
        raise Unfit("it answered no request of wrk")
    return {
        "rate": numbers.rate,
        "cpu_us": used / numbers.requests * 1e6,
        "p50_ms": numbers.p50_ms,
        "p99_ms": numbers.p99_ms,
        "server_core": used / numbers.seconds,
        "loader_core": numbers.core,
        "errors": numbers.errors + numbers.refused,
    }


def bulk(trial: Trial) -> Figures:
    """Our own client that discards large bodies: throughput. A part of a body counts as a part of a request."""
    load, server = trial.load, trial.server
    before = server.cpu_s()
    tally = clients.bulk(server.address, load.request, load.connections, trial.seconds)
    used = server.cpu_s() - before
    requests = tally.body_bytes / load.body_bytes
    if tally.body_bytes == 0:
        raise Unfit("it sent no byte of the body")
    return {
        "rate": requests / tally.seconds,
        "mb_s": tally.body_bytes / tally.seconds / 1e6,
        "cpu_us": used / requests * 1e6,
        "server_core": used / tally.seconds,
        "loader_core": tally.cpu_s / tally.seconds,
        "errors": tally.errors,
    }


def mixed(trial: Trial) -> Figures:
    """Two wrk at once: `load.request` (slow) on `load.connections`, hello on `load.quick_connections`."""
    load, server = trial.load, trial.server
    before = server.cpu_s()
    slow_run = Wrk(server.address, load.request, load.connections, trial.seconds, trial.loader_core)
    quick_run = Wrk(server.address, clients.Request(), load.quick_connections, trial.seconds, trial.loader_core)
    fast, slow = quick_run.result(), slow_run.result()
    used = server.cpu_s() - before
    figures: Figures = {
        "slow_rate": slow.rate,
        "quick_rate": fast.rate,
        "quick_p50_ms": fast.p50_ms,
        "quick_p99_ms": fast.p99_ms,
        "work_ms": slow.rate * load.slow_cpu_ms + fast.rate * load.quick_cpu_ms,
        "server_core": used / slow.seconds,
        "loader_core": fast.core + slow.core,
        "errors": _errors(fast) + _errors(slow),
    }
    if load.slow_wait_s:
        figures["slow_share"] = slow.rate * load.slow_wait_s / load.connections
    return figures


def _errors(numbers: Numbers) -> int:
    return numbers.errors + numbers.refused


def idle(trial: Trial) -> Figures:
    """hello without, with, and again without `load.held` idle connections; memory before and after they came."""
    load, server = trial.load, trial.server

    def rate() -> Numbers:
        return Wrk(server.address, load.request, load.connections, trial.seconds, trial.loader_core).result()

    first = rate()
    before = memory_kib(server.pids())
    try:
        held = clients.hold(server.address, load.held, load.request, IDLE_LIMIT_S)
    except OSError as error:
        raise Unfit(f"it did not hold {load.held:,} connections: {error}") from error
    try:
        after = memory_kib(server.pids())
        beside = rate()
        kept = clients.still_open(held)
    finally:
        clients.release(held)
    last = rate()
    alone = (first.requests + last.requests) / (first.seconds + last.seconds)
    return {
        "kib_each": (after["rss"] - before["rss"]) / load.held,
        "pss_kib_each": (after["pss"] - before["pss"]) / load.held,
        "rate_alone": alone,
        "rate_beside": beside.rate,
        "rate_kept": beside.rate / alone if alone else None,
        "connections": kept,
        "errors": _errors(first) + _errors(beside) + _errors(last),
    }


# --- system calls -------------------------------------------------------------------------------------------

# ioctl and fcntl change a descriptor's mode; a futex call is made only when a lock is contended or handed over.
TOGGLES = ("ioctl", "fcntl", "futex", "setsockopt", "epoll_ctl")


def syscalls(trial: Trial) -> Figures:
    """Calls per sequential keep-alive request, less what the server calls in the same time without requests."""
    server, request = trial.server, trial.load.request
    pids = server.pids()
    with clients.Client(server.address) as client:
        for _ in range(20):
            client.ask(request)

        def requests() -> None:
            for _ in range(SYSCALL_REQUESTS):
                client.ask(request)

        busy, seconds = counted(pids, requests, trial.loader_core)
        resting, _ = counted(pids, lambda: time.sleep(seconds), trial.loader_core)
    per = {
        name: (count - resting.get(name, 0)) / SYSCALL_REQUESTS
        for name, count in busy.items()
        if count - resting.get(name, 0) >= 0.01 * SYSCALL_REQUESTS
    }
    shown = sorted(per.items(), key=lambda item: -item[1])
    return {
        "calls": sum(per.values()),
        "toggles": sum(per.get(name, 0.0) for name in TOGGLES),
        "detail": ", ".join(f"{name} {count:.2f}" for name, count in shown),
        "errors": 0,
    }


# --- isolation ----------------------------------------------------------------------------------------------


def isolation(trial: Trial) -> Figures:
    """Median time of a request on a new connection: alone, then beside idle and half-sent connections."""
    load, address = trial.load, trial.server.address
    alone = _latency_ms(address, load.request)
    held = clients.open_idle(address, load.held, b"") + clients.open_idle(address, load.held, HALF_HEAD)
    try:
        time.sleep(0.1)  # the server has taken them all in
        beside = _latency_ms(address, load.request)
    finally:
        clients.release(held)
    if alone is None:
        raise Unfit("it did not answer a single request in time")
    return {
        "alone_ms": alone,
        "beside_ms": ISOLATION_LIMIT_S * 1e3 if beside is None else beside,
        "delay_ms": (ISOLATION_LIMIT_S * 1e3 if beside is None else beside) - alone,
        "detail": f"no answer within {ISOLATION_LIMIT_S:.0f} s" if beside is None else "",
        "errors": 0,
    }


def _latency_ms(address: clients.Address, request: clients.Request) -> float | None:
    """Median of ISOLATION_REQUESTS, each on a new connection; None as soon as one fails or takes too long."""
    times: list[float | None] = []
    for _ in range(ISOLATION_REQUESTS):
        began = time.perf_counter()
        try:
            clients.ask(address, request, timeout_s=ISOLATION_LIMIT_S)
        except OSError:
            return None
        times.append((time.perf_counter() - began) * 1e3)
    return median(times)


def start(trial: Trial) -> Figures:
    """Time from exec to the first answer, memory right after it."""
    memory = memory_kib(trial.server.pids())
    return {
        "start_ms": trial.start_s * 1e3,
        "rss_mib": memory["largest_rss"] / 1024,
        "pss_mib": memory["pss"] / 1024,
        "errors": 0,
    }


KINDS: dict[str, Callable[[Trial], Figures]] = {
    "quick": quick,
    "bulk": bulk,
    "mixed": mixed,
    "idle": idle,
    "syscalls": syscalls,
    "isolation": isolation,
    "start": start,
}

# Kinds measured before anything else was asked of the server.
FRESH_KINDS = ("start",)


def measured(trial: Trial) -> Figures:
    """The figures of one trial. Raises Unfit, also for every OSError on the way."""
    try:
        return KINDS[trial.load.kind](trial)
    except OSError as error:
        raise Unfit(f"a connection failed: {error}") from error
