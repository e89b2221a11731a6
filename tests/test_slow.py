"""connection.slow, observe.slow and `vivace slow`: which requests are slow, and what is told of them, by whom."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from command import Command
from vivace import background
from vivace.cli.main import main
from vivace.cli.slow import Options, text_of
from vivace.connection import slow
from vivace.connection.slow import COUNT_MIN, KEPT_MAX, NODES_MAX, ROUTE_KEPT_MAX, SlowRequests, smaller, states_of
from vivace.errors import SettingError
from vivace.observe import own
from vivace.observe.histogram import bucket_of
from vivace.observe.layout import R_COUNT, R_HIGH, R_LOW
from vivace.observe.page import Page
from vivace.observe.section import Section
from vivace.observe.slow import slow_requests
from wire import TIMEOUT_S, fetch, until

NS = 10**9


def node(seconds: float, *children: dict[str, Any], name: str = "f", **states: float) -> dict[str, Any]:
    return {
        "function": name,
        "file": "app.py",
        "line": 1,
        "seconds": seconds,
        "states": states,
        "children": [*children],
    }


class Rig:
    """Slow requests of a loop that there is not."""

    def __init__(self, slow_s: float = 1.0, *, by_route: bool = False) -> None:
        self.collector = SimpleNamespace(timed=True, pauses=deque())
        self.section = Section.private()
        self.slow = SlowRequests(self, slow_s, by_route=by_route)  # type: ignore[arg-type]
        self.number = self.section.number_route("GET /a")

    def note(self, response_s: float, ended_s: float = 1000.0, number: int = 0, **more: Any) -> None:
        times = [int(part * NS) for part in (response_s, 0.1, 0.0, 0.2, 0.3, 0.1, response_s - 0.2)]
        row = SimpleNamespace(
            **{"request_id": "id-1", "client": "192.0.2.1", "lane": 1, "thread": 7, **more},
            started=50.0,
            returned=50.0 + response_s - 0.2,
            done=50.0 + response_s - 0.1,
        )
        self.slow.note(int(ended_s * NS), times, 200, number or self.number, "GET /a?b", row)  # type: ignore[arg-type]

    def finished(self, route: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.slow.told({"route": route})["finished"]
        return found

    def count(self, *times_s: float) -> None:
        counts, histogram = self.section.route_counts(self.number), self.section.histogram(self.number)
        for time_s in times_s:
            bucket = bucket_of(time_s)
            histogram[bucket] += 1
            counts[R_COUNT] += 1
            counts[R_LOW] = min(counts[R_LOW] or bucket, bucket)
            counts[R_HIGH] = max(counts[R_HIGH], bucket + 1)


def test_what_is_kept_of_one() -> None:
    rig = Rig()
    asked: list[tuple[int, int, int]] = []

    def tree_of(*arguments: int) -> list[dict[str, Any]]:
        asked.append(arguments)
        return [node(1.0, node(0.75, sleep=0.5, gil=0.25), running=0.25)]

    rig.slow.tree_of = tree_of
    rig.collector.pauses += [(999.0, 2, 5.0, 0), (999.5, 2, 0.25, 0), (1000.5, 1, 1.0, 0)]
    rig.note(2.2)
    [told] = rig.finished()
    assert asked == [(7, 50 * NS, 52 * NS)]
    assert told["request"] == "GET /a?b"
    assert (told["request_id"], told["client"], told["lane"]) == ("id-1", "192.0.2.1", "pool")
    assert (told["response_s"], told["queued_s"], told["blocked_s"], told["application_s"]) == (2.2, 0.1, 0.3, 2.0)
    assert (told["by"], told["limit_s"], told["status"], told["ended_s"]) == ("slow_request", 1.0, 200, 1000.0)
    assert told["states"] == {"running": 0.25, "sleep": 0.5, "gil": 0.25}
    assert (told["gil_s"], told["ready_s"]) == (pytest.approx(0.5), pytest.approx(0.3))  # it computed 0.2 of 0.5
    # It ran from 997.9: what held it up before and after is not its own.
    assert told["gc_s"] == pytest.approx(1.1 + 0.25 + 0.5)
    assert json.loads(json.dumps(told)) == told


def test_what_is_not_known_is_none() -> None:
    rig = Rig()
    rig.collector.timed = False
    rig.note(2.0)
    [told] = rig.finished()
    assert (told["gc_s"], told["gil_s"] or told["ready_s"], told["states"], told["tree"]) == (None, None, {}, [])


def test_so_many_are_kept_the_last_one_first() -> None:
    rig = Rig()
    for number in range(KEPT_MAX + 5):
        rig.note(2.0, float(number))
    assert [told["ended_s"] for told in rig.finished()] == [float(n) for n in range(KEPT_MAX + 4, 4, -1)]
    assert rig.finished("GET /b") == []
    assert len(rig.finished("GET /a")) == KEPT_MAX


def test_under_overload_the_profiler_is_asked_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    now = [100.0]
    monkeypatch.setattr(slow, "clock", lambda: now[0])
    asked: list[int] = []
    rig.slow.tree_of = lambda thread, began, ended: asked.append(thread) or []  # type: ignore[func-returns-value]
    for _ in range(50):
        rig.note(2.0)
    assert len(asked) == slow.TREES_MAX
    now[0] += 1.0
    rig.note(2.0)
    assert len(asked) == slow.TREES_MAX + 1


def test_slower_than_its_route() -> None:
    rig = Rig(by_route=True)
    rig.count(*[0.01] * (COUNT_MIN - 2))
    rig.slow.renew(10.0)
    assert not rig.slow.is_slow(0.5, rig.number), "too few are known"
    rig.count(0.02, 0.2)
    rig.slow.renew(10.5)
    assert not rig.slow.is_slow(0.5, rig.number), "not so soon"
    rig.slow.renew(11.0)
    assert rig.slow.is_slow(0.5, rig.number)
    assert not rig.slow.is_slow(0.0099, rig.number)
    rig.note(0.5)
    assert not rig.slow.is_slow(0.5, rig.number), "one at a time"
    [told] = rig.finished()
    assert (told["by"], told["limit_s"]) == ("p99", pytest.approx(0.01, rel=0.01))
    for at in range(12, 20):
        rig.slow.renew(at)
        rig.note(0.5, float(at))
    assert len(rig.finished()) == ROUTE_KEPT_MAX
    rig.count(*[1.0] * 100)
    rig.slow.renew(30.0)
    assert not rig.slow.is_slow(0.5, rig.number), "the route has become slower"


def test_without_that_the_route_does_not_matter() -> None:
    rig = Rig()
    rig.count(*[0.01] * COUNT_MIN)
    rig.slow.renew(10.0)
    assert not rig.slow.is_slow(0.5, rig.number)


def test_a_tree_stays_small() -> None:
    small = [node(1.0, node(0.5, sleep=0.5), running=0.5)]
    assert smaller(small) is small
    assert states_of(small) == {"sleep": 0.5, "running": 0.5}
    wide = [node(500.5, *[node(float(n), name=str(n)) for n in range(500)])]
    assert [child["function"] for child in smaller(wide)[0]["children"]] == [str(n) for n in range(351, 500)]
    assert NODES_MAX == 150
    deep = node(1.0)
    for _ in range(500):
        deep = node(1.0, deep)
    depth = 0
    [left] = smaller([deep])
    while left["children"]:
        [left] = left["children"]
        depth += 1
    assert depth == slow.DEPTH_MAX


# A server.

GATE = threading.Event()


def gated(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/gate":
        assert GATE.wait(TIMEOUT_S)
    if environ["PATH_INFO"] == "/garbage":
        kept = [[] for _ in range(10000)]  # so that a collection takes a while
        gc.collect()
        kept.clear()
        time.sleep(0.03)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[background, Page]]:
    monkeypatch.setattr(own, "_page", None)
    GATE.clear()
    options = {"slow_request": "20ms", "request_id": "on", "log_level": "critical"}
    with background(gated, threads=getattr(request, "param", 8), **options) as server:
        page = own.current()
        assert page is not None
        yield server, page
        GATE.set()
    page.close()


@pytest.mark.parametrize("served", [1, 8], ids=["1 thread", "8 threads"], indirect=True)
def test_one_that_runs_and_then_has_ended(served: tuple[background, Page]) -> None:
    server, page = served
    client = threading.Thread(target=fetch, args=(server, "/gate?x=1"))
    client.start()
    [runs] = until(
        lambda: [row for row in slow_requests(page, TIMEOUT_S)["running"] if row["states"] and row["age_s"] > 0.05]
    )
    assert runs["request"] == "GET /gate?x=1"
    assert (runs["route"], runs["client"], runs["pid"]) == ("GET /gate", "127.0.0.1", os.getpid())
    assert runs["phase"] == "in the application, before start_response"
    assert runs["waits"]
    assert len(runs["request_id"]) == 32
    assert any("gated" in one["function"] for one in runs["tree"])
    assert slow_requests(page, TIMEOUT_S, "GET /other")["running"] == []
    GATE.set()
    client.join()
    [ended] = until(lambda: slow_requests(page, TIMEOUT_S)["finished"])
    assert slow_requests(page, TIMEOUT_S)["running"] == []
    assert ended["request_id"] == runs["request_id"]
    assert ended["request"] == "GET /gate?x=1"
    assert ended["response_s"] > 0.05
    assert set(ended["states"]) & {"lock", "other", "sleep"}
    assert any("gated" in one["function"] for one in ended["tree"])
    assert len(slow_requests(page, TIMEOUT_S)["finished"]) == 1, "the page says the same of it"


def test_collections_that_held_it_up(served: tuple[background, Page]) -> None:
    server, page = served
    fetch(server, "/garbage")
    [ended] = until(lambda: slow_requests(page, TIMEOUT_S)["finished"])
    assert 0 < ended["gc_s"] < ended["response_s"]


def test_looking_at_the_loop_keeps_nothing_of_its_request() -> None:
    """Up to CPython 3.12 a frame that was looked at keeps its variables."""
    from vivace.connection.passage import _locals

    class Held:
        pass

    def turn(held: Any) -> Any:
        frame = __import__("sys")._getframe()
        assert _locals(frame)["held"] is held
        return frame

    import weakref

    held = Held()
    known = weakref.ref(held)
    frame = turn(held)
    del held
    frame.clear()
    assert known() is None


# The command.


@pytest.mark.parametrize("threads", ["1", "8"])
def test_the_command_shows_both(tmp_path: Any, threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text(
        "import time\n"
        "def application(environ, start_response):\n"
        "    time.sleep(float(environ['QUERY_STRING'] or 0))\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    arguments = ("-w", "1", "--threads", threads, "--slow-request", "50ms", "--bind", "127.0.0.1:0")
    with Command("app", *arguments, cwd=tmp_path) as command:

        def shown(*more: str) -> str:
            assert main(["slow", str(command.process.pid), *more]) == 0
            return capsys.readouterr().out

        fetch(command, "/a?0.2")
        until(lambda: "ENDED (1)" in shown())
        client = threading.Thread(target=fetch, args=(command, "/b?2"))
        client.start()
        text = until(lambda: "RUNNING (1)" in (said := shown()) and said)
        assert "GET /a?0.2  200" in text
        assert "application (" in text
        assert "GET /a" not in shown("--running")
        found = json.loads(shown("--json", "--route", "GET /b", "--limit", "3"))
        assert [row["request"] for row in found["running"]] == ["GET /b?2"]
        assert found["finished"] == found["silent"] == []
        assert found["slow_s"] == 0.05
        # A worker that is stopped is shown as the page has it.
        pid = found["running"][0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        page_says = slow_page(command.process.pid)
        os.kill(pid, signal.SIGCONT)
        assert page_says["silent"] == [pid]
        assert [row["route"] for row in page_says["running"]] == ["GET /b"]
        assert [(row["request"], row["pid"], row["tree"]) for row in page_says["finished"]] == [("GET /a?0.2", pid, [])]
        assert text_of(page_says, 1)
        client.join()


def slow_page(pid: int) -> dict[str, Any]:
    from vivace.supervisor.find import find_server

    page = find_server(str(pid))
    try:
        return slow_requests(page, 0.1)
    finally:
        page.close()


@pytest.mark.parametrize("arguments", [["--limit", "x"], ["--none"], ["1", "2"], ["--route"]])
def test_what_makes_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SettingError):
        Options(arguments)


def test_text() -> None:
    row: dict[str, Any] = {
        **dict.fromkeys(("request_id", "client", "gc_s", "gil_s", "ready_s"), None),
        "request": "GET /a",
        "route": "GET /a",
        "status": 200,
        "lane": "pool",
        "ended_s": 0.0,
        "response_s": 1.5,
        "by": "p99",
        "limit_s": 1.0,
        "pid": None,
        "states": {"sleep": 1.0, "gil": 0.5},
        "tree": [node(1.5, sleep=1.5)],
        **{f"{part}_s": 0.3 for part in ("queued", "body", "cpu", "send", "application")},
        "blocked_s": 0.0,
    }
    found = {"slow_s": None, "by_route": True, "sampled": False, "silent": [], "running": []}
    close = {**row, "gil_s": 0.2, "ready_s": 0.01, "gc_s": 0.1, "by": "slow_request", "cpu_s": 0.1, "blocked_s": 0.2}
    lines = text_of({**found, "finished": [row, close]}, 5)
    text = "\n".join(lines)
    assert "no limit is set" in lines[0]
    assert "a worker that has ended" in text
    assert "99 of 100 of its route take less than 1.00 s" in text
    assert "of 1.50 s that were seen: sleep 67%, gil 33%" in text
    assert "queued 300 ms, its body 300 ms, in the application 300 ms, sending 300 ms" in text
    assert "computing 100 ms, waiting 200 ms (200 ms for the GIL), sending 300 ms" in text
    assert "collections of garbage: 100 ms" in text
    assert "1.5 s  f (app.py:1)  sleep 1.5 s" in text
    assert "does not profile" in lines[-1]
    runs = {"request": "GET /b", "age_s": 3.0, "queued_s": None, "phase": "", "at": None, "waits": ""}
    lines = text_of({**found, "running": [{**row, **runs}]}, 5)
    assert lines[1] == "RUNNING (1)"
    assert "held up" in lines[3]
