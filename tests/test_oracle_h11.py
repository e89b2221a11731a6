"""vivace against h11, the oracle of whole requests: see h11_oracle.py for what must hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire_corpus
from h11_oracle import STRICTER, agree, read
from wire_strategies import HEADS

CHUNKED_BODIES = [
    *(b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"05;a=b\r\nhello\r\n00\r\n\r\n"),
    *(b"5 \r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n"),
    *(b"5\r\nhello\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b'5;a="\r\nhello\r\n0\r\n\r\n'),
    *(b"0\r\nA : b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nHost: b\r\n\r\n", b"0\r\nA: \x01\r\n\r\n"),
]
BODIES = st.sampled_from([b"", b"hello", b"hello world", *CHUNKED_BODIES])
SMALL = [case for case in wire_corpus.load() if len(case.request) < 1000]


@given(HEADS, BODIES, st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: next\r\n\r\n"]))
def test_requests(head: bytes, body: bytes, behind: bytes) -> None:
    agree(head + body + behind)


@given(st.sampled_from(["0", "5", "a", "5;a", "5;a=b", "5 ", "05", "5;"]), st.text(max_size=6), BODIES)
def test_chunked_requests(size: str, noise: str, body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    agree(head + body + b"GET /")
    agree(head + size.encode() + noise.encode("latin-1", "ignore") + b"\r\n" + body)


@given(st.sampled_from(SMALL), st.integers(0, 300), st.binary(max_size=2), st.integers(0, 2))
def test_damaged_corpus(case: wire_corpus.Case, offset: int, damage: bytes, removed: int) -> None:
    """The corpus with some bytes replaced: near to every rule."""
    offset %= len(case.request)
    agree(case.request[:offset] + damage + case.request[offset + removed :])


@pytest.mark.parametrize("case", wire_corpus.load(), ids=lambda case: case.name)
def test_corpus(case: wire_corpus.Case) -> None:
    agree(case.request)


def test_every_difference_is_met_by_the_corpus() -> None:
    """A row that no case needs would hide a fault."""
    found = [request for case in wire_corpus.load() if case.status and (request := read(case.request))]
    assert {rule for rule, applies in STRICTER.items() if any(map(applies, found))} == set(STRICTER)
