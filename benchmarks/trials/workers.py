"""Workers come and go under load: what do clients notice?"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from vivace.observe.layout import S_PID, S_STATE, SERVING
from vivace.observe.page import Page, page_of

from .. import clients, servers
from ..processes import Running, free_port
from ..wrk import Numbers, Wrk
from .trial import Result, Setup, log_of, wait_until

RELOADS = 20
CONNECTIONS = 16
BACK_S = 1.0


def replacing(setup: Setup) -> Result:
    """Reloads with new code each time, the program replaced in place, more and fewer workers."""
    reloads = 4 if setup.quick else RELOADS
    result = Result(
        "replacing",
        "Reload, replacement and scaling under load",
        f"Two workers, {CONNECTIONS} keep-alive connections of wrk on a quick route. {reloads} reloads, each with "
        "another version of the application; then the program is replaced in place twice; then 4, 1 and 2 workers are "
        "asked for. Each step waits for the one before. wrk counts what was not answered.",
    )
    with _workers(setup, "-w", "2") as (server, folder), setup.watched(result, server):
        load = Wrk(server.address, clients.Request(path="/"), CONNECTIONS, 600, setup.loader_core)
        versions: list[str] = []
        began = time.perf_counter()
        for version in range(2, reloads + 2):
            (folder / "version.py").write_text(f"VERSION = {version}\n")
            _ctl(server, "reload")
            versions.append(clients.ask(server.address, clients.Request(path="/version")).body.decode())
        reloaded_s = time.perf_counter() - began
        for _ in range(2):
            _ctl(server, "upgrade")
        for count in ("4", "1", "2"):
            _ctl(server, "scale", count)
            wait_until(lambda: len(_serving(server)) == int(count), 10.0)  # noqa: B023 - called at once
        load._process.send_signal(signal.SIGINT)  # wrk prints what it has
        numbers = load.result()
    expected = [str(version) for version in range(2, reloads + 2)]
    result.target("each reload brought the new code", f"{len(versions)} reloads", versions == expected)
    result.target(
        "no failed request, no reset",
        f"{numbers.requests:,} requests, {numbers.errors} errors, {numbers.refused} refusals",
        numbers.errors == numbers.refused == 0 < numbers.requests,
    )
    result.row("a reload of two workers", f"{reloaded_s / reloads:.2f} s, the command and its wait included")
    setup.say(f"replacing: {[target.found for target in result.targets]}")
    return result


def killing(setup: Setup) -> Result:
    """A worker is killed every second."""
    kills = max(4, round(setup.seconds / 4))
    result = Result(
        "killing",
        "A worker killed -9 every second",
        f"Two workers, {CONNECTIONS} keep-alive connections of wrk on a route that waits 20 ms, so that each "
        f"connection has a request in a worker nearly always. {kills} times, once a second, one of the two is killed.",
    )
    backs: list[float] = []
    with _workers(setup, "-w", "2", "--lanes", "pool") as (server, _), setup.watched(result, server):
        load = Wrk(server.address, clients.Request(path="/sleep"), CONNECTIONS, kills + 30, setup.loader_core)
        time.sleep(1.0)
        draw = random.Random(1)
        for _ in range(kills):
            victim = draw.choice(_serving(server))
            began = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            back = wait_until(lambda: len(_serving(server)) == 2 and victim not in _serving(server), 10.0)  # noqa: B023
            backs.append(time.perf_counter() - began if back else 10.0)
            time.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))
        load._process.send_signal(signal.SIGINT)
        numbers = load.result()
        log = log_of(server)
    named = sum(int(count) for count in re.findall(r"was ended by SIGKILL.*it held (\d+) request", log))
    deaths = log.count("was ended by SIGKILL")
    result.target(
        "only the requests that it held are lost, each named in the log",
        f"{deaths} deaths named {named} requests; of {numbers.requests:,} requests wrk lost {numbers.errors}",
        deaths == kills and numbers.errors <= named,
    )
    result.target(
        f"back in under {BACK_S:.0f} s",
        f"{max(backs) * 1000:.0f} ms at most, {sorted(backs)[len(backs) // 2] * 1000:.0f} ms in the median",
        max(backs) < BACK_S,
    )
    setup.say(f"killing: {[target.found for target in result.targets]}")
    return result


PAIRS = {
    "vivace": ("", "--workers 2"),
    "granian": ("--workers 1", "--workers 2"),
    "gunicorn": ("--workers 1", "--workers 2"),
    "uwsgi": ("", "--processes 2"),
}
"""Servers for two cores: what their command for one worker says, and what it says for two."""

PATHS = {"hello": "/", "flask_json": "/"}


def pair(setup: Setup) -> Result:
    """Two workers on two cores, against the peers' two."""
    rounds, seconds = (2, 1) if setup.quick else (6, 2)
    result = Result(
        "two-workers",
        "Two workers on two cores",
        f"Each server with two workers, on the machine's first two cores, which wrk shares with them ({CONNECTIONS} "
        f"connections, {rounds} rounds of {seconds} s each, the servers in turn). Compared are rates, since wrk's own "
        "work is the same for all; CPU per request of the whole process tree stands beside them.",
    )
    for app, path in PATHS.items():
        rates: dict[str, list[float]] = {name: [] for name in PAIRS}
        cpu: dict[str, list[float]] = {name: [] for name in PAIRS}
        with ExitStack() as stack:
            running = {name: stack.enter_context(_on_two_cores(setup, name, app)) for name in PAIRS}
            for number in range(rounds):
                for name in list(PAIRS)[:: 1 if number % 2 else -1]:
                    before = running[name].cpu_s()
                    numbers = _free_wrk(setup, running[name], path, seconds)
                    rates[name].append(numbers.rate)
                    cpu[name].append((running[name].cpu_s() - before) / max(1, numbers.requests) * 1e6)
        middle = {name: statistics.median(values) for name, values in rates.items()}
        for name in PAIRS:
            result.row(
                f"{app}: {servers.label(name)}",
                f"{middle[name]:,.0f} requests/s, {statistics.median(cpu[name]):.1f} us of CPU a request",
            )
        for name in list(PAIRS)[1:]:
            ratios = sorted(ours / theirs for ours, theirs in zip(rates["vivace"], rates[name], strict=True))
            ratio = statistics.median(ratios)
            result.target(
                f"{app}: ahead of {servers.label(name)}",
                f"{ratio:.2f} of its rate ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                ratio > 1.0,
            )
    setup.say(f"two workers: {[target.found for target in result.targets]}")
    return result


