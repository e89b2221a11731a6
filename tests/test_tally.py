"""connection.tally: what a running server counts, as it stands in the shared page."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import vivace
from vivace.connection import tally
from vivace.observe import own
from vivace.observe.histogram import quantiles
from vivace.observe.layout import (
    NOT_FOUND,
    OTHERS,
    PHASES,
    R_1XX,
    R_2XX,
    R_4XX,
    R_5XX,
    R_BLOCKED_NS,
    R_BODY_NS,
    R_BYTES_IN,
    R_BYTES_OUT,
    R_COUNT,
    R_CPU_NS,
    R_GONE,
    R_HEAVY,
    R_HIGH,
    R_INLINE,
    R_LOW,
    R_MAX_NS,
    R_POOL,
    R_QUEUED_NS,
    R_SEND_NS,
    R_SUM_NS,
    ROUTES,
    S_MEASURES,
    W_REFUSED_4XX,
)
from vivace.observe.section import Section
from wire import TIMEOUT_S, Client, request, until

GATE = threading.Event()


def app(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    status, body = "200 OK", [b"x" * 100]
    if path == "/sleep":
        time.sleep(0.02)
    elif path == "/burn":
        until_s = time.thread_time() + 0.02
        while time.thread_time() < until_s:
            pass
    elif path == "/read":
        body = [environ["wsgi.input"].read()]
    elif path == "/fail":
        raise RuntimeError("on purpose")
    elif path == "/gate":
        GATE.wait(TIMEOUT_S)
    elif path == "/big":
        body = [b"x" * 30_000_000]
    elif path.startswith("/status/"):
        status = path[8:] + " As Asked"
    elif path.startswith("/missing/"):
        status = "404 Not Found"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body[0])))])
    return body


class Served:
    """A server, and what it says of itself."""

    def __init__(self, server: Any) -> None:
        self.port = server.port
        self.section: Section = server.server.loop.section

    def get(self, *paths: str, **how: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        for path in paths:
            connection.request(how.get("method", "GET"), path, body=how.get("body"))
            connection.getresponse().read()
        connection.close()

    def counts(self, name: str) -> Any:
        for number in range(ROUTES):
            if self.section.route(number) == name:
                return self.section.route_counts(number)
        return [0] * 32

    def counted(self, name: str, count: int) -> Any:
        """The words of a route, when it has had `count` requests."""
        until(lambda: self.counts(name)[R_COUNT] >= count, what=name)
        counts = self.counts(name)
        assert counts[R_COUNT] == count
        return counts

    def histogram(self, name: str) -> dict[int, int]:
        number = next(number for number in range(ROUTES) if self.section.route(number) == name)
        found = {bucket: count for bucket, count in enumerate(self.section.histogram(number)) if count}
        low, high = (self.section.route_counts(number)[word] for word in (R_LOW, R_HIGH))
        assert (low, high) == (min(found), max(found) + 1)
        return found


@pytest.fixture(autouse=True)
def blank(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been counted yet in this process."""
    monkeypatch.setattr(own, "_page", None)
    monkeypatch.setattr(tally, "DETAIL_RATE", float("inf"))  # every request is looked at
    yield
    if own._page is not None:
        own._page.close()  # else it would be found in the place of the one that comes back


@pytest.fixture(params=[1, 8], ids=["1 thread", "8 threads"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    GATE.clear()
    with vivace.background(app, threads=request.param, log_level="critical", slow_request="15ms") as server:
        yield Served(server)
        GATE.set()


def test_each_request_is_counted_once(server: Served) -> None:
    server.get(*["/a"] * 500)
    counts = server.counted("GET /a", 500)
    assert counts[R_2XX] == counts[R_INLINE] + counts[R_POOL] + counts[R_HEAVY] == 500
    assert counts[R_BYTES_OUT] == 50_000
    assert sum(server.histogram("GET /a").values()) == 500
    assert 0 < counts[R_CPU_NS] < counts[R_SUM_NS] < 500 * counts[R_MAX_NS]
    assert counts[R_CPU_NS] + counts[R_QUEUED_NS] + counts[R_SEND_NS] == pytest.approx(counts[R_SUM_NS], rel=0.02)
    assert server.section.words[S_MEASURES] == 1


def test_the_first_request_of_a_connection_is_timed_whatever_the_limits() -> None:
    """It has come after no other answer, even where a connection may wait longer for its first request than later."""
    with vivace.background(app, threads=1, keepalive_timeout=1, head_timeout=30) as running:
        server = Served(running)
        server.get("/sleep")
        counts = server.counted("GET /sleep", 1)
    assert 0.02e9 <= counts[R_SUM_NS] < 1e9


def test_what_stands_for_others_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "DETAIL_RATE", 0)
    with vivace.background(app, log_level="critical") as running:
        server = Served(running)
        server.get("/a")
        server.counted("GET /a", 1)
        until(lambda: running.server.loop.tally.detail_mask)  # from now on one turn in some
        began = time.perf_counter()
        server.get(*["/a"] * 700)
        elapsed = time.perf_counter() - began
        counts = server.counted("GET /a", 701)
    assert counts[R_2XX] == 701
    seen = sum(server.histogram("GET /a").values())
    assert 701 - 2 * tally.DETAIL_TURNS <= seen <= 701
    assert counts[R_BYTES_OUT] == 100 * seen
    assert 0 < counts[R_SUM_NS] / 1e9 < elapsed


def test_about_as_many_are_looked_at_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "DETAIL_RATE", 1000)
    assert [tally.detail_mask(rate) for rate in (0, 1000, 1001, 4000, 4001, 20_000, 1e6)] == [0, 0, 1, 3, 7, 31, 127]


