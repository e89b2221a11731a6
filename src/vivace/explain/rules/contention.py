"""Threads in each other's way: locks, the GIL, cores that are short, work beside the requests. Pure."""

from __future__ import annotations

from dataclasses import replace

from vivace.explain.finding import FAIR, HIGH, MINOR, SERIOUS, Finding
from vivace.explain.frames import own_frame
from vivace.explain.gain import gain_of
from vivace.explain.spots import WAITING, samples_of, short, text_of, where_of
from vivace.lab.words import percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.explain.case import Case
    from vivace.explain.finding import Gain
    from vivace.explain.spots import Spot

LOCK_SHARE = 0.15
GIL_SHARE = 0.20
READY_SHARE = 0.15
"""Of the time of threads in requests, as in `observe.verdict`."""
BACKGROUND_CORES = 0.2
LOOP_S = 60e-6
"""What the server itself computes for a request at most: it is no work of the application's beside the requests."""


def rule(case: Case) -> list[Finding]:
    found = [*_locks(case), *_gil(case), *_cores(case), *_background(case)]
    return [finding for finding in found if finding is not None]


# Locks.


def _locks(case: Case) -> list[Finding]:
    share = case.wait_share("lock")
    if case.evidence.profile is not None and not share:
        share = _profiled_share(case)
    if share < LOCK_SHARE:
        return []
    waiting = [spot for spot in case.spots if spot.state == "lock"]
    if not waiting:
        return [_unnamed_lock(case, share)]
    spot = max(waiting, key=lambda one: one.seconds)
    computing_s, waiting_s, lines, held = _held(case, spot)
    held_s = computing_s + waiting_s
    flow = case.flow
    lock_s = max(flow.lock_s, 1e-6)
    # What is computed under the lock is computed without it, too; what is waited for, all can then wait for at once.
    cpu_part = computing_s / held_s if held_s else 0.0
    free = replace(flow, lock_s=0.0, wait_s=flow.wait_s + lock_s * (1.0 - cpu_part))
    half = replace(flow, lock_s=lock_s / 2, wait_s=flow.wait_s + lock_s * (1.0 - cpu_part) / 2)
    pool = spot.kind == "pool"
    evidence = [f"threads in requests wait for a lock {percent(share)} of their time"]
    if lines:
        evidence.append(
            f"those who hold it meanwhile: {percent(1.0 - cpu_part)} waiting, {percent(cpu_part)} computing"
        )
        evidence += lines
    if pool:
        return [_pool(case, spot, share, evidence, gain_of(flow, free, half), held)]
    return [
        Finding(
            "lock",
            f"{spot.route} waits for a lock, {percent(share)} of the time of its threads",
            SERIOUS if share >= LOCK_SHARE else MINOR,
            evidence,
            "Hold the lock for what it protects only: take slow calls (I/O, queries, sleep) out of it, or give each "
            "thread, or each key, a lock of its own.",
            route=spot.route,
            where=where_of(spot, case.sources),
            code="value = fetch()          # before the lock is taken\nwith lock:\n    table[key] = value",
            gain=gain_of(flow, free, half, how="the lock is no longer held while something is waited for"),
            confidence=HIGH if lines else FAIR,
            weight=share,
            also=held,
        )
    ]


def _profiled_share(case: Case) -> float:
    total = sum(row[3] for row in (case.evidence.profile or {"samples": []})["samples"])
    return case.sampled_s("lock") / total if total else 0.0


def _unnamed_lock(case: Case, share: float) -> Finding:
    route = max(case.routes, key=lambda name: _route_share(case, name, "lock"), default="")
    return Finding(
        "lock",
        f"{route or 'requests'} wait for locks, {percent(share)} of the time of their threads",
        SERIOUS,
        [f"threads in requests wait for a lock {percent(share)} of their time"],
        "Hold locks for what they protect only, never while something is waited for.",
        route=route,
        weight=share,
    )


def _route_share(case: Case, name: str, cause: str) -> float:
    row = case.routes[name].get("waits") or {}
    return float(row.get("in_flight", 0.0) * row.get("causes", {}).get(cause, 0.0))


def _held(case: Case, spot: Spot) -> tuple[float, float, list[str], list[str]]:
    """(seconds computing, waiting, the lines in words, and as `file:line`) of threads within the `with` block that
    `spot` waits for; of the same function, past its line, where no block is known."""
    assert case.evidence.profile is not None
    block = int(case.sources.get(spot.file, {}).get(str(spot.line), {}).get("with", 0))
    begins = block or spot.line
    computing = waiting = 0.0
    lines: dict[tuple[str, int], float] = {}
    for _, state, stack, seconds in samples_of(case.evidence.profile):
        if state not in ("running", "gil", *WAITING):
            continue
        for function, file, line in stack:
            within = int(case.sources.get(file, {}).get(str(line), {}).get("with", 0)) == begins and line != begins
            past = not block and function == spot.function and line > spot.line
            if file == spot.file and (within or past):
                own = stack[own_frame(stack)]
                lines[own[1], own[2]] = lines.get((own[1], own[2]), 0.0) + seconds
                if state in WAITING:
                    waiting += seconds
                else:
                    computing += seconds
                break
    most = sorted(lines.items(), key=lambda row: -row[1])[:3]
    told = [f"held at {short(file)}:{line}  {text_of(case.sources, file, line)}".rstrip() for (file, line), _ in most]
    return computing, waiting, told, [f"{file}:{line}" for file, line in lines]


