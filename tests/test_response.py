"""Response heads: what is sent, what is refused, and that nothing kept changes either."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from wsgiref.util import is_hop_by_hop

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plain_http1
from vivace.errors import ApplicationError, SettingError
from vivace.http1 import response
from vivace.http1.flags import CLOSE, EXPECTS, HEAD, HTTP10, PRIVATE
from vivace.http1.framing import CHUNKED
from vivace.http1.response import NO_BODY, UNTIL_CLOSE, ResponseHeads

DATE = b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
TYPE = ("Content-Type", "text/plain")
Headers = list[tuple[str, str]]


def encode(
    status: str = "200 OK", headers: Any = (), flags: int = 0, length: int | None = None, server: str = ""
) -> tuple[list[str], int, bool]:
    """(lines without the Date, framing, keep_alive); checks that a second time gives the same."""
    heads = ResponseHeads(server)
    headers = list(headers) if isinstance(headers, tuple) else headers
    first = heads.encode(status, headers, flags, length, DATE)
    assert heads.encode(status, headers, flags, length, DATE) == first
    head, framing, keep_alive = first
    assert head.endswith(b"\r\n" + DATE + b"\r\n")
    return head[: -len(DATE) - 2].decode("latin-1").splitlines(), framing, keep_alive


def refused(status: Any = "200 OK", headers: Any = (), flags: int = 0, length: int | None = None) -> str:
    heads = ResponseHeads("")
    messages = []
    for _ in range(2):
        with pytest.raises(ApplicationError) as caught:
            heads.encode(status, list(headers) if isinstance(headers, tuple) else headers, flags, length, DATE)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


def test_a_whole_head() -> None:
    heads = ResponseHeads("vivace")
    assert heads.encode("404 Not Found", [TYPE, ("X-A", "caf\xe9")], 0, 5, DATE) == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-A: caf\xe9\r\nContent-Length: 5\r\n"
        b"Server: vivace\r\nDate: Tue, 24 Nov 2026 10:00:00 GMT\r\n\r\n",
        5,
        True,
    )


class Framed(NamedTuple):
    """A row of the table of RFC 9112 section 6.3, seen from the server."""

    status: str
    told: str | None  # the application's Content-Length
    flags: int
    length: int | None  # of the body, if the server knows it
    framing: int
    keep_alive: bool
    lines: list[str]


CLOSED = ["Connection: close"]
KEPT = ["Connection: keep-alive"]


@pytest.mark.parametrize(
    "row",
    [
        Framed("200 OK", None, 0, 5, 5, True, ["Content-Length: 5"]),
        Framed("200 OK", None, 0, 0, 0, True, ["Content-Length: 0"]),
        Framed("200 OK", None, 0, None, CHUNKED, True, ["Transfer-Encoding: chunked"]),
        Framed("200 OK", "5", 0, None, 5, True, ["Content-Length: 5"]),
        Framed("200 OK", "5", 0, 7, 5, True, ["Content-Length: 5"]),
        Framed("200 OK", "007", 0, 7, 7, True, ["Content-Length: 7"]),
        Framed("200 OK", "123456", 0, None, 123456, True, ["Content-Length: 123456"]),
        Framed("200 OK", None, CLOSE, 5, 5, False, ["Content-Length: 5", *CLOSED]),
        Framed("200 OK", None, CLOSE, None, CHUNKED, False, ["Transfer-Encoding: chunked", *CLOSED]),
        Framed("200 OK", "5", CLOSE, None, 5, False, ["Content-Length: 5", *CLOSED]),
        Framed("200 OK", None, HTTP10, 5, 5, True, ["Content-Length: 5", *KEPT]),
        Framed("200 OK", "5", HTTP10, None, 5, True, ["Content-Length: 5", *KEPT]),
        Framed("200 OK", None, HTTP10, None, UNTIL_CLOSE, False, CLOSED),
        Framed("200 OK", None, HTTP10 | CLOSE, None, UNTIL_CLOSE, False, CLOSED),
        Framed("200 OK", None, HTTP10 | CLOSE, 5, 5, False, ["Content-Length: 5", *CLOSED]),
        Framed("200 OK", None, EXPECTS | PRIVATE, 5, 5, True, ["Content-Length: 5"]),
        # HEAD: the length of the answer to GET, if it is known.
        Framed("200 OK", "5", HEAD, 0, NO_BODY, True, ["Content-Length: 5"]),
        Framed("200 OK", "5", HEAD, 7, NO_BODY, True, ["Content-Length: 5"]),
        Framed("200 OK", None, HEAD, 7, NO_BODY, True, ["Content-Length: 7"]),
        Framed("200 OK", None, HEAD, 0, NO_BODY, True, []),
        Framed("200 OK", None, HEAD, None, NO_BODY, True, []),
        Framed("200 OK", None, HEAD | HTTP10, None, NO_BODY, True, KEPT),
        Framed("200 OK", None, HEAD | CLOSE, None, NO_BODY, False, CLOSED),
        # No body whatever the application yields.
        Framed("204 No Content", None, 0, 0, NO_BODY, True, []),
        Framed("204 No Content", None, 0, None, NO_BODY, True, []),
        Framed("204 No Content", "0", 0, 0, NO_BODY, True, []),
        Framed("204 No Content", "5", HEAD, 5, NO_BODY, True, []),
        Framed("205 Reset Content", None, 0, None, NO_BODY, True, ["Content-Length: 0"]),
        Framed("205 Reset Content", "5", 0, 5, NO_BODY, True, ["Content-Length: 0"]),
        Framed("205 Reset Content", "5", HEAD, 5, NO_BODY, True, ["Content-Length: 0"]),
        Framed("304 Not Modified", None, 0, 0, NO_BODY, True, []),
        Framed("304 Not Modified", None, 0, 5, NO_BODY, True, []),
        Framed("304 Not Modified", "5", 0, 0, NO_BODY, True, ["Content-Length: 5"]),
        Framed("304 Not Modified", None, HEAD, 5, NO_BODY, True, []),
        Framed("304 Not Modified", None, HTTP10, None, NO_BODY, True, KEPT),
    ],
)
def test_framing(row: Framed) -> None:
    headers = (TYPE,) if row.told is None else (("Content-Length", row.told), TYPE)
    lines, framing, keep_alive = encode(row.status, headers, row.flags, row.length)
    assert (framing, keep_alive) == (row.framing, row.keep_alive)
    assert lines[0] == f"HTTP/1.1 {row.status}"
    assert sorted(lines[1:]) == sorted(["Content-Type: text/plain", *row.lines])


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "CONTENT-LENGTH"])
def test_a_length_is_found_in_any_case_and_left_out_of_204(name: str) -> None:
    assert encode(headers=((name, "5"),))[:2] == (["HTTP/1.1 200 OK", f"{name}: 5"], 5)
    assert encode("204 No Content", ((name, "5"), TYPE))[0] == ["HTTP/1.1 204 No Content", "Content-Type: text/plain"]


def test_server_and_date_of_the_application_pass() -> None:
    heads = ResponseHeads("vivace")
    own = [("dATE", "now"), ("Server", "mine")]
    assert heads.encode("200 OK", own, 0, 0, DATE)[0] == (
        b"HTTP/1.1 200 OK\r\ndATE: now\r\nServer: mine\r\nContent-Length: 0\r\n\r\n"
    )
    assert heads.encode("200 OK", own[:1], 0, 0, DATE)[0].count(b"vivace") == 1
    assert heads.encode("200 OK", own[1:], 0, 0, DATE)[0].count(DATE) == 1


def test_white_space_around_a_value_is_taken_away() -> None:
    assert encode(headers=(("X-A", "\t a \t b  "), ("X-B", " "), ("X-C", "")))[0][1:4] == [
        "X-A: a \t b",
        "X-B: ",
        "X-C: ",
    ]


def test_repeated_headers_stay_apart() -> None:
    headers = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Set-Cookie", "a=1"))
    assert encode(headers=headers)[0][1:4] == [f"Set-Cookie: {value}" for _, value in headers]


@pytest.mark.parametrize("status", ["200 ", "299 \t!", "599 caf\xe9", "418 I'm a teapot", "200  OK "])
def test_statuses(status: str) -> None:
    heads = ResponseHeads("")
    assert heads.encode(status, [], 0, 0, DATE)[0].startswith(f"HTTP/1.1 {status}\r\n".encode("latin-1"))


@pytest.mark.parametrize(
    "status",
    [
        *("", "200", "OK", "20 OK", "2000 OK", " 200 OK", "200\tOK", "200OK", "-20 OK", "\xb2\xb2\xb2 OK", "0x1 OK"),
        *("099 Low", "100 Continue", "101 Switching Protocols", "103 Early Hints", "199 x", "600 High", "999 x"),
        *(
            "200 O\rK",
            "200 OK\r\n",
            "200 OK\nX: y",
            "200 \x00",
            "200 \x7f",
            "200 \u2603",
            b"200 OK",
            200,
            None,
            ["200 OK"],
        ),
    ],
)
def test_no_statuses(status: object) -> None:
    assert "status" in refused(status)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        "text",
        {"Content-Type": "text/plain"},
        iter([TYPE]),
        [None],
        ["ab"],
        [["Content-Type", "text/plain"]],
        [("Content-Type",)],
        [("Content-Type", "text/plain", "x")],
        [{"a", "b"}],
    ],
)
def test_headers_are_a_list_of_pairs(headers: Any) -> None:
    assert "PEP 3333" in refused(headers=headers)


def test_a_tuple_of_headers_is_no_list_even_if_kept() -> None:
    heads = ResponseHeads("")
    heads.encode("200 OK", [TYPE], 0, 0, DATE)
    with pytest.raises(ApplicationError, match="not a list but tuple"):
        heads.encode("200 OK", (TYPE,), 0, 0, DATE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "A B", "A:", " A", "A\r\nB", "A\x00", "\xe9", "\u2603", b"A", 1, None, ("A",), ["A"]]
)
def test_names_are_tokens(name: Any) -> None:
    assert "name" in refused(headers=((name, "x"),))


@pytest.mark.parametrize("value", ["\r", "\n", "a\r\nX: y", "\x00", "\x1b", "\x7f", "\u2603", b"x", 5, None, ["x"]])
def test_values_are_latin_1_without_controls(value: Any) -> None:
    assert "header X-Named" in refused(headers=(TYPE, ("X-Named", value)))


def test_messages_do_not_repeat_values() -> None:
    for value in ("s3cr3t\r\n", "s3cr3t\u2603"):
        assert "s3cr3t" not in refused(headers=(("Set-Cookie", value),))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Connection",
            "Keep-Alive",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "TE",
            "Trailers",
            "Transfer-Encoding",
        ),
        *("Upgrade", "Trailer", "Proxy-Connection", "cONNECTION"),
    ],
)
def test_hop_by_hop_headers(name: str) -> None:
    assert name in refused(headers=(TYPE, (name, "x")))
    assert is_hop_by_hop(name) or name in ("Trailer", "Proxy-Connection")


@pytest.mark.parametrize("value", ["", " 5", "+5", "-5", "5.0", "0x5", "5_0", "\xb2", "5, 5", "9" * 19, 5, None])
def test_lengths_are_digits(value: Any) -> None:
    assert "Content-Length" in refused(headers=(("Content-Length", value),))


def test_a_second_length() -> None:
    assert "twice" in refused(headers=(("Content-Length", "5"), ("content-length", "5")))
    assert "twice" in refused("204 No Content", (("Content-Length", "0"), ("Content-Length", "0")))


@pytest.mark.parametrize("server", ["a\r\nb", "\u2603", "\x00"])
def test_a_server_that_cannot_be_sent(server: str) -> None:
    with pytest.raises(SettingError, match="server"):
        ResponseHeads(server)


# What is kept.


class Folded(str):
    """A str that is equal to others: a case-insensitive one, as some libraries have."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return b"evil\r\n"

    def __str__(self) -> str:
        return "evil\r\n"


