"""One line that says how a server goes, and whether one of its workers is stuck. Pure: from a snapshot (`snapshot`) and
the figures since the one before (`comparison`).

Rules: the first thing in LIMITS that is passed is what the line says, so what stands above explains what stands below.
What is not known (no /proc, nobody sampled the threads) is passed by none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMITS = {
    # The average wait from which WeChat's DAGOR calls a service overloaded (SoCC 2018).
    "queued_s": 0.020,
    # and, of the response time, what may pass in a queue: with more, requests wait longer than they take
    "queued": 0.5,
    "refused": 0.01,  # of the requests
    "collecting": 0.05,  # of the time, in collections of garbage
    # Of the time of threads in requests. What the planted bottlenecks of tests/test_verdict.py show is beyond them.
    "gil": 0.20,
    "lock": 0.15,
    "ready": 0.15,
    "waiting": 0.60,
    "cpu": 0.90,  # cores, of the busiest worker: one is all that a process with a GIL has
    "light": 0.10,  # of a core for each worker, and of its threads
}
IN_REQUEST_MIN = 0.05
"""Threads in requests, on average: what fewer wait for is no bottleneck."""
STUCK_S = 3.0
"""A loop that has something to do ticks once a second; the rest is room for a busy machine."""
STUCK_ALONE_S = 30.0
"""With one thread a slow request is no failure of the loop. gunicorn's timeout for such workers is 30 s."""
STATES = {
    "T": "is stopped by a signal",
    "t": "is stopped by a debugger",
}
"""Of a process (proc_pid_stat(5)): nothing can happen in it."""

PARTS = (
    ("queued", "requests are waiting to start"),
    ("body", "waiting for clients to send bodies"),
    ("cpu", "computing"),
    ("blocked", "waiting for I/O, locks or sleep"),
    ("send", "waiting for clients to read responses"),
)
CAUSES = {
    "running": "workers compute",
    "ready": "workers wait for a core",
    "gil": "workers wait for the GIL",
    "lock": "workers wait for locks",
    "sleep": "workers sleep",
    "io": "workers wait for I/O",
    "disk": "workers wait for the disk",
    "child": "workers wait for child processes",
}
"""As in `threads`."""
WAITING = ("sleep", "io", "disk", "child")
"""Causes that lie outside the worker: more threads help."""


def verdict(snapshot: dict[str, Any], figures: dict[str, Any]) -> str:
    """How it goes, in one line: what is wrong, or else what the time is spent on."""
    server, workers = snapshot["server"], snapshot["workers"]
    if server["state"] == "ended":
        return f"the server, process {server['pid']}, has ended"
    stuck = [row for row in figures["workers"] if row["stuck"]]
    if stuck:
        others = f" ({len(stuck)} of {len(workers)} workers are stuck)" if len(workers) > 1 else ""
        return f"STUCK: process {stuck[0]['pid']} {stuck[0]['why_stuck']}{others}"
    if not workers:
        return "no worker serves" + (f": {server['note']}" if server["note"] else "")
    if not server["measures"]:
        return "the server measures nothing: unknown but to the kernel (metrics is off, or no worker has begun)"
    found = [_spent(figures)]
    if figures["threads_max"]:
        found.append(f"{figures['threads_busy']} of {figures['threads_max']} threads busy")
    if figures["count"] and not found[0].startswith("overloaded"):
        found.append(f"queue {figures['queued_s'] * 1e3:.1f} ms")
    if figures["error_rate"] > 0.01 * max(figures["rate"], 1e-9):
        found.append(f"{figures['error_rate']:.3g} server errors/s")
    return "; ".join(found)


def _spent(figures: dict[str, Any]) -> str:
    waits = _waits(figures["workers"])
    if figures["count"]:
        return _overloaded(figures) or _hindered(figures, waits) or _usual(figures, waits)
    if figures["refused_rate"]:
        return f"every request is refused, {figures['refused_rate']:.3g} a second"
    if not figures["in_flight"]:
        return "idle"
    return f"requests are in progress, none was answered{_mostly(waits)}"


def _overloaded(figures: dict[str, Any]) -> str:
    """Requests wait longer for their turn than they take, or are turned away."""
    refused = figures["refused_5xx_rate"]
    queued = figures["queued_s"] > LIMITS["queued_s"] and figures["shares"]["queued"] > LIMITS["queued"]
    if not queued and refused <= LIMITS["refused"] * (figures["rate"] + refused):
        return ""
    found = f"overloaded: requests wait {figures['queued_s'] * 1e3:.0f} ms for their turn"
    if refused:
        found += f", {refused:.3g} a second are refused"
    if _cores(figures) >= LIMITS["cpu"]:
        return f"{found}; a worker computes all the time, mostly {_dearest(figures)}"
    return found


