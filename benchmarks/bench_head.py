"""What parse_head costs, in ns an operation: best of several repeats, the contenders interleaved.

    python benchmarks/bench_head.py [repeats]

Each operation includes the copy of the server's own environ keys. `plain` is the clean twin without any
cache (tests/plain_http1.py); "with blocks" is what the loop does with a head that is not memoised; h11 is measured to
its Request event and builds no environ.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import plain_http1  # noqa: E402
from vivace.http1.blocks import Blocks  # noqa: E402
from vivace.http1.head import HeadLimits, parse_head  # noqa: E402

ROUNDS = 500  # operations in one timing: short enough to fall between two interruptions
BASE: dict[str, object] = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8000",
    "SERVER_SOFTWARE": "vivace",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}
AGENT = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
SIX = (
    b"Host: 127.0.0.1:8000\r\n"
    b"User-Agent: " + AGENT + b"\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Connection: keep-alive\r\n"
)


def own(number: int) -> bytes:
    """The two lines that differ in every request."""
    return b"Cookie: sessionid=%032x; csrftoken=%032x\r\n" % (
        number * 7919,
        number * 104729,
    ) + b"traceparent: 00-%032x-%016x-01\r\n" % (number * 6700417, number * 2147483647)


def heads() -> dict[str, Callable[[int], bytes]]:
    """By name, what makes the head of a number; what a name calls new differs in each."""
    fixed = b"Referer: http://127.0.0.1:8000/some/page\r\nUpgrade-Insecure-Requests: 1\r\n"
    json = b"Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n"
    return {
        "GET, 6 fields": lambda n: b"GET /hello HTTP/1.1\r\n" + SIX + b"\r\n",
        "GET, 8 fields, all seen before": lambda n: b"GET /hello HTTP/1.1\r\n" + SIX + fixed + b"\r\n",
        "GET, 8 fields, 2 new ones": lambda n: b"GET /hello HTTP/1.1\r\n" + SIX + own(n) + b"\r\n",
        "GET, 6 fields, a new query": lambda n: b"GET /find?q=%d&page=2 HTTP/1.1\r\n" % n + SIX + b"\r\n",
        "GET, 6 fields, a new path": lambda n: b"GET /user/%d HTTP/1.1\r\n" % n + SIX + b"\r\n",
        "POST, 8 fields": lambda n: b"POST /items HTTP/1.1\r\n" + SIX + json,
        "GET, 1 field": lambda n: b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n",
    }


def contenders() -> dict[str, Callable[[bytes], object]]:
    limits = HeadLimits()
    blocks = Blocks(BASE)

    def with_blocks(head: bytes) -> object:
        known = blocks.parse(head, limits)
        if known is None:
            known = parse_head(head, BASE.copy(), limits)
            if not known[0]:
                blocks.learn(head)
        return known

    found: dict[str, Callable[[bytes], object]] = {
        "vivace": lambda head: parse_head(head, BASE.copy(), limits),
        "with blocks": with_blocks,
        "plain": lambda head: plain_http1.parse_head(head, BASE.copy(), limits),
    }
    try:
        import h11
    except ImportError:
        pass
    else:

        def with_h11(head: bytes) -> object:
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(head)
            return connection.next_event()

        found["h11"] = with_h11
    try:
        import httptools
    except ImportError:
        pass
    else:

        class Protocol:
            def __init__(self) -> None:
                self.environ = BASE.copy()

            def on_url(self, url: bytes) -> None:
                self.environ["PATH_INFO"] = url.decode("latin-1")

            def on_header(self, name: bytes, value: bytes) -> None:
                self.environ["HTTP_" + name.decode("latin-1").upper().replace("-", "_")] = value.decode("latin-1")

        def with_httptools(head: bytes) -> object:
            protocol = Protocol()
            httptools.HttpRequestParser(protocol).feed_data(head)
            return protocol

        found["httptools"] = with_httptools
    return found


def timed(run: Callable[[bytes], object], items: list[bytes]) -> float:
    begin = perf_counter_ns()
    for item in items:
        run(item)
    return (perf_counter_ns() - begin) / len(items)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    gc.disable()
    runs = contenders()
    print(f"CPython {sys.version.split()[0]}, ns an operation, best of {repeats}")
    print(f"{'':34}" + "".join(f"{name:>12}" for name in runs))
    for case, make in heads().items():
        best = dict.fromkeys(runs, float("inf"))
        for repeat in range(repeats):
            for name, run in runs.items():
                best[name] = min(best[name], timed(run, [make(repeat * ROUNDS + n) for n in range(ROUNDS)]))
        print(f"{case:34}" + "".join(f"{value:12.0f}" for value in best.values()))
    copied = min(timed(lambda _: BASE.copy(), [b""] * ROUNDS) for _ in range(repeats))
    print(f"{'(of which the copy of the base)':34}{copied:12.0f}")


if __name__ == "__main__":
    main()
