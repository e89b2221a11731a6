"""What a client gets of an entry: whole, in part, in a coding, or that it has it already."""

from __future__ import annotations

from typing import Any

import pytest

from caches import environ_of
from vivace.cache.answering import answer
from vivace.cache.entry import NEGOTIATED, Entry
from vivace.cache.wish import read_request

HEADERS = [
    ("Content-Type", "text/plain"),
    ("Content-Length", "10"),
    ("Cache-Control", "max-age=60"),
    ("Date", "Thu, 01 Jan 1970 00:16:40 GMT"),
    ("ETag", '"1"'),
    ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("X", "1"),
]


def entry_of(status: str = "200 OK", **changes: Any) -> Entry:
    known = {"stored_s": 1000.0, "lifetime_s": 60.0, "date_s": 1000, "etag": '"1"', "modified_s": 0} | changes
    entry = Entry("k", status, HEADERS, b"0123456789", **known)
    entry.coded["gzip"] = b"zip"
    return entry


def ask(
    entry: Entry, now: float = 1005.5, coding: str = "", method: str = "GET", **fields: str
) -> tuple[str, dict[str, str], bytes]:
    environ = environ_of("/", method, **fields)
    status, headers, body = answer(entry, read_request(environ), environ, now, coding)
    assert len(dict(headers)) == len(headers)
    return status, dict(headers), body


def test_the_whole_has_its_fields_and_its_age() -> None:
    entry = entry_of()
    for now, age in [(1005.5, "5"), (1005.9, "5"), (1006.0, "6"), (900.0, "0")]:
        assert ask(entry, now) == ("200 OK", {**dict(HEADERS), "Age": age}, b"0123456789")
    assert ask(entry, method="HEAD")[1]["Content-Length"] == "10"
    assert entry.headers == HEADERS


def test_answers_of_one_second_share_their_fields() -> None:
    entry, environ = entry_of(), environ_of("/")
    first = answer(entry, read_request(environ), environ, 1005.0)
    assert answer(entry, read_request(environ), environ, 1005.9) is first
    assert answer(entry, read_request(environ), environ, 1006.0) is not first


def test_a_coding_says_so_and_weakens_the_tag() -> None:
    status, headers, body = ask(entry_of(), coding="gzip")
    assert (status, body) == ("200 OK", b"zip")
    assert headers["ETag"] == 'W/"1"'
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Vary"] == "Accept-Encoding"
    assert "Content-Length" not in headers
    assert "Vary" not in ask(entry_of(vary=("accept-encoding",)), coding="gzip")[1]


def test_what_was_said_of_the_bytes_before_they_were_coded_is_not_said_of_those_after() -> None:
    """The same fields as where a response is coded on its way (http1.coded_head)."""
    entry = entry_of()
    entry.headers = [("Accept-Ranges", "bytes"), ("Repr-Digest", "sha-256=:AA==:"), ("Content-MD5", "AA==")]
    assert set(ask(entry, coding="gzip")[1]) == {"Content-Encoding", "Vary", "Age"}