def _hindered(figures: dict[str, Any], waits: dict[str, float]) -> str:
    """Something other than the application's own work takes a good part of the time."""
    collecting = max((row["collecting"] or 0.0 for row in figures["workers"]), default=0.0)
    if collecting > LIMITS["collecting"]:
        return f"garbage: its collection takes {collecting:.0%} of a worker's time"
    if waits.get("gil", 0.0) > LIMITS["gil"]:
        return f"GIL: threads in requests wait for it {waits['gil']:.0%} of their time (workers help, threads do not)"
    if waits.get("lock", 0.0) > LIMITS["lock"]:
        return f"locks: threads in requests wait for one {waits['lock']:.0%} of their time"
    if waits.get("ready", 0.0) > LIMITS["ready"]:
        return f"cores are short: threads in requests wait for one {waits['ready']:.0%} of their time"
    return ""


def _usual(figures: dict[str, Any], waits: dict[str, float]) -> str:
    """What the time is spent on."""
    cores = _cores(figures)
    if cores >= LIMITS["cpu"]:
        return f"CPU-bound: a worker computes {min(1.0, cores):.0%} of the time, mostly {_dearest(figures)}"
    waiting = {cause: share for cause, share in waits.items() if cause in WAITING}
    if sum(waiting.values()) >= LIMITS["waiting"]:
        cause = max(waiting, key=lambda cause: waiting[cause])
        return f"{CAUSES[cause]}: {waiting[cause]:.0%}"
    known = [row for row in figures["workers"] if row["cpu"] is not None and row["counted"]]
    if known and max(cores, figures["busy_share"] or 0.0) < LIMITS["light"]:
        return f"lightly loaded: {sum(row['cpu'] for row in known):.0%} of a core"
    part, text = max(PARTS, key=lambda row: figures["shares"][row[0]])
    if waits and part in ("cpu", "blocked"):  # the kernel knows better what the application does
        cause = max(waits, key=lambda cause: waits[cause])
        return f"{CAUSES[cause]}: {waits[cause]:.0%}"
    return f"{text}: {figures['shares'][part]:.0%}"


def _mostly(waits: dict[str, float]) -> str:
    cause = max(waits, key=lambda cause: waits[cause], default="")
    return f": {CAUSES[cause]} ({waits[cause]:.0%})" if cause else ""


def _waits(workers: list[dict[str, Any]]) -> dict[str, float]:
    """What threads in requests do, of all workers together; empty: nobody knows, or there are next to none."""
    found: dict[str, float] = {}
    total = 0.0
    for row in workers:
        for cause, share in (row["waits"] or {}).items():
            if cause in CAUSES:
                found[cause] = found.get(cause, 0.0) + share * row["in_request"]
        total += row["in_request"] if row["waits"] else 0.0
    return {cause: value / total for cause, value in found.items()} if total >= IN_REQUEST_MIN else {}


def _cores(figures: dict[str, Any]) -> float:
    """What the busiest worker uses. One that was not seen before may have computed before it served."""
    return max((row["cpu"] or 0.0 for row in figures["workers"] if row["counted"]), default=0.0)


def _dearest(figures: dict[str, Any]) -> str:
    """The route that computes most."""
    routes: dict[str, Any] = figures["routes"]
    return max(routes, key=lambda name: routes[name]["time_share"] * routes[name]["shares"]["cpu"])


def why_stuck(worker: dict[str, Any], older: dict[str, Any] | None = None) -> str:
    """Why nothing is to be expected of this worker, "" if that is not so.

    `older`: the same worker in the snapshot before. What takes a moment in any process is seen twice before it counts.
    A worker that starts has no loop yet, and one that waits for work does not tick: neither is stuck.
    """
    state = worker["system"].get("process_state", "")
    was = older["system"].get("process_state", "") if older is not None else ""
    if state == "T" or (state == "t" and was == "t"):
        return STATES[state]
    if worker["state"] == "starting":
        return ""
    limit_s = STUCK_ALONE_S if worker["threads_max"] == 1 else STUCK_S
    if worker["ticked_s"] <= limit_s or not (worker["route"] or worker["connections"]):
        return ""
    where = f", in {worker['route']}" if worker["route"] else ""
    disk = "; it waits for a disk or a network file system" if state == "D" == was else ""
    return f"has not turned its loop for {worker['ticked_s']:.0f} s{where}{disk}"


def unfetched(older: dict[str, Any], newer: dict[str, Any]) -> str:
    """Whether connections wait at a listening socket, now and in the snapshot before, and no worker has turned its loop
    meanwhile; "" if that is not so. A process without a supervisor may have sockets of its own, which are not asked."""
    if not newer["server"]["supervised"]:
        return ""
    turned = {row["pid"]: row["turns"] for row in older["workers"]}
    serving = [row for row in newer["workers"] if row["state"] == "serving"]
    if not serving or any(row["turns"] != turned.get(row["pid"]) or row["ticked_s"] <= STUCK_S for row in serving):
        return ""
    waited = {row["address"]: row["queue"] for row in older["listeners"]}
    for row in newer["listeners"]:
        if row["queue"] and waited.get(row["address"]):
            return f"STUCK: {row['queue']} connections wait at {row['address']}, and no worker fetches them"
    return ""
