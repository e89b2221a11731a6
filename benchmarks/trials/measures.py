"""Does the page tell the truth? Its figures against what the application and the clients have measured themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import Any

from vivace.observe.page import Page, page_of
from vivace.observe.snapshot import between, take

from .. import clients
from ..open_loop import OpenLoop, percentile
from ..processes import Running
from ..wrk import percentiles
from .trial import Result, Setup, wait_until, worker_of

TITLE = "Measures: what the page says, against what is known"
NEAR = 0.02  # of percentiles above a millisecond: what issue and docs promise
CLOSE = 0.05  # of what the application measures of itself: it sees neither its own start nor its end
MEMORY_NEAR = 0.1
HOLDS, HELD_BYTES = 100, 200_000  # as in apps/measures.py
SHARES = (0.5, 0.9, 0.99)
KINDS = {"/sleep": "blocked", "/cpu": "cpu", "/allocate": "cpu"}  # what each route spends its time on
LOADS = (
    # what, path, requests a second (0: wrk with so many connections), connections, settings
    ("5 ms of sleep", "/sleep5", 100, 0, ()),
    ("5 ms of sleep, queueing for 4 threads", "/sleep5", 600, 0, ("--threads", "4")),
    ("50 ms of sleep, queueing for 4 threads", "/sleep50", 68, 0, ("--threads", "4")),
    ("10 ms of CPU, queueing", "/cpu", 60, 0, ()),
    ("calls of 50 ms on a loop with one thread", "/sleep50", 15, 0, ("--threads", "1")),
    ("wrk, 16 connections, 50 ms of sleep, 4 threads", "/sleep50", 0, 16, ("--threads", "4")),
)


def run(setup: Setup) -> Result:
    result = Result(
        "measures",
        TITLE,
        "A route that sleeps, one that computes and one that leaves garbage, each alone and all at once: CPU time, "
        "waiting and collections of the page against what the application measures of itself. Then percentiles of "
        "the page, with arrival_stamps, against an open-loop client that times answers by the kernel's stamps, and "
        "against wrk.",
    )
    for paths in (*((path,) for path in KINDS), tuple(KINDS)):
        with setup.serving(app="measures") as server, setup.watched(result, server):
            _kinds(setup, result, server, paths)
    with setup.serving(app="measures") as server:
        _memory(result, server)
    for load in LOADS:
        with setup.serving("--arrival-stamps", *load[4], app="measures") as server, setup.watched(result, server):
            _percentiles(setup, result, server, *load[:4])
    return result


def _page(server: Running) -> Page:
    page = page_of(server.process.pid) or page_of(worker_of(server))
    assert page is not None
    return page


def _truth(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(clients.ask(server.address, clients.Request(path="/truth")).body)
    return found


def _wires(server: Running, *paths: str) -> list[bytes]:
    return [clients.Request(path=path).wire(server.address) for path in paths]


def _count(snapshot: dict[str, Any], path: str) -> int:
    return int(snapshot["routes"].get(f"GET {path}", {"count": 0})["count"])


def _kinds(setup: Setup, result: Result, server: Running, paths: tuple[str, ...]) -> None:
    """Each measure moves with the route that must move it, and with no other."""
    page = _page(server)
    for path in paths * 3:
        clients.ask(server.address, clients.Request(path=path))
    wait_until(lambda: all(_count(take(page), path) == 3 for path in paths), 3.0)
    older, before = take(page), _truth(server)
    OpenLoop(server.address, _wires(server, *paths), 8.0 * len(paths), setup.seconds, stamped=True).run()
    after = _truth(server)
    wait_until(lambda: all(_count(take(page), path) == after["routes"][path][0] for path in paths), 3.0)
    newer = take(page)
    routes = between(older, newer)["routes"]
    name = " and ".join(paths) if len(paths) < 3 else "all three"
    for path in paths:
        row = routes[f"GET {path}"]
        calls, wall_s, cpu_s = (
            now - then for now, then in zip(*(truth["routes"][path] for truth in (after, before)), strict=True)
        )
        mean_s = row["mean_s"]
        found = {"cpu": row["shares"]["cpu"] * mean_s, "blocked": row["shares"]["blocked"] * mean_s}
        known = {"cpu": cpu_s / calls, "blocked": (wall_s - cpu_s) / calls}
        part = KINDS[path]
        result.target(
            f"{path} of {name}: its {part} time within {CLOSE:.0%} of what it measures itself",
            ", ".join(f"{key} {found[key] * 1e3:.2f} (itself {known[key] * 1e3:.2f}) ms" for key in found),
            abs(found[part] / known[part] - 1) <= CLOSE,
        )
    collecting = sum(newer["totals"]["collecting_s"]) - sum(older["totals"]["collecting_s"])
    known_s = after["collecting"][1] - before["collecting"][1]
    wanted = "/allocate" in paths
    result.target(
        f"{name}: garbage is collected {'as long as the application says' if wanted else 'next to never'}",
        f"{collecting * 1e3:.1f} ms (itself {known_s * 1e3:.1f} ms)",
        abs(collecting / known_s - 1) <= CLOSE if wanted else collecting < 0.002 * setup.seconds,
    )
    page.close()


def _memory(result: Result, server: Running) -> None:
    """Only a route that keeps what it makes lets the worker grow."""
    page = _page(server)
    sizes = []
    for path in ("/sleep", "/sleep", "/hold"):  # at first there are threads to start
        for _ in range(HOLDS):
            clients.ask(server.address, clients.Request(path=path))
        sizes.append(take(page)["workers"][0]["system"]["memory_bytes"])
    slept, held = sizes[1] - sizes[0], sizes[2] - sizes[1]
    known = HOLDS * HELD_BYTES
    result.target(
        f"{HOLDS} calls that keep {HELD_BYTES // 1000} kB each: the memory grows by that to {MEMORY_NEAR:.0%}, and by "
        "calls that sleep it does not",
        f"{held / 1e6:.2f} MB (kept {known / 1e6:.2f} MB), {slept / 1e6:.2f} MB",
        abs(held / known - 1) <= MEMORY_NEAR and abs(slept) <= MEMORY_NEAR * known,
    )
    page.close()


def _percentiles(setup: Setup, result: Result, server: Running, what: str, path: str, rate: float, wide: int) -> None:
    page = _page(server)
    for _ in range(5):
        clients.ask(server.address, clients.Request(path=path))
    wait_until(lambda: _count(take(page), path) == 5, 3.0)
    older = take(page)
    if wide and not shutil.which("wrk"):
        return
    if wide:
        known, count = _wrk(server, path, wide, setup.seconds), 0
    else:
        outcome = OpenLoop(server.address, _wires(server, path), rate, setup.seconds, stamped=True).run()
        took = [sample.served_s for sample in outcome.of(200)]
        known, count = [percentile(took, share) for share in SHARES], len(took)
    wait_until(lambda: _count(take(page), path) >= 5 + count, 3.0)
    time.sleep(1.1)  # a tick: wrk's last
    row = between(older, take(page))["routes"][f"GET {path}"]
    found = [row["p50_s"], row["p90_s"], row["p99_s"]]
    pairs = list(zip(found, known, strict=True))
    result.target(
        f"{what}: p50, p90 and p99 within {NEAR:.0%}",
        "; ".join(f"{mine * 1e3:.2f} (client {theirs * 1e3:.2f}) ms" for mine, theirs in pairs),
        all(abs(mine / theirs - 1) <= NEAR for mine, theirs in pairs if theirs > 0.001),
    )
    page.close()


def _wrk(server: Running, path: str, wide: int, seconds: float) -> list[float]:
    """wrk's own percentiles: up to the moment at which it came to read the answer."""
    url = server.url(path)
    command = ["wrk", "-L", "-t1", f"-c{wide}", f"-d{round(seconds)}s", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = percentiles(text)
    return [found[share] for share in (50, 90, 99)]
