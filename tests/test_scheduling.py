"""Who runs what, over real sockets: slow calls do not stall quick ones, and no request is lost or mixed up.

What is measured here is coarse on purpose: the bounds hold on a busy machine, and a server without the scheduler
misses them. The decisions themselves are tested in test_policy.py.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from command import Command
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.usefixtures("no_fault")


class Lanes:
    """An application that says which thread ran it, and counts how many calls there are at once.

    /gate... waits for `gate`; /sleep/N and /burn/N take N ms; anything else is quick.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = self.calls = 0
        self.server: vivace.background

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with self.lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
        _, kind, *rest = environ["PATH_INFO"].split("/")
        if kind == "gate":
            self.gate.wait(TIMEOUT_S)
        elif kind == "sleep":
            time.sleep(float(rest[0]) / 1000)
        elif kind == "burn":
            end = time.thread_time() + float(rest[0]) / 1000
            while time.thread_time() < end:
                pass
        ident = threading.get_ident()
        leads = ident == self.server.server.loop.leader
        with self.lock:
            self.now -= 1
        start_response("200 OK", TEXT)
        return [f"{environ['REQUEST_URI']} {ident} {'leader' if leads else 'pooled'}".encode()]

    def serve(self, **settings: Any) -> vivace.background:
        self.server = vivace.background(self, **settings)
        return self.server


def lane(client: Client, target: str) -> str:
    """Which kind of thread answered `target`."""
    found, _, kind = client.send(request(target)).read_response().body.decode().split()
    assert found == target
    return kind


# One slow call.


@pytest.mark.parametrize("count", [1, 4, 7])
def test_blocking_calls_on_unknown_routes_do_not_stall_the_others(count: int) -> None:
    """Each of them holds its own thread; the quick ones are answered before any of them ends."""
    app = Lanes()
    with app.serve(threads=8) as server, ExitStack() as stack:
        slow = [stack.enter_context(Client(server)) for _ in range(count)]
        for number, client in enumerate(slow):
            client.send(request(f"/gate/unknown{number}"))
        with Client(server) as quick:
            for _ in range(100):
                assert lane(quick, "/quick")
        assert fetch(server, "/another").status == 200
        until(lambda: app.now == count)
        app.gate.set()
        for client in slow:
            assert client.read_response().status == 200


def test_computing_call_on_an_unknown_route_does_not_stall_the_others() -> None:
    app = Lanes()
    with app.serve(threads=8) as server, Client(server) as slow, Client(server) as quick:
        lane(quick, "/quick")
        slow.send(request("/burn/400"))
        done = threading.Thread(target=slow.wait)
        done.start()
        answered = 0
        while done.is_alive():
            lane(quick, "/quick")
            answered += 1
        done.join()
    assert answered >= 20


def test_slow_generator_does_not_stall_the_others() -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"begun"
        if environ["PATH_INFO"] == "/slow":
            gate.wait(TIMEOUT_S)
        yield b"done"

    with vivace.background(app, threads=8) as server, Client(server) as slow:
        slow.send(request("/slow")).read_head()
        for _ in range(20):
            assert fetch(server, "/quick").body == b"begundone"
        gate.set()
        assert [slow.read_chunk(), slow.read_chunk(), slow.read_chunk()] == [b"begun", b"done", b""]


# What has been learned.


def test_quick_routes_run_on_the_loops_own_thread() -> None:
    app = Lanes()
    with app.serve(threads=8) as server, Client(server) as client:
        lanes = [lane(client, "/quick") for _ in range(100)]
    assert lanes.count("leader") >= 80  # a noisy machine makes some look slow


def test_blocking_routes_run_on_pooled_threads() -> None:
    app = Lanes()
    with app.serve(threads=8) as server, Client(server) as client:
        lanes = [lane(client, "/sleep/15") for _ in range(20)]
        assert lanes[5:] == ["pooled"] * 15
        leader = server.server.loop.leader
        for _ in range(20):
            lane(client, "/sleep/15")
            lane(client, "/quick")
        assert server.server.loop.leader == leader, "a learned route was overtaken"


def test_blocking_route_and_quick_route_side_by_side() -> None:
    """Once learned, 6 blocking calls at a time take no time from quick ones: those run on one thread throughout."""
    app = Lanes()
    with app.serve(threads=8) as server, ExitStack() as stack:
        slow = [stack.enter_context(Client(server)) for _ in range(6)]
        quick = stack.enter_context(Client(server))
        for _ in range(3):
            for client in slow:
                client.send(request("/sleep/20"))
            for client in slow:
                client.read_response()
        for _ in range(6):  # a machine that stalls may have the lead change
            threads = set()
            for _ in range(3):
                for client in slow:
                    client.send(request("/sleep/20"))
                for _ in range(30):
                    threads.add(quick.send(request("/quick")).read_response().body.split()[1])
                for client in slow:
                    assert client.read_response().body.endswith(b"pooled")
            if len(threads) == 1:
                break
    assert len(threads) == 1


