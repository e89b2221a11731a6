"""Requests that wait for their turn: too few threads or workers, bursts, a full accept queue, failures. Pure."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from vivace.explain.finding import FAIR, HIGH, MINOR, NOTE, SERIOUS, Finding
from vivace.explain.gain import gain_of, servers_for, threads_for, waiting_s
from vivace.lab.words import number, percent, span
from vivace.observe.histogram import middle_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.explain.case import Case

QUEUED_S = 0.020
"""The average wait from which WeChat's DAGOR calls a service overloaded (SoCC 2018)."""
QUEUED_SHARE = 0.3
BUSY = 0.85
"""Of a worker's GIL."""
THREADS_MAX = 256
HEADROOM = 1.25
"""Threads beyond what the mean needs."""


def rule(case: Case) -> list[Finding]:
    return [*_threads(case), *_workers(case), *_bursts(case), *_accept_queue(case), *_failures(case)]


def _queued(case: Case) -> bool:
    return bool(case.figures["queued_s"] > QUEUED_S and case.figures["shares"]["queued"] > QUEUED_SHARE)


def _threads_busy(case: Case) -> bool:
    """All threads of the workers are in requests nearly all the time. One more leads, and does not count."""
    most = case.threads_max * case.workers
    return case.in_request >= 0.85 * most or (case.figures["busy_share"] or 0.0) >= 0.95


def _threads(case: Case) -> list[Finding]:
    if not _queued(case) or not _threads_busy(case) or case.busiest > BUSY:
        return []
    flow = case.flow
    alone_s = flow.cpu_s + flow.wait_s + flow.lock_s
    enough = threads_for(flow.cpu_s, flow.wait_s)
    there = ceil(case.clients / case.workers)
    open_load = servers_for(case.rate / case.workers, alone_s, QUEUED_S / 4, variation(case)) if alone_s else 1
    wanted = min(THREADS_MAX, max(case.threads_max + 1, ceil(min(enough, max(there, open_load)) * HEADROOM)))
    after = replace(flow, threads=wanted)
    return [
        Finding(
            "threads",
            f"too few threads: requests wait {span(case.figures['queued_s'])} for one, {case.threads_max} are busy",
            SERIOUS,
            [
                f"{case.in_request:.1f} of {case.threads_max * case.workers} threads are in requests, on average, and "
                f"requests wait {span(case.figures['queued_s'])} for one ({percent(case.figures['shares']['queued'])} "
                "of the response time)",
                f"a request waits {span(flow.wait_s)} for something else and computes {span(flow.cpu_s)}; the busiest "
                f"worker computes {percent(case.busiest)} of the time",
                f"1 + wait / CPU = {enough} threads would keep one worker busy; {number(case.clients)} requests are "
                "there at once",
            ],
            f"Let more of them wait at once: --threads {wanted}.",
            code=f"threads = {wanted}    # vivace.toml",
            options=("--threads", str(wanted)),
            gain=gain_of(flow, after, how="closed network of a GIL, a delay and a door of threads"),
            confidence=HIGH,
        )
    ]


def _workers(case: Case) -> list[Finding]:
    """A worker computes all the time while cores are idle."""
    wanted = min(case.cores, round(case.cpu_cores + case.idle_cores + 0.2))
    if case.busiest < BUSY or wanted <= case.workers or case.idle_cores < 0.3:
        return []
    flow = case.flow
    after = replace(flow, workers=wanted, cores=min(float(wanted), case.cpu_cores + case.idle_cores))
    gain = gain_of(flow, after, replace(after, cores=max(case.cpu_cores, after.cores * 0.85)))
    queued = _queued(case)
    ours = case.evidence.load is not None
    severity = (SERIOUS if queued and not ours else MINOR) if queued or ours else NOTE
    evidence = [
        f"the busiest of {case.workers} worker{'s' * (case.workers > 1)} computes {percent(case.busiest)} of the time",
        f"{case.idle_cores:.1f} of {case.cores} cores are idle",
        f"requests wait {span(case.figures['queued_s'])} for their turn, and compute {span(flow.cpu_s)}",
    ]
    if ours:
        evidence.append("the load takes all that it can get, so a worker is busy whatever it serves")
    else:
        servers = servers_for(case.rate, flow.cpu_s, QUEUED_S, variation(case))
        wait_s = waiting_s(max(servers, wanted), case.rate, flow.cpu_s, variation(case))
        evidence.append(
            f"at {number(case.rate)} requests/s, {max(servers, wanted)} workers would let them wait {span(wait_s)}"
        )
    return [
        Finding(
            "workers",
            f"too few workers: one process computes {percent(case.busiest)} of the time while cores are idle",
            severity,
            evidence,
            f"Start as many as there are cores: --workers {wanted}, or --workers auto. Each has a memory of its own.",
            code=f"workers = {wanted}    # vivace.toml",
            options=("--workers", str(wanted)),
            gain=gain,
            confidence=HIGH if queued else FAIR,
        )
    ]


