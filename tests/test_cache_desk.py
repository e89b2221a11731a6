"""connection.cache_desk: what a running cache says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from test_caching import FRESH, Origin, ask
from vivace import background
from vivace.cache.keys import KEY_BYTES_MAX
from vivace.connection.cache_desk import SORTS, told_of
from vivace.connection.caching import Caching
from wire import Client


@pytest.fixture
def cache() -> Iterator[Caching]:
    origin = Origin()
    origin.on("/a", Cache_Control=FRESH, Surrogate_Key="things")
    origin.on("/b", Cache_Control="private")
    origin.on("/c", Cache_Control=FRESH, Vary="Accept", body=b"x" * 1000)
    with background(origin, cache=True, cache_rule=["/rule/* 5s"]) as server, Client(server) as client:
        for path in ("/a", "/a", "/b", "/c"):
            ask(client, path)
        cache = server.server.loop.cache
        assert cache is not None
        yield cache


def why(cache: Caching, path: str, **question: Any) -> list[str]:
    lines: list[str] = told_of(cache, {"ask": "cache_why", "url": f"http://a.test{path}", **question})["lines"]
    return lines


def test_stats(cache: Caching) -> None:
    told = told_of(cache, {"ask": "cache_stats"})
    assert told["counters"]["hits"] == 1
    assert told["counters"]["stored"] == 2
    assert told["unstored"] == {"private in Cache-Control": 1}
    assert told["entries"] == 3  # one is what the others differ by
    assert 0 < told["bytes"] <= told["bytes_max"]


@pytest.mark.parametrize("sort", SORTS)
def test_ls(cache: Caching, sort: str) -> None:
    told = told_of(cache, {"ask": "cache_ls", "sort": sort})
    assert told["count"] == 2
    assert {row["status"] for row in told["entries"]} == {200}
    assert sorted(row["tags"] for row in told["entries"]) == [[], ["things"]]
    assert len(told_of(cache, {"ask": "cache_ls", "sort": sort, "limit": 1})["entries"]) == 1


def test_the_largest_stands_first(cache: Caching) -> None:
    assert "/c" in told_of(cache, {"ask": "cache_ls"})["entries"][0]["key"]


@pytest.mark.parametrize(
    ("path", "question", "said"),
    [
        ("/a", {}, "it would be answered from what is kept"),
        ("/a", {"headers": [["Cache-Control", "no-cache"]]}, "the application would be asked first (request)"),
        ("/a", {"headers": [["Authorization", "x"]]}, "no other request would wait for it (bypass)"),
        ("/a", {"method": "PUT"}, "no other request would wait for it (method)"),
        ("/b", {}, "private in Cache-Control"),
        ("/c", {}, "responses of this URL differ by accept"),
        ("/d", {}, "nothing is kept for such a request"),
        ("/d", {"headers": [["Cache-Control", "only-if-cached"]]}, "it would be answered 504"),
        ("/rule/x", {}, "the rule '/rule/* 5s' is for its path"),
        ("/" + "x" * KEY_BYTES_MAX, {}, f"it is longer than {KEY_BYTES_MAX} bytes: nothing is kept under it"),
    ],
)
def test_why(cache: Caching, path: str, question: dict[str, Any], said: str) -> None:
    assert any(said in line for line in why(cache, path, **question)), why(cache, path, **question)
