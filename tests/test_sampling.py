"""The profiler that is always on: what it sees of requests of which it is known what they do."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import vivace
from vivace.observe import sampling, waits
from vivace.observe.profiles import merged
from vivace.observe.sampling import Profiler
from vivace.observe.section import Section
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.embed import background

if not os.path.exists("/proc/self/task") or not waits._names:
    pytest.skip("this system does not tell", allow_module_level=True)

LOOKS = 120
NEAR = 0.15
"""Four standard errors of a share of 0.7, and what a machine that others use adds."""

APP = """
import threading, time

lock = threading.Lock()
spent = {"compute": 0.0, "pause": 0.0, "third": 0.0, "rest": 0.0}
gone_on = threading.Event()

def compute(seconds):
    began, end = time.perf_counter(), time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))
    spent["compute"] += time.perf_counter() - began

def pause(seconds):
    began = time.perf_counter()
    time.sleep(seconds)
    spent["pause"] += time.perf_counter() - began

def spin(times, name):
    began = time.perf_counter()
    total = 0
    for number in range(times):
        total += number * number
    spent[name] += time.perf_counter() - began

def thirds_s():
    began = time.perf_counter()
    spin(600, "third")
    return time.perf_counter() - began

# 150 us and 300, and never less than half of it: of what is over within the switch interval the beginning is seen too
# seldom.
SLOWER = max(1, round(150e-6 / min(thirds_s() for _ in range(200))))

def third():
    spin(600 * SLOWER, "third")

def rest():
    spin(1200 * SLOWER, "rest")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/mixed":
        compute(0.007)
        pause(0.003)
    elif path == "/quick":
        third()
        rest()
    elif path == "/lock":
        with lock:
            time.sleep(0.005)
    elif path == "/hold":
        gone_on.wait(20)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class Served:
    """An application of which all is known, in this process."""

    def __init__(self, running: background, scope: dict[str, Any]) -> None:
        self.running = running
        self.scope = scope
        profiler = running.server.profiler
        assert profiler is not None
        self.profiler = profiler

    def load(self, path: str, clients: int = 1, looks: int = LOOKS) -> dict[str, Any]:
        """The profile of so many looks while clients ask for `path` one request after the other."""
        over = threading.Event()

        def ask() -> None:
            with Client(self.running) as client:
                while not over.is_set():
                    client.send(request(path))
                    client.read_response()

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        since_s = time.time()
        enough = self.told(since_s)["looks"] + looks  # the slice that this began in may hold some of before
        try:
            self.profiler.told({"hz": 400, "for_s": 20})
            until(lambda: self.told(since_s)["looks"] >= enough, 20)
            return self.told(since_s)
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def told(self, since_s: float) -> dict[str, Any]:
        return self.profiler.told({"since_s": since_s})


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    scope: dict[str, Any] = {}
    exec(compile(APP, "application.py", "exec"), scope)
    with vivace.background(scope["app"], threads=8, access_log=False) as running:
        served = Served(running, scope)
        patch = pytest.MonkeyPatch()
        patch.setattr(sampling, "COST_MAX", 0.2)  # it would take longer
        yield served
        patch.undo()
    assert "vivace-profiler" not in [thread.name for thread in threading.enumerate()]