def test_statuses(server: Served) -> None:
    server.get(*["/status/200", "/status/503", "/status/200", "/status/302", "/status/503"] * 10)
    counts = server.counted("GET /status/{}", 50)
    assert [counts[R_1XX + kind] for kind in range(5)] == [0, 20, 10, 0, 20]


def test_an_odd_status_on_a_route_is_counted_as_what_it_is() -> None:
    codes = iter(["200 A", "500 B", "200 C", "404 D", "404 D", "200 A", "200 A", "500 B"] * 25)

    def changing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(next(codes), [("Content-Length", "0")])
        return [b""]

    with vivace.background(changing, log_level="critical") as running:
        server = Served(running)
        server.get(*["/"] * 200)
        counts = server.counted("GET /", 200)
    assert [counts[word] for word in (R_2XX, R_4XX, R_5XX)] == [100, 50, 50]


Connect = Callable[[Any, int], list[Client]]


@pytest.fixture
def clients() -> Iterator[Connect]:
    """Connects so many to a server."""
    with ExitStack() as stack:
        yield lambda server, number: [stack.enter_context(Client(server)) for _ in range(number)]


def _ask(clients: list[Client], paths: list[str]) -> None:
    for client, path in zip(clients, paths, strict=True):
        client.send(request(path))


def _answered(clients: list[Client]) -> None:
    for client in clients:
        assert client.read_response().whole


def test_requests_of_one_turn_are_counted_as_what_they_are(clients: Connect) -> None:
    """Those that are alike are counted together: other routes, statuses and new heads come between."""
    paths = ["/a", "/a", "/a", "/b", "/a", "/status/200", "/status/503", "/status/503", "/status/200", "/a", "/a"]
    times = 5
    with vivace.background(app, threads=1, log_level="critical") as running:
        server = Served(running)
        some, holder = clients(running, len(paths)), clients(running, 1)
        for turn in range(times):
            GATE.clear()
            _ask(holder, ["/gate"])  # all of the others have come when the loop goes on
            _ask(some, [*paths[:-1], f"/a?{turn}"])
            GATE.set()
            _answered(holder + some)
        for name, statuses in {"/a": [6, 0, 0], "/b": [1, 0, 0], "/status/{}": [2, 0, 2]}.items():
            counts = server.counted(f"GET {name}", times * sum(statuses))
            assert [counts[R_2XX], counts[R_4XX], counts[R_5XX]] == [times * number for number in statuses]


def test_a_leader_that_is_overtaken_counts_what_it_had_served(clients: Connect) -> None:
    times = 10
    with vivace.background(app, threads=8, log_level="critical") as running:
        server = Served(running)
        some = clients(running, 12)
        _ask(some, ["/a"] * 12)
        _answered(some)
        for turn in range(times):
            GATE.clear()
            paths = ["/a"] * 12
            paths[turn] = "/gate"
            _ask(some, paths)
            _answered(some[:turn] + some[turn + 1 :])
            GATE.set()
            _answered([some[turn]])
        server.counted("GET /a", 12 + times * 11)
        server.counted("GET /gate", times)


def test_sleeping_is_blocked_and_computing_is_cpu(server: Served) -> None:
    server.get(*["/sleep", "/burn"] * 6)
    slept, burnt = server.counted("GET /sleep", 6), server.counted("GET /burn", 6)
    for counts, mine, other in ((slept, R_BLOCKED_NS, R_CPU_NS), (burnt, R_CPU_NS, R_BLOCKED_NS)):
        assert counts[R_SUM_NS] >= 6 * 0.02e9
        # The first calls are not watched yet: all of their time counts as computing.
        assert counts[mine] >= 3 * 0.02e9
        assert counts[mine] + counts[other] == pytest.approx(counts[R_SUM_NS], rel=0.2)
    assert 0.02 <= quantiles(server.histogram("GET /sleep"), (0.5,))[0] < 0.05


