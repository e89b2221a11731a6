"""The request line: what the wire corpus does not say about its parts."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.errors import Refused
from vivace.http1 import target
from vivace.http1.flags import HEAD, HTTP10, PRIVATE
from vivace.http1.target import is_authority, read_request_line


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "A.b-c_d~e",
            "example.com",
            "example.com.",
            "example.com:0",
            "example.com:65535",
            "example.com:",
            "1.2.3.4",
        ),
        *(
            "999.1.1.1",
            "xn--caf-dma.example",
            "%c3%a9",
            "a,b",
            "a=b",
            "[::]",
            "[::1]:80",
            "[1:2:3:4:5:6:7:8]",
            "[1::8]",
        ),
        *("[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]", "[::1.2.3.4]", "[1:2:3:4:5:6:255.255.255.255]", "[FFFF::abcd]"),
    ],
)
def test_authority(text: str) -> None:
    assert is_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            ":80",
            "a b",
            "a\tb",
            "a/b",
            "a?b",
            "a@b",
            "a\\b",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:123456",
            "a:-1",
            "a:+1",
        ),
        *(
            "a:\xb2",
            "%",
            "%4",
            "%zz",
            "\xe9",
            '"a"',
            "<a>",
            "a^b",
            "a`b",
            "a{b}",
            "a|b",
            "::1",
            "[",
            "]",
            "[]",
            "[:]",
            "[::1",
        ),
        *("::1]", "[::1]a", "[:::]", "[1::2::3]", "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7:8::]"),
        *(
            "[12345::]",
            "[g::]",
            "[1.2.3.4]",
            "[::1.2.3]",
            "[::1.2.3.4.5]",
            "[::1.2.3.256]",
            "[::01.2.3.4]",
            "[1.2.3.4::]",
        ),
        *("[fe80::1%25eth0]", "[v1.a]", "a" * 256),
    ],
)
def test_no_authority(text: str) -> None:
    assert not is_authority(text)


def test_flags() -> None:
    assert read_request_line(b"GET / HTTP/1.1")[1:] == ("", 0)
    assert read_request_line(b"HEAD / HTTP/1.1")[2] == HEAD
    assert read_request_line(b"head / HTTP/1.1")[2] == 0
    assert read_request_line(b"HEAD /? HTTP/1.0")[2] == HEAD | HTTP10 | PRIVATE


def test_what_is_kept_is_what_was_read() -> None:
    target.kept.clear()
    for line in (b"GET /a HTTP/1.1", b"HEAD http://h:1/a HTTP/1.0", b"OPTIONS * HTTP/1.1"):
        read = read_request_line(line)
        assert target.kept[line] == read
        assert read_request_line(line) == read
    for line in (b"GET /?a HTTP/1.1", b"GET /" + b"a" * 120 + b" HTTP/1.1"):
        read_request_line(line)
        assert line not in target.kept


def read(line: bytes) -> tuple[dict[str, str], int]:
    """(environ keys, 0), or ({}, the status of the refusal)."""
    try:
        return read_request_line(line)[0], 0
    except Refused as refused:
        return {}, refused.status


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?"), max_size=30))
def test_paths_are_decoded_as_urllib_does(text: str) -> None:
    """Invariant: the bytes of PATH_INFO are unquote_to_bytes of the path, once.

    Exceptions, both refused: malformed escapes, which urllib leaves as they are, and %00.
    """
    keys, status = read(f"GET /{text} HTTP/1.1".encode())
    decoded = unquote_to_bytes("/" + text)
    if status:
        assert status == 400
        assert b"\0" in decoded or b"%" in decoded
    else:
        assert keys["PATH_INFO"].encode("latin-1") == decoded


@given(st.binary(max_size=40))
def test_bytes_are_read_or_refused(line: bytes) -> None:
    keys, status = read(line)
    if status:
        assert status in (400, 501, 505)
    else:
        method, _, version = line.decode().split(" ")
        assert (keys["REQUEST_METHOD"], keys["SERVER_PROTOCOL"]) == (method, version)
