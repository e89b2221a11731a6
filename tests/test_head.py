"""parse_head and incomplete_head: what the wire corpus cannot say (limits, policies, caches, flags), and the agreement
of the fast way with its clean twin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plain_http1
from vivace.errors import Refused
from vivace.http1 import fields, head, target
from vivace.http1.flags import CLOSE, EXPECTS, HEAD, HTTP10, PRIVATE
from vivace.http1.head import CHUNKED, HeadLimits, incomplete_head, parse_head
from wire_strategies import HEADS

LIMITS = HeadLimits()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    fields.forget()
    target.kept.clear()
    head._hosts.clear()


def parse(raw: bytes, limits: HeadLimits = LIMITS, **base: Any) -> tuple[int, int, dict[str, Any]]:
    environ: dict[str, Any] = dict(base)
    length, flags = parse_head(raw, environ, limits)
    return length, flags, environ


def get(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET / HTTP/1.1", b"Host: x", *lines, b"", b""))


def status(raw: bytes, limits: HeadLimits = LIMITS) -> int:
    with pytest.raises(Refused) as caught:
        parse_head(raw, {}, limits)
    return caught.value.status


def test_the_base_stays_and_the_request_is_added() -> None:
    length, flags, environ = parse(b"GET /a%20b?c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", SERVER_NAME="s")
    assert (length, flags) == (0, PRIVATE)
    assert environ == {
        "SERVER_NAME": "s",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c",
        "REQUEST_URI": "/a%20b?c",
        "RAW_URI": "/a%20b?c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "x",
        "HTTP_ACCEPT": "*/*",
    }


@pytest.mark.parametrize(
    ("raw", "length", "flags"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, 0),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 0, HEAD),
        (b"GET / HTTP/1.0\r\n\r\n", 0, HTTP10 | CLOSE),
        (b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 0, HTTP10 | HEAD),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 0, CLOSE),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n", 7, 0),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n", 7, EXPECTS),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, 0),
        (b"POST / HTTP/1.0\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n", 7, HTTP10 | CLOSE),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie: a\r\n\r\n", 0, PRIVATE),
        (b"GET /?token=a HTTP/1.1\r\nHost: x\r\n\r\n", 0, PRIVATE),
    ],
)
def test_length_and_flags(raw: bytes, length: int, flags: int) -> None:
    assert parse(raw)[:2] == (length, flags)
    assert parse(raw)[:2] == (length, flags)


@pytest.mark.parametrize(
    "name",
    [
        *("Cookie", "Authorization", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token", "X-CSRFToken", "X-Session-Id"),
        *("X-Goog-IAP-JWT-Assertion", "X-Amz-Security-Token", "X-SSL-Client-Cert", "X-Hub-Signature", "X-Password"),
        *("traceparent", "tracestate", "X-Request-Id", "X-Correlation-ID", "X-B3-SpanId", "CF-Ray", "X-Amzn-Trace-Id"),
        *("Sec-WebSocket-Key", "Idempotency-Key", "X-Request-Start", "baggage", "cOOKIE", "X_Secret"),
    ],
)
def test_private_lines_are_not_kept(name: str) -> None:
    raw = get(b"Accept: a", name.encode() + b": s3cr3t", b"X-Plain: b")
    for _ in range(3):
        assert parse(raw)[1] == PRIVATE
    assert set(fields.lines) == {b"Host: x", b"Accept: a", b"X-Plain: b"}
    assert "s3cr3t" not in repr((fields.lines, fields.names, fields._room, target.kept, head._hosts))


def test_queries_are_not_kept() -> None:
    parse(b"GET /reset?token=s3cr3t HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not target.kept


@pytest.mark.parametrize("policy", ["drop", "refuse", "keep"])
def test_a_kept_line_does_not_depend_on_the_policy_for_underscores(policy: str) -> None:
    raw = get(b"X_A: 1", b"X-B: 2")
    keep = HeadLimits(underscores="keep")
    assert parse(raw, keep)[2]["HTTP_X_A"] == "1"
    limits = HeadLimits(underscores=policy)
    if policy == "refuse":
        assert status(raw, limits) == 400
    else:
        assert ("HTTP_X_A" in parse(raw, limits)[2]) is (policy == "keep")
    assert not any(b"_" in line for line in fields.lines)


@pytest.mark.parametrize("name", [b"Content_Length", b"content_type", b"Transfer_Encoding", b"TRANSFER_ENCODING"])
def test_no_underscore_poses_as_a_field_that_delimits(name: bytes) -> None:
    raw = get(name + b": chunked")
    assert set(parse(raw)[2]) == set(parse(get())[2])
    assert status(raw, HeadLimits(underscores="keep")) == 400
    assert status(raw, HeadLimits(underscores="refuse")) == 400


def test_kept_underscores_join_what_they_cannot_be_told_from() -> None:
    raw = get(b"X-Real-IP: 192.0.2.1", b"X_Real_IP: 192.0.2.2")
    assert parse(raw, HeadLimits(underscores="keep"))[2]["HTTP_X_REAL_IP"] == "192.0.2.1, 192.0.2.2"


@pytest.mark.parametrize("policy", ["drop", "refuse", "keep"])
def test_proxy_is_always_dropped(policy: str) -> None:
    assert "HTTP_PROXY" not in parse(get(b"Proxy: a"), HeadLimits(underscores=policy))[2]


def test_limits() -> None:
    limits = HeadLimits(request_line_bytes_max=20, head_bytes_max=100, fields_max=3, field_bytes_max=40)
    assert parse(b"GET /123456 HTTP/1.1\r\nHost: x\r\n\r\n", limits)
    assert status(b"GET /1234567 HTTP/1.1\r\nHost: x\r\n\r\n", limits) == 414
    assert parse(get(b"A: 1", b"B: 2"), limits)
    assert status(get(b"A: 1", b"B: 2", b"C: 3"), limits) == 431
    assert parse(get(b"A: " + b"a" * 37), limits)
    assert status(get(b"A: " + b"a" * 38), limits) == 431
    assert parse(get(b"A: " + b"a" * 30, b"B: " + b"b" * 33), limits)
    assert status(get(b"A: " + b"a" * 30, b"B: " + b"b" * 34), limits) == 431


def test_limits_hold_for_kept_lines() -> None:
    raw = b"GET /1234567 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 38 + b"\r\n\r\n"
    parse(raw)
    assert status(raw, HeadLimits(request_line_bytes_max=20)) == 414
    assert status(raw, HeadLimits(field_bytes_max=40)) == 431
    assert status(raw, HeadLimits(fields_max=1)) == 431
    assert status(raw, HeadLimits(head_bytes_max=40)) == 431


@pytest.mark.parametrize(
    "raw",
    [
        get(b"s3cr3t\0: a"),
        get(b"A: s3cr3t\0"),
        get(b"s3cr3t"),
        get(b"Host: s3cr3t"),
        get(b"Expect: s3cr3t"),
        b"GET s3cr3t HTTP/1.1\r\n\r\n",
    ],
)
def test_a_refusal_repeats_nothing_of_the_message(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse(raw)
    assert "s3cr3t" not in caught.value.detail


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "LINES_MAX", 50)
    monkeypatch.setattr(fields, "NAMES_MAX", 30)
    monkeypatch.setattr(target, "KEPT_MAX", 20)
    monkeypatch.setattr(head, "_HOSTS_MAX", 10)
    for number in range(500):
        raw = b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-%d: a\r\nAccept: %d\r\n\r\n" % ((number,) * 4)
        assert parse(raw)[2][f"HTTP_X_{number}"] == "a"
        assert len(fields.lines) <= 50
        assert len(fields.names) <= 30
        assert len(fields._room) <= 50
        assert len(target.kept) <= 20
        assert len(head._hosts) <= 10


def test_long_names_and_lines_are_not_kept() -> None:
    parse(get(b"A" * 65 + b": 1", b"B: " + b"b" * 254))
    assert set(fields.lines) == {b"Host: x", b"A" * 65 + b": 1"}
    assert set(fields.names) == {b"Host", b"B"}


def test_a_name_that_varies_too_much_loses_its_place_and_gets_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "NAME_LINES_MAX", 5)
    monkeypatch.setattr(fields, "NAME_MISSES_MAX", 10)
    for number in range(5):
        assert parse(get(b"X-Varies: %d" % number))[1] == 0
    assert parse(get(b"X-Varies: a"))[1] == PRIVATE
    assert parse(get(b"X-Other: a"))[1] == 0
    assert parse(get(b"X-Varies: 4"))[1] == 0
    for _ in range(9):
        assert parse(get(b"X-Varies: b"))[1] == PRIVATE
    assert parse(get(b"X-Varies: b"))[1] == 0
    assert b"X-Varies: b" in fields.lines
    assert b"X-Varies: 4" not in fields.lines


def test_a_long_line_that_repeats_does_not_count_as_varying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "NAME_LINES_MAX", 5)
    for _ in range(20):
        assert parse(get(b"User-Agent: " + b"a" * 300))[1] == 0


def test_what_is_refused_is_not_kept() -> None:
    for raw in (get(b"A: \x00"), get(b"B : 1"), b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", get(b"GET / HTTP/1.1")):
        assert status(raw) == 400
        assert status(raw) == 400
    assert set(fields.lines) == {b"Host: x"}
    assert set(target.kept) == {b"GET / HTTP/1.1"}


def test_a_kept_head_is_not_shared() -> None:
    first = parse(get(b"A: 1"))[2]
    first["PATH_INFO"] = first["HTTP_A"] = "changed"
    assert parse(get(b"A: 1"))[2]["PATH_INFO"] == "/"
    assert parse(get(b"A: 1"))[2]["HTTP_A"] == "1"


def test_threads_may_parse_at_once() -> None:
    heads = [get(b"A: %d" % number, b"Cookie: %d" % number, b"X-%d: 1" % (number % 40)) for number in range(300)]
    expected = [parse(raw) for raw in heads]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        forget()
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: [parse(raw) for raw in heads], range(8)):
                assert found == expected
    finally:
        sys.setswitchinterval(interval)


# The growing head.


def growing(buffer: bytes, limits: HeadLimits = LIMITS) -> int:
    try:
        incomplete_head(buffer, limits)
    except Refused as refused:
        return refused.status
    return 0


@pytest.mark.parametrize(
    ("buffer", "status"),
    [
        (b"", 0),
        (b"\r", 0),
        (b"G", 0),
        (b"GET", 0),
        (b"GET /\r", 0),
        (b"GET / HTTP/1.1\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r", 0),
        (b"\r\n", 400),
        (b"\rG", 400),
        (b" GET", 400),
        (b"\n", 400),
        (b"\x16\x03\x01", 400),
        (b"\x80", 400),
        (b"GET\x00", 400),
        (b"GET /\n", 400),
        (b"GET /\x00\x00", 400),
        (b"GET / HTTP/1.1\r\nA: 1\n", 400),
        (b"GET / HTTP/1.1\r\nA: \x00 ", 400),
        (b"GET / HTTP/3.0\r\nA: ", 505),
        (b"GET / HTTX/1.1\r\nA: ", 400),
        (b"M" * 32, 0),
        (b"M" * 33, 501),
    ],
)
def test_incomplete_head(buffer: bytes, status: int) -> None:
    assert growing(buffer) == status


def test_incomplete_head_keeps_the_limits() -> None:
    limits = HeadLimits(request_line_bytes_max=30, head_bytes_max=100, fields_max=3, field_bytes_max=40)
    line = b"GET / HTTP/1.1\r\n"
    assert growing(b"GET /" + b"a" * 26, limits) == 0
    assert growing(b"GET /" + b"a" * 27, limits) == 414
    assert growing(line + b"A: 1\r\n" * 3, limits) == 0
    assert growing(line + b"A: 1\r\n" * 4, limits) == 431
    assert growing(line + b"a" * 41, limits) == 0
    assert growing(line + b"a" * 42, limits) == 431
    assert growing(line + b"A: %b\r\n" % (b"a" * 37) + b"b" * 40, limits) == 0
    assert growing(line + b"A: %b\r\n" % (b"a" * 37) + b"b" * 41 + b"\r\n", limits) == 431


# The twin.


@given(st.lists(HEADS, min_size=1, max_size=4), st.sampled_from(["drop", "refuse", "keep"]))
def test_the_fast_way_agrees_with_its_clean_twin(heads: list[bytes], policy: str) -> None:
    """Invariant: the same environ, length and flags, or a refusal in both, whatever was read before.

    Exception: which of several faults of one head is told first, and so its status.
    """
    limits = HeadLimits(underscores=policy)
    for raw in [*heads, *heads]:
        assert outcome(parse_head, raw, limits) == outcome(plain_http1.parse_head, raw, limits)


def outcome(parser: Any, raw: bytes, limits: HeadLimits) -> object:
    environ: dict[str, Any] = {"SERVER_NAME": "s"}
    try:
        return parser(raw, environ, limits), environ
    except Refused:
        return "refused"
