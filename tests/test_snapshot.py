"""observe.snapshot and observe.comparison: what is counted is shown, and never taken back."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import Command
from vivace.embed import background
from vivace.observe.histogram import binned
from vivace.observe.layout import (
    APPLICATION,
    H_SUPERVISED,
    QUEUED,
    R_1XX,
    R_BLOCKED_NS,
    R_COUNT,
    R_CPU_NS,
    R_HIGH,
    R_LAST_NS,
    R_SUM_NS,
    ROUTES,
    S_CONNECTIONS,
    S_MEASURES,
    S_NOW,
    S_PID,
    S_STARTED,
    S_THREADS_MAX,
    S_TICKED,
    W_CLOSED,
    W_REFUSED_5XX,
)
from vivace.observe.page import Page, page_of
from vivace.observe.snapshot import between, from_json, take
from vivace.supervisor.find import find_server
from wire import Client, fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from vivace.observe.section import Section


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page.create(4)
    page.words[H_SUPERVISED] = 1
    yield page
    page.close()


def begin(page: Page, place: int, pid: int = 0) -> Section:
    """A worker of this process begins to serve in `place`, as the supervisor and the loop write it."""
    section = page.section(place)
    section.clear()
    words = section.words
    words[S_STARTED] = words[S_TICKED] = time.monotonic_ns()
    words[S_PID], words[S_MEASURES], words[S_THREADS_MAX] = pid or os.getpid(), 1, 8
    return section


def count(section: Section, name: str, times: Sequence[float], status: int = 2, cpu_share: float = 0.25) -> None:
    """Requests of one route that took `times`, counted as the tally does."""
    number = section.number_route(name)
    counts = section.route_counts(number)
    histogram = section.histogram(number)
    for bucket, found in binned(array("f", times)).items():
        histogram[bucket] += found
        counts[R_HIGH] = max(counts[R_HIGH], bucket + 1)
    counts[R_COUNT] += len(times)
    counts[R_SUM_NS] += int(sum(times) * 1e9)
    counts[R_CPU_NS] += int(sum(times) * 1e9 * cpu_share)
    counts[R_BLOCKED_NS] += int(sum(times) * 1e9 * (1 - cpu_share))
    counts[R_1XX + status - 1] += len(times)
    counts[R_LAST_NS] = time.time_ns()


def exact(times: list[float], share: float) -> float:
    """The time that `share` of all does not exceed."""
    return sorted(times)[max(0, -(-int(share * len(times) * 1000) // 1000) - 1)]


def test_percentiles_are_the_exact_ones_to_within_one_percent(page: Page) -> None:
    chance = random.Random(4)
    section = begin(page, 0)
    older = None
    for scale in (1e-4, 3e-2, 2.0):  # each look sees the requests since the last one, and no others
        times = [chance.lognormvariate(0, 1.2) * scale for _ in range(20_000)]
        count(section, "GET /a", times[:5_000])
        count(begin(page, 1), "GET /b", times[5_000:])
        newer = take(page)
        found = between(older, newer)
        for key, share in (("p50_s", 0.5), ("p90_s", 0.9), ("p99_s", 0.99), ("p999_s", 0.999)):
            assert found[key] == pytest.approx(exact(times, share), rel=0.01), key
        assert found["count"] == 20_000
        assert found["routes"]["GET /a"]["p50_s"] == pytest.approx(exact(times[:5_000], 0.5), rel=0.01)
        older = newer


def test_a_route_has_one_name_and_many_numbers(page: Page) -> None:
    first, second = begin(page, 0), begin(page, 1)
    count(first, "GET /a", [0.001] * 3)
    count(first, "GET /b", [0.002] * 2)
    count(second, "GET /b", [0.002] * 5, status=5)
    routes = take(page)["routes"]
    assert {name: route["count"] for name, route in routes.items()} == {"GET /a": 3, "GET /b": 7}
    assert routes["GET /b"]["status"] == {"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 0, "5xx": 5}
    assert sum(routes["GET /b"]["buckets"].values()) == 7


def test_what_a_worker_counted_stays_when_it_is_gone_and_its_place_is_taken(page: Page) -> None:
    section = begin(page, 2)
    count(section, "GET /a", [0.001] * 3)
    section.words[S_CONNECTIONS] = 4
    section.words[W_CLOSED] = 6
    section.words[W_REFUSED_5XX] = 2
    alive = take(page)
    section.words[S_PID] = 0
    dead = take(page)
    section = begin(page, 2)
    again = take(page)
    assert [row["place"] for row in alive["workers"]] == [2]
    assert dead["workers"] == []
    for later in (dead, again):
        assert later["totals"]["accepted"] == alive["totals"]["accepted"] == 10
        assert later["totals"]["requests"] == alive["totals"]["requests"] == 3
        assert later["totals"]["refused_5xx"] == 2
        assert later["routes"] == alive["routes"]
    assert again["totals"]["lost"] == 4
    assert again["workers"][0]["connections"] == 0


def test_places_that_were_never_used_are_not_touched(page: Page) -> None:
    count(begin(page, 0), "GET /a", [0.001])
    before = os.fstat(page.fd).st_blocks
    take(page)
    take(page)
    assert (os.fstat(page.fd).st_blocks - before) * 512 < 200_000  # of 4 times 8 MiB


def test_without_an_older_one_it_is_since_the_start_and_so_for_another_server(page: Page) -> None:
    count(begin(page, 0), "GET /a", [0.5] * 4)
    newer = take(page)
    newer["server"]["age_s"] = 8.0
    assert between(None, newer)["rate"] == 0.5
    other = json.loads(json.dumps(newer))
    other["server"]["pid"] += 1
    other["totals"]["requests"] = 1
    assert between(other, newer)["rate"] == 0.5
    assert between(newer, newer)["rate"] == 0.0


def test_a_snapshot_survives_json(page: Page) -> None:
    section = begin(page, 0)
    count(section, "GET /a", [0.5] * 4)
    section.add_error(section.number_route("GET /a"), b"Traceback")
    snapshot = take(page)
    assert from_json(json.dumps(snapshot)) == snapshot
    assert [(row["route"], row["text"]) for row in snapshot["errors"]] == [("GET /a", "Traceback")]
    assert between(None, from_json(json.dumps(snapshot)))["p50_s"] == pytest.approx(0.5, rel=0.01)


def test_rates_are_those_from_tick_to_tick(page: Page) -> None:
    section = begin(page, 0)
    count(section, "GET /a", [0.001] * 10)
    older = take(page)
    count(section, "GET /a", [0.001] * 100)
    newer = take(page)
    # Looks at 10.9 and 12.1 s; ticks, at which it was counted, at 10.0 and 12.0 s.
    older["monotonic_s"], newer["monotonic_s"] = 10.9, 12.1
    older["workers"][0]["ticked_s"], newer["workers"][0]["ticked_s"] = 0.9, 0.1
    assert between(older, newer)["rate"] == pytest.approx(50.0)
    older["workers"][0]["ticked_s"] = 7.9  # it slept: nothing was there to count
    assert between(older, newer)["rate"] == pytest.approx(100 / 1.2)


# The verdict.


def verdict(page: Page) -> str:
    text: str = between(None, take(page))["verdict"]
    assert "\n" not in text
    return text


def test_the_verdict_says_what_the_time_is_spent_on(page: Page) -> None:
    section = begin(page, 0)
    assert verdict(page) == "idle; 0 of 8 threads busy"
    for thread in (0, 11, 12, 13):
        section.enter(b"GET /a", APPLICATION if thread else QUEUED, section.number_route("GET /a"), thread)
    count(section, "GET /a", [0.1] * 10, cpu_share=0.29)
    assert verdict(page) == "waiting for I/O, locks or sleep: 71%; 3 of 8 threads busy; queue 0.0 ms"
    count(section, "GET /b", [1.0] * 10, cpu_share=1.0, status=5)
    assert verdict(page).startswith("computing: 9")
    assert "server errors/s" in verdict(page)


def test_the_verdict_names_the_waits_that_the_kernel_saw(page: Page) -> None:
    section = begin(page, 0)
    count(section, "GET /a", [0.1] * 10)
    snapshot = take(page)
    snapshot["workers"][0]["system"] |= {"waits": {"io": 0.71, "running": 0.29}, "in_request": 2.0}
    assert between(None, snapshot)["verdict"].startswith("workers wait for I/O: 71%;")


def test_what_is_not_known_is_said_so(page: Page) -> None:
    assert verdict(page) == "no worker serves"
    page.note = "SyntaxError in app.py"
    assert verdict(page) == "no worker serves: SyntaxError in app.py"
    section = begin(page, 0)
    section.words[S_MEASURES] = section.words[S_THREADS_MAX] = 0
    assert "measures nothing" in verdict(page)
    section.words[S_PID] = 2**22 + 1  # no process has this number
    figures = between(None, take(page))
    assert figures["workers"][0]["cpu"] is figures["cpu"] is figures["busy_share"] is None
    assert figures["workers"][0]["gil_wait_s"] is figures["workers"][0]["lag_s"] is None


def test_a_loop_that_does_not_turn_is_stuck_and_one_that_sleeps_is_not(page: Page) -> None:
    section = begin(page, 0)
    section.words[S_TICKED] = time.monotonic_ns() - 20 * 10**9
    assert not between(None, take(page))["workers"][0]["stuck"], "nothing was asked of it"
    section.words[S_CONNECTIONS] = 1
    assert "has not turned its loop for 20 s" in verdict(page)
    section.words[S_NOW] = section.number_route("GET /loop")
    assert verdict(page).startswith("STUCK: process")
    assert "GET /loop" in verdict(page)
    section.words[S_THREADS_MAX] = 1
    assert not between(None, take(page))["workers"][0]["stuck"], "with one thread a request may take its time"


# Real servers.


def test_a_server_in_this_process_shows_what_its_clients_see() -> None:
    go = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/held":
            go.wait(10)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with background(app) as server:
        page = page_of(os.getpid())
        assert page is not None
        before = take(page)
        for _ in range(20):
            fetch(server.url, "/quick")
        with Client(server.url) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            [held] = until(lambda: [row for worker in take(page)["workers"] for row in worker["in_progress"]])
            assert (held["route"], held["phase"]) == ("GET /held", "application")
            until(lambda: take(page)["routes"].get("GET /quick", {}).get("count", 0) >= 20)
            figures = between(before, take(page))
            assert (figures["in_flight"], figures["threads_busy"], figures["queued"]) == (1, 1, 0)
            go.set()
            client.read_response()
        until(lambda: "GET /held" in take(page)["routes"])
        until(lambda: take(page)["totals"]["accepted"] == before["totals"]["accepted"] + 21)
        after = take(page)
        assert after["server"]["pid"] == os.getpid()
        assert not after["server"]["supervised"]
        assert after["workers"][0]["system"]["memory_bytes"] > 1 << 20
        page.close()


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_counters_never_go_back_over_a_death_and_a_reload(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", "--workers", "2", cwd=tmp_path) as command:
        url = command.url
        page = find_server(str(command.process.pid))
        seen = [take(page)]

        def ask() -> None:
            for _ in range(10):
                fetch(url, "/")

        def counted(total: int) -> dict[str, Any]:
            seen.append(until(lambda: (now := take(page))["totals"]["requests"] >= total and now))
            return seen[-1]

        ask()
        workers = [row["pid"] for row in counted(10)["workers"]]
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: seen.append(take(page)) or workers[0] not in [row["pid"] for row in seen[-1]["workers"]])
        ask()
        assert counted(20)["server"]["deaths"] == 1
        command.send_signal(signal.SIGHUP)
        until(lambda: seen.append(take(page)) or seen[-1]["server"]["generation"] == 2)
        ask()
        counted(30)
        page.close()
    for older, newer in itertools.pairwise(seen):
        assert newer["totals"]["requests"] >= older["totals"]["requests"]
        assert newer["totals"]["accepted"] >= older["totals"]["accepted"]
        for name, route in older["routes"].items():
            assert newer["routes"][name]["count"] >= route["count"]
    assert seen[-1]["routes"]["GET /"]["status"]["2xx"] == seen[-1]["totals"]["requests"] == 30


def test_a_server_in_this_process_has_room_for_its_routes_whatever_those_before_it_had() -> None:
    for number in range(3):
        with background(lambda environ, start_response: [], threads=1) as server:
            section = server.server.loop.section
            for route in range(ROUTES // 2 - 2):  # what `has_room` promises
                assert section.number_route(f"GET /{number}/{route}") < ROUTES - 2, (number, route)
