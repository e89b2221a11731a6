"""Profiles merged, summed, and written in the formats of other tools: all from plain data."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING

import pytest

from vivace.errors import SettingError
from vivace.explain import flame, formats
from vivace.explain.profile import by_route, functions, seconds, selected, text
from vivace.observe.call_tree import tree, written
from vivace.observe.profiles import merged

if TYPE_CHECKING:
    from typing import Any

APP, F, G = ["app", "/srv/shop.py", 10], ["f", "/srv/shop.py", 20], ["g", "/srv/site-packages/db/pool.py", 30]
F_LATER = ["f", "/srv/shop.py", 21]


def answer(*samples: tuple[str, str, int, float], **changes: Any) -> dict[str, Any]:
    """What one worker tells. Stacks: app, app > f, app > g, app > f on another line."""
    return {
        "from_s": 1000.0,
        "to_s": 1010.0,
        "looks": 100,
        "cost_s": 0.05,
        "late_s": 0.01,
        "frames": [APP, F, G, F_LATER],
        "stacks": [[0], [0, 1], [0, 2], [0, 3]],
        "samples": [list(sample) for sample in samples],
        **changes,
    }


SHOP = merged(
    [
        answer(("GET /a", "running", 1, 5.0), ("GET /a", "running", 3, 2.0), ("GET /a", "sleep", 2, 3.0)),
        answer(
            ("GET /b", "gil", 1, 1.0),
            ("GET /a", "running", 1, 1.0),
            from_s=990.0,
            frames=[APP, F],
            stacks=[[0], [0, 1]],
        ),
    ]
)


# Merging.


def test_the_same_stack_of_two_workers_is_one() -> None:
    assert SHOP["workers"] == 2
    assert (SHOP["from_s"], SHOP["to_s"], SHOP["looks"]) == (990.0, 1010.0, 200)
    assert SHOP["cost_s"] == pytest.approx(0.1)
    assert by_route(SHOP) == {"GET /a": {"running": 8.0, "sleep": 3.0}, "GET /b": {"gil": 1.0}}
    assert len([1 for route, state, _, _ in SHOP["samples"] if (route, state) == ("GET /a", "running")]) == 2


def test_nothing_merged_is_an_empty_profile() -> None:
    assert merged([{"error": "no profiler"}])["samples"] == []
    assert "no request was seen" in text(merged([]))


def test_a_route_is_selected_by_its_name_or_a_part_of_it() -> None:
    assert seconds(selected(SHOP, "GET /b")) == 1.0
    assert seconds(selected(SHOP, "/a")) == 11.0
    assert selected(SHOP) is SHOP
    with pytest.raises(SettingError, match=r"'/c'; those that were seen: GET /a, GET /b"):
        selected(SHOP, "/c")


# Sums.


def test_functions_have_their_own_time_and_that_of_what_they_called() -> None:
    rows = {place[0]: (own, total, place[2]) for own, total, place, _ in functions(SHOP, lambda route, state: True)}
    assert rows == {"f": (9.0, 9.0, 20), "g": (3.0, 3.0, 30), "app": (0.0, 12.0, 10)}


def test_lines_are_told_apart_where_that_is_wanted() -> None:
    rows = functions(SHOP, lambda route, state: state == "running", lines=True)
    assert [(own, place[2]) for own, _, place, _ in rows] == [(6.0, 20), (2.0, 21), (0.0, 10)]


def test_a_recursion_counts_once() -> None:
    profile = merged([answer(("r", "running", 0, 2.0), stacks=[[0, 1, 0, 1]])])
    rows = {place[0]: (own, total) for own, total, place, _ in functions(profile, lambda route, state: True)}
    assert rows == {"app": (0.0, 2.0), "f": (2.0, 2.0)}


def test_the_text_has_routes_by_state_and_where_it_runs_and_waits() -> None:
    told = text(SHOP)
    assert re.search(r"0\.550 .* 73% .* 27%  GET /a", told), told
    assert "CPU: 66.7% of 12 s" in told
    assert re.search(r"66\.7% +66\.7%  f  /srv/shop.py:20", told), told
    assert re.search(r"25\.0% +25\.0%  g  db/pool.py:30  sleeping", told), told
    assert "0.25% of a core of each" in told


def test_a_tree_of_calls_as_lines() -> None:
    nodes = tree([([("a", "x.py", 1), ("b", "y.py", 2)], "sleep", 2.0), ([("a", "x.py", 1)], "running", 1.0)])
    assert written(nodes) == ["3 s  a (x.py:1)  running 1 s", "  2 s  b (y.py:2)  sleep 2 s"]
    many = tree([([("f", "x.py", line)], "running", 1.0) for line in range(40)])
    assert written(many, 10)[-1] == "... 30 lines left off"
    assert tree([([("a", "x.py", 1)], "running", 1.0), ([("b", "x.py", 1)], "running", 0.001)])[1:] == []


# Formats.


def test_collapsed_stacks_have_the_route_outermost_and_the_state_innermost() -> None:
    assert (
        "GET /a;app (/srv/shop.py:10);g (/srv/site-packages/db/pool.py:30);[sleep] 3000000"
        in formats.collapsed(SHOP).splitlines()
    )
    odd = merged([answer(("a;b", "running", 0, 1.0), frames=[["x;y", "f.py", 1]], stacks=[[0]])])
    assert formats.collapsed(odd) == "a:b;x:y (f.py:1);[running] 1000000\n"


def test_speedscope_has_cpu_and_waiting_apart_and_each_route() -> None:
    told = json.loads(formats.speedscope(SHOP, "shop"))
    assert told["$schema"].startswith("https://www.speedscope.app/")
    names = {page["name"]: sum(page["weights"]) for page in told["profiles"]}
    assert names == {"CPU": 8.0, "waiting": 4.0, "GET /a: CPU": 8.0, "GET /a: waiting": 3.0, "GET /b: waiting": 1.0}
    frames = told["shared"]["frames"]
    for page in told["profiles"]:
        assert len(page["samples"]) == len(page["weights"])
        assert page["endValue"] == pytest.approx(sum(page["weights"]))
        assert all(0 <= frame < len(frames) for stack in page["samples"] for frame in stack)
    assert {"name": "f", "file": "/srv/shop.py", "line": 20} in frames
    assert {"name": "[sleep]"} in frames


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a message of protocol buffers: numbers, and bytes."""
    at, found = 0, []

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        else:
            assert key & 7 == 2
            size = varint()
            found.append((key >> 3, data[at : at + size]))
            at += size
    return found


