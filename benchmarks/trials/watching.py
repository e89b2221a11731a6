"""What it costs to be seen: CPU per request with everything measured, against nothing measured."""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack

from .. import clients, stats
from ..processes import Running, cpu_s, free_port
from ..wrk import Wrk
from .trial import Result, Setup, worker_of

CONNECTIONS = 16
TARGET = 1.03
PART_S, WARM_S = 1, 0.2
APPS = {"hello": "/", "flask_json": "/"}
WAYS = {
    "off": ("--no-metrics",),
    "off again": ("--no-metrics",),
    "on": (),
    "watched": ("--admin", "127.0.0.1:{admin}"),
    "all": ("--admin", "127.0.0.1:{admin}", "--access-log-file", "/dev/null", "--request-id", "X-Request-ID"),
}
"""`off again` shows what two processes of the same kind differ by. `on` is the default. `watched`: and a browser with
the dashboard. `all`: an access log and request ids as well."""


def run(setup: Setup) -> Result:
    rounds = 4 if setup.quick else max(8, round(setup.seconds / 4))
    result = Result(
        "watching",
        "What it costs to be seen",
        f"One worker a way, on the server's core; {rounds} rounds of {PART_S} s of wrk with {CONNECTIONS} connections, "
        "the ways in turn and in changing order, each round with servers of its own: two processes of the same kind "
        "differ by several percent for as long as they live. Compared is the CPU time of the worker per request, round "
        "by round, with the 95% interval of the median ratio; and, where there is perf, the instructions of one more "
        "second, which no other work on the machine changes. Meanwhile the admin addresses are asked for what is new "
        "once a second, as an open dashboard does.",
    )
    for app, path in APPS.items():
        found: dict[str, list[float]] = {name: [] for name in WAYS}
        instructions: dict[str, list[float]] = {name: [] for name in WAYS}
        for number in range(rounds):
            order = list(WAYS)[number % len(WAYS) :] + list(WAYS)[: number % len(WAYS)]
            for name, (cost, told) in _round(setup, result, app, path, order).items():
                found[name].append(cost)
                if told is not None:
                    instructions[name].append(told)
        for name in WAYS:
            result.row(f"{app}, {name}", f"{statistics.median(found[name]):.2f} us of CPU a request")
            if name == "off":
                continue
            ratio, figure = _against(found[name], found["off"], "the CPU")
            if name == "on":
                result.target(f"{app}: at most {TARGET} of its CPU", figure, ratio <= TARGET)
            else:
                result.row(f"{app}, {name}, against off", figure)
            if len(instructions["off"]) == len(instructions[name]) == rounds:
                told = f"{statistics.median(instructions[name]) / 1000:.1f} thousand instructions a request"
                result.row(f"{app}, {name}", f"{told}, {_against(instructions[name], instructions['off'], 'those')[1]}")
    setup.say(f"watching: {[target.found for target in result.targets]}")
    return result


def _against(costs: list[float], without: list[float], what: str) -> tuple[float, str]:
    """The ratio, and how it is told."""
    ratio = stats.paired_ratio(costs, without)
    assert ratio is not None
    return ratio.median, f"{ratio.median:.3f} of {what} without ({ratio.low or 0:.3f} to {ratio.high or 0:.3f})"


Costs = tuple[float, float | None]
"""Microseconds of CPU a request; and instructions, where they are told."""


def _round(setup: Setup, result: Result, app: str, path: str, order: list[str]) -> dict[str, Costs]:
    """Of a new server for each way."""
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        admins: list[int] = []
        for name in order:
            admin = free_port()
            if any("{admin}" in word for word in WAYS[name]):
                admins.append(admin)
            words = [word.format(admin=admin) for word in WAYS[name]]
            servers[name] = stack.enter_context(setup.serving(*words, app=app))
        over = threading.Event()
        reader = threading.Thread(target=_look, args=(admins, over))
        reader.start()
        stack.callback(reader.join)
        stack.callback(over.set)
        for server in servers.values():
            clients.warm(server.address, clients.Request(path=path), WARM_S)
        with setup.watched(result, servers["on"]):
            return {name: _costs(setup, servers[name], path) for name in order}


def _costs(setup: Setup, server: Running, path: str) -> Costs:
    worker = worker_of(server)

    def loaded() -> int:
        return Wrk(server.address, clients.Request(path=path), CONNECTIONS, PART_S, setup.loader_core).result().requests

    before = cpu_s(worker)
    requests = loaded()
    cost_us = (cpu_s(worker) - before) / max(1, requests) * 1e6
    return cost_us, _instructions(worker, loaded)


def _instructions(pid: int, loaded: Callable[[], int]) -> float | None:
    """Those of a process per request, while it is `loaded`; None where nothing counts them."""
    if shutil.which("perf") is None:
        return None
    words = ["perf", "stat", "-x;", "-e", "instructions", "-p", str(pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as counter:
        requests = loaded()
        counter.send_signal(signal.SIGINT)
        said = counter.communicate()[1]
    counted = next((line.split(";")[0] for line in said.splitlines() if ";instructions" in line), "")
    return int(counted) / max(1, requests) if counted.isdigit() else None


def _look(admins: list[int], over: threading.Event) -> None:
    """Does what an open dashboard does."""
    while not over.wait(1.0):
        for port in admins:
            try:
                clients.ask(("127.0.0.1", port), clients.Request(path="/history.json"))
            except OSError:
                continue
