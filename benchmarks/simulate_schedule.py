"""The scheduler in simulation: vivace's real decisions in virtual time, on loads and machines that are not at hand.

    python -m benchmarks.simulate_schedule [load ...] [--markdown] [--seed N]

Prints a table: each load under three policies, the rate and the p50 and p99 of each class of request beside the rate
it would have alone. `vivace` learns; `pool` gives every call to a pool of 64 threads (as gthread, Granian, waitress);
`inline` runs every call on the loop's thread (as bjoern, fastwsgi). All three have vivace's own costs, so the table
compares the policies and not the servers.

Deterministic: the same seed prints the same table. `--markdown` prints it as docs/scheduler.md has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random

from benchmarks.simulated_machine import FREE, RUN, SLEEP, Machine, Op
from benchmarks.simulated_server import MS, US, Call, Server, Stream
from vivace.config.load import from_keywords

SWITCH_S = from_keywords().switch_interval_s
POLICIES = {"vivace": "learn", "pool": "pool", "inline": "inline"}
LOOP_S = 18 * US  # what the server itself computes for one request

# What applications do


def quick(clients: int = 8) -> Stream:
    """The class that must not suffer: 8 us of Python."""
    return Stream("quick", lambda rng: ("/", [(RUN, 8 * US)]), clients)


def sleeper(clients: int = 32, rate: float = 0.0) -> Stream:
    """Waits 20 ms for something else."""
    ops = [(RUN, 30 * US), (SLEEP, 20 * MS), (RUN, 20 * US)]
    return Stream("sleep 20 ms", lambda rng: ("/sleep", ops), clients, rate=rate)


def computing(cpu_ms: float, clients: int = 0, rate: float = 0.0) -> Stream:
    """Computes, more or less `cpu_ms`."""

    def make(rng: Random) -> Call:
        return f"/cpu/{cpu_ms:g}ms", [(RUN, cpu_ms * MS * (0.9 + 0.2 * rng.random()))]

    return Stream(f"{cpu_ms:g} ms CPU", make, clients, rate=rate)


def page(queries: int, cpu_ms: float, wait_ms: float, clients: int) -> Stream:
    """A page as frameworks make them: computes and asks the database, `queries` times."""

    def make(rng: Random) -> Call:
        ops: list[Op] = []
        for _ in range(queries):
            ops += [(RUN, cpu_ms * MS), (SLEEP, wait_ms * MS * (0.5 + rng.random()))]
        return "/page", ops

    return Stream(f"page {queries} x {cpu_ms:g}+{wait_ms:g}", make, clients)


def cached(miss: float, clients: int = 16) -> Stream:
    """Two faces: 50 us, or 20 ms of waiting where the cache has nothing."""

    def make(rng: Random) -> Call:
        ops = [(RUN, 50 * US)]
        if rng.random() < miss:
            ops.append((SLEEP, 20 * MS))
        return "/cached", ops

    return Stream(f"cache, {miss:.1%} miss", make, clients)


def storm(clients: int = 32) -> Stream:
    """A thousand routes nobody has called before; each waits 20 ms."""

    def make(rng: Random) -> Call:
        return "/storm/" + "".join(rng.choices("abcdefghij", k=3)), [(RUN, 30 * US), (SLEEP, 20 * MS)]

    return Stream("1000 routes", make, clients)


def hashing(clients: int = 8) -> Stream:
    """50 ms of C code that releases the GIL, as hashlib and zlib do."""
    return Stream("hash 50 ms", lambda rng: ("/login", [(FREE, 50 * MS)]), clients)


# THE table of loads


class Load:
    """A row: what is loaded how, on which machine, for how many virtual seconds."""

    def __init__(
        self,
        title: str,
        streams: Callable[[], list[Stream]],
        *,
        seconds: float = 1.0,
        cores: int = 2,
        switch_s: float | None = SWITCH_S,
        threads: int = 64,
        queue_timeout_s: float = 0.0,
    ) -> None:
        self.title, self.streams, self.seconds = title, streams, seconds
        self.cores, self.switch_s, self.threads, self.queue_timeout_s = cores, switch_s, threads, queue_timeout_s


def free_threaded() -> list[Stream]:
    """What the machines without a GIL are given."""
    return [computing(1, 64), page(4, 0.2, 0.8, 16), quick()]


LOADS = {
    "quick": Load("all quick", lambda: [quick()], seconds=0.3),
    "sleep": Load("32 sleepers", lambda: [sleeper(), quick()], seconds=0.4),
    "cpu1": Load("32 on 1 ms of CPU", lambda: [computing(1, 32), quick()], seconds=1.5),
    "cpu50": Load("8 on 50 ms of CPU", lambda: [computing(50, 8), quick()], seconds=4),
    "cpu50-5ms": Load(
        "the same, switch interval 5 ms", lambda: [computing(50, 8), quick()], seconds=4, switch_s=5 * MS
    ),
    "page": Load("16 on pages", lambda: [page(4, 0.2, 0.8, 16), quick()], seconds=0.8),
    "report": Load("4 on reports, 16 on pages", lambda: [computing(50, 4), page(4, 0.2, 0.8, 16), quick()], seconds=2),
    "cached": Load("16 on a route with two faces", lambda: [cached(0.01), quick()], seconds=0.8),
    "storm": Load("32 on routes never seen", lambda: [storm(), quick()], seconds=0.4),
    "hash": Load("8 on C code without the GIL, 8 cores", lambda: [hashing(), quick()], seconds=2, cores=8),
    "free1": Load("no GIL, 1 core", free_threaded, switch_s=None, cores=1),
    "free8": Load("no GIL, 8 cores", free_threaded, switch_s=None, cores=8, seconds=0.4),
    "free64": Load("no GIL, 64 cores", free_threaded, switch_s=None, cores=64, seconds=0.2),
    "over": Load("twice what 16 threads can do", lambda: [sleeper(0, 1600)], threads=16, seconds=4),
    "over-100ms": Load(
        "the same, deadline 100 ms", lambda: [sleeper(0, 1600)], threads=16, seconds=4, queue_timeout_s=0.1
    ),
    "over-cpu": Load(
        "1.5 times the CPU there is, deadline 100 ms",
        lambda: [computing(1, rate=1500), quick()],
        seconds=2,
        queue_timeout_s=0.1,
    ),
}

WARM = 0.25  # part of the time that is not counted: learning is


class Figures:
    """What one class of requests got under one policy."""

    def __init__(self, stream: Stream, load: Load) -> None:
        span_s = load.seconds * (1.0 - WARM)
        took_s = sorted(stream.took_s)
        self.rate = len(took_s) / span_s
        self.refused = stream.refused / span_s
        self.p50_ms = took_s[len(took_s) // 2] / MS if took_s else 0.0
        self.p99_ms = took_s[int(len(took_s) * 0.99)] / MS if took_s else 0.0


def simulate(load: Load, policy: str, seed: int = 1) -> tuple[dict[str, Figures], Server]:
    """Runs one load under one policy; the figures by class, and the server for what it learned."""
    machine = Machine(load.cores, load.switch_s)
    server = Server(
        machine,
        cores=load.cores,
        lanes=POLICIES[policy],
        threads=load.threads,
        queue_timeout_s=load.queue_timeout_s,
    )
    rng = Random(seed)
    streams = load.streams()
    for stream in streams:
        stream.start(machine, server, rng, load.seconds * WARM)
    machine.run(load.seconds)
    return {stream.name: Figures(stream, load) for stream in streams}, server


def ideal(stream: Stream, load: Load) -> float:
    """Requests a second of this class if it had the machine for itself, and nothing were ever in its way."""
    rng = Random(0)
    calls = [stream.make(rng)[1] for _ in range(200)]
    own_s = LOOP_S + sum(seconds for ops in calls for _, seconds in ops) / len(calls)
    gil_s = LOOP_S + sum(seconds for ops in calls for kind, seconds in ops if kind == RUN) / len(calls)
    core_s = LOOP_S + sum(seconds for ops in calls for kind, seconds in ops if kind <= FREE) / len(calls)
    most = load.cores / core_s
    if load.switch_s is not None:
        most = min(most, 1.0 / gil_s)
    return min(most, stream.clients / (own_s + stream.think_s) if stream.clients else stream.rate)


HEADINGS = ["class", "alone", *POLICIES, "overtaken", "threads"]


def rows(load: Load, seed: int) -> list[list[str]]:
    """One row of the table for each class; the last two cells are vivace's."""
    results = {policy: simulate(load, policy, seed) for policy in POLICIES}
    table = []
    for stream in load.streams():
        row = [stream.name, f"{ideal(stream, load):,.0f}"]
        for figures, _ in results.values():
            got = figures[stream.name]
            refused = f", {got.refused:,.0f} refused" if got.refused else ""
            row.append(f"{got.rate:,.0f}{refused}; {got.p50_ms:.2f}, {got.p99_ms:.2f}")
        table.append([*row, "", ""])
    server = results["vivace"][1]
    table[0][-2:] = [str(server.overtakes), str(server.threads)]
    return table


def print_table(names: list[str], seed: int, markdown: bool) -> None:
    """The whole table, load by load."""
    if markdown:
        print("| load | " + " | ".join(HEADINGS) + " |")
        print("|---|---|" + "--:|" * (len(HEADINGS) - 1))
    else:
        print("requests/s; p50, p99 in ms")
    for name in names:
        load = LOADS[name]
        table = rows(load, seed)
        if markdown:
            for row in table:
                title = load.title if row is table[0] else ""
                print("| " + " | ".join([title, *row]) + " |")
            continue
        print(f"\n{name}: {load.title}")
        widths = [max(len(cell) for cell in column) for column in zip(HEADINGS, *table, strict=True)]
        for row in [HEADINGS, *table]:
            print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", nargs="*", choices=[[], *LOADS], help="one or more of: " + ", ".join(LOADS))
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (1)")
    options = parser.parse_args()
    started = time.perf_counter()
    print_table(options.load or list(LOADS), options.seed, options.markdown)
    if not options.markdown:
        print(f"\n{time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
