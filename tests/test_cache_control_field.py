"""Cache-Control and its targeted kind: text to directives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1 import cache_control
from vivace.http1.cache_control import SECONDS_MAX, directives, seconds, targeted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" , ,,", {}),
        ("max-age=60", {"max-age": "60"}),
        ("Public, MAX-AGE=60", {"public": None, "max-age": "60"}),
        ("public,max-age=60\t,\tfoo", {"public": None, "max-age": "60", "foo": None}),
        ('max-age="60"', {"max-age": "60"}),
        ('no-cache="Set-Cookie, Date", max-age=60', {"no-cache": "Set-Cookie, Date", "max-age": "60"}),
        (r'ext="a\"b, no-store=\\", max-age=60', {"ext": 'a"b, no-store=\\', "max-age": "60"}),
        ('ext="max-age=3600", max-age=1', {"ext": "max-age=3600", "max-age": "1"}),
        ('max-age=1, ext="max-age=3600', {"max-age": "1", "ext": "max-age=3600"}),  # never closed
        ("max-age =60", {}),
        ("max-age= 60", {"max-age": " 60"}),
        ("max-age", {"max-age": None}),
        ("=60, max-age=", {"max-age": ""}),
        ('"max-age=60"', {}),
        # The more restrictive of two
        ("max-age=60, max-age=1", {"max-age": "1"}),
        ("max-age=1, max-age=60", {"max-age": "1"}),
        ("max-age=1, max-age=x", {"max-age": "x"}),
        ("max-age=x, max-age=1", {"max-age": "x"}),
        ("private, private=a", {"private": None}),
        ("private=a, private", {"private": None}),
        ('no-cache="a", no-cache="b"', {"no-cache": "a,b"}),
        # What forbids is heard in what is malformed
        ("private; max-age=60", {"private": None}),
        ("max-age=60; private", {"max-age": "60; private", "private": None}),
        ("no-store max-age=60", {"no-store": None}),
        ("max-age=60 no-cache", {"max-age": "60 no-cache", "no-cache": None}),
        ("privateer; max-age=60", {}),
    ],
)
def test_directives(text: str, expected: dict[str, str | None]) -> None:
    assert directives(text) == expected
    assert directives(text) == expected  # remembered


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("0", 0), ("60", 60), ("003600", 3600), ("2147483648", SECONDS_MAX), ("2147483649", SECONDS_MAX)],
        *[("9" * 5000, SECONDS_MAX), ("0" * 5000 + "7", 7)],
        *[
            (None, None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1_0", None),
            (" 1", None),
            ("²", None),
        ],
        *[("٣", None), ("'60'", None), ("60s", None)],
    ],
)
def test_seconds(value: str | None, expected: int | None) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max-age=60", {"max-age": "60"}),
        ("  max-age=60 ", {"max-age": "60"}),
        ("max-age=60,  no-store\t,\tprivate", {"max-age": "60", "no-store": None, "private": None}),
        ('foobar;a;b=1, max-age=60;c="x"', {"foobar": None, "max-age": "60"}),
        ("must-revalidate=?1, no-store=?0", {"must-revalidate": None}),
        ("max-age=1, max-age=60", {"max-age": "60"}),  # RFC 8941: the last
        ('no-cache=("set-cookie" "date")', {"no-cache": "set-cookie,date"}),
        ('no-cache=( "a";q=1   b );p, x=()', {"no-cache": "a,b", "x": ""}),
        (r'x="a\"b\\", y=*tok/en:1, z=:aGk=:, d=-1.5', {"x": 'a"b\\', "y": "*tok/en:1", "z": ":aGk=:", "d": "-1.5"}),
        ("max-age=99999999999", {"max-age": "99999999999"}),
    ],
)
def test_a_targeted_field(text: str, expected: dict[str, str | None]) -> None:
    assert targeted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "max-age=60,", ",max-age=60", "max-age=60,,private", "max-age=60 private", "max-age=60;"),
        *(
            "max-age =60",
            "max-age= 60",
            "Max-Age=60",
            "max-age=60, &&&",
            "max-age=60, no-store=",
            "1=2",
            "a=(b",
            "a=(b)c",
        ),
        *(
            'x="a',
            'x="\xe9"',
            r'x="a\b"',
            "x=?2",
            "x=1.",
            "x=1.2345",
            "x=1234567890123456",
            "x=:a b:",
            "x=@1",
            "a=(b(c))",
        ),
        # Well formed, but no time: what was meant is not known
        *('max-age="60"', "max-age=60.0", "max-age", "max-age=?1", "s-maxage=(60)", "stale-if-error=soon"),
    ],
)
def test_a_targeted_field_with_any_error_counts_as_absent(text: str) -> None:
    assert targeted(text) is None


@given(st.text('maxge-stor=,;"\\ 0123()?', max_size=40))
def test_any_text_is_read(text: str) -> None:
    assert all(name and name == name.lower() for name in directives(text))
    found = targeted(text)
    assert found is None or all(name == name.lower() for name in found)


@given(st.lists(st.sampled_from(["private", "no-store", "max-age=60", "public", 'x="y, z"', "s-maxage=1"]), max_size=6))
def test_every_directive_of_a_well_formed_field_is_found(parts: list[str]) -> None:
    assert set(directives(" ,".join(parts))) == {part.partition("=")[0] for part in parts}


def test_long_and_hostile_texts_are_read_in_linear_time() -> None:
    for text in (
        "=" * 60000,
        'a="' + "\\" * 60000,
        '",' * 30000,
        "a=(" + "b " * 30000,
        "a;" * 30000,
        '"' + "a=" * 30000,
    ):
        directives(text)
        targeted(text)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3 * cache_control.KEPT_MAX):
        directives(f"max-age={number}")
    assert len(cache_control._known) <= cache_control.KEPT_MAX
    directives("x" * 1000)
    assert "x" * 1000 not in cache_control._known
