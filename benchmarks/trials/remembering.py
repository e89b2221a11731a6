"""The response cache, compression and files: what answers cost that the application does not make, beside what others
take for the same.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .. import bench_compress, bench_static, caches, clients, stats
from ..processes import Running
from ..wrk import Wrk
from . import expiring
from .trial import Result, Setup

CONNECTIONS = 16
BJOERN_TIMES = 5.0
STATIC_SMALL, STATIC_LARGE = 1.1, 0.95
LARGE_BYTES = 100_000_000
ETAG = ("If-None-Match", '"5d8c72a5edda8d6a"')


class Case(NamedTuple):
    """One request, asked for again and again; `kind`: as in wrk.lua. `without`: caches that do not answer it so."""

    name: str
    request: clients.Request
    kind: str
    without: tuple[str, ...]


SPARED = "Varnish, cookies dropped"
CASES = (
    Case("1 KB", clients.Request(path="/bytes/1000"), "plain", (SPARED,)),
    Case("10 KB", clients.Request(path="/bytes/10000"), "plain", (SPARED,)),
    Case("304", clients.Request(path="/bytes/1000", fields=(*clients.BROWSER, ETAG)), "plain", (SPARED,)),
    Case("1 KB, another cookie each", clients.Request(path="/bytes/1000"), "fresh", ("Varnish",)),
    Case("10 KB, another cookie each", clients.Request(path="/bytes/10000"), "fresh", ("Varnish",)),
)
RIVALS = ("nginx", "Varnish", SPARED)
BARE = "Flask on bjoern"
GZIPPED = (
    "Flask, --compress",
    "Flask, --compress --cache",
    "Flask-Compress, on vivace",
    "Flask-Compress, on gunicorn",
    "bare, --compress",
    "bare, Paste's gzipper, on vivace",
    "Django, --compress",
    "Django's GZipMiddleware, on vivace",
    "Django's GZipMiddleware, on gunicorn",
)
AHEAD = {  # ours -> who must be behind it
    "Flask, --compress": GZIPPED[2:4],
    "Flask, --compress --cache": GZIPPED[2:4],
    "bare, --compress": GZIPPED[5:6],
    "Django, --compress": GZIPPED[7:],
}


class Tree:
    """CPU time of several servers, as of one."""

    def __init__(self, servers: Iterable[Running]) -> None:
        self._servers = list(servers)

    def cpu_s(self) -> float:
        return sum(server.cpu_s() for server in self._servers)


def run(setup: Setup) -> Result:
    rounds = 3 if setup.quick else max(7, round(setup.seconds / 4))
    result = Result(
        "remembering",
        "Remembering: the response cache, compression and files",
        f"All servers on one core, the loader and the origin of the other caches on the other one; {rounds} rounds of "
        f"1 s of wrk with {CONNECTIONS} connections and six fields as a browser sends them, the servers in turn and in "
        "changing order. Compared is the CPU time of all processes of a server per request, and the rate, round by "
        "round: medians, with the 95% interval of the median ratio. "
        f"{caches.version_of('nginx')}: one worker, sendfile, open_file_cache, no log. "
        f"{caches.version_of('varnishd')}: defaults; it passes requests with cookies, so its VCL drops those where "
        "they come. `vivace again` is a second process of the same: the noise.",
    )
    _caches(setup, result, rounds)
    _files(setup, result, rounds)
    _compression(setup, result, max(3, rounds // 2))
    expiring.add(setup, result)
    return result


class Figure(NamedTuple):
    """Of one round."""

    cpu_us: float
    rate: float


def in_turn(names: Sequence[str], rounds: int, measure: Callable[[str], Figure]) -> dict[str, list[Figure]]:
    """Rounds in changing order."""
    found: dict[str, list[Figure]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(measure(name))
    return found


def over(found: Mapping[str, Sequence[Figure]], ours: str, theirs: str, column: int) -> stats.Ratio:
    """Ours over theirs, paired by round."""
    ratio = stats.paired_ratio([one[column] for one in found[ours]], [one[column] for one in found[theirs]])
    assert ratio is not None
    return ratio


def shown(ratio: stats.Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low or 0:.2f} to {ratio.high or 0:.2f})"


def medians(figures: Sequence[Figure]) -> str:
    cpu_us, rate = (statistics.median(one[column] for one in figures) for column in (0, 1))
    return f"{cpu_us:.1f} us of CPU a request, {rate:,.0f} requests/s"


def _caches(setup: Setup, result: Result, rounds: int) -> None:
    with caches.all_of(setup.server_core, setup.loader_core) as running, setup.watched(result, Tree(running.values())):
        for case in CASES:
            names = [name for name in running if name not in case.without and (name != BARE or case.kind == "plain")]
            if case.name == "304":
                names = [name for name in names if name != BARE]

            def measure(name: str, case: Case = case) -> Figure:
                server = running[name]
                before = server.cpu_s()
                numbers = Wrk(server.address, case.request, CONNECTIONS, 1, setup.loader_core, case.kind).result()
                return Figure((server.cpu_s() - before) / max(1, numbers.requests) * 1e6, numbers.rate)

            for name in names:  # until everything is kept, and warm
                clients.warm(running[name].address, case.request, 1.0, 2000)
            found = in_turn(names, rounds, measure)
            for name, figures in found.items():
                result.row(f"cached, {case.name}, {name}", medians(figures))
            for name in names:
                if name in RIVALS:
                    ratio = over(found, "vivace", name, 0)
                    words = f"cached, {case.name}: at most the CPU of {name}"
                    result.target(words, f"{shown(ratio)} of it", ratio.median <= 1)
                elif name == BARE:
                    ratio = over(found, "vivace", name, 1)
                    words = f"cached, {case.name}: at least {BJOERN_TIMES:g} times the rate of {name}"
                    result.target(words, f"{shown(ratio)} times", ratio.median >= BJOERN_TIMES)
            result.row(f"cached, {case.name}, vivace against itself", shown(over(found, "vivace", "vivace again", 0)))
            setup.say(f"cached, {case.name}: {[medians(figures) for figures in found.values()]}")


def _files(setup: Setup, result: Result, rounds: int) -> None:
    """As bench_static, which starts a server for each figure."""
    with tempfile.TemporaryDirectory(prefix="vivace-static-") as folder, _all_cores(setup):
        os.chmod(folder, 0o755)
        Path(folder, "app.py").write_text(bench_static.APP)
        Path(folder, "files").mkdir()
        for case in bench_static.CASES:
            if case.size == 1_000_000:
                continue
            with open(Path(folder, "files", case.name), "wb") as file:
                file.write(os.urandom(1 << 16))
                file.truncate(case.size)

            def measure(server: str, case: bench_static.Case = case) -> Figure:
                cpu_us, mb_s = bench_static.measure(server, case, folder, 1)
                return Figure(cpu_us, mb_s * 1e6 / case.size)

            found = in_turn(("vivace", "nginx", "remembering"), rounds, measure)
            for name, figures in found.items():
                result.row(f"file, {case.name}, {NGINX.get(name, name)}", medians(figures))
            column, bound = (1, STATIC_LARGE) if case.size == LARGE_BYTES else (0, STATIC_SMALL)
            for name, label in NGINX.items():
                ratio = over(found, "vivace", name, column)
                if column:
                    words = f"file, {case.name}: at least {bound} of the throughput of {label}"
                    result.target(words, shown(ratio), ratio.median >= bound)
                else:
                    words = f"file, {case.name}: at most {bound} of the CPU of {label}"
                    result.target(words, shown(ratio), ratio.median <= bound)
            setup.say(f"file {case.name}: {[medians(figures) for figures in found.values()]}")


NGINX = {"nginx": "nginx", "remembering": "nginx with open_file_cache"}


@contextmanager
def _all_cores(setup: Setup) -> Iterator[None]:
    """bench_static and bench_compress choose the cores themselves, from all that there are."""
    os.sched_setaffinity(0, {setup.server_core, setup.loader_core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {setup.loader_core})


def _compression(setup: Setup, result: Result, rounds: int) -> None:
    """As bench_compress --served."""
    rows = {row[0]: row[1:] for row in bench_compress.SERVED if row[0] in GZIPPED}
    sizes: dict[str, float] = {}

    def measure(name: str) -> Figure:
        cpu_us, rate, sizes[name] = bench_compress.one(*rows[name], 1, without_isal=False)
        return Figure(cpu_us, rate)

    with _all_cores(setup):
        found = in_turn([name for name in GZIPPED if name in rows], rounds, measure)
    for name, figures in found.items():
        result.row(f"gzip of 20 KB, {name}", f"{medians(figures)}, {sizes[name]:,.0f} bytes")
    for ours, others in AHEAD.items():
        for theirs in others:
            ratio = over(found, ours, theirs, 0)
            result.target(f"gzip of 20 KB, {ours}: less CPU than {theirs}", f"{shown(ratio)} of it", ratio.median < 1)