@pytest.mark.parametrize("threads", [1, 8])
def test_those_who_are_accepted_with_one_that_blocks_are_answered(threads: int) -> None:
    """They are accepted together, and the first of them is called before the others are read."""
    app = Lanes()
    with app.serve(threads=threads) as server, ExitStack() as stack:
        server.server.loop.acceptor._burst = 64
        stalling = stack.enter_context(Client(server)).send(request("/burn/100"))
        clients = [stack.enter_context(Client(server)) for _ in range(20)]
        for number, client in enumerate(clients):
            if number != 1:  # of this one nothing has come yet when it is accepted
                client.send(request(f"/sleep/{30 * (number % 3)}/{number}"))
        assert stalling.read_response().body
        for client in [*clients[:1], *clients[2:]]:
            assert client.read_response().status == 200
        assert clients[1].send(request("/late")).read_response().status == 200
    assert app.calls == 21


@pytest.mark.parametrize("lanes", ["learn", "inline", "pool"])
def test_one_thread_is_one_thread(lanes: str) -> None:
    app = Lanes()
    with app.serve(threads=1, lanes=lanes) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(8)]
        threads = set()
        for target in ("/quick", "/sleep/8", "/burn/8", "/x", "/sleep/8"):
            for client in clients:
                client.send(request(target))
            threads |= {client.read_response().body.split()[1] for client in clients}
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("vivace-1")]
    assert len(threads) == 1
    assert app.most == 1


def test_lanes_pool_never_uses_the_loops_thread() -> None:
    app = Lanes()
    with app.serve(threads=4, lanes="pool") as server, Client(server) as client:
        assert {lane(client, target) for target in ["/quick"] * 20 + ["/sleep/5"] * 5} == {"pooled"}


def test_lanes_inline_never_uses_another() -> None:
    app = Lanes()
    with app.serve(threads=4, lanes="inline") as server, Client(server) as client:
        assert {lane(client, target) for target in ["/quick"] * 20 + ["/sleep/12"] * 5} == {"leader"}


# How many.


@pytest.mark.parametrize("lanes", ["learn", "pool"])
@pytest.mark.parametrize("known", [True, False], ids=["one route", "many routes"])
def test_never_more_calls_at_once_than_threads(lanes: str, known: bool) -> None:
    app = Lanes()
    with app.serve(threads=4, lanes=lanes) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(12)]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.send(request("/sleep/30" if known else f"/sleep/30/t{turn}n{number}"))
            for client in clients:
                assert client.read_response().status == 200
    assert app.most <= 4
    assert app.most >= 3


def test_all_threads_blocked_and_the_loop_alive() -> None:
    """Heads are read, bad ones refused and idle connections closed while no thread is free to run the application."""
    app = Lanes()
    with app.serve(threads=2, head_timeout_s=0.3) as server, ExitStack() as stack:
        for number in range(6):
            stack.enter_context(Client(server)).send(request(f"/gate/{number}"))
        until(lambda: app.now == 2)
        assert fetch(server, b"BROKEN\r\n\r\n").status == 400
        with Client(server) as client:
            assert client.send(b"GET /").read_response().status == 408
        assert (app.now, app.calls) == (2, 2)
        app.gate.set()
        assert fetch(server, "/quick").status == 200


def test_idle_threads_retire() -> None:
    app = Lanes()
    with app.serve(threads=8, thread_idle_s=0.2) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(8)]
        pool = server.server.loop.pool
        assert pool is not None
        for _ in range(2):
            for client in clients:
                client.send(request("/gate"))
            until(lambda: app.now >= 7)
            app.gate.set()
            for client in clients:
                client.read_response()
            until(lambda: pool.total <= 1, 5)
            app.gate.clear()
        assert fetch(server, "/quick").status == 200


def test_threads_start_only_when_needed() -> None:
    app = Lanes()
    with app.serve(threads=64) as server, Client(server) as client:
        for _ in range(50):
            lane(client, "/quick")
        assert server.server.loop.pool is not None
        assert server.server.loop.pool.total <= 2


