"""Requests under the deterministic profiler, one at a time, in a server that goes on serving."""

from __future__ import annotations

import marshal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import vivace
from vivace.explain.call_profile import added, as_profile, pstats_file, table
from vivace.worker import call_profile
from vivace.worker.call_counter import CallCounter
from vivace.worker.call_profile import CallProfiles
from wire import fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.embed import background

APP = """
import threading

closed = []

def leaf(number):
    return number * number

def counted():
    return sum([leaf(number) for number in range(100)])

class Body:
    def __init__(self):
        self.left = 3

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return block()

    def close(self):
        closed.append(threading.get_ident())

def block():
    return b"block"

def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/count":
        counted()
        return [b"counted"]
    if path == "/stream":
        return Body()
    if path == "/fail":
        raise KeyError(path)
    return [b"ok"]
"""


@pytest.fixture
def scope() -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(APP, "counted.py", "exec"), found)
    return found


@pytest.fixture(params=["cProfile", "CallCounter"], autouse=True)
def profiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "CallCounter":
        monkeypatch.setattr(call_profile, "make_profile", CallCounter)
    elif sys.version_info >= (3, 12):
        pytest.skip("it counts the calls of all threads")


@pytest.fixture
def server(scope: dict[str, Any]) -> Iterator[background]:
    with vivace.background(scope["app"], threads=4, access_log=False) as running:
        yield running


def told(server: background, path: str, **question: Any) -> dict[str, Any]:
    """What is told when `path` is asked for until there is enough."""
    profiles = CallProfiles(server.server.loop)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(profiles.told, {"for_s": 20, **question})
        while not answer.done():
            fetch(server, path)
        return answer.result()


def calls(answer: dict[str, Any]) -> dict[str, int]:
    return {name: count for _, _, name, _, count, *_ in answer["functions"]}


def test_calls_are_counted_in_as_many_requests_as_asked(server: background) -> None:
    answer = told(server, "/count", route="/count", count=3)
    assert len(answer["requests"]) == 3
    found = calls(answer)
    assert (found["app"], found["counted"], found["leaf"]) == (3, 3, 300)
    callers = {name: [row[2] for row in rows] for _, _, name, _, _, _, _, rows in answer["functions"]}
    assert callers["counted"] == ["app"]


def test_afterwards_nothing_of_it_is_left(server: background, scope: dict[str, Any]) -> None:
    loop = server.server.loop
    assert told(server, "/count", count=1)["requests"]
    assert loop.plan.app is scope["app"]
    assert loop.app is scope["app"]
    assert loop.prepare is None
    fetch(server, "/count")
    until(lambda: loop.fast)


def test_what_is_iterated_over_is_counted_as_well_and_closed(server: background, scope: dict[str, Any]) -> None:
    answer = told(server, "/stream", count=2)
    assert calls(answer)["block"] == 6
    assert calls(answer)["close"] == 2
    assert len(scope["closed"]) >= 2
    assert fetch(server, "/stream").body == b"blockblockblock"


def test_a_failure_ends_its_request_and_no_other(server: background) -> None:
    answer = told(server, "/fail", count=2)
    assert len(answer["requests"]) == 2
    assert fetch(server, "/count").body == b"counted"


def test_other_routes_run_without_it(server: background) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(CallProfiles(server.server.loop).told, {"route": "/count", "count": 1, "for_s": 0.2})
        while not answer.done():
            assert fetch(server, "/else").body == b"ok"
    assert answer.result()["requests"] == []


def test_one_question_at_a_time(server: background) -> None:
    profiles = CallProfiles(server.server.loop)
    waiting = threading.Thread(target=profiles.told, args=({"count": 1, "for_s": 20},))
    waiting.start()
    until(lambda: server.server.loop.plan.app is profiles)
    assert "one at a time" in profiles.told({})["error"]
    fetch(server)
    waiting.join()


def test_own_time_and_that_of_callees_and_of_a_recursion() -> None:
    counter = CallCounter()

    def rest(depth: int) -> None:
        time.sleep(0.005)
        if depth:
            rest(depth - 1)

    def all_of_it() -> int:
        rest(2)
        return 7

    assert counter.runcall(all_of_it) == 7
    with pytest.raises(ZeroDivisionError):
        counter.runcall(lambda: 1 // 0)
    counter.create_stats()
    found = {function[2]: row for function, row in counter.stats.items()}
    assert found["rest"][:2] == (1, 3)
    assert found["rest"][3] == pytest.approx(found["all_of_it"][3], rel=0.2)
    assert found["rest"][3] >= 0.015 > 0.005 > found["rest"][2]
    assert found["<time.sleep>"][1] == 3
    assert found["<lambda>"][1] == 1


# What is made of it.

APP_F, LEAF_F, OTHER_F = ["a.py", 1, "app"], ["a.py", 9, "leaf"], ["b.py", 5, "other"]
FUNCTIONS = [
    [*APP_F, 1, 1, 1.0, 10.0, []],
    [*OTHER_F, 1, 1, 3.0, 6.0, [[*APP_F, 1, 1, 3.0, 6.0]]],
    [*LEAF_F, 4, 4, 6.0, 6.0, [[*APP_F, 2, 2, 3.0, 3.0], [*OTHER_F, 2, 2, 3.0, 3.0]]],
]


def test_workers_add_up_to_what_pstats_reads() -> None:
    stats = marshal.loads(pstats_file(added([FUNCTIONS, FUNCTIONS])))
    assert stats["a.py", 9, "leaf"][:4] == (8, 8, 12.0, 12.0)
    assert stats["a.py", 9, "leaf"][4]["b.py", 5, "other"] == (4, 4, 6.0, 6.0)


def test_the_picture_divides_a_function_among_its_callers() -> None:
    stats = added([FUNCTIONS])
    profile = as_profile(stats, [10.0], "GET /")
    names = [frame[0] for frame in profile["frames"]]
    found = {tuple(names[frame] for frame in profile["stacks"][row[2]]): row[3] for row in profile["samples"]}
    assert found == {
        ("app",): 1.0,
        ("app", "other"): 3.0,
        ("app", "leaf"): pytest.approx(3.0),
        ("app", "other", "leaf"): pytest.approx(3.0),
    }
    assert "app  a.py:1" in table(stats, [10.0])
