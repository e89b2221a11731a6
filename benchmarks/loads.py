"""THE table of loads: one row each, with what is sent, how the answer is checked, and the target it must
reach.

`target` is the wording that the report prints; `targets` are the same as bounds, judged by `verdicts`. A
target is on vivace's own figure, or (`than`) on vivace's figure over a peer's, paired by round.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .clients import BROWSER, Request
from .servers import IDLE, MIXED, QUICK

MB = 1 << 20
FILE_BYTES = 100 * MB
BEST_PEER = "best peer"

HELLO = Request()
CLOSING = Request(fields=(*BROWSER[:-1], ("Connection", "close")))
JSON_BODY = json.dumps({"items": [{"id": n, "name": f"article {n}", "price": n * 3} for n in range(22)]}).encode()
JSON_FIELDS = (*BROWSER, ("Content-Type", "application/json"))
BINARY_FIELDS = (*BROWSER, ("Content-Type", "application/octet-stream"))


def file_block() -> bytes:
    """1 MB of the file that is sent; the file is this block 100 times."""
    return b"".join(number.to_bytes(4, "little") for number in range(MB // 4))


@dataclass(frozen=True)
class Target:
    """`metric` of vivace is at most (or, with `least`, at least) `bound`; with `than`, as a ratio to that
    server's.
    """

    metric: str
    bound: float
    than: str | None = None
    least: bool = False


@dataclass(frozen=True)
class Load:
    name: str
    title: str
    kind: str  # a row of kinds.KINDS
    app: str  # a module of benchmarks/apps
    target: str
    targets: tuple[Target, ...]
    columns: tuple[str, ...]
    expects: Callable[[bytes], bool]  # is this the right body?
    request: Request = HELLO
    check: Request | None = None  # asked before the measuring in place of `request`
    connections: int = 8
    settings: str = QUICK
    compared: tuple[str, ...] = ()  # figures also shown as vivace's over the server's
    chart: str | None = None  # the figure drawn in the picture
    note: str = ""
    rounds: int | None = None  # in place of --rounds
    seconds_min: int = 1
    fresh: bool = False  # a new cookie and traceparent in every request
    body_bytes: int = 0  # kind bulk
    quick_connections: int = 8  # kind mixed
    slow_wait_s: float = 0.0  # kind mixed: what a slow request waits; gives the ideal rate
    slow_cpu_ms: float = 0.0  # kind mixed: the CPU that a slow request burns
    quick_cpu_ms: float = 0.008  # kind mixed: the price of a hello, about nginx's, so that work can be added up
    held: int = 0  # connections held by the kinds idle and isolation
    skip: dict[str, str] = field(default_factory=dict)


def is_hello(body: bytes) -> bool:
    return body == b"Hello, World!"


def is_flask_json(body: bytes) -> bool:
    return json.loads(body) == {"message": "Hello, World!", "numbers": [1, 2, 3], "nested": {"ok": True}}


def is_page(body: bytes) -> bool:
    return body.startswith(b"<!doctype html>") and 9_500 < len(body) < 11_500 and b"Article 73 &amp; more" in body


def at_most_cpu(**bounds: float) -> tuple[Target, ...]:
    return tuple(Target("cpu_us", bound, than) for than, bound in bounds.items())


def ahead_of(metric: str, *servers: str) -> tuple[Target, ...]:
    return tuple(Target(metric, 1.0, server, least=True) for server in servers)


QUICK_COLUMNS = ("rate", "cpu_us", "p50_ms", "p99_ms", "server_core", "loader_core")
BULK_COLUMNS = ("rate", "mb_s", "cpu_us", "server_core", "loader_core")
MIXED_COLUMNS = ("slow_rate", "quick_rate", "quick_p50_ms", "quick_p99_ms", "server_core")
BOTH = ("rate", "cpu_us")
FRAMEWORK_WORDS = "at most 1.05 of bjoern's CPU per request; less than Granian's by 15% or more"
FRAMEWORK_TARGETS = at_most_cpu(bjoern=1.05, granian=0.85)
AHEAD_WORDS = "ahead of Granian and waitress"
WRK_CAVEAT = (
    "The percentiles are wrk's: it fills in requests that it did not send during a stall, so they are partly "
    "calculated."
)

_hello = Load(
    name="hello",
    title="hello, keep-alive, identical heads",
    kind="quick",
    app="hello",
    target="CPU per request at most bjoern's and fastwsgi's, and within 1.05 of nginx's",
    targets=at_most_cpu(bjoern=1.0, fastwsgi=1.0, nginx=1.05),
    columns=QUICK_COLUMNS,
    compared=BOTH,
    chart="cpu_us",
    expects=is_hello,
    note="8 connections, 6 header fields as a browser sends them, no credentials. " + WRK_CAVEAT,
)

_mixed = replace(
    _hello,
    kind="mixed",
    app="mixed",
    connections=32,
    settings=MIXED,
    columns=MIXED_COLUMNS,
    compared=(),
    seconds_min=3,
)

LOADS: tuple[Load, ...] = (
    _hello,
    replace(
        _hello,
        name="fresh",
        title="hello, 8 fields, each with a new cookie",
        target="at most 1.15 of bjoern's CPU per request; at most 0.7 of Granian's",
        targets=at_most_cpu(bjoern=1.15, granian=0.7),
        fresh=True,
        note="8 connections, 8 header fields, a new Cookie and traceparent in every request, so that no whole "
        "head can be remembered.",
    ),
    replace(
        _hello,
        name="flask",
        title="Flask JSON",
        app="flask_json",
        target=FRAMEWORK_WORDS,
        targets=FRAMEWORK_TARGETS,
        expects=is_flask_json,
        note="8 connections; `jsonify` of a small object, Flask's defaults.",
    ),
    replace(
        _hello,
        name="django",
        title="Django hello",
        app="django_hello",
        target=FRAMEWORK_WORDS,
        targets=FRAMEWORK_TARGETS,
        note="8 connections; the middleware of startproject that needs no database.",
    ),
    replace(
        _hello,
        name="page",
        title="10 KB template page",
        app="template_page",
        target=FRAMEWORK_WORDS,
        targets=FRAMEWORK_TARGETS,
        expects=is_page,
        note="8 connections; Jinja2 renders a table of 74 rows in each request, no framework.",
    ),
    replace(
        _hello,
        name="post_json",
        title="POST of 1 KB JSON",
        app="post",
        target=AHEAD_WORDS,
        targets=ahead_of("rate", "granian", "waitress"),
        request=Request("POST", "/", JSON_FIELDS, JSON_BODY),
        expects=lambda body: json.loads(body) == {"items": 22},
        note="8 connections; the application parses the body and answers JSON.",
    ),
    replace(
        _hello,
        name="post_1mb",
        title="POST of 1 MB",
        app="post",
        target=AHEAD_WORDS,
        targets=ahead_of("rate", "granian", "waitress"),
        request=Request("POST", "/", BINARY_FIELDS, file_block()),
        check=Request("POST", "/?digest", BINARY_FIELDS, file_block()),
        expects=lambda body: body == hashlib.sha256(file_block()).hexdigest().encode(),
        connections=4,
        note="4 connections; the application reads the whole body. The digest of one body is checked first.",
    ),
    replace(
        _hello,
        name="get_1mb",
        title="GET of 1 MB from memory",
        kind="bulk",
        app="memory_bytes",
        target=AHEAD_WORDS,
        targets=ahead_of("rate", "granian", "waitress"),
        columns=BULK_COLUMNS,
        compared=BOTH,
        connections=4,
        body_bytes=MB,
        expects=lambda body: body == bytes(range(256)) * 4096,
        note="4 connections; our own client discards the body in the kernel, which costs the loader next to nothing.",
    ),
    replace(
        _hello,
        name="file",
        title="100 MB by wsgi.file_wrapper",
        kind="bulk",
        app="files",
        target="ahead of Granian and waitress; within 0.9 of nginx's throughput",
        targets=(*ahead_of("rate", "granian", "waitress"), Target("mb_s", 0.9, "nginx", least=True)),
        columns=BULK_COLUMNS,
        compared=("mb_s", "cpu_us"),
        chart="mb_s",
        connections=2,
        body_bytes=FILE_BYTES,
        request=Request("GET", "/file"),
        expects=lambda body: len(body) == FILE_BYTES and zlib.crc32(body) == zlib.crc32(file_block() * 100),
        note="2 connections, a file in the page cache; nginx sends the same file by sendfile. The whole body is "
        "checked in each round.",
    ),
    replace(
        _hello,
        name="close",
        title="a new connection per request",
        target="ahead of every Python-level peer; at most 1.2 of bjoern's CPU per request",
        targets=(*ahead_of("rate", "gunicorn", "waitress", "wsgiref"), *at_most_cpu(bjoern=1.2)),
        request=CLOSING,
        note="8 at a time, each with Connection: close.",
    ),
    replace(
        _mixed,
        name="mixed_sleep",
        title="32 connections on sleep(20 ms) + 8 on hello",
        target="slow route at 97% of ideal; quick route ahead of Granian and uWSGI with 64 threads, p99 under 2 ms",
        targets=(
            Target("slow_share", 0.97, least=True),
            *ahead_of("quick_rate", "granian", "uwsgi"),
            Target("quick_p99_ms", 2.0),
        ),
        columns=("slow_rate", "slow_share", *MIXED_COLUMNS[1:]),
        chart="quick_rate",
        request=Request("GET", "/sleep"),
        slow_wait_s=0.020,
        note="Ideal is 1,600 slow requests a second. vivace at its defaults. " + WRK_CAVEAT,
    ),
    replace(
        _mixed,
        name="mixed_cpu",
        title="32 connections on 1 ms of CPU + 8 on hello",
        target="quick route p50 under 2 ms and p99 under 10 ms; CPU work done within 10% of the best peer's",
        targets=(
            Target("quick_p50_ms", 2.0),
            Target("quick_p99_ms", 10.0),
            Target("work_ms", 0.9, BEST_PEER, least=True),
        ),
        columns=("slow_rate", "work_ms", *MIXED_COLUMNS[1:]),
        chart="quick_p99_ms",
        request=Request("GET", "/cpu"),
        slow_cpu_ms=1.0,
        note="Work done counts 1 ms for a slow request and 8 µs for a hello, about what nginx needs for one, whatever "
        "the server itself used. " + WRK_CAVEAT,
    ),
    replace(
        _hello,
        name="idle",
        title="10,000 idle keep-alive connections + hello",
        kind="idle",
        settings=IDLE,
        target="at most 3 KiB of memory each; rate within 10% of the one without them",
        targets=(Target("kib_each", 3.0), Target("rate_kept", 0.9, least=True)),
        columns=("kib_each", "pss_kib_each", "rate_alone", "rate_beside", "rate_kept", "connections"),
        compared=(),
        chart="kib_each",
        held=10_000,
        rounds=5,
        note="Each idle connection has had one request answered. Memory is the server's own, after less before; the "
        "kernel's part is the same for all. The rate without is measured before and after.",
    ),
    replace(
        _hello,
        name="syscalls",
        title="system calls per keep-alive request",
        kind="syscalls",
        target="at most 3.1; none that toggles a mode or takes a contended lock",
        targets=(Target("calls", 3.1), Target("toggles", 0.0)),
        columns=("calls", "toggles"),
        compared=(),
        chart="calls",
        rounds=3,
        note="500 requests one after another on one connection under strace -f -c, less what the server calls in the "
        "same time without requests. Toggles and locks are ioctl, fcntl, setsockopt, epoll_ctl and futex.",
    ),
    replace(
        _hello,
        name="isolation",
        title="12 idle and 12 half-sent connections, then a request",
        kind="isolation",
        target="not delayed by a millisecond",
        targets=(Target("delay_ms", 1.0),),
        columns=("alone_ms", "beside_ms", "delay_ms"),
        compared=(),
        held=12,
        rounds=3,
        chart=None,
        note="The median of 21 requests, each on a new connection, with http.client; the idle connections have sent "
        "nothing.",
    ),
    replace(
        _hello,
        name="start",
        title="start to first answer; memory of a fresh worker",
        kind="start",
        target="under 80 ms; under 16 MiB",
        targets=(Target("start_ms", 80.0), Target("rss_mib", 16.0)),
        columns=("start_ms", "rss_mib", "pss_mib"),
        compared=(),
        chart="start_ms",
        rounds=10,
        note="From exec to the first 200 of hello, median of 10 starts; memory right after it.",
    ),
)


def named(names: list[str]) -> list[Load]:
    """The rows of these names, in the table's order. Raises KeyError for an unknown one."""
    known = {load.name: load for load in LOADS}
    for name in names:
        known[name]
    return [load for load in LOADS if load.name in names]
