"""Rules of the cache as text, and which one fits a path."""

from __future__ import annotations

import pytest

from vivace.cache import rules
from vivace.cache.rules import Rules, read_rule, read_time


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1), ("500ms", 0.5), ("1.5s", 1.5), ("2m", 120), ("3h", 10800), ("365d", 31536000)]
)
def test_times(text: str, seconds: float) -> None:
    assert read_time(text, "") == seconds


def test_a_rule_with_everything() -> None:
    rule = read_rule("/news/* 10s stale=1m error=1h 404=5s 503=500ms cookies authorization set-cookie")
    assert (rule.pattern, rule.ttl_s, rule.swr_s, rule.sie_s) == ("/news/*", 10, 60, 3600)
    assert rule.statuses == {404: 5, 503: 0.5}
    assert rule.cookies
    assert rule.authorization
    assert rule.set_cookie
    assert not rule.off
    assert [rule.lifetime_s(code) for code in (200, 301, 404, 503, 410, 500)] == [10, 10, 5, 0.5, None, None]


def test_a_rule_for_errors_alone() -> None:
    rule = read_rule("/old/* 404=1m")
    assert rule.lifetime_s(404) == 60
    assert rule.lifetime_s(200) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *[("", "is no rule"), ("/api/*", "is no rule"), ("api 1s", "is no rule"), ("/a maybe", "'maybe'")],
        *[("/a 1y", "no time"), ("/a -1s", "'-1s'"), ("/a 400d", "more than a year"), ("/a 1s 2s", "says time twice")],
        *[
            ("/a stale=", "no time"),
            ("/a stale", "'stale'"),
            ("/a cookies=1", "'cookies=1'"),
            ("/a off 1s", "off and more"),
        ],
        *[
            ("/a 206=1s", "'206=1s'"),
            ("/a 304=1s", "'304=1s'"),
            ("/a 600=1s", "'600=1s'"),
            ("/a 404=1s 404=2s", "404 twice"),
        ],
        *[("/a 1e3", "no time"), ("/a ١s", "no time")],
    ],
)
def test_what_is_no_rule_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_rule(text)


def test_the_first_rule_that_fits_counts() -> None:
    some = Rules(map(read_rule, ["/shop/cart off", "/shop/* 1s", "*.json 2s", "/ 3s", "/a*c/*/e 4s"]))

    def found(path: str) -> str | None:
        rule = some.find(path)
        assert some.find(path) is rule  # remembered
        return rule and rule.pattern

    assert found("/shop/cart") == "/shop/cart"
    assert found("/shop/cart.json") == "/shop/*"
    assert found("/x.json") == "*.json"
    assert found("/x.json/") is None
    assert found("/") == "/"
    assert found("/abc/d/e") == "/a*c/*/e"
    assert found("/shop") is None
    assert found("/shop/\n/x") == "/shop/*"
    assert Rules().find("/") is None


def test_a_pattern_holds_no_other_wild_card() -> None:
    some = Rules([read_rule("/a.b[c]? 1s")])
    assert some.find("/a.b[c]?") is not None
    assert some.find("/axbc") is None


def test_what_is_remembered_of_paths_is_bounded() -> None:
    some = Rules([read_rule("/* 1s")])
    for number in range(rules.KEPT_MAX + 10):
        some.find(f"/{number}")
    some.find("/" + "x" * 1000)
    assert len(some._found) <= rules.KEPT_MAX


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        *[("a=1&b=2", "a=1&b=2"), ("utm_source=x", ""), ("utm_source=x&a=1", "a=1"), ("a=1&utm_source=x", "a=1")],
        *[("a=1&utm_source=x&utm_medium=y&b=2", "a=1&b=2"), ("a=1&gclid=x&b=2&gclid=y", "a=1&b=2"), ("gclid&a", "a")],
        *[("agclid=1", "agclid=1"), ("gclids=1", "gclids=1"), ("a=gclid=1", "a=gclid=1"), ("gclid=a=b&c", "c")],
        *[("a=1&&gclid=x&&b=2", "a=1&&&b=2"), ("utm_", ""), ("UTM_source=x", "UTM_source=x"), ("", "")],
        # What one reader takes for one parameter is two for another: it stays (CVE-2021-23336)
        *[("gclid=x;admin=1", "gclid=x;admin=1"), ("a=1&utm_x;b=1", "a=1&utm_x;b=1"), ("gclid;a=1&b", "gclid;a=1&b")],
        ("gcl%69d=x", "gcl%69d=x"),
    ],
)
def test_ignored_parameters_are_left_out(query: str, expected: str) -> None:
    assert Rules((), ("utm_*", "gclid"), ()).query(query) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("b=2; a=1", "a=1; b=2"), ("_ga=1", ""), ("_ga_XY=1; a=1;_ga=2", "a=1"), ("a=1;;  ", "a=1"), ("a", "a")],
        *[("a=2; b=0; a=1", "a=2; a=1; b=0"), ("_gat=1", "_gat=1"), ("a=_ga=1", "a=_ga=1"), ("", "")],
        # In quotes a semicolon ends no cookie for some readers: nothing is ignored then
        ('a="x; _ga=1"', '_ga=1"; a="x'),
    ],
)
def test_ignored_cookies_are_left_out(value: str, expected: str) -> None:
    some = Rules((), (), ("_ga", "_ga_*"))
    assert some.cookies(value) == expected
    assert some.has_cookies(value) is (expected != "")


def test_without_ignored_cookies_every_cookie_counts() -> None:
    assert Rules().has_cookies("_ga=1")
    assert not Rules().has_cookies(" ")
    assert Rules().cookies("b; a") == "a; b"
