"""What compression costs.

python -m benchmarks.bench_compress            us per exchange beside the coding itself, and each coding on a page
python -m benchmarks.bench_compress --served   CPU per request, rate and bytes of a 20 KB page, vivace --compress beside
                                               the middleware of Flask, Django and Paste, on vivace and on gunicorn
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import timeit
from pathlib import Path
from typing import Any

from vivace.content.coding import DYNAMIC, STORED, find_codings
from vivace.content.compressor import Compressor
from vivace.http1.response import ResponseHeads
from vivace.wsgi.exchange import Exchange

from .apps.page_20k import HEADERS as PAGE_HEADERS
from .apps.page_20k import PAGE
from .bench_exchange import DATE, Sink
from .clients import BROWSER, Request, ask
from .processes import Running, Unfit, cores, free_port
from .stats import median
from .wrk import Wrk

ROUNDS = 20_000
HTML = [("Content-Type", "text/html; charset=utf-8"), ("Vary", "Cookie"), ("X-Frame-Options", "DENY")]
LENGTH = ("Content-Length", "13")
TYPES = ("text/*", "application/json")


class Same:
    """A coding that costs nothing."""

    name = "gzip"

    def encode(self, body: bytes, level: int, pad: bool = False) -> bytes:
        """Half of it."""
        return body[: len(body) // 2]

    def stream(self, level: int) -> Any:
        """Itself, which is also a stream."""
        return self

    def add(self, block: bytes) -> bytes:
        """As it is."""
        return block

    def finish(self) -> bytes:
        """Nothing."""
        return b""

    def slow_bytes(self, level: int) -> int:
        """Never."""
        return 1 << 60


def answering(headers: list[tuple[str, str]], body: Any) -> Any:
    """An application; `body` may be a function."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", headers)
        return body() if callable(body) else body

    return app


CASES = {
    "an image": ("gzip", answering([("Content-Type", "image/png"), LENGTH], [b"Hello, World!"])),
    "for a client that takes none": (None, answering([*HTML, LENGTH], [b"Hello, World!"])),
    "too short, with its length": ("gzip", answering([*HTML, LENGTH], [b"Hello, World!"])),
    "too short": ("gzip", answering(HTML, [b"Hello, World!"])),
    "a page": ("gzip", answering(PAGE_HEADERS, [PAGE])),
    "a page, by an iterator": ("gzip", answering(PAGE_HEADERS, lambda: iter([PAGE]))),
    "a stream of 10 blocks": ("gzip", answering(HTML, lambda: iter([PAGE[:2000]] * 10))),
}


def exchanges() -> None:
    """What the compressor adds to an exchange, without the coding."""
    heads, sink = ResponseHeads("vivace"), Sink()
    compressor = Compressor(TYPES, 1024, codings={"gzip": Same()})

    def report(environ: dict[str, Any], error: BaseException) -> None:
        raise error

    def best_us(app: Any, environ: dict[str, Any]) -> float:
        call = lambda: Exchange(sink, 0, heads, DATE, report, 0.004).run(app, environ)  # noqa: E731
        return min(timeit.repeat(call, number=ROUNDS, repeat=5)) / ROUNDS * 1e6

    print("us per exchange                   bare   more")
    for name, (accepted, app) in CASES.items():
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": ""}
        if accepted:
            environ["HTTP_ACCEPT_ENCODING"] = accepted
        bare = best_us(app, environ)
        print(f"{name:32s} {bare:5.2f}  {best_us(compressor.wrap(app), environ) - bare:5.2f}")


def codings() -> None:
    """Each coding at each level, on the page."""
    print(f"\na page of {len(PAGE)} bytes      us    bytes")
    for name, coding in find_codings().items():
        for level in (DYNAMIC, STORED, *range(1, 10)):
            number = 50
            best = min(timeit.repeat(lambda c=coding, n=level: c.encode(PAGE, n), number=number, repeat=5)) / number
            label = {DYNAMIC: "as made", STORED: "kept"}.get(level, level)
            print(f"{name:5s} {label!s:8s} {best * 1e6:12.0f} {len(coding.encode(PAGE, level)):8d}")