def shares(profile: dict[str, Any], route: str, names: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """(function, state) -> share of the time in these functions."""
    found: dict[tuple[str, str], float] = {}
    for seen, state, stack, seconds in profile["samples"]:
        functions = {profile["frames"][frame][0] for frame in profile["stacks"][stack]}
        for name in names:
            if seen == route and name in functions:
                found[name, state] = found.get((name, state), 0.0) + seconds
    total = sum(found.values())
    return {key: seconds / total for key, seconds in found.items()}


def of(found: dict[tuple[str, str], float], name: str) -> float:
    return sum(share for (function, _), share in found.items() if function == name)


def test_what_computes_and_what_waits_are_seen_as_long_as_they_take(served: Served) -> None:
    spent = served.scope["spent"]
    for _ in range(6):  # where others take the processors away, looks come late, and rather in the pauses
        spent.update(compute=0.0, pause=0.0)
        found = shares(served.load("/mixed", looks=2 * LOOKS), "GET /mixed", ("compute", "pause"))
        true = pytest.approx(spent["compute"] / (spent["compute"] + spent["pause"]), abs=NEAR)
        if of(found, "compute") == true:
            break
    assert of(found, "compute") == true
    assert found["pause", "sleep"] > 0.6 * of(found, "pause")
    assert found["compute", "running"] > 0.5 * of(found, "compute")


def test_a_quick_request_is_seen_at_work_though_it_gives_up_the_gil_only_at_its_end(served: Served) -> None:
    spent = served.scope["spent"]
    spent.update(third=0.0, rest=0.0)
    found = shares(served.load("/quick", looks=4 * LOOKS), "GET /quick", ("third", "rest"))
    true = spent["third"] / (spent["third"] + spent["rest"])
    assert of(found, "third") == pytest.approx(true, abs=NEAR)


def test_who_waits_for_a_lock_does(served: Served) -> None:
    served.load("/lock", clients=4, looks=LOOKS // 2)  # its lane is known then
    found = shares(served.load("/lock", clients=4), "GET /lock", ("app",))
    assert found["app", "lock"] > 0.4
    assert found["app", "sleep"] > 0.1
    assert found["app", "lock"] > found["app", "sleep"]


def test_an_answer_says_where_and_since_when(served: Served) -> None:
    before = time.time()
    profile = served.load("/mixed")
    assert before - 11 < profile["from_s"] < profile["to_s"] <= time.time()
    assert profile["looks"] >= LOOKS
    assert 0.0 < profile["cost_s"] < 1.0
    places = {(function, file) for function, file, _ in profile["frames"]}
    assert ("app", "application.py") in places
    assert not [file for _, file in places if "/vivace/" in file or file.endswith("threading.py")]
    one = merged([profile, profile, {"error": "it has no profiler"}])
    assert one["workers"] == 2
    assert one["looks"] == 2 * profile["looks"]
    assert sum(row[3] for row in one["samples"]) == pytest.approx(2 * sum(row[3] for row in profile["samples"]))


def test_a_request_that_runs_is_told_as_a_tree(served: Served) -> None:
    gone_on: threading.Event = served.scope["gone_on"]
    gone_on.clear()
    section = served.running.server.loop.section
    began_ns = time.monotonic_ns()
    with Client(served.running) as client:
        client.send(request("/hold"))

        def tree() -> Any:
            return next((found for thread, _, _ in section.on_own_threads() if (found := tree_of(thread))), None)

        def tree_of(thread: int) -> Any:
            return served.profiler.tree_of(thread, began_ns)

        until(lambda: (found := tree()) and found[0]["seconds"] > 0.05)
        (root,) = tree()
        assert (root["function"], root["file"]) == ("app", "application.py")
        assert root["line"] == APP.splitlines().index("        gone_on.wait(20)") + 1
        inner = root
        while inner["children"]:
            (inner,) = inner["children"]
        assert set(inner["states"]) <= {"lock", "running", "gil", "other"}
        gone_on.set()
        assert client.read_response().status == 200


def test_it_looks_at_nothing_while_nothing_runs_and_wakes_up_again(served: Served) -> None:
    fetch(served.running)
    until(lambda: served.running.server.loop.monitor.resting)
    began_s = time.time()
    looks = served.told(began_s)["looks"]
    time.sleep(0.1)
    assert served.told(began_s)["looks"] == looks
    assert served.load("/mixed", looks=5)["looks"] >= 5


def test_the_switch_interval_is_as_it_was(served: Served) -> None:
    """While it looks it is another one, for a moment."""
    served.load("/mixed", looks=20)
    until(lambda: sys.getswitchinterval() == pytest.approx(0.0002))


def test_an_interval_that_somebody_sets_meanwhile_stays() -> None:
    profiler = Profiler(Section.private(), Pulse())
    before = sys.getswitchinterval()
    try:

        def sleep(seconds: float) -> None:
            assert sys.getswitchinterval() == pytest.approx(sampling.SHORT_S)
            sys.setswitchinterval(0.003)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", sleep)
            profiler._see_all(0.0)
        assert sys.getswitchinterval() == pytest.approx(0.003)
    finally:
        sys.setswitchinterval(before)


class Pulse:
    """Of no loop."""

    turns = 0
    resting = False
    on_wake = None


def test_where_the_system_gives_no_thread_it_serves_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    profiler = Profiler(Section.private(), Pulse())
    monkeypatch.setattr(threading.Thread, "start", start)
    profiler.begin()
    assert profiler.told({})["samples"] == []
    profiler.end()


def test_a_thread_that_was_not_there_before_and_waits_ever_since_is_seen_by_the_second_look() -> None:
    """It has not run since the first look; but that could not say where it was."""
    section = Section.private()
    profiler = Profiler(section, Pulse())
    profiler.look()
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    try:
        until(lambda: thread.native_id)
        section.enter(b"GET /", thread=thread.native_id or 0, route=section.number_route("GET /"))
        time.sleep(0.05)  # until it waits, at the same place for ever
        for _ in range(2):
            profiler.look()
        assert [name for name, state, _, _ in profiler.told({"since_s": 1.0})["samples"]] == ["GET /"]
    finally:
        gate.set()
        thread.join()
        profiler.end()


def test_one_thread_alone_is_seen_as_well() -> None:
    scope: dict[str, Any] = {}
    exec(compile(APP, "application.py", "exec"), scope)
    with vivace.background(scope["app"], threads=1, access_log=False) as running:
        found = shares(Served(running, scope).load("/mixed", looks=20), "GET /mixed", ("compute", "pause"))
    assert of(found, "compute") > 0.3
    assert of(found, "pause") > 0.02


def test_without_the_setting_there_is_none() -> None:
    with vivace.background(lambda environ, start_response: [], profile=False) as running:
        assert running.server.profiler is None
        assert "profile" not in running.server.plan.topics
