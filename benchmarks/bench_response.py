"""What ResponseHeads.encode costs, in ns an operation: best of several repeats, the contenders interleaved.

    python benchmarks/bench_response.py [repeats]

`plain` is the clean twin without any cache (tests/plain_http1.py); wsgiref is its Headers and the two
checks it makes of them, without a Date; `yardstick` is two dict lookups and one concatenation of bytes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from wsgiref.headers import Headers
from wsgiref.util import is_hop_by_hop

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import plain_http1  # noqa: E402
from vivace.http1.response import ResponseHeads  # noqa: E402

ROUNDS = 500  # operations in one timing: short enough to fall between two interruptions
DATE = b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
Case = tuple[str, list[tuple[str, str]], int, int | None]


def cases() -> dict[str, Callable[[int], Case]]:
    """By name, what makes the example of a number; what a name calls new differs in each."""
    two = [("Content-Type", "text/plain"), ("Content-Length", "13")]
    html = ("Content-Type", "text/html; charset=utf-8")
    safe = [html, ("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff"), ("Vary", "Accept")]
    return {
        "200, 2 fields": lambda n: ("200 OK", [*two], 0, 13),
        "200, 1 field, length known": lambda n: ("200 OK", [html], 0, 512),
        "200, 5 fields": lambda n: ("200 OK", [*safe, two[1]], 0, 13),
        "200, 2 fields, close": lambda n: ("200 OK", [*two], 4, 13),
        "200, 2 fields, a new length": lambda n: ("200 OK", [html, ("Content-Length", str(10000 + n))], 0, n),
        "200, 5 fields, a new length": lambda n: ("200 OK", [*safe, ("Content-Length", str(10000 + n))], 0, n),
        "200, 6 fields, a new cookie": lambda n: (
            "200 OK",
            [*safe, two[1], ("Set-Cookie", f"id={n:032x}; Path=/")],
            0,
            13,
        ),
    }


def with_wsgiref(case: Case) -> object:
    status, headers, _, length = case
    assert len(status) >= 4
    assert status[:3].isdigit()
    assert not any(is_hop_by_hop(name) for name, _ in headers)
    made = Headers(list(headers))
    if "Content-Length" not in made:
        made["Content-Length"] = str(length)
    return b"HTTP/1.1 " + status.encode("latin-1") + b"\r\n" + bytes(made)


def contenders() -> dict[str, Callable[[Case], object]]:
    heads = ResponseHeads("vivace")
    first, second = {"a": b"x" * 80}, {"b": b"y" * 40}
    return {
        "vivace": lambda case: heads.encode(*case, DATE),
        "plain": lambda case: plain_http1.encode("vivace", *case, DATE),
        "wsgiref": with_wsgiref,
        "yardstick": lambda case: first["a"] + second["b"],
        "(empty)": lambda case: None,
    }


def timed(run: Callable[[Case], object], examples: list[Case]) -> float:
    begin = perf_counter_ns()
    for example in examples:
        run(example)
    return (perf_counter_ns() - begin) / len(examples)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    gc.disable()
    runs = contenders()
    print(f"CPython {sys.version.split()[0]}, ns an operation, best of {repeats}")
    print(f"{'':34}" + "".join(f"{name:>12}" for name in runs))
    for case, make in cases().items():
        best = dict.fromkeys(runs, float("inf"))
        for repeat in range(repeats):
            for name, run in runs.items():
                best[name] = min(best[name], timed(run, [make(repeat * ROUNDS + n) for n in range(ROUNDS)]))
        print(f"{case:34}" + "".join(f"{value:12.0f}" for value in best.values()))


if __name__ == "__main__":
    main()