VIVACE = "{python} -m vivace {app} --bind 127.0.0.1:{port}"
GUNICORN = (
    "{python} -m gunicorn {app} --bind 127.0.0.1:{port} --worker-class gthread --workers 1 --threads 4 --keep-alive 60 "
    "--no-control-socket --log-level error"
)
GZIP, ALL = "gzip", "gzip, deflate, br, zstd"
SERVED = (  # name, command, application, Accept-Encoding
    ("bare, not compressed", VIVACE, "app", GZIP),
    ("bare, --compress", VIVACE + " --compress", "app", GZIP),
    ("bare, --compress --compress-level 6", VIVACE + " --compress --compress-level 6", "app", GZIP),
    ("bare, --compress, Brotli", VIVACE + " --compress", "app", "gzip, br"),
    ("bare, --compress, all codings", VIVACE + " --compress", "app", ALL),
    ("bare, Paste's gzipper, on vivace", VIVACE, "paste()", GZIP),
    ("bare, Paste's gzipper, on gunicorn", GUNICORN, "paste()", GZIP),
    ("Flask, --compress", VIVACE + " --compress", "flask()", GZIP),
    ("Flask, --compress --cache", VIVACE + " --compress --cache --cache-rule '/* 60s'", "flask()", GZIP),
    ("Flask-Compress, on vivace", VIVACE, "flask(compress=True)", GZIP),
    ("Flask-Compress, on gunicorn", GUNICORN, "flask(compress=True)", GZIP),
    ("Flask, --compress, all codings", VIVACE + " --compress", "flask()", ALL),
    ("Flask-Compress, all codings, on vivace", VIVACE, "flask(compress=True)", ALL),
    ("Django, --compress", VIVACE + " --compress", "django()", GZIP),
    ("Django's GZipMiddleware, on vivace", VIVACE, "django(compress=True)", GZIP),
    ("Django's GZipMiddleware, on gunicorn", GUNICORN, "django(compress=True)", GZIP),
)


def served(rounds: int, seconds: int, without_isal: bool, only: str) -> None:
    """Rounds in random order; medians. The server has a core and the loader another."""
    found: dict[str, list[tuple[float, float, int]]] = {}
    rows = [row for row in SERVED if only in row[0]]
    for _ in range(rounds):
        for name, command, call, accepted in random.sample(rows, len(rows)):
            try:
                found.setdefault(name, []).append(one(command, call, accepted, seconds, without_isal))
            except Unfit as why:
                print(f"{name}: {why}", file=sys.stderr)
    print("                                          CPU us  requests/s  bytes")
    for name, _, _, _ in SERVED:
        if runs := found.get(name):
            cpu, rate, size = (median([run[part] for run in runs]) for part in range(3))
            print(f"{name:40s} {cpu:7.0f} {rate:11.0f} {size:6.0f}")


def one(command: str, call: str, accepted: str, seconds: int, without_isal: bool) -> tuple[float, float, int]:
    """CPU us a request, requests a second, bytes of one answer."""
    port = free_port()
    blocked = "import sys; sys.modules['isal'] = None; " if without_isal else ""
    made = f"{blocked}from benchmarks.apps import page_20k; app = page_20k.{call}"
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "made.py").write_text(made)
        words = shlex.split(command.format(python=sys.executable, port=port, app="made:app"))
        fields = tuple((key, accepted if key == "Accept-Encoding" else value) for key, value in BROWSER)
        request = Request(fields=fields)
        first, second = cores()
        root = str(Path(__file__).resolve().parent.parent)
        with Running(words, folder, {"PYTHONPATH": f"{root}:{root}/src"}, port, first) as server:
            server.wait_ready(request)
            size = len(ask(server.address, request, timeout_s=5).body)
            Wrk(server.address, request, 16, 1, second).result()
            before = server.cpu_s()
            numbers = Wrk(server.address, request, 16, seconds, second).result()
            return (server.cpu_s() - before) / numbers.requests * 1e6, numbers.rate, size


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="What compression costs.")
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--without-isal", action="store_true", help="as where it is not installed")
    parser.add_argument("--only", default="", help="those with this in their name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args()
    if given.served:
        served(given.rounds, given.seconds, given.without_isal, given.only)
    else:
        exchanges()
        codings()


if __name__ == "__main__":
    main()
