"""http1.accept: Accept-Encoding by RFC 9110 section 12.5.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1.accept import MEMBERS_MAX, best_coding, read_weights

OFFERED = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        # Absent: nothing says that the client can decode. Empty: it wants none.
        (None, ""),
        ("", ""),
        (" ", ""),
        (",", ""),
        # What is listed; the server's order among equals.
        ("gzip", "gzip"),
        ("br", "br"),
        ("gzip, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("deflate", ""),
        ("compress, deflate", ""),
        # Names are case-insensitive, white space is optional, empty elements are ignored.
        ("GZip", "gzip"),
        (" gzip ;q=1 ,, br ; q=0.5 ", "gzip"),
        ("\tgzip\t;\tq=1\t", "gzip"),
        ("gzip;Q=1", "gzip"),
        # Weights.
        ("gzip;q=1.0, br;q=0.9, zstd;q=0.8", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.0", ""),
        ("gzip;q=0.000, br;q=0.001", "br"),
        ("br;q=0.5, gzip;q=0.5", "br"),
        ("gzip;q=1., br;q=0.", "gzip"),
        # "*": what is not listed.
        ("*", "zstd"),
        ("*;q=0", ""),
        ("gzip, *;q=0", "gzip"),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0.5, *;q=0.6", "zstd"),
        ("gzip;q=0.5, *;q=0.4", "gzip"),
        ("zstd;q=0, br;q=0, gzip;q=0, *", ""),
        # identity.
        ("identity", ""),
        ("identity;q=0", ""),
        ("identity;q=0, *", "zstd"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=0.5, identity;q=0.6, *;q=0", ""),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=0.5", "gzip"),
        ("*;q=0.5, identity", ""),
        # x-gzip is gzip (section 8.4.1.3).
        ("x-gzip", "gzip"),
        ("X-GZIP;q=0.5", "gzip"),
        ("x-gzip;q=0", ""),
        # What cannot be read, or is said twice, counts for the least.
        ("gzip;q=1.5", ""),
        ("gzip;q=.5", ""),
        ("gzip;q=-1", ""),
        ("gzip;q=0.1234", ""),
        ("gzip;q=1.001", ""),
        ("gzip;q", ""),
        ("gzip;", ""),
        ("gzip;level=9", ""),
        ("gzip;q =1", ""),
        ("gzip;q=abc, *", "zstd"),
        ("gzip, gzip;q=0", ""),
        ("gzip;q=0, gzip", ""),
        ("gzip q=1", ""),
        ("gzipped", ""),
        ("nogzip, xgzip", ""),
    ],
)
def test_the_coding_that_is_chosen(field: str | None, coding: str) -> None:
    assert best_coding(field, OFFERED) == coding


def test_what_browsers_and_tools_send() -> None:
    assert best_coding("gzip, deflate, br, zstd", ("gzip",)) == "gzip"  # Firefox, Chromium
    assert best_coding("gzip, deflate", OFFERED) == "gzip"  # requests, clear-text Safari
    assert best_coding("deflate, gzip, br, zstd", OFFERED) == "zstd"  # curl --compressed
    assert best_coding("gzip;q=1.0,deflate;q=0.6,identity;q=0.3", OFFERED) == "gzip"  # Ruby's Net::HTTP
    assert best_coding("identity", OFFERED) == ""  # wget


def test_nothing_offered() -> None:
    assert best_coding("*", ()) == ""


def test_a_field_without_end_is_not_read_to_its_end() -> None:
    field = ",".join(f"x{number}" for number in range(100_000)) + ", gzip"
    assert len(read_weights(field)) == MEMBERS_MAX
    assert best_coding(field, OFFERED) == ""


CODINGS = st.sampled_from([*OFFERED, "identity", "*", "deflate", "x-gzip", "GZIP"])
WEIGHTS = st.one_of(st.just(""), st.integers(0, 1000).map(lambda q: f";q={q / 1000:.3f}"))


@given(st.lists(st.tuples(CODINGS, WEIGHTS), max_size=8))
def test_a_coding_is_never_sent_that_was_refused_or_not_asked_for(members: list[tuple[str, str]]) -> None:
    chosen = best_coding(", ".join(name + weight for name, weight in members), OFFERED)
    if not chosen:
        return
    names = [name.lower().replace("x-gzip", "gzip") for name, _ in members]
    weights = [float(weight[3:] or 1) for _, weight in members]
    listed = [weight for name, weight in zip(names, weights, strict=True) if name == chosen]
    others = [weight for name, weight in zip(names, weights, strict=True) if name == "*"]
    assert min(listed or others) > 0


@given(st.text("gzip x-br;q=.01,*\t", max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    assert best_coding(text, OFFERED) in ("", *OFFERED)