class Pair(NamedTuple):
    """A tuple that is no plain one."""

    name: str
    value: str


def test_subclasses_are_sent_as_what_they_hold_and_never_kept() -> None:
    heads = ResponseHeads("")
    for headers in (
        [(Folded("X-A"), Folded("Value"))],
        [Pair("X-B", "Value")],
        [(Folded("Content-Length"), Folded("5"))],
    ):
        head = heads.encode(Folded("200 Fine"), list(headers), 0, None, DATE)[0]
        name, value = (str.encode(text) for text in headers[0])
        assert head.startswith(b"HTTP/1.1 200 Fine\r\n" + name + b": " + value + b"\r\n")
    assert not heads._heads
    assert not heads._lines
    assert not heads._statuses
    assert heads.encode("200 fine", [("x-a", "value")], 0, 0, DATE)[0].startswith(
        b"HTTP/1.1 200 fine\r\nx-a: value\r\n"
    )


@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "X-CSRF-Token", "WWW-Authenticate", "X-Request-Id"])
def test_secrets_are_not_kept(name: str) -> None:
    heads = ResponseHeads("")
    for _ in range(3):
        assert b"s3cr3t" in heads.encode("200 OK", [TYPE, (name, "s3cr3t")], 0, 0, DATE)[0]
    assert "s3cr3t" not in repr((heads._heads, heads._lines, heads._names))


