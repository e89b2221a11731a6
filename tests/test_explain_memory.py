"""explain.memory with the worker's side of it (observe.allocations, collecting): what a server under load tells."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest

import vivace
from vivace.explain import memory
from vivace.explain.leaks import FILLING, GROWING, LEAK, STEADY
from vivace.explain.memory import Inquiry, collections_between, completed, summed_up, verdict_on
from vivace.explain.source import function_at, text_at
from vivace.observe import growth, keepers, own
from vivace.observe.desk import ask
from wire import until

Data = dict[str, Any]

KEPT: list[bytes] = []
TREES: list[Any] = []


def remember() -> bytes:
    KEPT.append(bytes(4000) + b"x")  # LEAK
    return b"kept"


@lru_cache(maxsize=10**6)
def page(number: int) -> bytes:
    return bytes(4000) + b"%d" % number


def collect() -> bytes:
    gc.collect()  # COLLECT
    return b"collected"


def app(environ: Data, start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/leak":
        body = remember()
    elif environ["PATH_INFO"] == "/cached":
        body = page(page.cache_info().currsize)[:10]
    elif environ["PATH_INFO"] == "/collect":
        body = collect()
    else:
        body = b"hello"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def line_of(mark: str) -> int:
    with open(__file__, encoding="utf-8") as source:
        return next(number for number, line in enumerate(source, 1) if line.rstrip().endswith("# " + mark))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ten points a second, and looks that pass over what is not of the test; what that keeps goes at the end."""
    monkeypatch.setattr(keepers, "_modules", lambda: [sys.modules[__name__]])
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)  # memory that other tests left free would be used before any is asked for
    monkeypatch.setattr(growth, "PERIOD_S", 0.1)
    monkeypatch.setattr(growth, "COST_MAX", 1e9)
    yield
    KEPT.clear()
    TREES.clear()
    page.cache_clear()
    gc.unfreeze()


LOAD = """
import socket, sys
while True:
    try:
        connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        while True:
            for target in sys.argv[3:]:
                connection.sendall(f"GET {target} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".encode())
                if not connection.recv(65536):
                    raise SystemExit
    except OSError:
        pass
"""


@contextmanager
def loaded(*targets: str, **settings: Any) -> Iterator[Callable[..., dict[int, Data | None]]]:
    """A server that is asked for `targets` in turn as long as the block runs; yields how to ask it questions."""
    with vivace.background(app, keepalive_timeout=0.4, **settings) as server:  # so it ticks ten times a second
        load = subprocess.Popen([sys.executable, "-S", "-c", LOAD, server.host, str(server.port), *targets])
        try:
            until(lambda: server.server.loop.seen)
            yield lambda question, timeout_s, pids=None: ask(_page(), question, timeout_s, pids)
        finally:
            load.kill()
            load.wait()


def _page() -> Any:
    found = own.current()
    assert found is not None
    return found


def served(asked: Callable[..., dict[int, Data | None]], points: int) -> None:
    """Waits until the series has so many points more."""

    def count() -> int:
        return sum(len(answer["series"]) for answer in asked({"ask": "memory"}, 5.0).values() if answer is not None)

    before = count()
    until(lambda: count() >= before + points)


def inquiry(asked: Callable[..., dict[int, Data | None]], points: int = 11, **options: Any) -> Data:
    found = Inquiry(asked)
    found.begin()
    served(asked, points)
    return found.finish(**options)


def test_a_leak_is_named_with_its_line_and_its_keeper() -> None:
    with loaded("/leak", "/") as asked:
        for _ in range(4):  # the first may still find memory that was free already
            told = inquiry(asked, trace_s=0.6)["memory"]
            if told["verdict"] in (LEAK, GROWING):
                break
    assert told["verdict"] in (LEAK, GROWING), told["reason"]
    assert told["requests"] > 200
    trace = told["trace"]
    assert not tracemalloc.is_tracing()
    line = trace["lines"][0]
    assert (line["file"], line["line"], line["function"]) == (__file__, line_of("LEAK"), "remember")
    assert line["text"].startswith("KEPT.append(")
    assert line["growing"]
    assert line["bytes_per_request"] == pytest.approx(2000, rel=0.3), "every second request keeps 4 KB"
    assert [__file__, line_of("LEAK"), "remember"] in line["stack"]
    assert trace["kept_by"][0]["text"].endswith(".KEPT")
    assert trace["kept_by"][0]["holds"] == "bytes"
    assert trace["kept_by"][0]["per_request"] == pytest.approx(0.5, rel=0.3)


def test_more_frames_only_where_a_library_allocates() -> None:
    asked: list[int] = []

    def answers(question: Data, wait_s: float, pids: list[int] | None) -> dict[int, Data | None]:
        asked.append(question["frames"])
        file = __file__ if question["frames"] > 1 else json.__file__
        row = {"file": file, "line": 1, "bytes": 900, "bytes_per_request": 10.0, "parts": [300, 600, 900], "stack": []}
        return {7: {"lines": [row], "requests": 90, "parts": [30, 60, 90], "kept_by": [], "frames": question["frames"]}}

    found = Inquiry(answers)._trace(7, 1.0)
    assert found is not None
    assert (asked, found["lines"][0]["file"]) == ([1, 8], __file__)
    assert Inquiry(lambda *_: {7: {"error": "busy"}})._trace(7, 1.0) is None


