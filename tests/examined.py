"""Evidence for the doctor's rules, made up: a server, what its threads did, and what its workers said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vivace.explain.evidence import Evidence

if TYPE_CHECKING:
    from typing import Any

APP = "/srv/app.py"
SECONDS = 10.0


def route(rate: float, mean_s: float, **shares: float) -> dict[str, Any]:
    """A route's figures; of its time what is not said is computing."""
    told = {"queued": 0.0, "body": 0.0, "blocked": 0.0, "send": 0.0, **shares}
    return {
        "count": rate * SECONDS,
        "rate": rate,
        "mean_s": mean_s,
        "shares": {"cpu": 1.0 - sum(told.values()), **told},
        "status": {"2xx": rate * SECONDS},
        "time_share": rate * mean_s,
        "waits": None,
    }


def evidence(
    *,
    routes: dict[str, dict[str, Any]] | None = None,
    cpu: float = 0.9,
    causes: dict[str, float] | None = None,
    in_request: float = 1.0,
    samples: list[tuple[str, str, list[tuple[str, str, int]], float]] | None = None,
    clients: float = 8.0,
    **more: Any,
) -> Evidence:
    """One worker for ten seconds. `cpu`: cores it used. `causes`: shares of the time of `in_request` threads.
    `samples`: (route, state, stack with the outermost frame first, seconds). `clients` 0: served as it is."""
    routes = routes or {"GET /": route(100.0, 0.08, queued=0.8)}
    rate = sum(row["rate"] for row in routes.values())
    busiest = max(routes.values(), key=lambda row: row["time_share"])
    mean_s = sum(row["time_share"] for row in routes.values()) / rate
    worker = {"place": 0, "pid": 7, "threads_max": more.pop("threads", 64)}
    system = {"waits": causes if causes is not None else {"running": 1.0}, "in_request": in_request}
    figures = {
        "seconds": SECONDS,
        "count": rate * SECONDS,
        "rate": rate,
        "mean_s": mean_s,
        "p50_s": mean_s,
        "p99_s": mean_s * 2,
        "queued_s": mean_s * busiest["shares"]["queued"],
        "shares": busiest["shares"],
        "accept_rate": more.pop("accept_rate", 0.0),
        "error_rate": 0.0,
        "busy_share": in_request / worker["threads_max"],
        "cpu": cpu,
        "workers": [{"cpu": cpu, "collecting": more.pop("collecting", 0.0)}],
        "routes": routes,
        "buckets": {},
    }
    machine = {"cores": 2, "busy_cores": cpu, "idle_cores": more.pop("idle_cores", 1.0), "queue_max": 0, "drops": 0}
    machine |= {"backlog": 2048, "collections": [0, 0, 0], "collecting_s": [0.0, 0.0, 0.0], **more.pop("machine", {})}
    load = {"clients": clients, "think_s": 0.0, "loader_cores": 0.0, "bottleneck": ""} if clients else None
    snapshot = {"workers": [{**worker, "system": system}], "errors": more.pop("errors", [])}
    return Evidence(
        figures=figures,
        snapshot=snapshot,
        machine=machine,
        load=load,
        profile=profile(samples) if samples is not None else None,
        **more,
    )


def profile(samples: list[tuple[str, str, list[tuple[str, str, int]], float]]) -> dict[str, Any]:
    """Samples as the workers tell them."""
    frames: dict[tuple[str, str, int], int] = {}
    stacks = [[frames.setdefault(frame, len(frames)) for frame in stack] for _, _, stack, _ in samples]
    return {
        "from_s": 1000.0,
        "to_s": 1000.0 + SECONDS,
        "looks": 500,
        "cost_s": 0.05,
        "frames": [list(frame) for frame in frames],
        "stacks": stacks,
        "samples": [[name, state, number, seconds] for number, (name, state, _, seconds) in enumerate(samples)],
    }


def lines(**told: dict[str, Any]) -> dict[str, Any]:
    """`Evidence.sources` of APP: l12={"text": ..., "loop": 11}."""
    rows = {name[1:]: {"text": "", "loop": 0, "with": 0, **row} for name, row in told.items()}
    return {APP: rows}
