"""cache.purges: what a purge concerns, and that however many there were none of them is forgotten to the wrong side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.cache import purges as purges_module
from vivace.cache.entry import Entry
from vivace.cache.memory import Memory
from vivace.cache.purges import KINDS, Purge, Purges

PAGE = "GET https://a.example/news?page=2"
VARIANT = f"{PAGE}\n1f:accept\ntext/html"


@pytest.mark.parametrize(
    ("kind", "pattern", "concerns"),
    [
        ("all", "", True),
        ("tag", "news", True),
        ("tag", "new", False),
        ("path", "/news", True),
        ("path", "/news?page=2", True),
        ("path", "/news?page=3", False),
        ("path", "/new", False),
        ("path", "/new*", True),
        ("path", "/news?p*", True),
        ("path", "*", True),
        ("path", "/newt*", False),
        ("path", "a.example*", False),
        ("key", PAGE, True),
        ("key", VARIANT, None),
        ("key", "GET https://a.example/news", False),
    ],
)
def test_what_a_purge_concerns(kind: str, pattern: str, concerns: bool | None) -> None:
    purge = Purge(kind, pattern, 100.0)
    purges = Purges()
    purges.add(purge)
    for key in (PAGE, VARIANT):
        expected = concerns if concerns is not None else key == VARIANT
        assert purge.fits(key, ("news", "x")) is expected
        assert purges.since(99.0, key, ("news", "x")) is (purge if expected else None)
        assert purges.since(100.0, key, ("news", "x")) is (purge if expected else None)
        assert purges.since(100.1, key, ("news", "x")) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["", "/news", "/news*", "*", "/news?page=2", "news", PAGE, VARIANT])
def test_those_that_are_chosen_are_those_that_it_fits(kind: str, pattern: str) -> None:
    memory = Memory(1 << 20, 1 << 18)
    for tags in ((), ("news",)):
        for key in (PAGE, VARIANT, "GET https://a.example/", "GET https://a.example/news", "app\0news"):
            memory.put(key, Entry(key, "200 OK", [], stored_s=0.0, tags=tags), 1000)
        purge = Purge(kind, pattern, 100.0)
        expected = {key for key, *_ in memory.items() if purge.fits(key, tags)}
        assert {node.key for node in purge.chosen(memory.nodes())} == expected


def test_what_an_application_keeps_itself_has_no_path() -> None:
    purges = Purges()
    for kind, pattern in (("path", "*"), ("path", "/a")):
        purges.add(Purge(kind, pattern, 100.0))
        assert not Purge(kind, pattern, 100.0).fits("app /a", ())
    assert purges.since(0.0, "app /a", ()) is None


keys = st.sampled_from([PAGE, VARIANT, "GET http://b/", "GET http://b/x", "GET http://b/x\nfor 1", "app x"])
tags = st.lists(st.sampled_from(["a", "b", "news"]), max_size=2)
made = st.builds(
    Purge,
    st.sampled_from(KINDS),
    st.sampled_from([PAGE, VARIANT, "/news", "/x", "/*", "/n*", "/news?page=2", "a", "b", "GET http://b/x"]),
    st.integers(0, 50).map(float),
    soft=st.booleans(),
)


@given(st.lists(made, max_size=12), keys, tags, st.integers(0, 51).map(float))
def test_it_finds_what_a_list_would(given_: list[Purge], key: str, tags: list[str], time_s: float) -> None:
    purges = Purges()
    for purge in given_:
        purges.add(purge)
    fitting = [purge for purge in given_ if purge.time_s >= time_s and purge.fits(key, tags)]
    found = purges.since(time_s, key, tags)
    if not fitting:
        assert found is None
    else:
        assert found in fitting
        assert found.soft is all(purge.soft for purge in fitting), "a hard one counts before soft ones"


@pytest.mark.parametrize(
    ("kind", "pattern"), [("key", "GET http://a/{}"), ("tag", "t{}"), ("path", "/{}"), ("path", "/{}*")]
)
def test_the_oldest_of_too_many_count_as_one_of_everything(
    kind: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges_module, "PURGES_MAX", 20)
    monkeypatch.setattr(purges_module, "PREFIXES_MAX", 20)
    purges = Purges()
    for number in range(100):
        purges.add(Purge(kind, pattern.format(number), 1000.0 + number, soft=number % 2 == 0))
    assert len(purges._exact) + len(purges._prefixes) <= 21
    for number in range(100):
        key = f"GET http://a/{number}"
        assert purges.since(1000.0 + number, key, (f"t{number}",)) is not None
    other = "GET http://a/other"
    assert purges.since(1010.0, other, ()) is not None
    assert purges.since(1090.0, other, ()) is None
    assert purges.since(1100.0, "GET http://a/99", ("t99",)) is None


def test_the_same_again_takes_no_further_place() -> None:
    purges = Purges()
    for number in range(100_00):
        purges.add(Purge("key", PAGE, float(number)))
        purges.add(Purge("path", "/a*", float(number)))
    assert len(purges._exact) == len(purges._prefixes) == 1
    assert purges.since(9999.0, PAGE, ()) is not None
    assert purges.since(9999.0, "GET http://b/", ()) is None
