"""The line that says how a server goes: from figures, and from servers in which a bottleneck was planted."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from command import Command
from vivace.observe.page import page_of
from vivace.observe.snapshot import between, take
from vivace.observe.threads import Sampler
from vivace.observe.verdict import STUCK_S, unfetched, verdict, why_stuck
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system does not tell")

SERVER = {"state": "serving", "measures": True, "pid": 7, "note": ""}
SHARES = {"queued": 0.0, "body": 0.0, "cpu": 1.0, "blocked": 0.0, "send": 0.0}


def worker(**more: Any) -> dict[str, Any]:
    """A row of figures["workers"]."""
    return {
        "pid": 8,
        "counted": True,
        "cpu": 0.5,
        "collecting": 0.0,
        "waits": None,
        "in_request": 0.0,
        "stuck": False,
        "why_stuck": "",
        **more,
    }


def line(*workers: dict[str, Any], server: dict[str, Any] | None = None, **more: Any) -> str:
    """The verdict on figures of one busy second, of which `more` is said."""
    workers = workers or (worker(),)
    figures = {
        "count": 100,
        "rate": 100.0,
        "error_rate": 0.0,
        "refused_rate": 0.0,
        "refused_5xx_rate": 0.0,
        "queued_s": 0.0002,
        "shares": SHARES,
        "in_flight": 3,
        "threads_busy": 3,
        "threads_max": 8,
        "busy_share": 3 / 8,
        "workers": list(workers),
        "routes": {
            "GET /": {"time_share": 0.1, "shares": SHARES},
            "GET /report": {"time_share": 0.9, "shares": SHARES},
        },
        **more,
    }
    return verdict({"server": {**SERVER, **(server or {})}, "workers": list(workers)}, figures)


def shares(**causes: float) -> dict[str, Any]:
    return worker(waits=causes, in_request=3.0)


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ({"io": 0.71, "running": 0.29}, "workers wait for I/O: 71%; 3 of 8 threads busy; queue 0.2 ms"),
        ({"sleep": 0.4, "io": 0.3, "running": 0.3}, "workers sleep: 40%"),
        ({"gil": 0.21, "io": 0.79}, "GIL: threads in requests wait for it 21% of their time"),
        ({"gil": 0.19, "io": 0.81}, "workers wait for I/O: 81%"),
        ({"lock": 0.16, "sleep": 0.84}, "locks: threads in requests wait for one 16%"),
        ({"ready": 0.5, "running": 0.5}, "cores are short: threads in requests wait for one 50%"),
        ({"running": 0.9, "io": 0.1}, "workers compute: 90%"),
    ],
)
def test_what_threads_wait_for(causes: dict[str, float], expected: str) -> None:
    assert line(shares(**causes)).startswith(expected)


def test_workers_count_by_how_many_threads_are_in_requests() -> None:
    busy = worker(waits={"io": 1.0}, in_request=9.0)
    quiet = worker(waits={"gil": 1.0}, in_request=1.0)
    assert line(busy, quiet).startswith("workers wait for I/O: 90%")


def test_a_wait_of_next_to_no_thread_is_none() -> None:
    assert line(worker(waits={"lock": 1.0}, in_request=0.01)).startswith("computing: 100%")


def test_cpu_bound_names_the_dearest_route() -> None:
    assert line(worker(cpu=0.96)).startswith("CPU-bound: a worker computes 96% of the time, mostly GET /report;")
    assert line(worker(cpu=1.02)).startswith("CPU-bound: a worker computes 100%"), "ticks are coarse"
    assert line(worker(cpu=5.0, counted=False)).startswith("computing"), "before it served"


def test_overload_comes_before_what_the_threads_do() -> None:
    queued = {**SHARES, "queued": 0.8, "cpu": 0.2}
    found = line(shares(io=1.0), queued_s=0.340, shares=queued, threads_busy=8)
    assert found == "overloaded: requests wait 340 ms for their turn; 8 of 8 threads busy"
    assert "a worker computes all the time, mostly GET /report" in line(worker(cpu=1.0), queued_s=0.3, shares=queued)
    assert not line(queued_s=0.010, shares=queued).startswith("overloaded"), "short"
    assert not line(queued_s=0.100).startswith("overloaded"), "less than they take"
    assert ", 5 a second are refused" in line(refused_5xx_rate=5.0)
    assert not line(refused_5xx_rate=0.5).startswith("overloaded")


def test_garbage() -> None:
    assert line(worker(collecting=0.07)).startswith("garbage: its collection takes 7% of a worker's time")


def test_nothing_to_do() -> None:
    assert line(count=0, rate=0.0, in_flight=0, threads_busy=0) == "idle; 0 of 8 threads busy"
    assert line(worker(cpu=0.03), busy_share=0.0).startswith("lightly loaded: 3% of a core")
    held = line(shares(lock=1.0), count=0, rate=0.0)
    assert held.startswith("requests are in progress, none was answered: workers wait for locks (100%)")
    assert line(count=0, rate=0.0, refused_rate=50.0).startswith("every request is refused, 50 a second")


def test_what_is_worse() -> None:
    assert line(server={"state": "ended"}) == "the server, process 7, has ended"
    assert line(server={"measures": False}).startswith("the server measures nothing")
    stuck = worker(pid=9, stuck=True, why_stuck="is stopped by a signal")
    assert line(worker(), stuck) == "STUCK: process 9 is stopped by a signal (1 of 2 workers are stuck)"
    assert "; 10 server errors/s" in line(error_rate=10.0)


# Stuck or not.


def state(**more: Any) -> dict[str, Any]:
    """A row of snapshot["workers"] that ticks."""
    return {
        "pid": 8,
        "state": "serving",
        "threads_max": 8,
        "ticked_s": 0.5,
        "turns": 100,
        "route": "",
        "connections": 0,
        "system": {"process_state": "S"},
        **more,
    }


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (state(), ""),
        (state(ticked_s=9e9), ""),  # idle: its loop sleeps until somebody comes
        (state(state="starting", ticked_s=60.0, connections=3), ""),
        (state(ticked_s=STUCK_S, route="GET /c"), ""),
        (state(ticked_s=4.0, route="GET /c"), "has not turned its loop for 4 s, in GET /c"),
        (state(ticked_s=4.0, connections=3), "has not turned its loop for 4 s"),
        (state(ticked_s=29.0, route="GET /c", threads_max=1), ""),
        (state(ticked_s=31.0, route="GET /c", threads_max=1), "has not turned its loop for 31 s, in GET /c"),
        (state(system={"process_state": "T"}), "is stopped by a signal"),
        (state(state="starting", system={"process_state": "T"}), "is stopped by a signal"),
        (state(system={"process_state": "t"}), ""),  # a profiler may stop it for a moment
        (state(system={}), ""),
    ],
)
def test_stuck(row: dict[str, Any], why: str) -> None:
    assert why_stuck(row) == why


def test_what_lasts_is_seen_twice() -> None:
    traced = state(system={"process_state": "t"})
    assert why_stuck(traced, traced) == "is stopped by a debugger"
    waiting = state(ticked_s=4.0, route="GET /c", system={"process_state": "D"})
    assert why_stuck(waiting, waiting).endswith("in GET /c; it waits for a disk or a network file system")


def test_connections_that_nobody_fetches() -> None:
    def snapshot(queue: int, *workers: dict[str, Any]) -> dict[str, Any]:
        row = {"address": "a:1", "queue": queue}
        return {"server": {"supervised": True}, "workers": list(workers), "listeners": [row]}

    old = state(ticked_s=9.0)
    assert unfetched(snapshot(3, old), snapshot(5, old)) == (
        "STUCK: 5 connections wait at a:1, and no worker fetches them"
    )
    assert unfetched(snapshot(0, old), snapshot(5, old)) == "", "they have just come"
    assert unfetched(snapshot(3, old), snapshot(0, old)) == ""
    assert unfetched(snapshot(3, old), snapshot(5, state(ticked_s=9.0, turns=101))) == ""
    assert unfetched(snapshot(3, old), snapshot(5, old, state(ticked_s=0.1))) == "", "one is awake"
    assert unfetched(snapshot(3), snapshot(5)) == "", "no worker serves: that is said otherwise"
    own = {**snapshot(5, old), "server": {"supervised": False}}
    assert unfetched(snapshot(3, old), own) == "", "it may have other sockets"


# Real servers.

APP = """
import threading, time
lock = threading.Lock()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(0.05)
    elif path == "/lock":
        with lock:
            time.sleep(0.01)
    elif path == "/compute":
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            sum(range(100))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def serving(tmp_path: Path, *settings: str) -> Command:
    (tmp_path / "planted.py").write_text(APP)
    return Command("planted:app", "--bind", "127.0.0.1:0", "--threads", "4", *settings, cwd=tmp_path)


