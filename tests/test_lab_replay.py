"""A log again, with its own timing: the order, the seconds, the speed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from test_lab_access_logs import COMMON, logged
from vivace.errors import SettingError
from vivace.lab import replay as module
from vivace.lab.replay import replay
from vivace.lab.timetable import Timetable, unpacked

if TYPE_CHECKING:
    from pathlib import Path


def line(second: int, request: str = "GET / HTTP/1.1") -> str:
    when = datetime.fromtimestamp(1_000_000_000 + second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return COMMON.replace("10/Oct/2000:13:55:36 -0700", when).format(request)


def test_requests_come_at_their_times_divided_by_the_speed(tmp_path: Path) -> None:
    log = logged(tmp_path, line(0), line(10, "GET /a HTTP/1.1"), line(10, "GET /b HTTP/1.1"), line(60))
    shots, due, notes = replay(log, 10.0)
    assert notes == []
    assert [shots[index].target for _, index in due] == ["/", "/a", "/b", "/"]
    times = [at_s for at_s, _ in due]
    assert times[0] == 0
    assert times == sorted(times)
    assert 0.9 <= times[1] <= times[2] <= 1.1
    assert 5.9 <= due.span_s <= 6.1
    assert {shot.target: shot.weight for shot in shots} == {"/": 2, "/a": 1, "/b": 1}
    assert list(replay(log, 10.0)[1]) == list(due), "the same seed, the same times"


def test_requests_of_one_second_are_spread_over_it_in_their_order(tmp_path: Path) -> None:
    log = logged(tmp_path, *[line(number // 1000, f"GET /{number} HTTP/1.1") for number in range(3000)])
    shots, due, _ = replay(log)
    assert [shots[index].target for _, index in due] == [f"/{number}" for number in range(3000)]
    times = [at_s for at_s, _ in due]
    assert 2.8 < due.span_s < 3.1
    assert max(after - before for before, after in pairwise(times)) < 0.02
    # As of independent visitors: the gaps are not even.
    assert min(after - before for before, after in pairwise(times)) < 0.0001


def test_lines_out_of_order_are_sorted_and_those_far_behind_are_late(tmp_path: Path) -> None:
    lines = [line(30), line(0, "GET /long HTTP/1.1"), line(100), line(35, "GET /late HTTP/1.1"), line(101)]
    shots, due, notes = replay(logged(tmp_path, *lines))
    assert [shots[index].target for _, index in due] == ["/long", "/", "/late", "/", "/"]
    assert due[2][0] == pytest.approx(35, abs=1)
    assert notes == []
    lines = [line(0), line(30), line(100), line(200), line(20, "GET /late HTTP/1.1"), line(300)]
    shots, due, notes = replay(logged(tmp_path, *lines))
    assert [shots[index].target for _, index in due] == ["/", "/", "/", "/late", "/", "/"]
    assert "1 lines stand more than 60 s" in notes[0]


def test_parts_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"h earlier than one above it"):
        replay(logged(tmp_path, line(90_000), line(90_100), line(0)))


def test_json_knows_more_than_the_second(tmp_path: Path) -> None:
    fields = {"method": "GET", "target": "/", "seconds": 0.0}
    lines = [
        json.dumps(fields | {"time": "2001-01-01T00:00:01.500Z", "target": "/b"}),
        json.dumps(fields | {"time": "2001-01-01T00:00:02.000Z", "target": "/a", "seconds": 0.75}),
        json.dumps(fields | {"time": "2001-01-01T00:00:02.500Z", "target": "/c"}),
    ]
    shots, due, _ = replay(logged(tmp_path, *lines))
    assert [(round(at_s, 6), shots[index].target) for at_s, index in due] == [(0, "/a"), (0.25, "/b"), (1.25, "/c")]


def test_what_cannot_be_sent_is_left_out_and_told(tmp_path: Path) -> None:
    requests = [
        "POST /a HTTP/1.1",
        "GET /a HTTP/1.1",
        r"GET /\x0d\x0aEvil HTTP/1.1",
        "-",
        "GET /b HTTP/1.1",
        "POST /a HTTP/1.1",
    ]
    shots, due, notes = replay(logged(tmp_path, *[line(number, request) for number, request in enumerate(requests)]))
    assert [shots[index].target for _, index in due] == ["/a", "/b"]
    assert due[0] == (0.0, 0)
    told = "\n".join(notes)
    assert "2 POST; --unsafe" in told
    assert "1 requests cannot be sent" in told
    assert "1 lines hold no request" in told
    with pytest.raises(SettingError, match="no request of its 1 lines"):
        replay(logged(tmp_path, line(0, "POST / HTTP/1.1")))


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logged(tmp_path, *[line(number, f"GET /{number} HTTP/1.1") for number in range(500)])
    monkeypatch.setattr(module, "SHOTS_MAX", 100)
    with pytest.raises(SettingError, match="more than 100 different requests"):
        replay(log)
    monkeypatch.setattr(module, "SHOTS_MAX", 1000)
    monkeypatch.setattr(module, "REQUESTS_MAX", 100)
    with pytest.raises(SettingError, match="more than 100 requests"):
        replay(log)
    monkeypatch.undo()
    monkeypatch.setattr(module, "HELD_MAX", 10)
    assert len(replay(log)[1]) == 500


def test_a_timetable_reads_like_a_list_and_crosses_between_processes() -> None:
    pairs = [(0.0, 2), (0.5, 1), (1.25, 0)]
    due = Timetable.of(pairs)
    assert list(due) == pairs
    assert list(due[1::2]) == [(0.5, 1)]
    assert due[2] == (1.25, 0)
    assert unpacked(json.loads(json.dumps(due.packed()))) == due
    assert Timetable.of(due) is due
    assert not Timetable()
    assert Timetable().span_s == 0.0
