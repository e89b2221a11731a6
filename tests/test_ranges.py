"""http1.ranges: RFC 9110 section 14, against the plainest model, and what an answer may cost at most."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.http1.ranges import PART_BYTES, PARTS_MAX, content_range, multipart, read_ranges, unsatisfied_range

FAR = 10_000  # apart, so that nothing is joined


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # RFC 9110 section 14.1.2, of 10,000 bytes
        ("bytes=0-499", [(0, 499)]),
        ("bytes=500-999", [(500, 999)]),
        ("bytes=-500", [(9500, 9999)]),
        ("bytes=9500-", [(9500, 9999)]),
        ("bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        ("bytes=500-600,601-999", [(500, 999)]),
        ("bytes=500-700,601-999", [(500, 999)]),
        # beyond the end
        ("bytes=9000-20000", [(9000, 9999)]),
        ("bytes=-20000", [(0, 9999)]),
        ("bytes=10000-", []),
        ("bytes=-0", []),
        ("bytes=10000-10001,-0", []),
        ("bytes=10000-,0-1", [(0, 1)]),
        # spelling
        ("BYTES=0-1", [(0, 1)]),
        ("bytes=,\t0-1 ,,", [(0, 1)]),
        ("bytes=" + "0" * 39 + "7-8", [(7, 8)]),
        ("bytes=0-" + "9" * 40, [(0, 9999)]),
        # the order asked for
        ("bytes=9000-9001,1-2,5000-5001", [(9000, 9001), (1, 2), (5000, 5001)]),
        ("bytes=9000-9001,1-2,8990-8999", [(8990, 9001), (1, 2)]),
        # nonsense
        ("bytes=1-0", None),
        ("bytes=0-1,1-0", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1-2", None),
        ("bytes=0 - 1", None),
        ("bytes=+0-1", None),
        ("bytes=\xb2-\xb3", None),
        ("bytes=0-1;2-3", None),
        ("bytes =0-1", None),
        ("bytes", None),
        ("", None),
        ("0-1", None),
        ("items=0-1", None),
        ("bytes=0-" + "9" * 41, None),
    ],
)
def test_read(text: str, parts: list[tuple[int, int]] | None) -> None:
    assert read_ranges(text, 10_000) == parts


def test_nothing_has_no_parts() -> None:
    assert [read_ranges(text, 0) for text in ("bytes=0-", "bytes=-1", "bytes=0-0")] == [None] * 3


def test_too_many_are_ignored() -> None:
    """CVE-2011-3192; RFC 9110 section 17.15."""
    few = "bytes=" + ",".join(f"{place * 200}-{place * 200}" for place in range(PARTS_MAX))
    assert len(read_ranges(few, 1 << 20) or ()) == PARTS_MAX
    assert read_ranges(few + ",5-6", 1 << 20) is None
    assert read_ranges("bytes=0-1,5000-", FAR, parts_max=1) is None
    assert read_ranges("bytes=" + "0-," * 1300, FAR) is None
    assert read_ranges("bytes=0-0" + " " * 1_000_000, FAR) is None


SPECS = st.lists(
    st.tuples(st.integers(0, 1200) | st.none(), st.integers(0, 1200) | st.none()).filter(
        lambda spec: spec != (None, None)
    ),
    min_size=1,
    max_size=12,
)


def written(specs: list[tuple[int | None, int | None]]) -> str:
    return "bytes=" + ", ".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in specs)


def wanted(specs: list[tuple[int | None, int | None]], size: int) -> list[set[int]] | None:
    """The plainest reading: the places that each asks for."""
    found = []
    for first, last in specs:
        if first is None:
            found.append(set(range(max(0, size - (last or 0)), size)))
        elif last is not None and last < first:
            return None
        else:
            found.append(set(range(first, min(size, size if last is None else last + 1))))
    return found


@given(SPECS, st.integers(1, 1000))
def test_all_that_is_asked_for_comes_once_and_little_else(
    specs: list[tuple[int | None, int | None]], size: int
) -> None:
    parts = read_ranges(written(specs), size)
    places = wanted(specs, size)
    if places is None:
        assert parts is None
        return
    assert parts is not None
    assert all(0 <= first <= last < size for first, last in parts)
    covered = [place for first, last in parts for place in range(first, last + 1)]
    assert len(covered) == len(set(covered)), "no byte twice"
    asked = set().union(*places)
    assert asked <= set(covered)
    assert len(covered) - len(asked) <= PART_BYTES * len(specs), "a gap is filled only where that is shorter"
    order = [min(place for place, spec in enumerate(places) if spec & set(range(a, b + 1))) for a, b in parts]
    assert order == sorted(order), "in the order asked for"


@given(st.text(alphabet="bytes=0123456789-, \t", max_size=60), st.integers(0, 1000))
def test_any_text_can_be_read(text: str, size: int) -> None:
    for first, last in read_ranges(text, size) or ():
        assert 0 <= first <= last < size


def test_content_range() -> None:
    assert content_range(0, 499, 1234) == "bytes 0-499/1234"
    assert unsatisfied_range(47022) == "bytes */47022"


@given(
    st.lists(st.integers(0, 99), min_size=2, max_size=5, unique=True),
    st.sampled_from(["", "text/plain", "text/html; charset=utf-8"]),
)
def test_multipart(places: list[int], content_type: str) -> None:
    """It can be taken apart again by RFC 2046 section 5.1.1."""
    data = bytes(range(256)) * 40
    parts = [(place * 100, place * 100 + 49) for place in places]
    header, heads, closing = multipart(parts, len(data), content_type, "b0undary")
    assert header == "multipart/byteranges; boundary=b0undary"
    body = b"".join(head + data[a : b + 1] for head, (a, b) in zip(heads, parts, strict=True)) + closing
    assert body.endswith(b"\r\n--b0undary--\r\n")
    first, *rest = (b"\r\n" + body.removesuffix(b"--\r\n")).split(b"\r\n--b0undary")
    assert first == b""
    assert rest.pop() == b""
    for (a, b), piece in zip(parts, rest, strict=True):
        head, _, content = piece.partition(b"\r\n\r\n")
        fields = head.decode().removeprefix("\r\n").split("\r\n")
        assert fields == [f"Content-Type: {content_type}"] * bool(content_type) + [
            f"Content-Range: bytes {a}-{b}/10240"
        ]
        assert content == data[a : b + 1]
    assert all(re.fullmatch(rb"(\r\n)?--b0undary\r\n(.+\r\n)+\r\n", head) for head in heads)
