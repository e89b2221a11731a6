"""How well `cache.memory` guesses what will be asked for again, and what that costs, beside LRU and W-TinyLFU.

    python -m benchmarks.bench_eviction [requests]     # hit rates, then ns an operation
    python -m benchmarks.bench_eviction scan [keys]    # resident memory under a scan of distinct keys (10 million)

The other two are small reference policies. W-TinyLFU counts exactly, where real ones use a sketch: it is better here
than it could be in use, and cheaper. The bound is in bytes for all; OVERHEAD_BYTES is charged alike.
"""

from __future__ import annotations

import os
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from time import perf_counter, perf_counter_ns

from vivace.cache.memory import OVERHEAD_BYTES, Memory

KEYS = 50_000
ENTRY_BYTES = 1024
SEED = 5
Trace = list[tuple[str, int]]


# The policies: get(key) -> value | None, put(key, value, size).


class Lru:
    """The oldest use goes first."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max, self.bytes = bytes_max, 0
        self.kept: OrderedDict[str, tuple[object, int]] = OrderedDict()

    def get(self, key: str) -> object | None:
        found = self.kept.get(key)
        if found is None:
            return None
        self.kept.move_to_end(key)
        return found[0]

    def put(self, key: str, value: object, size: int) -> None:
        weight = size + len(key) + OVERHEAD_BYTES
        while self.bytes + weight > self.bytes_max and self.kept:
            self.bytes -= self.kept.popitem(last=False)[1][1]
        self.kept[key] = (value, weight)
        self.bytes += weight


class WTinyLfu:
    """A window of 1%, behind it a segmented LRU (20% on probation) into which only who is asked for more often gets."""

    def __init__(self, bytes_max: int) -> None:
        self.window, self.probation, self.protected = Lru(0), Lru(0), Lru(0)
        self.limits = bytes_max // 100, bytes_max * 99 // 100, bytes_max * 99 * 8 // 1000
        self.counts: dict[str, int] = {}
        self.counted, self.sample = 0, 10 * bytes_max // ENTRY_BYTES

    def get(self, key: str) -> object | None:
        self.counts[key] = min(self.counts.get(key, 0) + 1, 15)
        self.counted += 1
        if self.counted >= self.sample:
            self.counted //= 2
            self.counts = {name: count // 2 for name, count in self.counts.items() if count > 1}
        for part in (self.protected, self.window):
            if key in part.kept:
                return part.get(key)
        found = self.probation.kept.pop(key, None)
        if found is None:
            return None
        self.probation.bytes -= found[1]
        self._add(self.protected, key, found)
        while self.protected.bytes > self.limits[2]:
            self._move(self.protected, self.probation)
        return found[0]

    def put(self, key: str, value: object, size: int) -> None:
        self._add(self.window, key, (value, size + len(key) + OVERHEAD_BYTES))
        while self.window.bytes > self.limits[0]:
            candidate = self._move(self.window, self.probation)
            while self.probation.bytes + self.protected.bytes > self.limits[1]:
                victim = next(iter(self.probation.kept))
                if self.counts.get(candidate, 0) <= self.counts.get(victim, 0):
                    victim = candidate
                self.probation.bytes -= self.probation.kept.pop(victim)[1]
                if victim == candidate:
                    break

    def _add(self, part: Lru, key: str, found: tuple[object, int]) -> None:
        part.kept[key] = found
        part.bytes += found[1]

    def _move(self, source: Lru, target: Lru) -> str:
        key, found = source.kept.popitem(last=False)
        source.bytes -= found[1]
        self._add(target, key, found)
        return key


def policies(bytes_max: int) -> dict[str, Lru | WTinyLfu | Memory]:
    """One of each, empty."""
    return {"LRU": Lru(bytes_max), "W-TinyLFU": WTinyLfu(bytes_max), "vivace": Memory(bytes_max, bytes_max // 4)}


# The traces.


def zipf(requests: int, skew: float) -> Trace:
    """Independent requests; the n-th most popular key is asked for in proportion to n ** -skew."""
    rng = random.Random(SEED)
    weights = list(accumulate(rank**-skew for rank in range(1, KEYS + 1)))
    return [(f"/{key}", ENTRY_BYTES) for key in rng.choices(range(KEYS), cum_weights=weights, k=requests)]


def with_scans(requests: int) -> Trace:
    """Zipf 0.9; five times a crawler takes 20,000 pages that nobody else asks for, each once."""
    trace = zipf(requests, 0.9)
    for number in range(5):
        at = requests * (number + 1) // 6
        trace[at:at] = [(f"/scan/{number}/{page}", ENTRY_BYTES) for page in range(20_000)]
    return trace


def loop(requests: int) -> Trace:
    """The same 8,000 pages over and over: LRU's worst."""
    return [(f"/{number % 8000}", ENTRY_BYTES) for number in range(requests)]