def test_a_head_is_kept_for_one_date() -> None:
    heads = ResponseHeads("")
    first = heads.encode("200 OK", [TYPE], 0, 5, DATE)
    assert heads.encode("200 OK", [TYPE], 0, 5, DATE) is first
    later = b"Date: later\r\n"
    assert later in heads.encode("200 OK", [TYPE], 0, 5, later)[0]
    assert DATE in heads.encode("200 OK", [TYPE], 0, 5, DATE)[0]
    assert len(heads._heads) == 1


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("HEADS_MAX", "LINES_MAX", "STATUSES_MAX", "NAMES_MAX"):
        monkeypatch.setattr(response, limit, 20)
    heads = ResponseHeads("")
    for number in range(100):
        head = heads.encode(
            f"200 {number}", [(f"X-{number}", str(number)), ("Content-Length", str(number))], 0, 0, DATE
        )[0]
        assert head.startswith(
            f"HTTP/1.1 200 {number}\r\nX-{number}: {number}\r\nContent-Length: {number}\r\n".encode()
        )
        for kept in (heads._heads, heads._lines, heads._statuses, heads._names):
            assert len(kept) <= 20
    heads.encode("200 OK", [("X-Long", "a" * 600), ("Content-Length", "1234567")], 0, 0, b"")
    assert max(len(value) for _, value in heads._lines) < 100