@needs_proc
@pytest.mark.parametrize(
    ("path", "clients", "expected"),
    [
        ("/sleep", 3, "workers sleep: "),
        ("/lock", 4, "locks: "),
        ("/sleep", 20, "overloaded: requests wait "),
    ],
)
def test_planted_bottlenecks(tmp_path: Path, path: str, clients: int, expected: str) -> None:
    with serving(tmp_path) as command, ExitStack() as stack:
        url = command.url
        page = page_of(command.process.pid)
        assert page is not None
        for _ in range(3):
            fetch(url, path)
        users = [stack.enter_context(Client(url)) for _ in range(clients)]
        sampler = Sampler(page)
        sampler.begin()
        found: list[str] = []
        older = take(page, sampler)
        deadline = time.monotonic() + 10
        while not (found and found[-1].startswith(expected)) and time.monotonic() < deadline:
            end = time.monotonic() + 1.2  # more than a tick
            while time.monotonic() < end:
                for user in users:
                    user.send(request(path))
                for user in users:
                    assert user.read_response().status == 200
            newer = take(page, sampler)
            found.append(between(older, newer)["verdict"])
            older = newer
        sampler.end()
        page.close()
    assert found[-1].startswith(expected), found


@needs_proc
def test_a_stopped_worker_is_seen_within_two_seconds_and_an_idle_one_never(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as command:
        fetch(command.url, "/")
        page = page_of(command.process.pid)
        assert page is not None
        snapshot = until(lambda: len((found := take(page))["workers"]) == 2 and found)
        victim = snapshot["workers"][1]["pid"]
        calm: set[str] = set()
        older = snapshot
        for _ in range(int(STUCK_S / 0.25) + 2):  # longer than an idle loop would have ticked
            time.sleep(0.25)
            newer = take(page)
            calm.add(between(older, newer)["verdict"].partition(";")[0])
            older = newer
        assert all(text == "idle" or text.startswith("lightly loaded: ") for text in calm), calm
        os.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        try:
            until(lambda: between(older, take(page))["verdict"].startswith("STUCK"))
            assert time.monotonic() - began < 2.0
            expected = f"STUCK: process {victim} is stopped by a signal (1 of 2 workers are stuck)"
            assert between(older, take(page))["verdict"].startswith(expected)
        finally:
            os.kill(victim, signal.SIGCONT)
        until(lambda: not any(row["stuck"] for row in between(older, take(page))["workers"]))
        page.close()
