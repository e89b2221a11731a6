"""Parts of the trial `remembering`: hits beside misses, many who wait for one response, more than there is room for."""

from __future__ import annotations

import itertools
import random
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import caches, clients
from ..open_loop import OpenLoop, percentile
from ..processes import Running, memory_kib
from ..wrk import Numbers, Wrk
from .trial import Result, Setup, wait_until, worker_of

HIT_SHARE, WITHIN = 0.8, 0.85
ZIPF, KNOWN = 1.0, 400
ROUTES = {"/work": "4 ms of sleep, then 1 ms of CPU", "/compute": "5 ms of CPU"}
CONNECTIONS = 16
MODERATE = 250.0
HIT_P99_S, SLICES = 0.001, 5
WAITING, LATE_S, LATER = 1000, 0.5, 1.02
BOUND_BYTES, SCANNED, SLACK_BYTES = 64 << 20, 1_000_000, 8 << 20


def add(setup: Setup, result: Result) -> None:
    """All of them."""
    for route in ROUTES:
        _beside_misses(setup, result, route)
    result.row(
        "a process on the server's core that waits while another one computes there: woken late by (p99)",
        f"{setup.woken_late_ms():.2f} ms",
    )
    for workers in (1, 2):
        for number in range(2 if setup.quick else 5):
            _waiting(setup, result, workers, number)
    _scan(setup, result)


@contextmanager
def _counting(setup: Setup, *settings: str) -> Iterator[tuple[Running, Path]]:
    """A server, and the file whose size is the number of calls."""
    with tempfile.TemporaryDirectory(prefix="vivace-calls-") as folder:
        calls = Path(folder, "calls")
        calls.touch()
        more = {"BENCH_CALLS": str(calls), "BENCH_LOOPS": str(setup.loops)}
        with caches.vivace(setup.server_core, *settings, more=more) as server:
            server.wait_ready(caches.READY)
            yield server, calls


def drawn(count: int) -> list[int]:
    """Numbers of pages: HIT_SHARE of them by Zipf's law among the KNOWN, the others asked for this once."""
    draw = random.Random(1)
    weights = list(itertools.accumulate((number + 1) ** -ZIPF for number in range(KNOWN)))
    popular = draw.choices(range(KNOWN), cum_weights=weights, k=count)
    return [page if draw.random() < HIT_SHARE else KNOWN + number for number, page in enumerate(popular)]


def _beside_misses(setup: Setup, result: Result, route: str) -> None:
    seconds = 2 if setup.quick else 5
    rounds = 2 if setup.quick else 5
    ratios, rates, alone = [], [], []
    with _counting(setup, "--cache") as (server, calls), setup.watched(result, server):
        for page in range(KNOWN):
            clients.ask(server.address, clients.Request(path=f"{route}/{page}"))
        fresh = itertools.count(10_000_000, 1_000_000)
        for _ in range(rounds):
            base = next(fresh)
            missed = _listed(setup, server, [f"{route}/{base + number}" for number in range(3000)], seconds)
            base, before = next(fresh), calls.stat().st_size
            pages = [page if page < KNOWN else base + page for page in drawn(60_000)]
            mixed = _listed(setup, server, [f"{route}/{page}" for page in pages], seconds)
            misses = (calls.stat().st_size - before) / mixed.requests
            alone.append(missed.rate)
            rates.append(mixed.rate)
            ratios.append(mixed.rate * misses / missed.rate)
        found = statistics.median(ratios)
        result.target(
            f"80% hits, Zipf, misses of {ROUTES[route]}: at least {WITHIN} of the rate that the hits allow",
            f"{found:.2f} ({min(ratios):.2f} to {max(ratios):.2f}): {statistics.median(rates):,.0f} requests/s, "
            f"{statistics.median(alone):,.0f} without hits",
            found >= WITHIN,
        )
        tails: dict[bool, list[list[float]]] = {True: [], False: []}  # hits beside misses, and hits alone
        for _ in range(SLICES):
            for mixed_in, took in tails.items():
                share_s = max(2.0, setup.seconds / SLICES)
                pages = [page if page < KNOWN else next(fresh) for page in drawn(round(MODERATE * share_s * 1.2))]
                if not mixed_in:
                    pages = [page % KNOWN for page in pages]
                wires = [clients.Request(path=f"{route}/{page}").wire(server.address) for page in pages]
                outcome = OpenLoop(server.address, wires, MODERATE, share_s, stamped=True).run()
                hits = [sample.served_s for sample in outcome.of(200) if pages[sample.number] < KNOWN]
                took.append([percentile(hits, part) * 1e3 for part in (0.5, 0.95, 0.99)])
    beside, alone_ms = (
        [statistics.median(one[place] for one in took) for place in range(3)] for took in tails.values()
    )
    result.target(
        f"{MODERATE:g} requests/s, a fifth of them misses of {ROUTES[route]}: p99 of hits under 1 ms",
        f"{beside[2]:.2f} ms, median of {SLICES} slices; without misses, in turn with them, {alone_ms[2]:.2f} ms",
        beside[2] < HIT_P99_S * 1e3,
    )
    for what, (p50, p95, p99) in (("beside misses", beside), ("alone", alone_ms)):
        result.row(
            f"hits {what}, {MODERATE:g} requests/s, {ROUTES[route]}", f"p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms"
        )
    setup.say(f"{route}: {found:.2f} of what hits allow; p99 of hits {beside[2]:.2f} ms, alone {alone_ms[2]:.2f}")


