"""What RouteTable.find costs, in ns an operation: best of several repeats, interleaved.

    python -m benchmarks.bench_routes [repeats]

`floor` is the least a lookup by method and path can cost: the two dict lookups written out in line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns

from vivace.schedule.policy import Policy
from vivace.schedule.routes import RouteTable, template_of

ROUNDS = 2000  # operations in one timing: short enough to fall between two interruptions


def contenders() -> dict[str, Callable[[], object]]:
    """What is timed, by name; each does ROUNDS operations."""
    table = RouteTable(Policy(tick_s=0.002, gil=True).new_route)
    table.find("GET", "/users/42/orders")
    paths = {"GET": {"/users/42/orders": object()}}
    fresh = iter(range(10**9))

    def floor() -> None:
        for _ in range(ROUNDS):
            paths["GET"]["/users/42/orders"]

    def known() -> None:
        find = table.find
        for _ in range(ROUNDS):
            find("GET", "/users/42/orders")

    def new_path() -> None:
        find = table.find
        for number in zip(range(ROUNDS), fresh, strict=False):
            find("GET", f"/users/{number[1]}/orders")

    def template() -> None:
        for _ in range(ROUNDS):
            template_of("/users/8f14e45f-ceea-467f-a0e6-0a4d4c9b1e6e/orders/2024-11-22")

    return {"floor": floor, "find, known path": known, "find, new path": new_path, "template_of": template}


def main(repeats: int) -> None:
    """Prints one line for each contender."""
    best: dict[str, float] = {}
    runs = contenders()
    for _ in range(repeats):
        for name, run in runs.items():
            started = perf_counter_ns()
            run()
            took = (perf_counter_ns() - started) / ROUNDS
            best[name] = min(took, best.get(name, took))
    for name, took in best.items():
        print(f"{name:18} {took:8.0f} ns")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