def test_requests_past_their_queue_deadline_are_refused() -> None:
    """503 with Retry-After (RFC 9110 section 15.6.4), and the application is not called."""
    app = Lanes()
    with app.serve(threads=2, queue_timeout_s=0.2) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(6)]
        for number, client in enumerate(clients):
            client.send(request(f"/gate/{number}"))
        until(lambda: app.now == 2)
        time.sleep(0.5)
        app.gate.set()
        responses = [client.read_response() for client in clients]
        refused = [response for response in responses if response.status == 503]
        assert len(refused) == 4
        assert all((response.field("Retry-After") or "").isdigit() for response in refused)
        assert not any(response.closes for response in refused)
        assert app.calls == 2
        assert fetch(server, "/quick").status == 200
    assert server.server.loop.refusals.count == 4


# Under load. The server is a process of its own here, so that the clients' threads do not take its GIL.

APP = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/burn":
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
"""
BURN_S = 0.005
LOAD_S = 1.5


class Load(threading.Thread):
    """A client that asks for `target` again and again for `LOAD_S`, and keeps how long each answer took."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__()
        self.url = url
        self.target = target
        self.took_s: list[float] = []
        self.start()

    def run(self) -> None:
        data = request(self.target)
        end = time.monotonic() + LOAD_S
        with Client(self.url) as client:
            while (started := time.monotonic()) < end:
                assert client.send(data).read_response().body == self.target.encode()
                self.took_s.append(time.monotonic() - started)


def test_computing_routes_and_quick_ones_do_not_starve_each_other(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", cwd=tmp_path) as command:
        assert fetch(command.url, "/quick").body == b"/quick"
        before_s = command.cpu_s()
        quick = [Load(command.url, "/quick") for _ in range(3)]
        burning = [Load(command.url, "/burn") for _ in range(6)]
        for load in quick + burning:
            load.join()
        used_s = command.cpu_s() - before_s
    took_s = [took for load in quick for took in load.took_s]
    burnt = [len(load.took_s) for load in burning]
    # Of the CPU time that the server got, however little that was.
    assert sum(burnt) * BURN_S >= 0.3 * used_s
    assert min(burnt) * 5 >= max(burnt)
    assert len(took_s) >= 0.5 * sum(burnt)
    assert statistics.median(took_s) < 0.05
    assert "Traceback" not in command.log


# Nothing is lost.


def echo(environ: dict[str, Any], start_response: Any) -> Any:
    """Sleeps as the query says and answers with its number, in one of three ways."""
    milliseconds, number, kind = environ["QUERY_STRING"].split(",")
    time.sleep(float(milliseconds) / 1000)
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    text = f"{number} {len(body)} ".encode()
    if kind == "stream":
        return (block for block in (text, body))
    return [text + body] if kind == "one" else [text, body]


@pytest.mark.parametrize("shape", ["any", "at the tick", "unknown routes", "few threads"])
def test_hammer(shape: str) -> None:
    """500 requests on 20 connections, pipelined by up to 3, overtaken or not as it happens; every answer is checked."""
    chance = random.Random(shape)
    threads = 3 if shape == "few threads" else 8
    failures: list[str] = []

    def client_of(number: int, plan: list[list[tuple[str, bytes, bytes]]]) -> None:
        try:
            with Client(server, timeout_s=20) as client:
                for batch in plan:
                    client.send(b"".join(data for _, data, _ in batch))
                    for target, _, expected in batch:
                        body = client.read_response().body
                        if body != expected:
                            failures.append(f"{target}: {body[:60]!r} instead of {expected[:60]!r}")
        except Exception as error:
            failures.append(f"connection {number}: {error!r}")

    def one(number: int) -> tuple[str, bytes, bytes]:
        milliseconds = chance.uniform(3, 6) if shape == "at the tick" else chance.choice([0, 0, chance.uniform(0, 15)])
        route = f"route{number}x" if shape == "unknown routes" else chance.choice("abc")
        target = f"/{route}?{milliseconds},{number},{chance.choice(['one', 'two', 'stream'])}"
        body = b"x" * chance.choice([0, 0, 10, 5000])
        return target, request(target, method="POST", body=body), f"{number} {len(body)} ".encode() + body

    plans: list[list[list[tuple[str, bytes, bytes]]]] = [[] for _ in range(20)]
    left = iter(range(500))
    while batch := [one(number) for number, _ in zip(left, range(chance.randint(1, 3)), strict=False)]:
        chance.choice(plans).append(batch)
    with vivace.background(echo, threads=threads) as server:
        clients = [threading.Thread(target=client_of, args=item) for item in enumerate(plans)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    assert failures == []
    counts = server.server.loop.closed.snapshot()
    assert sum(counts.values()) == 20
    assert counts["bug"] == counts["client_gone"] == counts["aborted"] == 0