def _listed(setup: Setup, server: Running, paths: list[str], seconds: int) -> Numbers:
    request = clients.Request(body="\n".join(paths).encode())
    return Wrk(server.address, request, CONNECTIONS, seconds, setup.loader_core, "listed").result()


def _waiting(setup: Setup, result: Result, workers: int, number: int) -> None:
    """WAITING clients ask at once for what has expired."""
    count = WAITING // 10 if setup.quick else WAITING
    with _counting(setup, "--cache", "-w", str(workers)) as (server, calls):
        wire = clients.Request(path="/late").wire(server.address)
        clients.ask(server.address, clients.Request(path="/late"))
        held = clients.hold(server.address, count, clients.Request(path="/bytes/1000"), 30.0)
        try:
            wait_until(lambda: time.time() > calls.stat().st_mtime + LATE_S + 2.0, 10.0)
            before = calls.stat().st_size
            hits = _ask_all(held, clients.Request(path="/bytes/1000").wire(server.address))
            took = sorted(_ask_all(held, wire))
        finally:
            clients.release(held)
        made = calls.stat().st_size - before
    who = f"{count:,} clients on one expired entry, {workers} worker{'s' if workers > 1 else ''}, run {number + 1}"
    limit_s = LATE_S * LATER + max(hits, default=0.0)
    last_s = max(took, default=0.0)
    found = f"calls: {made}; {len(took)} answers, the last after {last_s:.3f} s; where it is fresh, {max(hits):.3f} s"
    result.target(
        f"{who}: one call of {LATE_S * 1e3:.0f} ms, and nobody waits longer than a call and what as many hits take",
        found,
        made == 1 and len(took) == count and last_s <= limit_s,
    )
    setup.say(f"{who}: {found}")


def _ask_all(held: list[socket.socket], wire: bytes) -> list[float]:
    """Seconds from each request to its answer, which is short."""
    poller = select.epoll()
    asked: dict[int, float] = {}
    sockets = {connection.fileno(): connection for connection in held}
    took = []
    for descriptor, connection in sockets.items():
        asked[descriptor] = time.perf_counter()
        connection.sendall(wire)
        poller.register(descriptor, select.EPOLLIN)
    deadline = time.perf_counter() + 10.0
    while asked and time.perf_counter() < deadline:
        for descriptor, _ in poller.poll(1.0):
            if b" 200 " in sockets[descriptor].recv(4096)[:16]:
                took.append(time.perf_counter() - asked[descriptor])
            del asked[descriptor]
            poller.unregister(descriptor)
    poller.close()
    return took


def _scan(setup: Setup, result: Result) -> None:
    """A crawler asks for everything once."""
    count = SCANNED // 20 if setup.quick else SCANNED
    bound = BOUND_BYTES // 8 if setup.quick else BOUND_BYTES
    with caches.vivace(setup.server_core, app=caches.APP) as empty:
        empty.wait_ready(caches.READY)
        clients.warm(empty.address, clients.Request(path="/scan/0"), 2.0, 2000)
        Wrk(empty.address, clients.Request(path="/scan/"), CONNECTIONS, 2, setup.loader_core, "counted").result()
        without = memory_kib([worker_of(empty)])["rss"] * 1024
    most, seen, took = 0.0, 0, 0.0
    with caches.vivace(
        setup.server_core, "--cache", "--cache-memory", str(bound), "--cache-entry-bytes-max", "1MiB"
    ) as server:
        server.wait_ready(caches.READY)
        while seen < count:
            request = clients.Request(path=f"/scan/{seen}-")
            load = Wrk(server.address, request, CONNECTIONS, 4, setup.loader_core, "counted")
            numbers = load.result()
            seen += numbers.requests
            took += numbers.seconds
            most = max(most, memory_kib([worker_of(server)])["rss"] * 1024)
    result.target(
        f"{count:,} different responses of 1 KB, memory of {bound >> 20} MiB: the process stays within that, what it "
        f"has without a cache, and {SLACK_BYTES >> 20} MiB",
        f"{most / 2**20:.1f} MiB, {without / 2**20:.1f} without; {seen:,} responses, {seen / took:,.0f} a second",
        most <= without + bound + SLACK_BYTES,
    )
    setup.say(f"scan: {most / 2**20:.1f} MiB of {(without + bound) / 2**20:.1f}")
