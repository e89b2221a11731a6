"""What one exchange costs: start_response and a body, without a socket.

python -m benchmarks.bench_exchange        prints us per exchange for several kinds of body
"""

from __future__ import annotations

import timeit
from typing import Any

from vivace.http1.response import ResponseHeads
from vivace.wsgi.exchange import Exchange

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
ROUNDS = 20_000


class Sink:
    """Takes everything, keeps nothing."""

    gone = False

    def put(self, data: bytes, last: bool = False) -> None:
        """Nothing."""

    put_pair = put_file = put

    def abort(self, reset: bool) -> None:
        """Nothing."""


def one_block(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The common case: a list of one block."""
    start_response("200 OK", HEADERS)
    return [b"Hello, World!"]


def two_blocks(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A list that is joined."""
    start_response("200 OK", HEADERS)
    return [b"Hello, ", b"World!"]


def generator(environ: dict[str, Any], start_response: Any) -> Any:
    """An iterable, each block put by itself."""
    start_response("200 OK", HEADERS)
    yield b"Hello, "
    yield b"World!"


def chunked(environ: dict[str, Any], start_response: Any) -> Any:
    """The same without a length."""
    start_response("200 OK", HEADERS[:1])
    yield b"Hello, "
    yield b"World!"


def main() -> None:
    """Prints the minimum of seven runs."""
    heads, sink, environ = ResponseHeads("vivace"), Sink(), {}

    def report(environ: dict[str, Any], error: BaseException) -> None:
        raise error

    for app in (one_block, two_blocks, generator, chunked):
        best = min(
            timeit.repeat(
                lambda app=app: Exchange(sink, 0, heads, DATE, report, 0.004).run(app, environ), number=ROUNDS, repeat=7
            )
        )
        print(f"{app.__name__:12s} {best / ROUNDS * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
