"""What the response cache decides and answers, in ns an operation: best of several repeats, the contenders interleaved.

    python benchmarks/bench_cache.py [repeats]

"a hit" is all that is pure between an environ and what the encoder of heads gets: `read_request`, `primary`, the
look into a dict, `judge`, `answer`. The entry has 8 fields and 10 KB; its Age changes each 1000 operations.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from bench_head import BASE, SIX  # noqa: E402
from vivace.cache import keys, policy  # noqa: E402
from vivace.cache.entry import VaryRecord, pack, unpack  # noqa: E402
from vivace.cache.rules import Rules, read_rule  # noqa: E402
from vivace.http1.cache_control import directives  # noqa: E402
from vivace.http1.head import HeadLimits, parse_head  # noqa: E402

ROUNDS = 500
NOW = 1_800_000_000.0
TRACKERS = ("utm_*", "fbclid", "gclid", "gbraid", "wbraid", "dclid", "msclkid", "mc_cid", "mc_eid", "_ga", "igshid")
FIELDS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "10240"),
    ("Cache-Control", "max-age=3600, stale-while-revalidate=60"),
    ("ETag", '"5d8c72a5edda8d6a"'),
    ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Server", "vivace"),
]


def environ_of(line: bytes, fields: bytes = b"") -> dict[str, object]:
    environ = BASE.copy()
    parse_head(line + b" HTTP/1.1\r\n" + SIX + fields + b"\r\n", environ, HeadLimits())
    return environ


def operations() -> dict[str, Callable[[], object]]:
    plain = Rules((), TRACKERS)
    ruled = Rules([read_rule("/shop/* off"), read_rule("/api/* 1s stale=5s")], TRACKERS)
    page = environ_of(b"GET /articles/2027/what-is-new")
    query = environ_of(b"GET /articles/?page=2&utm_source=news")
    cookie = environ_of(b"GET /articles/2027/what-is-new", b"Cookie: session=0123456789abcdef; theme=dark\r\n")
    asking = environ_of(b"GET /articles/2027/what-is-new", b'If-None-Match: "5d8c72a5edda8d6a"\r\n')
    key = keys.primary(page, plain)
    entry, reason = policy.make_entry(key, policy.read_request(page), page, "200 OK", FIELDS, NOW, NOW, plain)
    assert entry is not None, reason
    entry.body = b"x" * 10240
    record = VaryRecord(key, ("accept-encoding", "accept-language"), 1, NOW)
    packed = pack(entry)
    store = {key: entry}
    wish = policy.read_request(page)
    clock = iter(range(10**9))

    def hit(environ: dict[str, object] = page, rules: Rules = plain) -> object:
        now = NOW + next(clock) / 1000 % 3600
        wish = policy.read_request(environ, rules)
        found = store[keys.primary(environ, rules)]
        rule = keys.rule_of(environ, rules)
        assert policy.judge(found, wish, now, rule)[0] == policy.FRESH
        return policy.answer(found, wish, environ, now)

    def judged() -> object:
        now = NOW + next(clock) / 1000 % 3600
        policy.judge(entry, wish, now, None)
        return policy.answer(entry, wish, page, now)

    return {
        "judge + answer": judged,
        "read_request, plain": lambda: policy.read_request(page, plain),
        "read_request, cookies": lambda: policy.read_request(cookie, plain),
        "primary": lambda: keys.primary(page, plain),
        "primary, a tracker in the query": lambda: keys.primary(query, plain),
        "secondary, two fields": lambda: keys.secondary(key, record, page, plain),
        "a hit": hit,
        "a hit, with rules": lambda: hit(page, ruled),
        "a hit, with cookies": lambda: hit(cookie),
        "a hit, 304": lambda: hit(asking),
        "make_entry": lambda: policy.make_entry(key, wish, page, "200 OK", FIELDS, NOW, NOW, plain),
        "directives, known": lambda: directives("max-age=3600, stale-while-revalidate=60"),
        "pack, 10 KB": lambda: pack(entry),
        "unpack, 10 KB": lambda: unpack(packed),
    }


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    contenders = operations()
    best = dict.fromkeys(contenders, float("inf"))
    gc.disable()
    for _ in range(repeats):
        for name, operation in contenders.items():
            began = perf_counter_ns()
            for _ in range(ROUNDS):
                operation()
            best[name] = min(best[name], (perf_counter_ns() - began) / ROUNDS)
    for name, ns in best.items():
        print(f"{name:34}{ns:8.0f}")


if __name__ == "__main__":
    main()