def _pool(case: Case, spot: Spot, share: float, evidence: list[str], gain: Gain, held: list[str]) -> Finding:
    return Finding(
        "pool",
        f"{spot.route} waits for a connection of its pool, {percent(share)} of the time of its threads",
        SERIOUS,
        evidence,
        f"Give the pool as many connections as there are threads that use it (up to {case.threads_max} in one worker), "
        "or hold a connection for a shorter time.",
        route=spot.route,
        where=where_of(spot, case.sources),
        code="create_engine(url, pool_size=20)",
        gain=gain,
        confidence=HIGH,
        weight=share,
        also=held,
    )


# The GIL, and cores.


def _gil(case: Case) -> list[Finding]:
    share = case.wait_share("gil")
    busy = case.busiest
    if share < GIL_SHARE or busy < 0.7:
        return []
    wanted = _workers_wanted(case)
    if wanted <= case.workers:
        return []
    after = replace(case.flow, workers=wanted)
    heavy = sorted(
        (spot for spot in case.spots if spot.in_states("running")), key=lambda one: -one.in_states("running")
    )
    evidence = [
        f"threads in requests wait for the GIL {percent(share)} of their time",
        f"the busiest worker computes {percent(busy)} of the time; {case.idle_cores:.1f} of {case.cores} cores are "
        "idle",
    ]
    evidence += [f"computing meanwhile: {short(spot.file)}:{spot.line}, in {spot.function}" for spot in heavy[:3]]
    return [
        Finding(
            "gil",
            f"threads wait for the GIL, {percent(share)} of their time: one process computes for all of them",
            MINOR if case.evidence.load is not None else SERIOUS,
            evidence,
            f"More workers, each with a GIL of its own: --workers {wanted}. More threads do not help.",
            where=where_of(heavy[0], case.sources) if heavy else None,
            code=f"workers = {wanted}    # vivace.toml",
            options=("--workers", str(wanted)),
            gain=gain_of(case.flow, after, replace(after, cores=case.flow.cores * 0.8 + 0.2 * case.cpu_cores)),
        )
    ]


def _workers_wanted(case: Case) -> int:
    """One for each core that is idle, and those there are."""
    return max(case.workers, min(case.cores, round(case.cpu_cores + case.idle_cores)))


def _cores(case: Case) -> list[Finding]:
    share = case.wait_share("ready")
    if share < READY_SHARE or case.idle_cores > 0.3 or case.evidence.load is not None:
        return []  # a load from the same machine takes cores away itself
    return [
        Finding(
            "cores",
            f"the machine has too few cores: threads that could run wait for one {percent(share)} of their time",
            SERIOUS if share > 2 * READY_SHARE else MINOR,
            [
                f"{case.evidence.machine.get('busy_cores', 0.0):.1f} of {case.cores} cores are busy, "
                f"{case.cpu_cores:.1f} with this server's workers"
            ],
            "Find out what else runs here, give this server more cores, or fewer workers than there are cores.",
            weight=share,
        )
    ]


def _background(case: Case) -> list[Finding]:
    """Work in the workers that belongs to no request."""
    in_requests = case.waits.get("running", 0.0) + case.rate * LOOP_S
    beside = case.cpu_cores - in_requests
    gil = case.wait_share("gil")
    if not case.waits or beside < BACKGROUND_CORES or gil < GIL_SHARE / 2:
        return []
    flow = case.flow
    after = replace(flow, cpu_s=max(1e-6, flow.cpu_s - beside / case.rate)) if case.rate else flow
    return [
        Finding(
            "background",
            f"something in the workers computes beside the requests: {beside:.1f} cores",
            SERIOUS if beside > 2 * BACKGROUND_CORES else MINOR,
            [
                f"workers use {case.cpu_cores:.2f} cores, threads in requests {case.waits.get('running', 0.0):.2f} of "
                "them",
                f"requests wait for the GIL {percent(gil)} of their time, "
                f"{span(gil * case.in_request / max(case.rate, 1e-9))} each",
            ],
            "Move what a thread of the application does in the background to a process of its own: it holds the GIL "
            "that requests need.",
            code="ProcessPoolExecutor(1).submit(work)    # rather than threading.Thread(target=work)",
            gain=gain_of(flow, after, replace(after, cpu_s=(after.cpu_s + flow.cpu_s) / 2)),
        )
    ]
