"""What it costs a thread to put into, and to get from, the memory that workers share; in us, best of several repeats.

    python -m benchmarks.bench_shared [repeats]

Twice: alone, and while another process puts as fast as it can, which is more than any number of workers would.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import cycle
from time import perf_counter_ns

from vivace.cache.shared import Shared

ROUNDS = 500
SIZES = (1 << 10, 10 << 10, 100 << 10)


def contenders(shared: Shared) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each does one operation."""
    runs: dict[str, Callable[[], object]] = {}
    for size in SIZES:
        body = os.urandom(size)
        keys = cycle([f"GET https://example.org/{size}/{number}" for number in range(400)])
        known = f"GET https://example.org/{size}"
        runs[f"put {size >> 10} KB"] = lambda keys=keys, body=body: shared.put(next(keys), body, 3600)  # type: ignore[misc]
        runs[f"get {size >> 10} KB"] = lambda known=known: shared.get(known)  # type: ignore[misc]
    runs["get, a miss"] = lambda: shared.get("GET https://example.org/never")
    runs["claim and release"] = lambda: (shared.claim("a", 60), shared.release("a"))
    return runs


def measured(shared: Shared, repeats: int) -> dict[str, float]:
    """us of each."""
    best: dict[str, float] = {}
    runs = contenders(shared)
    for _ in range(repeats):
        for size in SIZES:  # again, because what is put meanwhile fills the ring more than once
            shared.put(f"GET https://example.org/{size}", bytes(size), 3600)
        for name, run in reversed(runs.items()):
            began = perf_counter_ns()
            for _ in range(ROUNDS):
                run()
            took = (perf_counter_ns() - began) / ROUNDS / 1000
            best[name] = min(took, best.get(name, took))
    return best


def main(repeats: int) -> None:
    """Prints one line for each contender."""
    shared = Shared.create(256 << 20)
    alone = measured(shared, repeats)
    pid = os.fork()
    if not pid:
        body = os.urandom(1 << 10)
        for number in cycle(range(1000)):
            shared.put(f"/other/{number}", body, 3600)
    busy = shared.busy
    beside = measured(shared, repeats)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(f"{'':20} {'alone':>8} {'beside':>8}")
    for name, took in alone.items():
        print(f"{name:20} {took:8.2f} {beside[name]:8.2f} us")
    print(f"{shared.busy - busy} puts without a turn, of {ROUNDS * repeats * len(SIZES)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
