"""Dates of HTTP fields (RFC 9110 section 5.6.7), against the standard library's."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1.dates import read_date, write_date

YEAR_9999 = 253402300799


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 nOV 1994 08:49:37 gmt",
        "Mon, 06 Nov 1994 08:49:37 GMT",  # it was a Sunday
    ],
)
def test_the_three_forms_say_the_same(text: str) -> None:
    assert read_date(text) == 784111777
    assert read_date(text) == 784111777  # remembered


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "784111777", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000"),
        *("Sun, 06 Nov 94 08:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT", "Sun,  06 Nov 1994 08:49:37 GMT"),
        *("Sun, 06-Nov-1994 08:49:37 GMT", "Sun, 06 Nov 1994 08.49.37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT"),
        *("Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", "06 Nov 1994 08:49:37 GMT"),
        *("Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Tue, 29 Feb 1900 00:00:00 GMT"),
        *("Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 00:60:00 GMT", "Sun, 06 Nov 1994 00:00:61 GMT"),
        *("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT"),
        *("Xyz, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Xyz 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994"),
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert read_date(text) is None


@pytest.mark.parametrize(
    ("year", "now", "expected"),
    [
        (94, "Thu, 01 Jan 2026 00:00:00 GMT", 1994),
        (76, "Thu, 01 Jan 2026 00:00:00 GMT", 2076),  # 50 years ahead is not more than 50
        (77, "Thu, 01 Jan 2026 00:00:00 GMT", 1977),
        (0, "Thu, 01 Jan 2026 00:00:00 GMT", 2000),
        (0, "Wed, 01 Jan 2098 00:00:00 GMT", 2000),
        (68, "", 2068),
        (69, "", 1969),
    ],
)
def test_a_year_of_two_digits(year: int, now: str, expected: int) -> None:
    date = read_date(f"Sunday, 06-Nov-{year:02} 08:49:37 GMT", read_date(now) or 0.0)
    assert date == read_date(f"Sun, 06 Nov {expected} 08:49:37 GMT")


@given(st.integers(0, YEAR_9999))
def test_every_second_is_written_as_the_standard_library_does_and_read_back(second: int) -> None:
    text = write_date(second)
    assert text == write_date(second) == formatdate(second, usegmt=True)
    assert read_date(text) == second


def test_what_a_date_cannot_say_is_the_nearest() -> None:
    assert write_date(-1) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert write_date(YEAR_9999 + 1) == "Fri, 31 Dec 9999 23:59:59 GMT"


def test_what_is_remembered_is_bounded() -> None:
    from vivace.http1 import dates

    for second in range(3 * dates.KEPT_MAX):
        assert read_date(write_date(second)) == second
    assert len(dates._read) <= dates.KEPT_MAX
    assert len(dates._written) <= dates.KEPT_MAX


@given(st.text("SunNov0123456789:-, GMT", max_size=32))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert read_date(text) is None or isinstance(read_date(text), int)
