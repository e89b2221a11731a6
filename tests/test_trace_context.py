"""http1.trace_context: what is a traceparent and a tracestate, and what is not (W3C Trace Context Level 2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1.trace_context import MEMBERS_MAX, read_traceparent, read_tracestate, write_traceparent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GOOD, 1),
        (f"00-{TRACE}-{PARENT}-00", 0),
        (f"00-{TRACE}-{PARENT}-03", 3),
        (f"00-{TRACE}-{PARENT}-ff", 3),  # others are reserved
        (f"01-{TRACE}-{PARENT}-01", 1),  # a higher version: as far as it is known
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{PARENT}-01-", 1),
    ],
)
def test_valid(text: str, flags: int) -> None:
    assert read_traceparent(text) == (TRACE, PARENT, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD[:-1],
        GOOD + "0",
        GOOD + "-",
        GOOD + "-what",  # version 00 has nothing behind the flags
        GOOD + " ",
        GOOD + "\n",
        " " + GOOD,
        GOOD + "," + GOOD,  # two fields, joined
        GOOD.upper(),
        GOOD.replace("-", "_"),
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE}-{PARENT[:-1]}.-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-.0",
        f"00-{TRACE}-{PARENT}-001",
        f"cc-{TRACE}-{PARENT}-01.what",
        f"cc-{TRACE}-{PARENT}-0",
        f"00-{TRACE[:-1]}\u0663-{PARENT}-01",
    ],
)
def test_invalid(text: str) -> None:
    assert read_traceparent(text) is None


def test_what_is_written_is_read() -> None:
    assert write_traceparent(TRACE, PARENT, 1) == GOOD


@given(st.text(alphabet="0123456789abcdefg-AF .,", max_size=70) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-.*"))
def test_whatever_is_read_is_valid(text: str) -> None:
    found = read_traceparent(text)
    if found is not None:
        written = write_traceparent(*found)
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", written)
        assert read_traceparent(written) == found


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("congo=t61rcWkgMzE", "congo=t61rcWkgMzE"),
        ("a=1,b=2", "a=1,b=2"),
        ("a=1 ,\t b=2", "a=1,b=2"),
        (",a=1,, ,b=2,", "a=1,b=2"),
        ("", ""),
        ("t@v=x,0a=1,a_-*/@=~ !", "t@v=x,0a=1,a_-*/@=~ !"),
        ("a" * 256 + "=" + "v" * 256, "a" * 256 + "=" + "v" * 256),
        (",".join(f"k{number}=v" for number in range(MEMBERS_MAX)),) * 2,
    ],
)
def test_tracestate(text: str, members: str) -> None:
    assert read_tracestate(text) == members


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a=",
        "=1",
        "a=1;b=2=3",
        "a=1,b",
        "A=1",
        "@a=1",
        "_a=1",
        "a =1",
        "a=1,a=2",
        "a=\x01",
        "a=\u0663",
        "a=b=c",
        "a" * 257 + "=1",
        "a=" + "v" * 257,
        ",".join(f"k{number}=v" for number in range(MEMBERS_MAX + 1)),
        "," * 100_000,
    ],
)
def test_a_wrong_tracestate_is_none(text: str) -> None:
    assert read_tracestate(text) == ""
