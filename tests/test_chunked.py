"""The chunked decoder. The wire corpus (chunked.wire, smuggling.wire) has the plain cases."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.errors import Refused
from vivace.http1 import chunked
from vivace.http1.chunked import ChunkedDecoder

HUGE = 1 << 62


class Result:
    """What a decoder made of a stream: the body, what is left, trailers; or the status of a refusal."""

    def __init__(self, pieces: list[bytes], body_bytes_max: int = HUGE) -> None:
        decoder = ChunkedDecoder(body_bytes_max)
        self.body = b""
        self.rest = b""
        self.status = 0
        try:
            for piece in pieces:
                if decoder.done:
                    self.rest += piece
                    continue
                blocks, consumed = decoder.feed(piece)
                assert consumed == len(piece) or decoder.done
                assert all(blocks)
                self.body += b"".join(blocks)
                self.rest += piece[consumed:]
        except Refused as refused:
            self.status = refused.status
        self.done = decoder.done
        self.trailers = decoder.trailers

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Result)
        if self.status or other.status:
            return bool(self.status) == bool(other.status)
        return vars(self) == vars(other)

    def __repr__(self) -> str:
        return repr(vars(self))


def cut(stream: bytes, offsets: list[int]) -> list[bytes]:
    ends = sorted({offset % (len(stream) + 1) for offset in offsets} | {0, len(stream)})
    return [stream[begin:end] for begin, end in pairwise(ends)]


def test_the_rest_is_the_next_request() -> None:
    decoder = ChunkedDecoder(HUGE)
    assert decoder.feed(b"5\r\nhel") == ([b"hel"], 6)
    assert not decoder.done
    assert decoder.feed(b"lo\r\n0\r\nA: b \r\n\r\nGET /") == ([b"lo"], 16)
    assert decoder.done
    assert decoder.trailers == [("A", "b")]
    assert decoder.feed(b"GET /") == ([], 0)
    assert decoder.feed(b"") == ([], 0)


def test_a_body_as_large_as_allowed() -> None:
    stream = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert Result([stream], 5).body == b"abcde"
    assert Result([stream], 4).status == 413
    assert Result([b"0\r\n\r\n"], 0).done
    assert Result([b"6\r\n"], 5).status == 413


def test_extensions_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "EXTENSIONS_BYTES_MAX", 100)
    assert Result([b"1;a=b\r\nx\r\n" * 25]).status == 0
    assert Result([b"1;a=b\r\nx\r\n" * 26]).status == 431
    assert Result([b"1\r\nx\r\n" * 1000]).status == 0


@pytest.mark.parametrize("step", [1, 7, 100000])
def test_lines_as_long_as_allowed(step: int) -> None:
    def status(stream: bytes) -> int:
        return Result([stream[at : at + step] for at in range(0, len(stream), step)]).status

    line = b"1;" + b"a" * (chunked.LINE_BYTES_MAX - 2)
    assert status(line + b"\r\nx\r\n0\r\n\r\n") == 0
    assert status(line + b"a\r\nx\r\n0\r\n\r\n") == 431
    trailer = b"A: " + b"a" * (chunked.TRAILERS_BYTES_MAX - 3)
    assert status(b"0\r\n" + trailer + b"\r\n\r\n") == 0
    assert status(b"0\r\n" + trailer + b"a\r\n\r\n") == 431
    assert status(b"0\r\n" + b"A: b\r\n" * chunked.TRAILERS_MAX + b"\r\n") == 0
    assert status(b"0\r\n" + b"A: b\r\n" * (chunked.TRAILERS_MAX + 1) + b"\r\n") == 431


@pytest.mark.parametrize(
    "stream",
    [
        b"1" * 4098,
        b"5;" + b"a" * 4097,
        b"0\r\n" + b"a" * 16386,
        b"g",
        b"\r",
        b"\n",
        b";",
        b"1\r\nab",
        b"1\r\na\n",
        b" ",
    ],
)
def test_what_cannot_become_good_is_refused_at_once(stream: bytes) -> None:
    assert Result([stream]).status in (400, 431)
    assert Result([stream[at : at + 1] for at in range(len(stream))]).status in (400, 431)


def test_a_digit_at_a_time_costs_no_more_than_its_line() -> None:
    decoder = ChunkedDecoder(HUGE)
    for _ in range(10000):
        for piece in (b"2", b"\r", b"\n", b"a", b"b", b"\r", b"\n"):
            decoder.feed(piece)
    assert decoder._line == b""


TOKENS = st.text("abcXYZ019!-", min_size=1, max_size=4).map(str.encode)
QUOTED = st.sampled_from([b'""', b'"a b"', b'"\\""', b'";\\\\"', b'"\xe9\t"'])
SPACES = st.sampled_from([b"", b"", b" ", b"\t"])
EXTENSIONS = st.builds(
    lambda parts: b"".join(before + b";" + after + name + value for before, after, name, value in parts),
    st.lists(
        st.tuples(
            SPACES, SPACES, TOKENS, st.builds(lambda text: b"=" + text if text else b"", st.none() | TOKENS | QUOTED)
        ),
        max_size=2,
    ),
)
TRAILERS = st.lists(st.tuples(TOKENS, st.sampled_from([b"", b"v", b"a: b", b"\xe9"])), max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes, list[tuple[str, str]]]:
    """(a right stream, its body, its trailers)."""
    stream = body = b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(data)
        stream += size + draw(EXTENSIONS) + b"\r\n" + data + b"\r\n"
        body += data
    stream += draw(st.sampled_from([b"0", b"000"])) + draw(EXTENSIONS) + b"\r\n"
    trailers = draw(TRAILERS)
    stream += b"".join(name + b": " + value + b"\r\n" for name, value in trailers) + b"\r\n"
    return stream, body, [(name.decode(), value.decode("latin-1")) for name, value in trailers]


@given(streams(), st.lists(st.integers(0, 1000), max_size=12), st.binary(max_size=10))
def test_what_is_right_is_decoded_however_it_is_cut(
    made: tuple[bytes, bytes, list[tuple[str, str]]], offsets: list[int], behind: bytes
) -> None:
    stream, body, trailers = made
    result = Result(cut(stream + behind, offsets))
    assert (result.status, result.done) == (0, True)
    assert (result.body, result.rest, result.trailers) == (body, behind, trailers)


@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=2)), max_size=3),
    st.lists(st.integers(0, 1000)),
)
def test_any_cut_gives_the_same_result(
    made: tuple[bytes, bytes, list[tuple[str, str]]], damages: list[tuple[int, bytes]], offsets: list[int]
) -> None:
    """Invariant: pieces do not matter, to right streams and wrong ones.

    Exception: the status of what is wrong in two ways, and how much of a body was decoded before it.
    """
    stream = made[0]
    for offset, damage in damages:
        offset %= len(stream)
        stream = stream[:offset] + damage + stream[offset + 1 :]
    assert Result(cut(stream, offsets)) == Result([stream])
    assert Result([stream[at : at + 1] for at in range(len(stream))]) == Result([stream])
