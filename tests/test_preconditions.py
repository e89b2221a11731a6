"""http1.preconditions: RFC 9110 section 13, each field, their order, and what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1.dates import write_date
from vivace.http1.preconditions import evaluate, lists, range_applies, strongly_same, weakly_same

THEN = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
TAG = '"a,b"'


@pytest.mark.parametrize(
    ("a", "b", "strong", "weak"),
    [  # the table of RFC 9110 section 8.8.3.2
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
        ("", "", False, False),
        ("", '"1"', False, False),
        ("1", "1", False, True),
        ('"a"', '"A"', False, False),
    ],
)
def test_comparison(a: str, b: str, strong: bool, weak: bool) -> None:
    assert (strongly_same(a, b), weakly_same(a, b)) == (strong, weak)
    assert (strongly_same(b, a), weakly_same(b, a)) == (strong, weak)


@pytest.mark.parametrize(
    ("value", "etag", "strong", "weak"),
    [
        ("*", TAG, True, True),
        ("*", "", True, True),
        (TAG, TAG, True, True),
        (f'"x", {TAG}', TAG, True, True),
        (f'"x",,\t, {TAG} ,', TAG, True, True),
        (f'W/"x",W/{TAG}', TAG, False, True),
        ('"a", "b"', TAG, False, False),
        ('""', '""', True, True),
        ("", TAG, False, False),
        (TAG, "", False, False),
        # from what is no tag on, nothing is read
        (f'"x" {TAG}', TAG, False, False),
        (f"x, {TAG}", TAG, False, False),
        (f"*, {TAG}", TAG, False, False),
        (f"w/{TAG}", TAG, False, False),
        ('"a', '"a', False, False),
        ('"a b"', '"a b"', False, False),
    ],
)
def test_lists(value: str, etag: str, strong: bool, weak: bool) -> None:
    assert (lists(value, etag, False), lists(value, etag, True)) == (strong, weak)


@given(st.text(alphabet='W/", a*\t', max_size=40))
def test_any_value_can_be_read(value: str) -> None:
    """Weak comparison finds whatever strong comparison does."""
    assert not lists(value, '"a"', False) or lists(value, '"a"', True)


def test_a_long_list_takes_no_longer_than_it_is_long() -> None:
    assert not lists(" ," * 100_000, TAG, True)
    assert lists('"x",' * 50_000 + TAG, TAG, True)
    assert not lists('"' * 100_000, TAG, True)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, 0),
        ({"IF_MATCH": TAG}, 0),
        ({"IF_MATCH": "*"}, 0),
        ({"IF_MATCH": '"other"'}, 412),
        ({"IF_MATCH": f"W/{TAG}"}, 412),
        ({"IF_MATCH": "nonsense"}, 412),
        ({"IF_UNMODIFIED_SINCE": DATE}, 0),
        ({"IF_UNMODIFIED_SINCE": AFTER}, 0),
        ({"IF_UNMODIFIED_SINCE": BEFORE}, 412),
        ({"IF_UNMODIFIED_SINCE": "yesterday"}, 0),
        ({"IF_NONE_MATCH": TAG}, 304),
        ({"IF_NONE_MATCH": f"W/{TAG}"}, 304),
        ({"IF_NONE_MATCH": "*"}, 304),
        ({"IF_NONE_MATCH": '"other"'}, 0),
        ({"IF_NONE_MATCH": "nonsense"}, 0),
        ({"IF_MODIFIED_SINCE": DATE}, 304),
        ({"IF_MODIFIED_SINCE": AFTER}, 304),
        ({"IF_MODIFIED_SINCE": BEFORE}, 0),
        ({"IF_MODIFIED_SINCE": "0"}, 0),
        ({"IF_MODIFIED_SINCE": f"{DATE}, {DATE}"}, 0),
        # the order of section 13.2.2
        ({"IF_MATCH": TAG, "IF_UNMODIFIED_SINCE": BEFORE}, 0),
        ({"IF_MATCH": '"other"', "IF_NONE_MATCH": TAG}, 412),
        ({"IF_MATCH": TAG, "IF_NONE_MATCH": TAG}, 304),
        ({"IF_UNMODIFIED_SINCE": BEFORE, "IF_NONE_MATCH": TAG}, 412),
        ({"IF_NONE_MATCH": '"other"', "IF_MODIFIED_SINCE": AFTER}, 0),
        ({"IF_NONE_MATCH": TAG, "IF_MODIFIED_SINCE": BEFORE}, 304),
    ],
)
def test_evaluate(fields: dict[str, str], outcome: int) -> None:
    assert evaluate({f"HTTP_{name}": value for name, value in fields.items()}, TAG, THEN) == outcome


def test_what_has_no_time_is_not_compared_by_time() -> None:
    for name in ("HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_MODIFIED_SINCE"):
        for date in (BEFORE, AFTER):
            assert evaluate({name: date}, TAG, None) == 0


def test_what_has_no_tag_matches_only_the_star() -> None:
    assert evaluate({"HTTP_IF_NONE_MATCH": TAG}, "", None) == 0
    assert evaluate({"HTTP_IF_NONE_MATCH": "*"}, "", None) == 304
    assert evaluate({"HTTP_IF_MATCH": TAG}, "", None) == 412


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (None, True),
        (TAG, True),
        (f"W/{TAG}", False),
        ('"other"', False),
        (DATE, True),
        (BEFORE, False),
        (AFTER, False),
        ("Sunday, 06-Nov-94 08:49:37 GMT", True),
        ("nonsense", False),
        ("", False),
        ("*", False),
        (f"{TAG}, {TAG}", False),
    ],
)
def test_if_range(value: str | None, applies: bool) -> None:
    assert range_applies({} if value is None else {"HTTP_IF_RANGE": value}, TAG, THEN, THEN + 100.0) is applies


def test_if_range_by_what_is_missing_or_weak() -> None:
    date = {"HTTP_IF_RANGE": DATE}
    assert not range_applies(date, TAG, None)
    assert not range_applies({"HTTP_IF_RANGE": 'W/"1"'}, 'W/"1"', THEN)
    assert range_applies(date, TAG, THEN, THEN + 1.0)
    assert not range_applies(date, TAG, THEN, THEN + 0.9), "it may change twice within that second"


@given(st.integers(0, 2**32), st.integers(-3, 3))
def test_dates_are_compared_by_the_second(seconds: int, more: int) -> None:
    asked = write_date(max(0, seconds + more))
    outcome = evaluate({"HTTP_IF_MODIFIED_SINCE": asked}, "", seconds)
    assert outcome == (304 if max(0, seconds + more) >= seconds else 0)
