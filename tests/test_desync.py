"""vivace behind nginx and HAProxy: both sides see the same requests, whatever a client sends through the proxy.

Each attack of the wire corpus, and streams of the fuzzer's grammar, go through a real proxy that keeps its connections
to vivace, with a request behind them on the same connection; then comes a request of another client. For all of them:

1. Every answer is to the request that the proxy takes it for (ids: see proxies.py).
2. What the application saw is what a third reader, h11, finds in the bytes that went over the line: as many requests,
   in their order, with the same method, target and body.
3. What the proxy forwarded and the application did not see was refused, and was the last on its connection.
4. The other clients get their own answers.

The proxies are taken as they come, and once more with every check turned off that can be.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import h11_oracle
import vivace
import wire_corpus
from proxies import CONFIGURATIONS, Proxy, program
from wire import Client, WireError, fetch, request, until

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fuzz.grammar import streams  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from proxies import Line

FILES = ("attack_", "smuggling", "chunked", "framing", "line_ends", "host", "expect")
CASES = [(case.name, case.request) for case in wire_corpus.load() if case.name.startswith(FILES)]
GENERATED = [(f"generated {number}", data) for number, (data, _) in enumerate(islice(streams(7), 120))]
SENT_MAX = 4000
"""Longer ones are about limits, of which each proxy has its own."""


class Seen(NamedTuple):
    """A request as the application got it."""

    id: str
    method: str
    uri: str
    body: bytes


class Backend:
    """vivace, and what its application saw."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[Seen] = []
        self.server = vivace.background(self.app, bind=f"unix:{folder}/app", log_level="error")

    def app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        name = environ.get("HTTP_X_ID", "none")
        self.seen.append(Seen(name, environ["REQUEST_METHOD"], environ["REQUEST_URI"], body))
        start_response("200 OK", [("Content-Type", "application/json"), ("X-Seen", name)])
        return [json.dumps(environ["REQUEST_URI"]).encode()]


@pytest.fixture
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Backend, Proxy]]:
    if program(CONFIGURATIONS[request.param][0]) is None:
        pytest.skip(f"{CONFIGURATIONS[request.param][0]} is not installed (.ci/run installs it)")
    backend = Backend(tmp_path)
    with backend.server, Proxy(request.param, tmp_path, f"{tmp_path}/app") as proxy:
        yield backend, proxy


def exchange(proxy: Proxy, data: bytes) -> None:
    """Sends `data` and nothing more, and reads until the proxy has had enough."""
    with Client(proxy.url) as client:
        try:
            client.send(data)
            client.finish_sending()
            client.rest()
        except OSError:
            pass  # it was refused before its last byte


def forwarded(line: Line) -> list[h11_oracle.Read]:
    """The requests that went over a line, as h11 reads them, up to one that it refuses or that is not whole."""
    found = []
    left = line.up
    while left and (read := h11_oracle.read(left)) is not None:
        found.append(read)
        left = read.rest
    return found


@pytest.mark.parametrize("front", CONFIGURATIONS, indirect=True)
@pytest.mark.timeout(180)
def test_both_sides_see_the_same_requests(front: tuple[Backend, Proxy]) -> None:
    backend, proxy = front
    for number, (name, data) in enumerate(CASES + GENERATED):
        if len(data) > SENT_MAX:
            continue
        exchange(proxy, data + request(f"/behind/{number}"))
        try:
            other = fetch(proxy.url, request(f"/other/{number}", "Connection: close"))
        except (WireError, OSError) as error:
            raise AssertionError(f"after {name}: {error!r}") from error
        assert (other.status, other.body) == (200, f'"/other/{number}"'.encode()), name
    until(lambda: {entry.id for entry in proxy.log()} >= {seen.id for seen in backend.seen}, what="the log is complete")
    agree(backend, proxy)


def agree(backend: Backend, proxy: Proxy) -> None:
    log = {entry.id: entry for entry in proxy.log()}
    seen = {request.id: request for request in backend.seen}
    # 1. Nobody is answered twice, and everybody for himself.
    assert len(seen) == len(backend.seen)
    assert [entry for entry in log.values() if entry.seen not in ("-", entry.id)] == []
    # 2. and 3.
    on_the_line = set()
    for line in proxy.tap.lines:
        requests = forwarded(line)
        for place, read in enumerate(requests):
            [name] = [value.decode() for value in read.values(b"x-id")]
            on_the_line.add(name)
            if name not in seen:
                assert (place, read.rest) == (len(requests) - 1, b""), "refused, and then served on the same connection"
                assert log[name].status.startswith(("4", "5")), log[name]
                continue
            assert (seen[name].method.encode(), seen[name].body) == (read.method, read.body)
            assert seen[name].uri.encode() == h11_oracle.origin_form(read)
        assert line.down.count(b"\r\nX-Seen: ") == sum(read.values(b"x-id")[0].decode() in seen for read in requests)
    assert set(seen) == on_the_line & set(seen), "the application saw a request that nobody sent"
    # It would show nothing if the proxies had let nothing pass, or had used each connection once.
    others = sum(request.uri.startswith("/other/") for request in backend.seen)
    assert len(seen) > others * 1.1
    assert max(line.down.count(b"\r\nX-Seen: ") for line in proxy.tap.lines) > 20
