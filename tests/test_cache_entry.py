"""Entries and vary records, and both as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.cache.entry import ASK_S, IMPLICIT, NO_CACHE, SHARED, Entry, VaryRecord, pack, unpack

HEADERS = [("Content-Type", "text/html"), ("X", "\xe9\udcff"), ("X", "")]


def entry_of(**changes: Any) -> Entry:
    return Entry("GET https://a.test/", "200 OK", HEADERS, b"body", **{"stored_s": 100.0, "lifetime_s": 60.0} | changes)


def slots(thing: object) -> dict[str, Any]:
    assert type(thing) in (Entry, VaryRecord)
    return {name: getattr(thing, name) for name in type(thing).__slots__ if not name.startswith("answered")}


def test_times() -> None:
    entry = entry_of(age_s=10.0)
    assert entry.fresh_until_s == 150
    assert [entry.age_s(now) for now in (0.0, 100.0, 100.9, 101.0)] == [0, 10, 10, 11]
    entry.expire(120.0)
    assert entry.fresh_until_s == 120
    entry.expire(130.0)
    assert entry.fresh_until_s == 120


def test_how_long_it_is_worth_keeping() -> None:
    assert entry_of().kept_s == 60
    assert entry_of(age_s=20.0, swr_s=5.0, sie_s=100.0).kept_s == 140
    assert entry_of(age_s=90.0).kept_s == 0
    assert entry_of(etag='"1"').kept_s == 60 + ASK_S
    assert entry_of(modified_s=0).kept_s == 60 + ASK_S


def test_whether_those_who_wait_may_have_it() -> None:
    assert entry_of().reusable
    assert not entry_of(lifetime_s=0.0).reusable
    assert not entry_of(age_s=60.0).reusable
    assert not entry_of(flags=NO_CACHE).reusable


def test_size_counts_everything() -> None:
    size = entry_of().size
    assert size > 900
    entry = entry_of()
    entry.coded["gzip"] = b"x" * 1000
    assert entry.size >= size + 1000
    assert VaryRecord("k", ["a"], 1, 0.0).size > 900


TEXTS = st.text(st.characters(max_codepoint=255), max_size=8)
TIMES = st.floats(0, 2**31, allow_nan=False)


@given(
    TEXTS,
    st.lists(st.tuples(TEXTS, TEXTS), max_size=3),
    st.lists(TEXTS, max_size=2),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, st.binary(max_size=9), max_size=2),
    st.binary(max_size=20),
    st.lists(TIMES, min_size=5, max_size=5),
    st.none() | st.integers(-(2**40), 2**40),
)
def test_an_entry_comes_back_from_its_bytes(
    etag: str,
    headers: list[tuple[str, str]],
    tags: list[str],
    vary: list[str],
    coded: dict[str, bytes],
    body: bytes,
    times: list[float],
    modified: int | None,
) -> None:
    stored_s, age_s, lifetime_s, swr_s, sie_s = times
    entry = Entry(
        *("k\n1", "404 Not Found", headers, body),
        stored_s=stored_s,
        age_s=age_s,
        lifetime_s=lifetime_s,
        swr_s=swr_s,
        sie_s=sie_s,
        date_s=1,
        etag=etag,
        modified_s=modified,
        flags=IMPLICIT | SHARED,
        tags=tuple(tags),
        vary=tuple(vary),
    )
    entry.coded = coded
    entry.expire(age_s)
    assert slots(unpack(pack(entry))) == slots(entry)


def test_a_record_comes_back_from_its_bytes() -> None:
    record = VaryRecord("k", ["accept-language", "cookie", "content-type"], 2**60, 1.5)
    assert dict(record.fields) == {
        "accept-language": "HTTP_ACCEPT_LANGUAGE",
        "content-type": "CONTENT_TYPE",
        "cookie": "HTTP_COOKIE",
    }
    assert slots(unpack(pack(record))) == slots(record)


def test_bytes_that_were_cut_or_grew_are_nothing() -> None:
    for thing in (entry_of(etag='"1"', tags=("a",)), VaryRecord("k", ["a"], 1, 0.0)):
        packed = pack(thing)
        assert [size for size in range(len(packed)) if unpack(packed[:size]) is not None] == []
        assert unpack(packed + b"x") is None


@given(st.binary(max_size=200))
def test_foreign_bytes_are_nothing(data: bytes) -> None:
    assert unpack(data) is None


@given(st.data())
def test_spoilt_bytes_never_raise(data: st.DataObject) -> None:
    packed = bytearray(pack(entry_of(etag='"1"', tags=("a",), vary=("b",))))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    unpack(bytes(packed))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: Any) -> None:
    found = unpack(kind(pack(entry_of())))
    assert isinstance(found, Entry)
    assert type(found.body) is bytes
