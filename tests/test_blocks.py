"""http1.blocks: says what parse_head says, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.errors import Refused
from vivace.http1 import blocks, fields
from vivace.http1.blocks import Blocks
from vivace.http1.head import HeadLimits, parse_head
from wire_strategies import HEADS

LIMITS = HeadLimits()
BASE: dict[str, Any] = {"SERVER_NAME": "s", "wsgi.version": (1, 0)}
KNOWN = b"Host: x\r\nAccept: */*\r\nConnection: keep-alive\r\n"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    fields.forget()
    yield
    fields.forget()


def head(rest: bytes = b"", known: bytes = KNOWN, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\n" + known + rest + b"\r\n"


def clean(raw: bytes) -> tuple[dict[str, Any], int] | None:
    """What parse_head says of a head without a body; None where it refuses."""
    environ = BASE.copy()
    try:
        length, flags = parse_head(raw, environ, LIMITS)
    except Refused:
        return None
    assert length == 0
    return environ, flags


def learned(*heads: bytes) -> Blocks:
    known = Blocks(BASE)
    for raw in heads:
        assert clean(raw) is not None
        for _ in range(2 * blocks.LOOK_EVERY):
            known.learn(raw)
    return known


COOKIE = head(b"Cookie: a=1\r\ntraceparent: 00-1\r\n")
QUERY = head(line=b"GET /?a=1 HTTP/1.1")


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Cookie: b=2\r\n"),
        head(b"Cookie: b=2\r\ntraceparent: 00-2\r\n"),
        head(b"Cookie:   b=2 \t\r\n"),
        head(b"Cookie: \xe9\r\n"),
        head(b"Cookie:\r\n"),
        head(b"Cookie: b\r\n", line=b"GET /other?q=%20 HTTP/1.1"),
        head(b"Cookie: b\r\n", line=b"HEAD /a%20b HTTP/1.1"),
        QUERY,
        head(line=b"DELETE /new HTTP/1.1"),
    ],
)
def test_a_head_with_a_known_block(raw: bytes) -> None:
    known = learned(COOKIE, QUERY)
    found = known.parse(raw, LIMITS)
    assert found is not None
    assert found == clean(raw)


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Cookie: a\r\nCookie: b\r\n"),
        head(b"Cookie: a\r\nAccept: b\r\n"),
        head(b"Cookie: a\r\nHost: y\r\n"),
        head(b"Cookie: a\r\nConnection: close\r\n"),
        head(b"Cookie: a\r\nContent-Length: 3\r\n"),
        head(b"Cookie: a\r\nTransfer-Encoding: chunked\r\n"),
        head(b"Cookie: a\r\nExpect: 100-continue\r\n"),
        head(b"Cookie: a\rb\r\n"),
        head(b"Cookie: a\nX: b\r\n"),
        head(b"Cookie: a\x00\r\n"),
        head(b"Cookie: a\r\n folded\r\n"),
        head(b"Cookie : a\r\n"),
        head(b"Cookie\r\n"),
        head(b"Cookie: a\r\ntraceparent\r\n"),
        head(b"Cookie: a\r\nX_Y: b\r\n"),
        head(b"Cookie: a\r\nProxy: b\r\n"),
        head(b"Cookie: a\r\nNew: b\r\n"),
        head(b"Cookie: a\r\n", line=b"GET / HTTP/1.0"),
        head(b"Cookie: a\r\n", line=b"GET http://y/ HTTP/1.1"),
        head(b"Cookie: a\r\n") + head(b"Cookie: a\r\n"),
        head(b"Cookie: a\r\n") + b"\r\n\r\n",
        head(b"Cookie: a\r\n") + b"x",
        head(b"Cookie: a\r\n")[:-2],
        head(b"Cookie: a\r\n")[:-1],
        head(b"Cookie: " + 9000 * b"a" + b"\r\n"),
        head(b"Cookie: a\r\n" + b"".join(b"traceparent: %d\r\n" % n for n in range(100))),
        head(b"Cookie: a\r\n", known=KNOWN.replace(b"*/*", b"*")),
    ],
)
def test_what_is_not_certain_is_left_to_parse_head(raw: bytes) -> None:
    assert learned(COOKIE).parse(raw, LIMITS) is None


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Cookie: a\r\n", known=b"Accept: */*\r\n", line=b"GET / HTTP/1.0"),
        head(b"Cookie: a\r\n", known=KNOWN.replace(b"keep-alive", b"close")),
        head(b"Cookie: a\r\n", known=KNOWN + b"Accept: b\r\n"),
        head(b"Cookie: a\r\n", known=KNOWN + b"Proxy: b\r\n"),
        head(b"Cookie: a\r\n", known=KNOWN + b"X_Y: b\r\n"),
        head(b"Cookie: a\r\n", known=KNOWN + b"Expect: 100-continue\r\n"),
        head(b"Cookie: a\r\n", known=KNOWN + b"Long: " + 3000 * b"a" + b"\r\n"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nCookie: a\r\nHost: x\r\n\r\n",
    ],
)
def test_blocks_that_are_not_kept(raw: bytes) -> None:
    assert learned(raw).parse(raw, LIMITS) is None


def test_a_credential_is_in_no_block() -> None:
    known = learned(COOKIE, head(b"Authorization: secret\r\nCookie: a\r\n"), QUERY)
    assert b"secret" not in b"".join(known._kept)
    assert "secret" not in repr(known._kept)
    assert known._marks == (b"\r\nAuthorization:", b"\r\nCookie:", b"\r\n\r\n")


def test_a_name_that_varies_ends_a_block() -> None:
    for number in range(fields.NAME_LINES_MAX + 1):
        clean(head(b"X-Forwarded-For: 10.0.0.%d\r\n" % number))
    known = learned(head(b"X-Forwarded-For: 10.1.0.0\r\n"))
    raw = head(b"X-Forwarded-For: 10.2.0.0\r\n")
    assert known.parse(raw, LIMITS) == clean(raw)


def test_a_block_is_kept_at_the_second_look() -> None:
    known = Blocks(BASE)
    for _ in range(2 * blocks.LOOK_EVERY - 1):
        known.learn(COOKIE)
    assert not known._kept
    known.learn(COOKIE)
    assert len(known._kept) == 1


def test_the_environ_is_the_callers_own() -> None:
    known = learned(COOKIE)
    for _ in range(2):
        found = known.parse(COOKIE, LIMITS)
        assert found == clean(COOKIE)
        found[0].clear()


def test_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCKS_MAX", 8)
    monkeypatch.setattr(blocks, "SEEN_MAX", 16)
    known = Blocks(BASE)
    for number in range(64):
        raw = head(b"X-Token-%d: a\r\n" % number, known=KNOWN + b"N: %d\r\n" % number)
        clean(raw)
        for _ in range(2 * blocks.LOOK_EVERY):
            known.learn(raw)
    assert len(known._kept) <= 8
    assert len(known._seen) <= 17
    assert len(known._marks) == blocks.MARKS_MAX - 1


def test_a_refused_request_line_is_refused() -> None:
    with pytest.raises(Refused):
        learned(COOKIE).parse(head(b"Cookie: a\r\n", line=b"GET /%zz HTTP/1.1"), LIMITS)


@pytest.mark.parametrize("odd", [b"x_a: 1\r\n", b"Proxy: http://evil\r\n", b"Content_Length: 5\r\n"])
def test_odd_lines_behind_a_block_are_left_to_parse_head(odd: bytes) -> None:
    """The names behind a block are learnt from a head that was accepted, and odd ones are accepted, too."""
    held = learned(head(b"Cookie: a=1\r\n" + odd))
    assert held.parse(head(b"Cookie: a=2\r\n" + odd), LIMITS) is None
    assert held.parse(head(b"Cookie: a=2\r\n"), LIMITS) is not None


def test_a_line_end_too_many_is_left_to_parse_head() -> None:
    assert learned(QUERY).parse(QUERY, LIMITS) is not None
    assert learned(QUERY).parse(QUERY + b"\r\n", LIMITS) is None


@given(
    known=st.lists(HEADS, max_size=4),
    raw=HEADS,
    cut=st.integers(0, 300),
    tail=st.sampled_from([b"", b"Cookie: a=%d\r\n", b"traceparent: a\r\n", b"a: b\r\n", b"\r\n"]),
)
def test_blocks_agree_with_parse_head(known: list[bytes], raw: bytes, cut: int, tail: bytes) -> None:
    held = Blocks(BASE)
    for one in (*known, COOKIE, QUERY):
        environ = BASE.copy()
        try:
            length, _ = parse_head(one, environ, LIMITS)
        except Refused:
            continue
        if not length:
            for _ in range(2 * blocks.LOOK_EVERY):
                held.learn(one)
    for one in (raw, raw[:-2] + tail + b"\r\n", COOKIE[:cut] + raw[cut:], *known):
        try:
            found = held.parse(one, LIMITS)
        except Refused:
            with pytest.raises(Refused):
                parse_head(one, BASE.copy(), LIMITS)
            continue
        if found is not None:
            environ = BASE.copy()
            assert parse_head(one, environ, LIMITS) == (0, found[1])
            assert environ == found[0]


class TestSplit:
    def test_a_front_and_what_stands_behind_it(self) -> None:
        raw = head(b"Cookie: b=2\r\ntraceparent: 00-2\r\n")
        front, names, keys = learned(COOKIE).split(raw, LIMITS) or (b"", [], [])
        assert raw == front + b"Cookie: b=2\r\ntraceparent: 00-2\r\n\r\n"
        assert names == blocks.tail_names(raw, len(front)) == [b"Cookie:", b"traceparent:"]
        assert keys == ["HTTP_COOKIE", "HTTP_TRACEPARENT"]

    @pytest.mark.parametrize(
        "raw", [head(b"Cookie: a\r\nNew: b\r\n"), head(), head(b"Cookie: a\r\n")[:-2], QUERY, head(b"Cookie\r\n")]
    )
    def test_not_of_what_is_left_to_parse_head_or_has_nothing_behind(self, raw: bytes) -> None:
        assert learned(COOKIE).split(raw, LIMITS) is None

    @pytest.mark.parametrize(
        "tail",
        [
            b"Cookie: \x00\r\n\r\n",
            b"Cookie: a\rb\r\n\r\n",
            b"Cookie: a\nb\r\n\r\n",
            b"Cookie: a\r\n\r\nCookie: a\r\n\r\n",
            b"Cookie: a\r\n folded: b\r\n\r\n",
            b"Cookie: a\r\nCookie: b\r\n\r\n",
            b"Cookie : a\r\n\r\n",
            b"Cookie\r\n\r\n",
            b"Cookie: a\r\n",
            b"Cookie: a\r\n\r\n\r\n",
            b"Cookie: a\r\n\r\nx",
            b"",
            b"\r\n\r\n",
        ],
    )
    def test_a_tail_that_is_not_the_same_has_other_names(self, tail: bytes) -> None:
        assert blocks.tail_names(head(known=KNOWN)[:-2] + tail, len(head()) - 2) != [b"Cookie:"]

    @given(HEADS, st.integers(0, 400))
    def test_names_are_those_of_the_environ(self, raw: bytes, cut: int) -> None:
        known = learned(COOKIE)
        split = known.split(raw, LIMITS)
        if split is not None:
            front, names, keys = split
            found = clean(raw)
            assert found is not None
            assert all(key in found[0] for key in keys)
            assert raw.startswith(front + names[0])