def test_what_may_be_coded_varies_in_every_answer() -> None:
    for fields in ({}, {"IF_NONE_MATCH": '"1"'}, {"RANGE": "bytes=0-1"}):
        assert ask(entry_of(flags=NEGOTIATED), **fields)[1]["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "fields", [{"IF_NONE_MATCH": '"0", W/"1"'}, {"IF_MODIFIED_SINCE": "Thu, 01 Jan 1970 00:00:00 GMT"}]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_it_is_told_so(fields: dict[str, str], method: str) -> None:
    entry = entry_of()
    for now, age in [(1005.5, "5"), (1005.6, "5"), (1007.0, "7")]:
        status, headers, body = ask(entry, now, method=method, **fields)
        assert (status, body) == ("304 Not Modified", b"")
        assert headers == {
            "Cache-Control": "max-age=60",
            "Date": "Thu, 01 Jan 1970 00:16:40 GMT",
            "ETag": '"1"',
            "Age": age,
        }
    assert ask(entry, coding="gzip", method=method, **fields)[1]["ETag"] == 'W/"1"'


def test_without_a_tag_a_304_has_last_modified() -> None:
    headers = ask(entry_of(etag=""), IF_MODIFIED_SINCE="Thu, 01 Jan 1970 00:00:00 GMT")[1]
    assert "Last-Modified" in headers


def test_without_last_modified_date_stands_in_for_it() -> None:
    entry = entry_of(modified_s=None, etag="")
    assert ask(entry, IF_MODIFIED_SINCE="Thu, 01 Jan 1970 00:16:40 GMT")[0] == "304 Not Modified"
    assert ask(entry, IF_MODIFIED_SINCE="Thu, 01 Jan 1970 00:16:39 GMT")[0] == "200 OK"


def test_conditions_that_fail() -> None:
    assert ask(entry_of(), IF_NONE_MATCH='"2"')[0] == "200 OK"
    assert ask(entry_of(), IF_MATCH='"2"')[0] == "412 Precondition Failed"
    assert ask(entry_of("404 Not Found"), IF_NONE_MATCH='"1"')[0] == "404 Not Found"
    assert ask(entry_of("404 Not Found"), RANGE="bytes=0-1")[0] == "404 Not Found"


def test_ranges() -> None:
    status, headers, body = ask(entry_of(), RANGE="bytes=2-4")
    assert (status, body) == ("206 Partial Content", b"234")
    assert headers["Content-Range"] == "bytes 2-4/10"
    assert headers["ETag"] == '"1"'
    assert headers["Age"] == "5"
    assert "Content-Length" not in headers
    assert ask(entry_of(), RANGE="bytes=-3")[2] == b"789"
    assert ask(entry_of(), RANGE="bytes=8-")[2] == b"89"
    status, headers, _ = ask(entry_of(), RANGE="bytes=10-")
    assert status == "416 Range Not Satisfiable"
    assert headers["Content-Range"] == "bytes */10"
    assert ask(entry_of(), RANGE="lines=1-2")[0] == "200 OK"
    assert ask(entry_of(), method="HEAD", RANGE="bytes=2-4")[0] == "200 OK"
    assert ask(entry_of(), coding="gzip", RANGE="bytes=2-4")[2] == b"234"
    assert ask(entry_of("203 Other"), RANGE="bytes=2-4")[0] == "203 Other"


def test_if_range() -> None:
    assert ask(entry_of(), RANGE="bytes=2-4", IF_RANGE='"1"')[0] == "206 Partial Content"
    assert ask(entry_of(), RANGE="bytes=2-4", IF_RANGE='W/"1"')[0] == "200 OK"
    assert ask(entry_of(), RANGE="bytes=2-4", IF_RANGE='"2"')[0] == "200 OK"


def test_several_ranges() -> None:
    entry = Entry("k", "200 OK", HEADERS, bytes(range(65, 91)) * 40, stored_s=1000.0, lifetime_s=60.0)
    status, headers, body = ask(entry, RANGE="bytes=0-1, 500-502")
    assert status == "206 Partial Content"
    media, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert media == "multipart/byteranges"
    first, second, end = body.split(f"--{boundary}".encode())[1:]
    assert b"Content-Range: bytes 0-1/1040\r\n" in first
    assert b"Content-Type: text/plain\r\n" in first
    assert first.endswith(b"\r\n\r\nAB\r\n")
    assert second.endswith(b"\r\n\r\n" + entry.body[500:503] + b"\r\n")
    assert end == b"--\r\n"


def test_a_boundary_stands_in_no_part() -> None:
    entry = entry_of()
    entry.body = (f"{1000:x}{1000:x}".encode() * 1000)[:1000]
    headers = ask(entry, RANGE="bytes=0-9, 500-509")[1]
    assert headers["Content-Type"].partition("boundary=")[2].encode() not in entry.body