def test_growth_that_no_line_confirms() -> None:
    told: Data = {**worker("growing", 500.0), "trace": {"requests": 500, "lines": [], "kept_by": []}}
    memory._weigh(told)
    assert told["verdict"] == "unclear"
    assert "0 bytes a request stayed" in told["reason"]
    few: Data = {**worker("growing", 500.0), "trace": {"requests": 5, "lines": [], "kept_by": []}}
    memory._weigh(few)
    assert few["verdict"] == "growing"
    for seconds, verdict in ((10.0, "growing"), (90.0, "leak")):
        leak: Data = {**worker("leak", 500.0), "trace": {"requests": 500, "lines": [], "kept_by": []}}
        leak["seconds"] = seconds
        memory._weigh(leak)
        assert leak["verdict"] == verdict


def test_a_little_growth_that_nobody_keeps_is_called_a_leak_after_a_longer_look_only() -> None:
    line = {"bytes_per_request": 90.0, "growing": True}
    keeper = {"text": "app.SEEN", "length": 5000, "bound": None, "grew": 500}
    for bytes_per_request, seconds, kept_by, verdict in (
        (90.0, 10.0, [], "growing"),
        (90.0, 90.0, [], "leak"),
        (9000.0, 10.0, [], "leak"),
        (90.0, 10.0, [keeper], "leak"),
    ):
        leak: Data = {**worker("leak", bytes_per_request), "seconds": seconds}
        lines = [{**line, "bytes_per_request": bytes_per_request}]
        leak["trace"] = {"requests": 500, "lines": lines, "kept_by": kept_by}
        memory._weigh(leak)
        assert leak["verdict"] == verdict, (bytes_per_request, seconds)


def test_a_bounded_cache_that_fills_is_no_leak() -> None:
    with loaded("/cached") as asked:
        told = inquiry(asked, trace_s=0.6)["memory"]
    assert told["verdict"] == FILLING, told["reason"]
    assert "of at most 1000000" in told["reason"]


def test_nothing_is_traced_where_nothing_grows() -> None:
    with loaded("/") as asked:
        for _ in range(15):  # other tests have left this process with memory that grows until malloc has settled
            told = inquiry(asked, trace_s=0.3)
            if told["memory"]["verdict"] == STEADY:
                break
    assert told["memory"]["verdict"] == STEADY, told["memory"]["reason"]
    assert told["memory"]["trace"] is None
    assert told["gc"]["tried"] == []


def test_collections_are_told_by_route_and_line_and_what_would_help_is_tried() -> None:
    TREES.extend({"a": [each]} for each in range(30_000))
    thresholds = gc.get_threshold()
    with loaded("/collect", "/") as asked:
        told = inquiry(asked, points=6, try_gc=True, try_s=0.3)["gc"]
    assert gc.get_threshold() == thresholds
    assert told["timed"]
    assert told["share"] > 0.05
    first = told["where"][0]
    assert (first["file"], first["line"], first["function"]) == (__file__, line_of("COLLECT"), "collect")
    assert (first["explicit"], first["generation"], first["route"]) == (True, 2, "GET /collect")
    route = told["routes"]["GET /collect"]
    assert route["per_request"] == pytest.approx(1.0, abs=0.2)
    assert route["longest_s"] >= route["total_s"] / route["count"] > 0.001
    assert told["generations"][2]["count"] >= route["count"] - 1
    assert told["pauses"][0][3] == "GET /collect"
    wider, freeze = told["tried"]
    assert (wider["what"], wider["to"], wider["put_back"]) == ("thresholds", list(memory.WIDE), True)
    assert (freeze["what"], freeze["to"], freeze["put_back"]) == ("freeze", None, False)
    assert "were frozen before" in freeze["note"]
    assert freeze["after"]["s_per_request"] < freeze["before"]["s_per_request"] / 2


def test_without_a_clock_on_collections_there_are_counts() -> None:
    with loaded("/collect", request_timeout=20) as asked:
        told = inquiry(asked, points=2, trace_s=0, try_gc=True)["gc"]
    assert (told["timed"], told["share"], told["tried"], told["where"]) == (False, None, [], [])
    assert told["generations"][2]["count"] > 0


def test_questions_that_make_no_sense() -> None:
    with loaded("/") as asked:
        for question, said in (
            ({"ask": "gc", "try": "magic"}, "'freeze' or 'thresholds'"),
            ({"ask": "gc", "try": "thresholds", "to": [1, 2]}, "three whole numbers"),
            ({"ask": "tracemalloc", "for_s": "long"}, "ValueError"),
        ):
            (answer,) = asked(question, 5.0).values()
            assert answer is not None
            assert said in answer["error"]