def _bursts(case: Case) -> list[Finding]:
    """Requests wait though on average there is room."""
    if case.evidence.load is not None or not _queued(case) or case.busiest > 0.7 or _threads_busy(case):
        return []
    return [
        Finding(
            "bursts",
            f"requests come in bursts: they wait {span(case.figures['queued_s'])} for their turn though there is room",
            MINOR,
            [
                f"the busiest worker computes {percent(case.busiest)} of the time, and {case.in_request:.1f} of "
                f"{case.threads_max * case.workers} threads are in requests, on average",
                f"half of the requests take {span(case.figures['p50_s'] or 0.0)}, one of a hundred "
                f"{span(case.figures['p99_s'] or 0.0)}",
            ],
            "See what sends them at once (cron, a page with many parts, a client that tries again). More workers take "
            "a burst in faster; a cache rule lets one of those who ask for the same do the work.",
            weight=case.figures["shares"]["queued"] * 0.5,
        )
    ]


def _accept_queue(case: Case) -> list[Finding]:
    machine = case.evidence.machine
    drops = machine.get("drops") or 0
    full = machine.get("backlog") and machine.get("queue_max", 0) >= machine["backlog"]
    if not drops and not full:
        return []
    return [
        Finding(
            "accept queue",
            "the queue of connections was full: clients were turned away, and tried again after a second",
            SERIOUS,
            [
                f"{drops} attempts to connect were dropped by the kernel in {span(case.figures['seconds'])}",
                f"{machine.get('queue_max', 0)} connections waited at most; the queue holds {machine.get('backlog')}",
            ],
            "Find out what holds the workers up (the other findings); a longer queue (--backlog, and the kernel's "
            "net.core.somaxconn) only hides it for a while.",
            code="backlog = 4096    # vivace.toml",
            confidence=HIGH,
            weight=0.5,
        )
    ]


def _failures(case: Case) -> list[Finding]:
    """Answers of 5xx."""
    found = []
    for name, row in case.routes.items():
        failed = row["status"].get("5xx", 0)
        share = failed / row["count"] if row["count"] else 0.0
        if failed and share > 0.01:
            texts = [error["text"] for error in case.evidence.snapshot["errors"] if error["route"] == name]
            last = texts[0].strip().splitlines()[-1] if texts else ""
            found.append(
                Finding(
                    "failures",
                    f"{name} fails: {percent(share)} of its answers are 5xx",
                    SERIOUS,
                    [f"{failed} of {row['count']} answers", *([f"the last one: {last}"] if last else [])],
                    "See the log: each failure is there with its traceback.",
                    route=name,
                    weight=share,
                    confidence=HIGH,
                )
            )
    return found


def variation(case: Case) -> float:
    """The squared coefficient of variation of the response times, from their histogram; 1 where there is none."""
    buckets = case.figures["buckets"]
    if not isinstance(buckets, dict) or sum(buckets.values()) < 10:
        return 1.0
    rows = [(middle_s(int(bucket)), count) for bucket, count in buckets.items()]
    count = sum(times for _, times in rows)
    mean = sum(value * times for value, times in rows) / count
    square = sum(value * value * times for value, times in rows) / count
    return max(0.05, min(20.0, square / mean**2 - 1.0)) if mean else 1.0
