"""What is sent and when: shapes that cross between processes, refusals, and times that are what the rate says."""

from __future__ import annotations

import json
from itertools import pairwise, takewhile
from math import inf
from typing import Any

import pytest

from vivace.errors import SettingError
from vivace.lab.arrivals import planned
from vivace.lab.plan import CLOSED, OPEN, Load, Place, Shot, packed, read_url, unpacked
from vivace.lab.prepared import request_bytes
from vivace.lab.result import Loader, Result, Server, Slice, Warmup, added, from_json

SHOT = Shot()


def test_a_load_crosses_between_processes() -> None:
    load = Load([Shot("POST", "/a?b", [("A", "b")], b"\xff\0", 2.5, 0.1, "a")], OPEN, at_times=[(0.5, 0)])
    place = Place("::1", 8443, tls=True)
    found, where = unpacked(json.loads(json.dumps(packed(load, place))))
    assert (found.shots, where) == (load.shots, place)
    assert list(found.at_times) == [(0.5, 0)]


def test_a_result_crosses_too() -> None:
    one = Slice(3, 100, {5: 2, 9: 1}, {5: 3}, {"a": {5: 3}}, {"2xx": 3}, {"reset": 1}, 0.5, 0.4)
    result = Result("u", OPEN, 1.0, 2, 3.0, one, [one], 1.0, 1, Loader(2), Server(7), Warmup(1.0, "x"))
    assert from_json(json.loads(json.dumps(result.to_json()))) == result
    with pytest.raises(ValueError, match="not the result"):
        from_json({"version": 0})
    with pytest.raises(ValueError, match="not the result"):
        from_json({"version": 1})


def test_slices_add_up() -> None:
    one = Slice(1, 10, {5: 1}, {5: 1}, {"a": {5: 1}}, {"2xx": 1}, {"reset": 1}, 0.5, 0.5)
    two = Slice(2, 20, {5: 1, 6: 1}, {}, {"b": {5: 2}}, {"5xx": 2}, {}, 0.25, 0.2)
    names = {"a": {5: 1}, "b": {5: 2}}
    assert added((one, two)) == Slice(3, 30, {5: 2, 6: 1}, {5: 1}, names, {"2xx": 1, "5xx": 2}, {"reset": 1}, 0.75, 0.5)


@pytest.mark.parametrize(
    ("url", "place", "target"),
    [
        ("http://example.org", Place("example.org", 80), "/"),
        ("https://example.org/a?b=c#d", Place("example.org", 443, tls=True), "/a?b=c"),
        ("http://[::1]:8000?x", Place("::1", 8000), "/?x"),
        ("unix:/run/a.sock", Place("localhost", 0, path="/run/a.sock"), "/"),
        ("unix:///run/a.sock:/b", Place("localhost", 0, path="/run/a.sock"), "/b"),
    ],
)
def test_urls(url: str, place: Place, target: str) -> None:
    assert read_url(url) == (place, target)


@pytest.mark.parametrize("url", ["example.org", "ftp://a", "http://", "http://a:x", "unix:"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingError):
        read_url(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shots": []},
        {"shots": [Shot(weight=0)]},
        {"mode": "ajar"},
        {"mode": OPEN},
        {"connections": 0},
        {"processes": 11},
        {"seconds": 0},
        {"warmup_s": 10.0},
        {"timeout_s": -1},
    ],
    ids=str,
)
def test_a_load_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Load(**{"shots": [SHOT], **wrong})


@pytest.mark.parametrize(
    "wrong", [{"method": "A B"}, {"target": "/ü"}, {"target": "/a b"}, {"headers": [("A", "b\r\nC: d")]}], ids=str
)
def test_a_request_that_would_be_two_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Shot(**wrong)


def test_requests_on_the_wire() -> None:
    place = Place("::1", 8000)
    assert request_bytes(SHOT, place) == b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n"
    post = Shot("POST", "/a", [("host", "b")], b"xy")
    assert request_bytes(post, place) == b"POST /a HTTP/1.1\r\nhost: b\r\nContent-Length: 2\r\n\r\nxy"
    assert request_bytes(Shot("PUT"), place).endswith(b"\r\nContent-Length: 0\r\n\r\n")


# Times.


def times(load: Load, process: int = 0) -> list[float]:
    return [due_s for due_s, _ in takewhile(lambda row: row[0] < inf, planned(load, load.shots, 100.0, process))]


def test_even_arrivals_of_all_processes_are_a_metronome() -> None:
    load = Load([SHOT], OPEN, rate=30, seconds=2, processes=3, arrivals="even")
    found = sorted(due_s for process in range(3) for due_s in times(load, process))
    assert found == pytest.approx([100 + index / 30 for index in range(60)])


def test_poisson_arrivals_have_the_rate_and_are_irregular() -> None:
    load = Load([SHOT], OPEN, rate=1000, seconds=20, processes=2)
    found = sorted(times(load) + times(load, 1))
    gaps = [after - before for before, after in pairwise(found)]
    assert len(found) == pytest.approx(20_000, rel=0.03)
    # Of exponential gaps, the share beyond the mean is 1/e.
    assert sum(gap > 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)
    assert times(load) == times(load)
    assert times(load) != times(load, 1)


def test_a_replay_is_shared_out() -> None:
    load = Load([SHOT, Shot("PUT")], OPEN, seconds=3, processes=2, at_times=[(0.0, 1), (1.0, 0), (2.0, 1), (3.0, 0)])
    assert (times(load, 0), times(load, 1)) == ([100.0, 102.0], [101.0])


def test_shots_are_drawn_by_weight() -> None:
    load = Load([Shot(weight=3), Shot("PUT", weight=1), Shot("DELETE", weight=0)], CLOSED)
    plan = planned(load, load.shots, 0.0)
    drawn = [next(plan)[1].method for _ in range(10_007)]
    assert drawn.count("GET") / len(drawn) == pytest.approx(0.75, abs=0.02)
    assert "DELETE" not in drawn
