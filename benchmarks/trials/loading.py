"""Does `vivace bench` say what is true? Its closed loop beside wrk's, how much it can send, a server that stands still
beside wrk2, which is what is known to tell the truth about that, and a day of an access log.

wrk2 is looked for on the path and in WRK2; without it the stall is held against what arithmetic says alone.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import clients, servers, stats
from ..processes import Running, free_port
from ..wrk import Wrk, percentiles
from .trial import Result, Setup

CLOSED = {"/": 50, "/short": 10, "/sleep": 16}
"""Routes of apps/trials.py, and the connections that load them."""
WITHIN = 0.1
RUN_S, WARMUP = 2, "0.3s"
LIMIT_RATE = 60_000
"""Requests for each second of the processor time that one process of the loader gets."""
LIMIT_CONNECTIONS = 50

PERIOD_S, STALL_S = 5, 1
"""/stall stands still in the last second of every five."""
STALL_RATE, STALL_CONNECTIONS = 200, 20
STALL_WITHIN, ARITHMETIC_WITHIN = 0.03, 0.05
"""Arithmetic knows nothing of the queue that is there when the stall is over, and takes some milliseconds."""
CALIBRATION_S = 10
"""wrk2 counts from then on."""
PERCENTILES = (50, 90, 99)

DAY_S = 86_400
PATHS = 400
DAY_RATE = 1_000
"""Requests a second, on average, at the speed at which it is replayed."""


def run(setup: Setup) -> Result:
    result = Result(
        "loading",
        "The loader: beside wrk, beside wrk2, and with a day of an access log",
        f"`vivace bench` with one process on the loader's core. Closed loop: runs of {RUN_S} s in turn with wrk, the "
        "median of their ratios. The limit: requests by the processor time of the loader, against nginx with `return "
        f"200`. The stall: a route that stands still for {STALL_S} s in every {PERIOD_S}; open loop and wrk2 at once, "
        f"{STALL_RATE} requests a second each, over {STALL_CONNECTIONS} connections; then closed loops. The day: a log "
        "in the combined format whose rate follows the hour, replayed faster; when each request was answered is read "
        "from the access log of the server.",
    )
    with setup.serving("--threads", "32") as server, setup.watched(result, server):
        for path, connections in CLOSED.items():
            _beside_wrk(setup, result, server, path, connections)
        _limit(setup, result)
        _stall(setup, result, server)
    _day(setup, result)
    return result


def bench(*words: str) -> dict[str, Any]:
    """What `vivace bench` found, as its JSON has it. It inherits this process's core."""
    argv = [sys.executable, "-m", "vivace", "bench", *words, "--json", "--quiet"]
    done = subprocess.run(argv, env={**os.environ, **servers.environment(servers.SERVERS[0])}, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"vivace bench {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _beside_wrk(setup: Setup, result: Result, server: Running, path: str, connections: int) -> None:
    """Closed loop: what limits the rate is the server, so both have to find the same."""
    clients.warm(server.address, clients.Request(path=path), 1.0)
    rates: dict[str, list[float]] = {"wrk": [], "vivace": []}
    shares = []
    for number in range(2 if setup.quick else max(6, round(setup.seconds / 6))):
        for name in ("wrk", "vivace") if number % 2 else ("vivace", "wrk"):
            if name == "wrk":
                load = Wrk(server.address, clients.Request(path=path), connections, RUN_S, setup.loader_core)
                rates[name].append(load.result().rate)
                continue
            words = ("-c", str(connections), "--time", f"{RUN_S}s", "--warmup", WARMUP)
            found = bench(server.url(path), *words)
            rates[name].append(found["summary"]["rate"])
            shares.append(found["loader"]["cpu_share"])
    ratio = stats.paired_ratio(rates["vivace"], rates["wrk"])
    assert ratio is not None
    interval = f" ({ratio.low:.3f} to {ratio.high:.3f})" if ratio.low and ratio.high else ""
    result.target(
        f"closed loop, {path}, {connections} connections: the rate of wrk within {WITHIN:.0%}",
        f"{ratio.median:.3f} of it{interval}; wrk "
        f"{statistics.median(rates['wrk']):,.0f}/s, vivace bench {statistics.median(rates['vivace']):,.0f}/s with "
        f"{statistics.median(shares):.0%} of its core",
        abs(ratio.median - 1) <= WITHIN,
    )
    setup.say(f"{path}: {ratio.median:.3f} of wrk")


def _limit(setup: Setup, result: Result) -> None:
    """Against what answers without an application."""
    row = next(server for server in servers.SERVERS if server.name == "nginx")
    if servers.command_path("nginx") is None:
        result.row("the loader's limit", "not measured: there is no nginx")
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vivace-loading-") as folder:
        argv = servers.argv(row, "hello", "plain", port, Path(folder), "/dev/null")
        with Running(argv, folder, {}, port, setup.server_core) as server:
            server.wait_ready(clients.Request())
            words = ("-c", str(LIMIT_CONNECTIONS), "--time", f"{RUN_S}s", "--warmup", WARMUP)
            runs = [bench(server.url("/"), *words) for _ in range(2 if setup.quick else 6)]
    costs = [run["summary"]["rate"] / run["loader"]["cpu_share"] for run in runs]
    rates = [run["summary"]["rate"] for run in runs]
    found = statistics.median(costs)
    result.target(
        f"the loader's limit: {LIMIT_RATE:,} requests for each second of its processor time",
        f"{found:,.0f} ({min(costs):,.0f} to {max(costs):,.0f}); {statistics.median(rates):,.0f} requests/s with "
        f"{statistics.median(run['loader']['cpu_share'] for run in runs):.0%} of its core",
        found >= LIMIT_RATE,
    )
    setup.say(f"limit: {found:,.0f}")


def _stall(setup: Setup, result: Result, server: Running) -> None:
    """Both at once, so that they meet the same stalls."""
    url = server.url("/stall")
    seconds = 2 * PERIOD_S if setup.quick else 4 * PERIOD_S
    program = os.environ.get("WRK2") or shutil.which("wrk2")
    ratios: dict[int, list[float]] = {share: [] for share in PERCENTILES}
    opened: dict[int, list[float]] = {share: [] for share in PERCENTILES}
    for _ in range(1 if setup.quick else 3):
        with ExitStack() as stack:
            if program:
                argv = [program, "-t1", f"-c{STALL_CONNECTIONS}", f"-R{STALL_RATE}", "--latency"]
                argv += [f"-d{CALIBRATION_S + seconds}s", url]
                beside = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
                time.sleep(CALIBRATION_S)
            words = ("--rate", str(STALL_RATE), "--arrivals", "even", "-c", str(STALL_CONNECTIONS))
            found = bench(url, *words, "--time", f"{seconds}s", "--warmup", "0s")
            for share in PERCENTILES:
                opened[share].append(found["summary"][f"p{share}_s"])
            if program:
                told = percentiles(beside.communicate()[0])
                for share in PERCENTILES:
                    ratios[share].append(found["summary"][f"p{share}_s"] / told[share])
    shown = ", ".join(f"p{share} {statistics.median(opened[share]) * 1e3:.4g} ms" for share in PERCENTILES)
    result.row("a stall of a second in five, open loop", shown)
    for share, truth_s in ((90, STALL_S / 2), (99, STALL_S * 0.95)):
        found_s = statistics.median(opened[share])
        result.target(
            f"a stall of a second in five, open loop: p{share} within {ARITHMETIC_WITHIN:.0%} of what arithmetic says, "
            f"{truth_s * 1e3:.0f} ms",
            f"{found_s * 1e3:.1f} ms",
            abs(found_s / truth_s - 1) <= ARITHMETIC_WITHIN,
        )
        if program:
            ratio = statistics.median(ratios[share])
            result.target(
                f"a stall of a second in five, open loop: p{share} of wrk2 within {STALL_WITHIN:.0%}",
                f"{ratio:.3f} of it ({min(ratios[share]):.3f} to {max(ratios[share]):.3f})",
                abs(ratio - 1) <= STALL_WITHIN,
            )
    closed = bench(url, "-c", "4", "--time", f"{seconds}s", "--warmup", "0s")["summary"]
    result.row(
        "the same stall, closed loop of 4 connections, which hides it",
        f"p50 {closed['p50_s'] * 1e3:.2f}, p90 {closed['p90_s'] * 1e3:.2f}, p99 {closed['p99_s'] * 1e3:.2f} ms, "
        f"maximum {closed['max_s']:.2f} s of {closed['answers']:,} answers",
    )
    hidden = Wrk(server.address, clients.Request(path="/stall"), 4, seconds, setup.loader_core).result()
    result.row("the same with wrk", f"p50 {hidden.p50_ms or 0:.2f}, p99 {hidden.p99_ms or 0:.2f} ms, partly calculated")
    if not program:
        result.row("beside wrk2", "not measured: there is no wrk2")
    setup.say(f"stall: {shown}")


def day(lines: int, seed: int = 1) -> tuple[str, list[int]]:
    """An access log of a day, whose nights are quiet; and how many of its requests are in each hour."""
    draw = random.Random(seed)
    weights = [1.0 + 0.8 * math.sin(2 * math.pi * (hour - 9) / 24) for hour in range(24)]
    hours = draw.choices(range(24), weights, k=lines)
    seconds = sorted(hour * 3600 + draw.randrange(3600) for hour in hours)
    seconds[0] = 0  # a replay counts from the first request
    midnight = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    written = []
    for second in seconds:
        when = datetime.fromtimestamp(midnight + second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        path = f"/?page={min(PATHS, int(draw.paretovariate(1.0)))}"
        written.append(f'192.0.2.{draw.randrange(1, 255)} - - [{when}] "GET {path} HTTP/1.1" 200 5120 "-" "made up"')
    counts = Counter(second // 3600 for second in seconds)
    return "\n".join(written) + "\n", [counts[hour] for hour in range(24)]


def _day(setup: Setup, result: Result) -> None:
    """Each of its hours takes a second or some; as many requests arrive in it as the log has."""
    seconds = 12.0 if setup.quick else max(24.0, setup.seconds)
    with tempfile.TemporaryDirectory(prefix="vivace-loading-") as folder:
        log, arrived = Path(folder, "day.log"), Path(folder, "arrived.log")
        text, hours = day(round(seconds * DAY_RATE))
        log.write_text(text)
        with setup.serving("--access-log-file", str(arrived), "--access-log-format", "json") as server:
            words = ("-r", str(log), "--replay", "--speed", f"{DAY_S / seconds:g}", "-c", "100")
            found = bench(server.url("/"), *words)
            time.sleep(0.5)  # its last lines are written
            lines = [line for line in arrived.read_text().splitlines() if "?page=" in line]
    times = sorted(datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in lines)
    counts = Counter(int((moment - times[0]) / (seconds / 24)) for moment in times)
    off = max(abs(counts[hour] - hours[hour]) / hours[hour] for hour in range(24))
    sent, failed = found["loader"]["sent"], found["summary"]["failed"]
    result.target(
        f"a day of {sum(hours):,} requests in {seconds:g} s: each is sent, and answered",
        f"{sent:,} sent, {failed} failed, {len(times):,} in the log of the server",
        sent == len(times) == sum(hours) and not failed,
    )
    result.target(
        "each hour of the day has as many as the log, within 2%",
        f"{off:.2%} off at most; from {min(hours) / seconds * 24:,.0f} to {max(hours) / seconds * 24:,.0f} a second; "
        f"99% sent within {found['loader']['late_p99_s'] * 1e3:.2f} ms of their time",
        off <= 0.02,
    )
    setup.say(f"day: {sent:,} of {sum(hours):,}, hours {off:.2%} off")