def test_a_list_changed_later_changes_nothing_kept() -> None:
    heads = ResponseHeads("")
    headers = [TYPE]
    first = heads.encode("200 OK", headers, 0, 0, DATE)
    headers.append(("X-A", "b"))
    assert b"X-A: b\r\n" in heads.encode("200 OK", headers, 0, 0, DATE)[0]
    assert heads.encode("200 OK", [TYPE], 0, 0, DATE) == first


def test_threads_may_share_one() -> None:
    heads = ResponseHeads("vivace")
    calls = [("200 OK", [TYPE, ("X-A", str(number % 7))], 0, number) for number in range(50)]
    expected = [ResponseHeads("vivace").encode(*call, b"")[0] for call in calls]

    def run(thread: int) -> None:
        for second in range(20):
            # Threads need not agree on the time.
            date = b"Date: %d\r\n" % (second + thread)
            for call, head in zip(calls, expected, strict=True):
                found = heads.encode(*call, date)[0]
                assert re.sub(rb"Date: [0-9]+\r\n", b"", found) == head

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(8)))
    finally:
        sys.setswitchinterval(interval)


NAMES = st.sampled_from(
    [
        *("Content-Type", "Content-Length", "content-length", "Date", "Server", "Set-Cookie", "X-A", "x-a", "ETag"),
        *("Connection", "Bad Name", ""),
    ]
)
VALUES = st.sampled_from(["", "a", " a ", "5", "0", "12345", "+5", "\xe9", "\r", "\n", "\x00", "\u2603"]) | st.text(
    max_size=6
)
STATUSES = st.sampled_from(
    [
        "200 OK",
        "200 OK",
        "204 No Content",
        "205 x",
        "304 x",
        "404 Not Found",
        "500 ",
        "101 x",
        "20 x",
        "200 \r",
        "200 \u2603",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
ARGUMENTS = st.tuples(STATUSES, HEADERS, st.integers(0, 7), st.none() | st.integers(0, 20))
SHARED = ResponseHeads("vivace")


@given(st.lists(ARGUMENTS, min_size=1, max_size=4), st.sampled_from([DATE, b"Date: later\r\n"]))
def test_the_fast_way_agrees_with_its_clean_twin(
    calls: list[tuple[str, Headers, int, int | None]], date: bytes
) -> None:
    """Invariant: the same fields, framing and persistence, or an ApplicationError in both, whatever is kept.

    Exception: where among the fields Content-Length and Transfer-Encoding stand.
    """
    for call in [*calls, *calls]:
        fast, plain = outcome(SHARED.encode, *call, date), outcome(plain_http1.encode, "vivace", *call, date)
        assert fast == plain


def outcome(encoder: Any, *arguments: Any) -> object:
    try:
        head, framing, keep_alive = encoder(*arguments)
    except ApplicationError:
        return "refused"
    first, *lines = head[:-4].split(b"\r\n")
    lines = [line.replace(b"content-length", b"Content-Length") for line in lines]
    return first, sorted(lines), framing, keep_alive


@given(st.lists(ARGUMENTS, min_size=1, max_size=3))
def test_a_client_reads_what_was_meant(calls: list[tuple[str, Headers, int, int | None]]) -> None:
    """Invariant: h11 reads the head as one response with these fields and this framing, or it is not sent."""
    for status, headers, flags, length in calls:
        try:
            head, framing, keep_alive = SHARED.encode(status, headers, flags, length, DATE)
        except ApplicationError:
            continue
        client = h11.Connection(h11.CLIENT)
        request = [("Host", "x"), *([("Connection", "close")] if flags & CLOSE else [])]
        client.send(h11.Request(method="HEAD" if flags & HEAD else "GET", target="/", headers=request))
        client.send(h11.EndOfMessage())
        body = b"0\r\n\r\n" if framing == CHUNKED else b"x" * max(framing, 0)
        client.receive_data(head + body)
        read = client.next_event()
        assert isinstance(read, h11.Response)
        assert read.status_code == int(status[:3])
        found = [(name.decode(), value.decode("latin-1")) for name, value in read.headers]
        for name, value in headers:
            if name.lower() not in ("content-length", "server", "date"):
                assert (name.lower(), value.strip(" \t")) in found
        if framing > 0:
            assert len(client.next_event().data) == framing  # type: ignore[union-attr]
        if framing == UNTIL_CLOSE:
            client.receive_data(b"")
        assert isinstance(client.next_event(), h11.EndOfMessage)
        assert (client.our_state is h11.MUST_CLOSE) is not keep_alive or framing == UNTIL_CLOSE