def numbers(packed: bytes) -> list[int]:
    return [value for _, value in fields(b"".join(b"\x08" + one for one in _varints(packed)))]


def _varints(packed: bytes) -> list[bytes]:
    return re.findall(rb"[\x80-\xff]*[\x00-\x7f]", packed, re.DOTALL)


def test_pprof_has_cpu_and_wall_time_of_each_stack_with_route_and_state() -> None:
    message = fields(gzip.decompress(formats.pprof(SHOP)))
    strings = [value.decode() for number, value in message if number == 6]
    assert strings[0] == ""
    types = [[strings[value] for _, value in fields(one)] for number, one in message if number == 1]
    assert types == [["cpu", "nanoseconds"], ["wall", "nanoseconds"]]
    functions_ = {dict(fields(one))[1]: dict(fields(one)) for number, one in message if number == 5}
    locations = {dict(fields(one))[1]: dict(fields(dict(fields(one))[4])) for number, one in message if number == 4}
    samples = {}
    for number, one in message:
        if number == 2:
            parts = fields(one)
            stack = tuple(
                (strings[functions_[locations[where][1]][2]], locations[where][2]) for where in numbers(dict(parts)[1])
            )
            labels = {
                strings[dict(fields(label))[1]]: strings[dict(fields(label))[2]] for at, label in parts if at == 3
            }
            samples[labels["route"], labels["state"], stack] = numbers(dict(parts)[2])
    assert samples["GET /a", "running", (("f", 20), ("app", 10))] == [6_000_000_000, 6_000_000_000]
    assert samples["GET /a", "sleep", (("g", 30), ("app", 10))] == [0, 3_000_000_000]
    assert dict(message)[9] == 990_000_000_000
    assert dict(message)[10] == 20_000_000_000


def test_the_page_needs_nothing_from_outside_and_runs_no_name_as_code() -> None:
    evil = merged([answer(("GET /</script><b>", "running", 0, 1.0), frames=[["<i>f</i>", "f.py", 1]], stacks=[[0]])])
    page = flame.page(evil, "<u>title</u>", "sub", "made")
    assert "<u>title" not in page
    assert "</script><b>" not in page
    assert page.count("</script>") == 2
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data
    assert json.loads(data[1])["frames"] == [["<i>f</i>", "f.py", 1]]


def test_the_svg_is_well_formed_and_has_each_function() -> None:
    from xml.etree import ElementTree

    root = ElementTree.fromstring(flame.svg(SHOP, "shop <&>"))
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "f (/srv/shop.py): 66.67%, 8 s" in titles
    assert "sleeping: 25.00%, 3 s" in titles
    assert root.find("{http://www.w3.org/2000/svg}text").text == "shop <&>"  # type: ignore[union-attr]
    assert ElementTree.fromstring(flame.svg(merged([]), "none")) is not None
