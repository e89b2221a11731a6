"""The end of a response: found wherever it is cut, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from vivace.lab.answer import LINE_BYTES_MAX, BadResponse, Reader, read_head

GOOD = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello", 200, True),
    "empty": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, True),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, True),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", 200, False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, False),
    "1.0 that stays": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", 200, True),
    "interim": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        200,
        True,
    ),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA ;x=y\r\n0123456789\r\n0\r\n\r\n",
        200,
        True,
    ),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", 200, True),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_response_is_whole_at_its_end_and_not_before(name: str) -> None:
    data, status, keep = GOOD[name]
    for cut in range(1, len(data)):
        reader = Reader(headless=False)
        assert not reader.feed(data[:cut])
        assert reader.feed(data[cut:])
        assert (reader.status, reader.keep) == (status, keep)


@pytest.mark.parametrize("name", GOOD)
def test_a_response_may_come_byte_by_byte(name: str) -> None:
    data, status, keep = GOOD[name]
    reader = Reader(headless=False)
    assert [reader.feed(data[at : at + 1]) for at in range(len(data))] == [False] * (len(data) - 1) + [True]
    assert (reader.status, reader.keep) == (status, keep)


@pytest.mark.parametrize("name", GOOD)
def test_nothing_may_follow_it(name: str) -> None:
    with pytest.raises(BadResponse):
        Reader(headless=False).feed(GOOD[name][0] + b"H")


def test_the_answer_to_head_has_no_body() -> None:
    assert Reader(headless=True).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")


def test_without_a_length_the_end_of_the_connection_ends_it() -> None:
    reader = Reader(headless=False)
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert reader.until_close
    assert not reader.keep


BAD = [
    b"SSH-2.0-OpenSSH\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (LINE_BYTES_MAX + 1),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n no field\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
]


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data[:60]))
def test_what_is_no_response_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        Reader(headless=False).feed(data)


def test_the_last_of_several_connection_options_counts() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n"
    assert read_head(head, headless=False) == (200, 0, False)
