"""How often `explain.leaks` judges right: planted leaks and caches, with the noise that servers have.

    python -m benchmarks.leaks [rounds]

Each case is simulated second by second: requests of four routes in a mix that varies by chance, what they leave behind,
garbage in cycles that is collected now and then, resident memory that never shrinks. The noise is some five times that
of a plain application on a quiet machine (10 blocks, 4 KB). The same seeds give the same table.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

from vivace.explain.leaks import EVERY, judge

ROUTES = {"GET /a": 0.4, "GET /b": 0.3, "GET /c": 0.2, "GET /d": 0.1}
PAGE_BYTES = 4096
NOISE_BLOCKS, NOISE_BYTES = 60.0, 25e3  # standard deviations
COLLECTED_AT = 20_000  # garbage


@dataclass(frozen=True)
class Case:
    name: str
    expected: tuple[str, ...]
    leaks: tuple[str, ...] = ()
    """The routes whose requests leave an object behind."""
    bytes_each: float = 1024
    blocks_each: float = 2.0
    cache: int = 0
    """So many entries the cache of GET /b has."""
    keys: str = "uniform"
    """Or "new": each request another one."""
    seconds: int = 20
    rate: float = 1000
    routes: tuple[str, ...] = tuple(ROUTES)
    cycles: float = 0.0
    """Garbage a request."""
    warm: float = 0.0
    noise: float = 1.0


CASES = [
    Case("leak of 1 KB", ("leak",), ("GET /b",)),
    Case("the same in 10 s", ("leak",), ("GET /b",), seconds=10),
    Case("the same, 200 requests/s, 60 s", ("leak",), ("GET /b",), rate=200, seconds=60),
    Case("leak of 3 small objects, 60 s", ("leak",), ("GET /b",), bytes_each=200, blocks_each=3, seconds=60),
    Case("leak of 1 KB, much noise", ("leak",), ("GET /b",), noise=10.0),
    Case("leak in every request", ("leak",), tuple(ROUTES)),
    Case("leak in two routes", ("leak",), ("GET /b", "GET /d")),
    Case("leak, one route only", ("leak",), ("GET /b",), routes=("GET /b",)),
    Case("leak beside cyclic garbage, 40 s", ("leak",), ("GET /b",), cycles=2.0, seconds=40),
    Case("leak while it warms up, 30 s", ("leak", "growing"), ("GET /b",), warm=4, seconds=30),
    Case("nothing", ("steady",)),
    Case("nothing, much noise, 10 s", ("steady", "filling"), seconds=10, noise=20.0),
    Case("nothing, warms up", ("steady", "filling"), warm=8),
    Case("cyclic garbage, 40 s", ("steady", "filling"), cycles=2.0, seconds=40),
    Case("cyclic garbage not collected yet", ("steady", "filling"), cycles=0.5, seconds=40),
    Case("cache, full long ago", ("steady", "filling"), cache=500, bytes_each=4096),
    Case("cache, full in the middle", ("steady", "filling"), cache=3000, keys="new", bytes_each=4096),
    Case("cache, 95% full at the end", ("filling",), cache=2000, bytes_each=4096),
    Case("cache, 70% full at the end", ("filling", "growing"), cache=5000, bytes_each=4096),
    Case("cache, 10 s", ("steady", "filling", "growing"), cache=1000, bytes_each=4096, seconds=10),
]


def planted(case: Case, seed: int) -> tuple[list[list[Any]], dict[str, Any]]:
    """The series of a worker, and what a collection at its end does."""
    rnd = random.Random(f"{case.name}-{seed}")
    shares = {route: ROUTES[route] / sum(ROUTES[each] for each in case.routes) for route in case.routes}
    counts = dict.fromkeys(case.routes, 0)
    kept, asked, garbage, collections, resident = 0, 0, 0.0, 0, 0.0
    cached: set[int] = set()
    series: list[list[Any]] = []
    for second in range(case.seconds + 1):
        for route, share in shares.items() if second else ():
            mean = case.rate * share
            number = max(0, round(rnd.gauss(mean, math.sqrt(mean) + 0.03 * mean)))
            counts[route] += number
            kept += number if route in case.leaks else 0
            garbage += number * case.cycles
            for _ in range(number if case.cache and route == "GET /b" else 0):
                asked += 1
                cached.add(min(asked, case.cache) if case.keys == "new" else rnd.randrange(case.cache))
        if garbage > COLLECTED_AT:
            garbage, collections = 0.0, collections + 1
        warmed = case.warm * (1 - math.exp(-second / 2))
        left = kept + len(cached)
        blocks = (
            400_000 + left * case.blocks_each + garbage * 4 + warmed * 5000 + rnd.gauss(0, NOISE_BLOCKS * case.noise)
        )
        used = 60e6 + left * case.bytes_each + garbage * 300 + warmed * 2e6
        resident = max(resident, used + abs(rnd.gauss(0, NOISE_BYTES * case.noise)))
        series.append([second, int(blocks), int(resident // PAGE_BYTES * PAGE_BYTES), collections, dict(counts)])
    last = series[-1][1]
    return series, {"enabled": True, "blocks": [last, int(last - garbage * 4)]}


def row(case: Case, rounds: int) -> tuple[Counter[str], int, int]:
    """(verdicts, how often the right routes were named, how often wrong ones)."""
    verdicts: Counter[str] = Counter()
    right = wrong = 0
    for seed in range(rounds):
        told = judge(*planted(case, seed))
        verdicts[told["verdict"]] += 1
        named = set(told["routes"])
        true = {EVERY} if len(case.routes) > 1 and set(case.leaks) == set(case.routes) else set(case.leaks)
        right += bool(named) and named == true
        wrong += not named <= true
    return verdicts, right, wrong


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'':34}  right   verdicts (of {rounds}); routes named rightly, wrongly")
    for case in CASES:
        verdicts, right, wrong = row(case, rounds)
        good = sum(verdicts[each] for each in case.expected) / rounds
        told = ", ".join(f"{name} {count}" for name, count in verdicts.most_common())
        print(f"{case.name:34} {good:6.0%}   {told}; {right}, {wrong}")


if __name__ == "__main__":
    main()
