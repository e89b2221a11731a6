"""Every kind of client for hours: what grows?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .. import clients
from ..processes import Running, memory_kib
from .trial import Result, Setup, descriptors_of, threads_of, wait_until

TITLE = "Mixed load for two hours"
GROWTH = 0.03  # of the memory, from a quarter of the time on
GROWTH_KIB = 2048
CLIENTS = 8
PAUSE_S = 0.002  # between two requests of one client: the machine is to be busy, not full


def run(setup: Setup) -> Result:
    seconds = setup.seconds if setup.quick else setup.seconds * 120
    result = Result(
        "mixed-load",
        TITLE,
        f"For {seconds / 60:,.1f} minutes {CLIENTS} clients draw at random: quick routes, known and new, ones that "
        "wait and compute, uploads small and spilled, streams, failures, pipelines, clients that leave in the middle. "
        "The memory of the second quarter of the time is compared with that of the last; descriptors and threads "
        "before it with those after.",
    )
    stop = threading.Event()
    with setup.serving("--threads", "16", "--thread-idle", "5") as server, setup.watched(result, server):
        idle_descriptors, idle_threads = descriptors_of(server), threads_of(server)
        counts = [0] * CLIENTS
        failures: list[str] = []
        users = [
            threading.Thread(target=_user, args=(server, random.Random(number), stop, counts, failures, number))
            for number in range(CLIENTS)
        ]
        for user in users:
            user.start()
        samples: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            time.sleep(seconds / 40)
            samples.append(memory_kib(server.pids())["pss"])
        stop.set()
        for user in users:
            user.join()
        _judge(result, server, samples, (idle_descriptors, idle_threads), sum(counts), failures)
    setup.say(f"mixed load: {[target.found for target in result.targets]}")
    return result


def _judge(
    result: Result,
    server: Running,
    samples: list[float],
    at_first: tuple[int, int],
    requests: int,
    failures: list[str],
) -> None:
    quarter = len(samples) // 4
    early = sorted(samples[quarter : 2 * quarter])[quarter // 2]
    late = sorted(samples[-quarter:])[quarter // 2]
    grown = late - early
    result.target(
        f"memory flat: at most {GROWTH:.0%} or {GROWTH_KIB / 1024:.0f} MiB more",
        f"{early / 1024:.1f} MiB in the second quarter, {late / 1024:.1f} MiB in the last ({grown / 1024:+.1f} MiB)",
        grown <= max(GROWTH * early, GROWTH_KIB),
    )
    descriptors, threads = at_first
    # The thread that leads the loop keeps one file open, to tell its waiting for a core (schedule/delay.py).
    rested = wait_until(lambda: threads_of(server) <= threads and descriptors_of(server) <= descriptors + 1, 15.0)
    result.target(
        "no leak of descriptors or threads",
        f"{descriptors} descriptors and {threads} threads before, {descriptors_of(server)} and {threads_of(server)} "
        "once the load had ended",
        rested,
    )
    result.target(
        "every answer as it should be", f"{requests:,} requests, wrong: {failures[:3] or 'none'}", not failures
    )


def _user(
    server: Running, draw: random.Random, stop: threading.Event, counts: list[int], failures: list[str], number: int
) -> None:
    kinds: list[Callable[[], None]] = [
        lambda: _expect(server, clients.Request(path=draw.choice(["/", "/sleep", "/cpu", "/short"])), 200, b"0 bytes"),
        lambda: _expect(server, clients.Request(path=f"/user/{draw.random()}"), 200, b"0 bytes"),
        lambda: _expect(server, _upload(draw.choice([10, 10_000, 2_000_000])), 200, None),
        lambda: _expect(server, clients.Request(path="/fail"), 500, None),
        lambda: _expect(server, clients.Request(path="/stream"), 200, b"x" * 500_000),
        lambda: _leave(server, draw),
    ]
    weights = [12, 4, 2, 1, 1, 2]
    while not stop.is_set():
        try:
            draw.choices(kinds, weights)[0]()
        except (OSError, AssertionError) as error:
            failures.append(repr(error))
        counts[number] += 1
        time.sleep(PAUSE_S)


def _upload(size: int) -> clients.Request:
    return clients.Request(method="POST", path="/", body=b"x" * size)


def _expect(server: Running, request: clients.Request, status: int, body: bytes | None) -> None:
    with clients.Client(server.address, timeout_s=30.0) as client:
        for _ in range(3):
            answer = client.ask(request)
            assert answer.status == status, f"{request.path}: {answer.status}"
            if body is None:
                body = b"%d bytes" % len(request.body) if status == 200 else answer.body
            assert answer.body == body, f"{request.path}: {answer.body[:60]!r}"


def _leave(server: Running, draw: random.Random) -> None:
    """Half a request, a response that is not read, or several at once and gone."""
    data = draw.choice(
        [
            b"GET / HTTP/1.1\r\nHos",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 1_500_000,
            b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n" * 3,
        ]
    )
    with suppress(OSError):
        clients.release(clients.open_idle(server.address, 1, data))
