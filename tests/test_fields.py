"""Field lines: keys, faults and oddities. The caches are tested through parse_head (test_head.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.errors import Refused
from vivace.http1 import fields
from vivace.http1.fields import DROPPED, PRIVATE, UNDERSCORE, is_token, oddity, read_new

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    fields.forget()
    yield
    fields.forget()


def read(line: bytes) -> tuple[str, str, int]:
    entries: list[tuple[str, str]] = [("KNOWN", "1"), None]  # type: ignore[list-item]
    odd = read_new([b"known: 1", line], entries)
    assert entries[0] == ("KNOWN", "1")
    return (*entries[1], odd)


@pytest.mark.parametrize(
    ("line", "key", "value", "odd"),
    [
        (b"Host: x", "HTTP_HOST", "x", 0),
        (b"Host:x", "HTTP_HOST", "x", 0),
        (b"Host:\t x \t ", "HTTP_HOST", "x", 0),
        (b"Host:", "HTTP_HOST", "", 0),
        (b"X-A: a: b", "HTTP_X_A", "a: b", 0),
        (b"X-A: caf\xe9 \x80", "HTTP_X_A", "caf\xe9 \x80", 0),
        (b"content-TYPE: a/b", "CONTENT_TYPE", "a/b", 0),
        (b"Content-Length: 1", "CONTENT_LENGTH", "1", 0),
        (b"Content_Length: 1", "HTTP_CONTENT_LENGTH", "1", UNDERSCORE),
        (b"Content-Length_: 1", "HTTP_CONTENT_LENGTH_", "1", UNDERSCORE),
        (b"Cookie: a=b", "HTTP_COOKIE", "a=b", PRIVATE),
        (b"X_Request_Id: a", "HTTP_X_REQUEST_ID", "a", UNDERSCORE | PRIVATE),
        (b"PROXY: a", "HTTP_PROXY", "a", DROPPED),
        (b"Proxy-Connection: a", "HTTP_PROXY_CONNECTION", "a", 0),
    ],
)
def test_read_new(line: bytes, key: str, value: str, odd: int) -> None:
    assert read(line) == (key, value, odd)
    assert oddity(line) == odd
    assert fields.lines == ({} if odd else {line: (key, value)})
    fields.forget()
    assert oddity(line) == odd


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"", "colon"),
        (b"Host", "colon"),
        (b": x", "token"),
        (b"Ho(st: x", "token"),
        (b"H\xf6st: x", "token"),
        (b"Host : x", "white space"),
        (b"Host\t: x", "white space"),
        (b" Host: x", "folded"),
        (b"\tHost: x", "folded"),
        (b" ", "folded"),
        (b"A: \x00", "control"),
        (b"A: \r", "control"),
        (b"A: \n", "control"),
        (b"A\x7f: ", "control"),
    ],
)
def test_faults_are_named(line: bytes, word: str) -> None:
    with pytest.raises(Refused, match=word) as caught:
        read(line)
    assert caught.value.status == 400
    assert not fields.lines


@given(st.text(TCHAR, min_size=1, max_size=20))
def test_every_token_is_a_name(name: str) -> None:
    key, value, _ = read(name.encode() + b": v")
    assert value == "v"
    assert key == key.upper()
    assert key.removeprefix("HTTP_") == name.upper().replace("-", "_")


@given(st.text(max_size=5))
def test_tokens(text: str) -> None:
    assert (is_token(text) is not None) is (text != "" and set(text) <= set(TCHAR))


@given(st.binary(max_size=30))
def test_a_line_is_read_or_refused(line: bytes) -> None:
    """Invariant: an accepted line has no control but HTAB, and its value no white space around it."""
    try:
        _, value, _ = read(line)
    except Refused:
        return
    assert not any((byte < 32 and byte != 9) or byte == 127 for byte in line)
    assert value == value.strip(" \t")
    assert value.encode("latin-1") in line