def web(requests: int) -> Trace:
    """Like a site: 30% of requests for what nobody asks for again, sizes from 0.3 to 60 KB, and fashions."""
    rng = random.Random(SEED)
    sizes = [int(min(60_000, rng.lognormvariate(8, 1.2) + 300)) for _ in range(KEYS)]
    trace = []
    for number, (path, _) in enumerate(zipf(requests, 1.0)):
        key = (int(path[1:]) + number // 2000 * 7) % KEYS
        trace.append((f"/once/{number}", sizes[key]) if rng.random() < 0.3 else (f"/{key}", sizes[key]))
    return trace


def traces(requests: int) -> Iterator[tuple[str, Trace]]:
    """By name."""
    for skew in (0.7, 0.8, 0.9, 1.0, 1.1):
        yield f"Zipf {skew}", zipf(requests, skew)
    yield "Zipf 0.9 and scans", with_scans(requests)
    yield "loop", loop(requests)
    yield "like a site", web(requests)


# What is measured.


def replay(policy: Lru | WTinyLfu | Memory, trace: Trace) -> tuple[float, float]:
    """The share of hits, and microseconds a request."""
    hits = 0
    began = perf_counter()
    get, put = policy.get, policy.put
    for key, size in trace:
        if get(key) is None:
            put(key, key, size)
        else:
            hits += 1
    return hits / len(trace), (perf_counter() - began) / len(trace) * 1e6


def hit_rates(requests: int) -> None:
    """A table: each trace at two sizes of memory, each policy with its hits and its microseconds a request."""
    print(f"{'trace':20} {'memory':>8}" + "".join(f"{name:>22}" for name in policies(1 << 20)))
    for name, trace in traces(requests):
        for megabytes in (1, 8):
            cells = []
            for policy in policies(megabytes << 20).values():
                rate, cost_us = replay(policy, trace)
                cells.append(f"{rate:>12.1%} {cost_us:5.2f} us")
            print(f"{name:20} {megabytes:>5} MB" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def costs() -> None:
    """ns of a get that hits, that misses, and of a put into a full memory; the best of several."""
    memory = Memory(8 << 20, 1 << 20)
    fresh = iter(range(10**9))

    def fill(count: int) -> None:
        for number in zip(range(count), fresh, strict=False):
            memory.put(f"GET https://example.org/{number[1]}", None, ENTRY_BYTES)

    def get(key: str) -> Callable[[int], None]:
        def run(count: int) -> None:
            get = memory.get
            for _ in range(count):
                get(key)

        return run

    fill(10_000)
    memory.put("GET https://example.org/known", 1, ENTRY_BYTES)
    runs = {"get, a hit": get("GET https://example.org/known"), "get, a miss": get("/unknown"), "put, full": fill}
    for name, run in runs.items():
        best = 1e9
        for _ in range(50):
            began = perf_counter_ns()
            run(2000)
            best = min(best, (perf_counter_ns() - began) / 2000)
        print(f"{name:14} {best:8.0f} ns")


def resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def scan(keys: int, low: int, high: int, bytes_max: int = 64 << 20) -> None:
    """Values of many sizes, each asked for once, beside fifty that are asked for again and again."""
    rng = random.Random(SEED)
    resident = resident_bytes()
    memory = Memory(bytes_max, 1 << 20)
    most = most_resident = 0
    for number in range(keys):
        size = rng.randrange(low, high + 1)
        memory.put(f"GET https://example.org/{number}", b"x" * size, size + 33)
        hot = f"GET https://example.org/hot/{number % 50}"
        if memory.get(hot) is None:
            memory.put(hot, b"x" * size, size + 33)
        most = max(most, memory.bytes)
        if not number % 1000:
            most_resident = max(most_resident, resident_bytes() - resident)
    print(
        f"{keys:,} keys, values of {low} to {high} bytes: {memory.count:,} kept; counted at most {most:,} bytes of "
        f"{bytes_max:,}, resident at most {most_resident:,}, or {(most_resident - most) / memory.count:+.0f} an entry; "
        f"{memory.hits / keys:.2%} of the others were hits",
        flush=True,
    )


def scans(keys: int) -> None:
    """Each kind in a process of its own, so that none finds memory that another has left."""
    for low, high in ((64, 64), (1000, 1000), (200, 20_000)):
        pid = os.fork()
        if not pid:
            scan(keys, low, high)
            os._exit(0)
        os.waitpid(pid, 0)


def main(argv: list[str]) -> None:
    """As the module says."""
    if argv[:1] == ["scan"]:
        scans(int(argv[1]) if len(argv) > 1 else 10_000_000)
    else:
        hit_rates(int(argv[0]) if argv else 400_000)
        costs()


if __name__ == "__main__":
    main(sys.argv[1:])