def test_bodies(server: Served) -> None:
    server.get(*["/read"] * 3, method="POST", body=b"y" * 1000)
    counts = server.counted("POST /read", 3)
    assert (counts[R_BYTES_IN], counts[R_BYTES_OUT]) == (3000, 3000)
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        time.sleep(0.05)
        client.sendall(b"67890")
        assert client.recv(4096).endswith(b"1234567890") or client.recv(4096)
    counts = server.counted("POST /read", 4)
    assert 0.04e9 < counts[R_BODY_NS] < 1e9


def test_failures(server: Served) -> None:
    server.get("/fail", "/fail")
    assert server.counted("GET /fail", 2)[R_5XX] == 2
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b" 400 " in client.recv(4096)
    until(lambda: server.section.words[W_REFUSED_4XX] == 1)


def test_a_client_that_leaves_and_one_that_reads_slowly(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1)
    assert server.counted("GET /big", 1)[R_GONE] == 1
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        while client.recv(1 << 20):
            pass
    counts = server.counted("GET /big", 2)
    assert counts[R_GONE] == 1
    assert counts[R_SEND_NS] > 0.05e9
    assert counts[R_BYTES_OUT] == 60_000_000


def test_paths_that_do_not_exist_take_no_number(server: Served) -> None:
    names = [f"/missing/page-{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10]}" for number in range(100)]
    server.get("/", *names, "/a")
    assert server.counted("(not found)", 100)[R_4XX] == 100
    used = {server.section.route(number) for number in range(1, NOT_FOUND)} - {""}
    assert used == {"GET /", "GET /a"}
    assert server.section.route(OTHERS) == "(others)"


def test_slow_requests_are_remembered_with_their_parts(server: Served) -> None:
    server.get("/a", "/sleep?secret=1", "/a")
    server.counted("GET /sleep", 1)
    [(ended_ns, times, status, route, text)] = [row for row in server.section.records() if "sleep" in row[4]]
    assert abs(time.time_ns() - ended_ns) < 60e9
    assert status == 200
    assert text == "GET /sleep?secret=1"
    assert server.section.route(route) == "GET /sleep"
    assert 0.02e9 <= times[0] < 2e9
    assert times[6] >= 0.02e9, "the application's part"


def test_a_request_in_progress_has_a_phase_and_a_thread() -> None:
    with vivace.background(app, threads=2, log_level="critical") as running:
        server = Served(running)
        GATE.clear()
        threads = [threading.Thread(target=server.get, args=("/gate",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(server.section.in_progress()) == 4)
        rows = server.section.in_progress()
        phases = sorted(PHASES[row[1]] for row in rows)
        assert phases == ["application"] * 2 + ["queued"] * 2
        tasks = set(map(int, os.listdir("/proc/self/task")))
        assert all((row[3] in tasks) == (PHASES[row[1]] == "application") for row in rows)
        assert {server.section.route(row[2]) for row in rows} == {"GET /gate"}
        GATE.set()
        for thread in threads:
            thread.join()
        until(lambda: not server.section.in_progress())


def test_nothing_is_counted_where_nobody_wants_it() -> None:
    with vivace.background(app, metrics=False, log_level="critical") as running:
        server = Served(running)
        server.get("/a", "/sleep")
        assert running.server.loop.tally is None
    assert server.section.words[S_MEASURES] == 0


def test_waiting_for_the_loop_is_part_of_the_response() -> None:
    """A quick request that came while the only thread slept."""
    with vivace.background(app, threads=1, arrival_stamps=True, log_level="critical") as running:
        server = Served(running)
        server.get("/a")
        slow = threading.Thread(target=server.get, args=("/sleep",))
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(4096)
            slow.start()
            until(lambda: server.section.words[4] and server.section.route(server.section.words[4]) == "GET /sleep")
            client.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(4096)
        slow.join()
        counts = server.counted("GET /late", 1)
    assert 0.005e9 < counts[R_QUEUED_NS] <= counts[R_SUM_NS] < 0.1e9


def test_routes_by_the_names_of_the_application() -> None:
    def naming(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["vivace.route"].rename("GET /<word>")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    words = ["/" + "".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(300)]
    with vivace.background(naming, log_level="critical") as running:
        server = Served(running)
        server.get(*words, *words, *words)
        counts = server.counted("GET /<word>", 900)
    assert counts[R_2XX] == 900
    assert sum(server.histogram("GET /<word>").values()) == 900
    assert {server.section.route(number) for number in range(1, NOT_FOUND)} == {"GET /<word>", ""}
