"""vivace top, without a terminal: numbers, tables, screens of any size, keys."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vivace.cli.top_keys import HELP, SORTS, View, press
from vivace.cli.top_route import distribution
from vivace.cli.top_text import bar, clean, clip, folded, rate, shared_out, size, span, table
from vivace.cli.top_view import report, routes_of, screen
from vivace.observe.comparison import between
from vivace.observe.histogram import bucket_of
from vivace.observe.page import Page
from vivace.observe.reasons import REASONS
from vivace.observe.snapshot import take


def a_route(times: list[float], **more: Any) -> dict[str, Any]:
    buckets: dict[int, int] = {}
    for seconds in times:
        buckets[bucket_of(seconds)] = buckets.get(bucket_of(seconds), 0) + 1
    spent_s = sum(times)
    return {
        "count": len(times),
        "sum_s": spent_s,
        "queued_s": 0.1 * spent_s,
        "body_s": 0.0,
        "cpu_s": 0.2 * spent_s,
        "blocked_s": 0.7 * spent_s,
        "send_s": 0.0,
        "bytes_in": 0,
        "bytes_out": 100 * len(times),
        "status": {"1xx": 0, "2xx": len(times), "3xx": 0, "4xx": 0, "5xx": 0},
        "gone": 0,
        "inline": len(times),
        "pool": 0,
        "heavy": 0,
        "lane": "inline",
        "max_s": max(times),
        "last_s": 1e9,
        "buckets": buckets,
        **more,
    }


def a_worker(place: int, **more: Any) -> dict[str, Any]:
    counters = {"refused_4xx": 0, "refused_5xx": 0, "overtakes": 0, "gil_looks": 0, "gil_late_s": 0.0, "lost": 0}
    return {
        "place": place,
        "pid": 4000 + place,
        "generation": 1,
        "state": "serving",
        "age_s": 60.0,
        "ticked_s": 0.5,
        "requests": 600,
        "connections": 7,
        "threads_busy": 3,
        "threads": 4,
        "threads_max": 8,
        "queued": 2,
        "in_flight": 1,
        "turns": 1,
        "route": "",
        **counters,
        "lag_looks": 0,
        "lag_s": 0.0,
        "lag_buckets": {},
        "collections": [0, 0, 0],
        "collecting_s": [0.0, 0.0, 0.0],
        "closed": dict.fromkeys(REASONS, 0),
        "in_progress": [
            {"request": f"GET /db?{place} from 10.0.0.1", "age_s": 1.25, "phase": "queued", "route": "GET /db"}
        ],
        "system": {"process_state": "S", "cpu_user_s": 30.0, "cpu_system_s": 15.0, "memory_bytes": 20 << 20},
        **more,
    }


def a_snapshot(workers: int = 2, routes: int = 3) -> dict[str, Any]:
    """As `take` gives it."""
    page = Page.create(1)
    found = take(page)
    page.close()
    found["server"] |= {"age_s": 60.0, "state": "serving", "supervised": True, "measures": True, "target": workers}
    found["workers"] = [a_worker(place) for place in range(workers)]
    found["routes"] = {f"GET /{'abcdefgh'[at % 8]}{at}": a_route([0.001 * (at + 1)] * 60) for at in range(routes)}
    found["totals"] |= {"requests": 60 * routes}
    times = {f"{part}_s": 0.1 for part in ("queued", "body", "cpu", "send", "application")}
    row = {"ended_s": 1e9, "request": "GET /slow", "route": "GET /a0", "status": 200, "worker": 1}
    found["slow"] = [{**row, **times, "response_s": 2.0, "blocked_s": 1.5}]
    return found


def text_of(view: View, snapshot: dict[str, Any], width: int = 80, height: int = 24, note: str = "") -> str:
    return "\n".join(text for _, text in screen(view, snapshot, between(None, snapshot), width, height, note))


# Words and numbers.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0, "0 ms"),
        (0.0000123, "0.01 ms"),
        (0.00234, "2.34 ms"),
        (0.0999, "99.9 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.00 s"),
        (12.34, "12.3 s"),
        (99.96, "100 s"),
        (7200, "2 h"),
        (864000, "10 d"),
    ],
)
def test_lengths_of_time_fit_their_column(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
    assert len(text) <= 7


def test_other_numbers() -> None:
    assert [rate(value) for value in (None, 0, 0.001, 1.5, 1234.5, 2.5e6)] == [
        "?",
        "0",
        "<0.01",
        "1.50",
        "1,234",
        "2.50M",
    ]
    assert [size(value) for value in (None, 12, 2048, 45 << 20, 3 << 30)] == [
        "?",
        "12 B",
        "2.00 kB",
        "45.0 MB",
        "3.00 GB",
    ]
    assert [bar(share, 10) for share in (0, 0.001, 0.5, 2)] == ["", "#", "#####", "#" * 10]


def test_what_would_drive_the_terminal_is_made_harmless() -> None:
    assert clean("GET /\x1b[2J\x9b2J\r\n\u202e\u4e2d\u0301 \xe4") == "GET /?[2J?2J????? \xe4"
    snapshot = a_snapshot()
    snapshot["routes"] = {"GET /\x1b]0;x\x07": a_route([0.1])}
    snapshot["workers"][0]["in_progress"][0]["request"] = "GET /\x1b[31m"
    snapshot["server"]["note"] = "\x1b[5m"
    figures = between(None, snapshot)
    for view in (View(), View(route="GET /\x1b]0;x\x07")):
        for text in [text_of(view, snapshot), *report(view, snapshot, figures, 80)]:
            assert "\x1b" not in text
            assert "\x07" not in text


def test_lines_are_shared_out_fairly() -> None:
    assert shared_out([2, 10, 0, 3], 9) == [2, 4, 0, 3]
    assert shared_out([2, 10], 100) == [2, 10]
    assert shared_out([2, 10], -1) == [0, 0]


def test_a_table_leaves_columns_off_that_do_not_fit() -> None:
    columns = (("name", 0, 0, str), ("value", 6, 0, str), ("more", -6, 40, str))
    assert table(columns, ["a" * 30], 20) == ["name           value", "aaaaaaaaaaa.. aaaa.."]
    assert table(columns, ["b"], 40)[1] == f"{'b':<26} {'b':>6} b"
    assert folded(["aaa", "bb", "c"], 7) == ["aaa  bb", "c"]
    assert clip("abcdef", 5) == "abc.."


# Screens.


@pytest.mark.parametrize("width", [1, 20, 40, 79, 80, 100, 132, 250])
@pytest.mark.parametrize("height", [0, 1, 2, 8, 24, 60])
def test_a_screen_never_exceeds_its_terminal(width: int, height: int) -> None:
    snapshot = a_snapshot(workers=9, routes=40)
    snapshot["listeners"] = [{"address": "127.0.0.1:80", "queue": 3, "backlog": 2048, "overflows": 2, "drops": 0}]
    snapshot["server"]["note"] = "SyntaxError " * 40
    figures = between(None, snapshot)
    helped = View()
    helped.help = True
    for view in (View(), View(route="GET /a0"), View(route="GET /none"), helped):
        for case in (snapshot, None):
            lines = screen(view, case, figures if case else None, width, height)
            assert len(lines) == height
            assert max((len(text) for _, text in lines), default=0) <= width


def test_80_columns_show_all_that_matters() -> None:
    text = text_of(View(), a_snapshot())
    for part in (
        "I/O, locks or sleep: 70%; 6 of 16 threads busy; queue",
        "3.00 req/s  p50 2.01 ms",
        "inline 3.00/s  pool 0/s  heavy 0/s  queued 4  in flight 2  connections 14",
        "CPU 150%  memory 40.0 MB",
        "2/2 workers",
        "4001 serving",
        "3/8",
        "75% 20.0 MB",
        "ROUTES (3) by p99",
        "GET /c2",
        "1.25 s queued         4000 GET /db",
        "GET /db?1 from 10.0.0.1",
        "2.00 s    200 blocked 75%   1 GET /slow",
    ):
        assert part in text, f"{part!r} is not in\n{text}"
    assert HELP[0] not in text
    assert max(map(len, HELP)) <= 80


def test_what_is_stuck_is_said_in_words() -> None:
    snapshot = a_snapshot()
    snapshot["workers"][1] |= {"ticked_s": 9.0, "route": "GET /loop"}
    lines = screen(View(), snapshot, between(None, snapshot), 80, 24)
    assert lines[1] == ("bad", "STUCK: process 4001 has not turned its loop for 9 s, in GET /loop (1 of 2")
    [row] = [(style, text) for style, text in lines if "4001 STUCK" in text]
    assert row[0] == "bad"


def test_without_news_the_old_figures_stay_and_the_reason_stands_on_top() -> None:
    text = text_of(View(), a_snapshot(), note="the server has ended")
    assert text.splitlines()[1] == "the server has ended"
    assert "GET /c2" in text


def test_the_chosen_route_is_marked_and_among_those_that_are_shown() -> None:
    snapshot = a_snapshot(routes=40)
    view = View(sort="name")
    names = [row["name"] for row in routes_of(view, between(None, snapshot))]
    assert names == sorted(names)
    for _ in range(len(names) + 5):
        press(view, "down", names)
        assert f"> {view.chosen} " in text_of(view, snapshot)
    assert view.chosen == names[-1]


@pytest.mark.parametrize("sort", list(SORTS))
def test_routes_are_sorted_by_what_is_asked_for(sort: str) -> None:
    figures = between(None, a_snapshot(routes=5))
    found = [row[SORTS[sort]] for row in routes_of(View(sort=sort), figures)]
    assert found == sorted(found, reverse=sort != "name")


def test_a_route_is_shown_with_its_distribution_its_time_and_its_requests() -> None:
    snapshot = a_snapshot()
    chance = random.Random(1)
    snapshot["routes"]["GET /db"] = a_route([chance.lognormvariate(-4, 1) for _ in range(1000)])
    text = text_of(View(route="GET /db"), snapshot, 80, 40)
    for part in (
        "ROUTE GET /db",
        "1,000 requests",
        "waited in the app",
        "70%  #####",
        "IN PROGRESS (2)",
        "p99.9",
        "2xx 1,000",
    ):
        assert part in text, text


def test_a_route_is_shown_with_what_its_threads_wait_for() -> None:
    snapshot = a_snapshot()
    on = [{"text": "reading from TCP socket to 10.0.0.5:5432", "share": 0.7}]
    snapshot["waits"] = {"routes": {"GET /a0": {"in_flight": 2.0, "causes": {"io": 0.75, "gil": 0.25}, "on": on}}}
    text = text_of(View(route="GET /a0"), snapshot)
    assert "  its threads now:  io 75%  gil 25%" in text
    assert "reading from TCP socket to 10.0.0.5:5432 70%" in text
    assert "p99.9" in text


def test_the_distribution_adds_up_and_shows_where_the_percentiles_are() -> None:
    chance = random.Random(2)
    route = a_route([chance.lognormvariate(-4, 1) for _ in range(5000)])
    for most in (1, 3, 6, 18, 60):
        lines = distribution(route["buckets"], most)
        assert 1 <= len(lines) <= most
        counts = [int(line.split()[5].replace(",", "")) for line in lines]
        assert sum(counts) == 5000
        assert [mark for line in lines for mark in line.split() if mark.startswith("p")] == [
            "p50",
            "p90",
            "p99",
            "p99.9",
        ]
    assert distribution({}, 5) == []


def test_a_report_has_every_row() -> None:
    snapshot = a_snapshot(workers=20, routes=50)
    lines = report(View(), snapshot, between(None, snapshot), 100)
    assert sum("GET /" in line and "inline" in line for line in lines) == 50
    assert sum(" serving " in line for line in lines) == 20


# Keys.


def test_keys() -> None:
    view = View()
    names = ["GET /a", "GET /b", "GET /c"]
    assert all(press(view, key, names) for key in ("j", "down", "k", "s", "w", "p"))
    assert (view.chosen, view.sort, view.window_s, view.paused) == ("GET /a", "p50", 60.0, True)
    press(view, "S", names)
    press(view, "enter", names)
    assert (view.sort, view.route) == ("p99", "GET /a")
    press(view, "j", names)
    assert view.route == "GET /b", "the next one, still looked into"
    press(view, "esc", names)
    assert view.route == ""
    press(view, "?", names)
    assert view.help
    press(view, "j", names)
    assert (view.help, view.chosen) == (False, "GET /b")
    press(view, "j", [])
    press(view, "\x01", names)
    assert not press(view, "q", names)
