"""What threads in requests wait for, seen from outside: against routes of a real server of which that is known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from command import Command
from vivace.observe import threads, waits
from vivace.observe.layout import APPLICATION, S_LEADER, S_NOW, S_PID, S_STARTED, SENDING
from vivace.observe.page import Page, page_of
from vivace.observe.processes import process_figures
from vivace.observe.threads import Sampler
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

if not os.path.exists("/proc/self/task") or not waits._names:
    pytest.skip("this system does not tell", allow_module_level=True)

SAMPLES = 300
"""A share of one half is then known to 3%."""
NEAR = 0.12
"""Four standard errors, for each of a hundred runs."""

APP = """
import os, socket, threading, time
lock = threading.Lock()
own = threading.local()

def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))

def connection(timeout):
    if not hasattr(own, "socket"):
        own.socket = socket.create_connection(("127.0.0.1", int(os.environ["BACKEND"])))
    own.socket.settimeout(timeout)
    return own.socket

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(0.02)
    elif path == "/lock":
        with lock:
            time.sleep(0.005)
    elif path in ("/read", "/poll"):
        backend = connection(5 if path == "/poll" else None)
        backend.send(b"x")
        backend.recv(1)
    elif path == "/gil":
        others = [threading.Thread(target=compute, args=(0.1,)) for _ in range(2)]
        for other in others:
            other.start()
        compute(0.1)
        for other in others:
            other.join()
    elif path == "/compute":
        compute(0.05)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def answer_slowly(connection: socket.socket) -> None:
    """What the routes /read and /poll wait for."""
    try:
        while connection.recv(1):
            time.sleep(0.02)
            connection.send(b"y")
    except OSError:
        pass
    connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Page, int]]:
    """(url, page, port of the backend)"""
    folder: Path = tmp_path_factory.mktemp("threads")
    (folder / "slow.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as backend:

        def serve() -> None:
            try:
                while True:
                    threading.Thread(target=answer_slowly, args=(backend.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        port = backend.getsockname()[1]
        os.environ["BACKEND"] = str(port)
        try:
            command = Command("slow:app", "--bind", "127.0.0.1:0", "--threads", "8", "--no-profile", cwd=folder)
        finally:
            del os.environ["BACKEND"]
        with command:
            url = command.url
            page = page_of(command.process.pid)
            assert page is not None
            yield url, page, port
            page.close()
        backend.shutdown(socket.SHUT_RDWR)


@contextmanager
def asking(url: str, path: str, clients: int) -> Iterator[None]:
    """So many clients ask for `path` all the time."""
    over = threading.Event()

    def ask() -> None:
        with Client(url) as client:
            while not over.is_set():
                assert client.send(request(path)).read_response().status == 200

    askers = [threading.Thread(target=ask) for _ in range(clients)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        over.set()
        for asker in askers:
            asker.join(TIMEOUT_S)


def sampled(server: tuple[str, Page, int], path: str, clients: int = 4) -> dict[str, Any]:
    """What was found of one route. The scheduler has met it before."""
    url, page, _ = server
    for _ in range(3):
        assert fetch(url, path).status == 200
    sampler = Sampler(page, rate_hz=300.0)
    with asking(url, path, clients):
        until(lambda: sampler.look() or sampler._found)
        sampler.take()
        seen = 0.0
        deadline = time.monotonic() + TIMEOUT_S
        while seen < SAMPLES and time.monotonic() < deadline:
            sampler.look()
            seen = sum(samples for row, samples in sampler._found.items() if row[1] == f"GET {path}")
            time.sleep(0.003)
        found = sampler.take()
    sampler.end()
    shares: dict[str, Any] = found["routes"][f"GET {path}"]
    assert sum(shares["causes"].values()) == pytest.approx(1.0)
    assert [worker["in_flight"] for worker in found["workers"].values()] == [pytest.approx(shares["in_flight"])]
    return shares


def test_a_route_that_sleeps(server: tuple[str, Page, int]) -> None:
    shares = sampled(server, "/sleep")
    assert shares["causes"]["sleep"] > 1 - NEAR
    assert 3.0 < shares["in_flight"] <= 4.0, "four clients, which do nothing else"


def test_a_route_that_waits_for_a_lock(server: tuple[str, Page, int]) -> None:
    """One of four has the lock and sleeps."""
    causes = sampled(server, "/lock")["causes"]
    assert causes["lock"] == pytest.approx(0.75, abs=NEAR)
    assert causes["sleep"] == pytest.approx(0.25, abs=NEAR)


@pytest.mark.parametrize(("path", "verb"), [("/read", "reading from"), ("/poll", "waiting for")])
def test_a_route_that_waits_for_another_server(server: tuple[str, Page, int], path: str, verb: str) -> None:
    shares = sampled(server, path)
    assert shares["causes"]["io"] > 1 - NEAR
    assert shares["on"][0]["text"] == f"{verb} TCP socket to 127.0.0.1:{server[2]}"
    assert shares["on"][0]["share"] > 0.8


def test_a_route_that_computes_alone(server: tuple[str, Page, int]) -> None:
    causes = sampled(server, "/compute", clients=1)["causes"]
    assert causes["running"] + causes.get("ready", 0.0) > 1 - NEAR


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is none")
def test_a_route_that_computes_on_several_threads(server: tuple[str, Page, int]) -> None:
    """One of three computes; the others wait for the GIL, or for a core to ask for it again."""
    causes = sampled(server, "/gil", clients=1)["causes"]
    assert causes["gil"] > 0.05
    assert causes["running"] < 0.6
    assert causes.get("sleep", 0.0) + causes.get("io", 0.0) < NEAR


def test_who_looks_pays_and_the_worker_does_not(server: tuple[str, Page, int]) -> None:
    url, page, _ = server
    worker = page.section(0).words[S_PID]
    until(lambda: switches_in(worker, 0.1) == 0, what="the server rests")
    sampler = Sampler(page)
    sampler.begin()
    assert switches_in(worker, 0.5) <= 2, "nobody asks it for anything"
    sampler.end()
    found = sampler.take()
    assert found["rounds"] >= 5
    assert found["cost_s"] < 0.5 * 2 * threads.COST_MAX + 0.005
    assert found["routes"] == found["workers"] == {}, "threads that wait for work are in no request"
    assert fetch(url, "/").status == 200


def switches_in(pid: int, seconds: float) -> int:
    """How often a process was put on a core, in some time from now on."""
    before = process_figures(pid)["voluntary_switches"]
    time.sleep(seconds)
    return int(process_figures(pid)["voluntary_switches"] - before)


# Rows of the page, written by the tests.


@contextmanager
def sleeper() -> Iterator[int]:
    child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(100)"], stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield child.pid
    finally:
        child.kill()
        child.communicate()


@contextmanager
def page_with(pid: int) -> Iterator[Page]:
    page = Page.create(2)
    page.section(1).words[S_PID], page.section(1).words[S_STARTED] = pid, 1
    yield page
    page.close()


def test_slots_and_the_leader_are_looked_at() -> None:
    with sleeper() as pid, page_with(pid) as page:
        section = page.section(1)
        slow, led = section.number_route("GET /slow"), section.number_route("GET /led")
        section.enter(b"GET /slow", APPLICATION, slow, pid)
        section.enter(b"GET /queued", route=slow)
        section.enter(b"GET /sent", SENDING, slow, pid)
        sampler = Sampler(page)
        until(lambda: sampler.look() or {row[2] for row in sampler._found} == {"sleep"} or (sampler.take() and False))
        section.words[S_LEADER] = pid
        sampler.take()
        sampler.look()
        section.words[S_NOW] = led
        sampler.look()
        found = sampler.take()
        sampler.end()
    assert found["rounds"] == 2
    assert found["workers"] == {pid: {"in_flight": 1.5, "causes": {"sleep": 1.0}, "on": []}}
    assert {name: row["in_flight"] for name, row in found["routes"].items()} == {"GET /slow": 1.0, "GET /led": 0.5}
    assert sampler.take()["routes"] == {}


def test_more_threads_than_are_looked_at_count_as_many_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOKS_MAX", 4)
    monkeypatch.setattr(threads, "FILES_MAX", 3)
    with sleeper() as pid, page_with(pid) as page:
        section = page.section(1)
        for number in range(10):
            section.enter(b"", APPLICATION, section.number_route(f"GET /{number}"), pid)
        sampler = Sampler(page)
        for _ in range(20):
            sampler.look()
        found = sampler.take()
        assert len(sampler._files) <= 4
        sampler.end()
    assert found["workers"][pid]["in_flight"] == pytest.approx(10.0)
    assert len(found["routes"]) > 4, "by lot"


def test_who_has_gone_is_not_counted() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with page_with(child.pid) as page:
        page.section(1).enter(b"", APPLICATION, page.section(1).number_route("GET /"), child.pid)
        sampler = Sampler(page)
        sampler.look()
        assert sampler.take()["workers"]
        child.communicate()
        sampler.look()
        assert sampler.take()["workers"] == {}
        sampler.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "reading from fd 7, TCP socket 10.0.0.2:40412 to 10.0.0.5:5432 (recvfrom)",
            "reading from TCP socket to 10.0.0.5:5432",
        ),
        (
            "waiting for fd 7, TCP socket [::1]:4 to [::1]:5, for at most 5 s (poll)",
            "waiting for TCP socket to [::1]:5",
        ),
        (
            "waiting for fd 7, a pipe, fd 8, Unix socket and 3 more (select)",
            "waiting for a pipe, Unix socket and 3 more",
        ),
        ("syncing fd 3, file /var/log/x (fsync)", "syncing file /var/log/x"),
        ("waiting for fd 35518533 (poll)", ""),
    ],
)
def test_what_differs_from_connection_to_connection_is_left_off(text: str, expected: str) -> None:
    assert threads._grouped(text) == expected