@contextmanager
def _on_two_cores(setup: Setup, name: str, app: str) -> Iterator[Running]:
    [server] = servers.named([name])
    one, two = PAIRS[name]
    server = replace(server, command=server.command.replace(one, two) if one else server.command + " " + two)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vivace-trial-") as folder:
        argv = servers.argv(server, app, server.settings.get(servers.QUICK, ""), port, Path(folder), "")
        environment = servers.environment(server)
        with Running(argv, str(servers.HERE / "apps"), environment, port, setup.server_core) as running:
            running.wait_ready(clients.Request())
            time.sleep(1.0)  # its second worker
            for pid in running.pids():
                for task in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(task), {setup.server_core, setup.loader_core})
            clients.warm(running.address, clients.Request(), 1.0)
            yield running


def _free_wrk(setup: Setup, server: Running, path: str, seconds: int) -> Numbers:
    load = Wrk(server.address, clients.Request(path=path), CONNECTIONS, seconds, setup.loader_core)
    os.sched_setaffinity(load._process.pid, {setup.server_core, setup.loader_core})
    return load.result()


@contextmanager
def _workers(setup: Setup, *settings: str) -> Iterator[tuple[Running, Path]]:
    """vivace on the server's core with the trials' application, and a route that tells the version of its code."""
    with tempfile.TemporaryDirectory(prefix="vivace-trial-") as name:
        folder = Path(name)
        (folder / "version.py").write_text("VERSION = 1\n")
        (folder / "app.py").write_text(
            "from trials import TEXT, app as trials\nfrom version import VERSION\n\n\n"
            "def app(environ, start_response):\n"
            "    if environ['PATH_INFO'] != '/version':\n"
            "        return trials(environ, start_response)\n"
            "    start_response('200 OK', TEXT)\n"
            "    return [b'%d' % VERSION]\n"
        )
        port = free_port()
        paths = ["--python-path", str(servers.HERE / "apps")]
        argv = [sys.executable, "-m", "vivace", "app:app", "--bind", f"127.0.0.1:{port}", *paths, *settings]
        environment = {**servers.environment(servers.SERVERS[0]), "PYTHONDONTWRITEBYTECODE": "1"}
        with Running(argv, name, environment, port, setup.server_core) as running:
            running.wait_ready(clients.Request())
            wait_until(lambda: len(_serving(running)) == 2, 10.0)
            yield running, folder


def _page(server: Running) -> Page:
    page = page_of(server.process.pid)
    assert page is not None
    return page


def _serving(server: Running) -> list[int]:
    """The workers that serve."""
    page = _page(server)
    try:
        rows = [page.section(number).words for number in range(page.sections)]
        return [row[S_PID] for row in rows if row[S_STATE] == SERVING]
    finally:
        page.close()


def _ctl(server: Running, *words: str) -> None:
    environment = {**os.environ, **servers.environment(servers.SERVERS[0])}
    command = [sys.executable, "-m", "vivace", "ctl", *words, str(server.process.pid)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