def test_one_inquiry_at_a_time() -> None:
    answers: list[Any] = []
    with loaded("/") as asked:
        question = {"ask": "gc", "try": "thresholds", "to": [700, 10, 10], "for_s": 0.4}
        thread = threading.Thread(target=lambda: answers.append(asked(question, 10.0)))
        thread.start()
        until(lambda: "busy" in str(asked({"ask": "memory"}, 5.0)))
        thread.join()
    assert "error" not in str(answers)


# What is pure.


def worker(verdict: str, per_request: float, requests: int = 1000, routes: Data | None = None) -> Data:
    return {
        "verdict": verdict,
        "reason": f"it is {verdict}",
        "bytes_per_request": per_request,
        "bytes_per_s": per_request * 10,
        "routes": routes or {},
        "requests": requests,
        "seconds": 10.0,
    }


def test_the_gravest_worker_counts() -> None:
    leaky = {"GET /": {"bytes_per_request": 100.0}}
    told = summed_up({1: worker("steady", 0.0), 2: worker("leak", 100.0, 3000, leaky), 3: worker("leak", 200.0)})
    assert (told["verdict"], told["reason"], told["requests"]) == ("leak", "it is leak", 5000)
    assert told["bytes_per_request"] == 125.0
    assert told["bytes_per_s"] == 3000.0
    assert told["routes"] == leaky
    assert set(told["workers"]) == {"1", "2", "3"}


def test_what_was_before_counts_where_it_is_longer() -> None:
    def points(first: int, last: int) -> list[list[Any]]:
        return [[at, 10**6, 10**8 + min(at, 60) * 10**6, 0, {"a": at * 100}] for at in range(first, last)]

    assert verdict_on({"series": points(0, 300)}, 280.0)["verdict"] == FILLING, "in 20 s alone it would be steady"
    assert verdict_on({"series": points(0, 40)}, 20.0)["verdict"] == LEAK
    assert verdict_on({"series": points(61, 100)}, 80.0)["verdict"] == STEADY


def test_lines_that_do_not_grow_all_the_time_are_marked() -> None:
    row = {"file": __file__, "line": line_of("LEAK"), "stack": [[__file__, line_of("LEAK")]]}
    rows = [{**row, "bytes": 900, "parts": parts} for parts in ([100, 600, 900], [900, 900, 900], [0, 400, 900])]
    told = completed({"lines": rows, "requests": 90, "parts": [20, 60, 90]}, 1)
    assert [line["growing"] for line in told["lines"]] == [True, False, False]
    ended_early = completed({"lines": [{**row, "bytes": 9, "parts": [9]}], "requests": 9, "parts": [9]}, 1)
    assert not ended_early["lines"][0]["growing"]


def collections(**changes: Any) -> Data:
    none = {"count": 0, "total_s": 0.0, "longest_s": 0.0}
    return {
        "at_s": 100.0,
        "timed": True,
        "enabled": True,
        "thresholds": [700, 10, 10],
        "frozen": 1,
        "objects": 2,
        "requests": 0,
        "routes": {},
        "generations": [dict(none), dict(none), dict(none)],
        "places": [],
        "pauses": [],
        **changes,
    }


def test_only_what_happened_meanwhile_counts() -> None:
    place = ["/a.py", 3, "f", 2, "GET /", False]
    before = collections(
        requests=50,
        routes={"GET /": 50},
        places=[[*place, 5, 2.0, 0.9]],
        generations=[{"count": 9, "total_s": 1.0, "longest_s": 0.9}] * 3,
        pauses=[[90.0, 2, 0.9, "GET /"]],
    )
    now = collections(
        at_s=110.0,
        requests=150,
        routes={"GET /": 150},
        places=[[*place, 15, 3.0, 0.9]],
        generations=[{"count": 9, "total_s": 1.0, "longest_s": 0.9}] * 2
        + [{"count": 19, "total_s": 2.0, "longest_s": 0.9}],
        pauses=[[90.0, 2, 0.9, "GET /"], [105.0, 2, 0.2, "GET /"]],
    )
    told = collections_between({1: before}, {1: now}, 100.0)
    assert (told["seconds"], told["requests"], told["share"]) == (10.0, 100, pytest.approx(0.1))
    assert told["generations"] == [
        {"count": 0, "total_s": 0.0, "longest_s": 0.0},
        {"count": 0, "total_s": 0.0, "longest_s": 0.0},
        {"count": 10, "total_s": 1.0, "longest_s": 0.2},
    ]
    assert told["routes"] == {"GET /": {"count": 10, "total_s": 1.0, "longest_s": 0.2, "per_request": 0.1}}
    assert [(row["file"], row["line"], row["count"]) for row in told["where"]] == [("/a.py", 3, 10)]
    assert told["pauses"] == [[105.0, 2, 0.2, "GET /"]]


def test_places_in_source_files() -> None:
    assert function_at(__file__, line_of("LEAK")) == "remember"
    assert text_at(__file__, line_of("COLLECT")) == "gc.collect()  # COLLECT"
    assert function_at(__file__, 1) == "<module>"
    assert (function_at("/nowhere.py", 1), text_at("/nowhere.py", 1), text_at(__file__, 10**6)) == ("", "", "")
