"""connection.reading: requests off the front of a buffer, whatever pieces it came in. No loop.

Bodies: test_reading_bodies.py. Heads that are wrong: test_refusals.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rigs import BASE, Rig, new_site
from vivace.connection import reading
from vivace.connection.connection import HEAD, IDLE
from vivace.connection.reading import MEMO_HEAD_BYTES_MAX, MEMO_HEADS_MAX, SEEN_MAX
from vivace.errors import Refused
from vivace.http1 import fields, target
from vivace.http1.head import HeadLimits, incomplete_head
from wire import chunked, request

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Nothing learned by the tests before."""
    fields.forget()
    target.kept.clear()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


HELLO = request("/hello", "Accept: text/plain")

# Pieces.

STREAM = [
    request("/a"),
    request("/b?c=d", "Cookie: a=b", method="HEAD"),
    request("/c", method="POST", body=b"0123456789"),
    b"\r\n" + request("/d", "X-Long: " + "v" * 70),
    request("/e", "Transfer-Encoding: chunked", method="PUT") + chunked([b"12345", b"\r\n\r\n", b"x"], b"X-T: t\r\n"),
    request("/f", "Connection: keep-alive", version="HTTP/1.0"),
    request("/g", method="POST", body=b""),
    request("/a"),
]
WHOLE = b"".join(STREAM)


def expected() -> list[dict[str, Any]]:
    """Each request on a connection of its own."""
    found = []
    for data in STREAM:
        with Rig() as rig:
            [environ] = rig.requests(data)
            found.append(environ)
    return found


def test_one_by_one() -> None:
    found = expected()
    assert [environ["PATH_INFO"] for environ in found] == ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/a"]
    assert [environ["body"] for environ in found] == [b"", b"", b"0123456789", b"", b"12345\r\n\r\nx", b"", b"", b""]
    assert {environ["REMOTE_ADDR"] for environ in found} == {"192.0.2.1"}
    assert {environ["REMOTE_PORT"] for environ in found} == {"1234"}
    assert all(environ["SERVER_NAME"] == "test" for environ in found)


def test_all_in_one_buffer(rig: Rig) -> None:
    assert rig.requests(WHOLE) == expected()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 127, 500])
def test_pieces_of_every_size(rig: Rig, size: int) -> None:
    assert rig.requests(*[WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]) == expected()


def test_cut_at_every_offset() -> None:
    """And with a memo that knows all of it: a head that comes in two pieces is the same head."""
    wanted = expected()
    site = new_site()
    for offset in range(len(WHOLE) + 1):
        with Rig(site) as rig:
            assert rig.requests(WHOLE[:offset], WHOLE[offset:]) == wanted, offset


def test_cut_at_every_two_offsets_of_one_request() -> None:
    data = STREAM[4]
    [wanted] = [environ for environ in expected() if environ["PATH_INFO"] == "/e"]
    for first in range(0, len(data), 7):
        for second in range(first, len(data), 5):
            with Rig() as rig:
                assert rig.requests(data[:first], data[first:second], data[second:]) == [wanted]


def test_bytes_behind_a_request_are_left_for_the_next(rig: Rig) -> None:
    assert rig.take(STREAM[2] + b"GET /next")
    assert rig.conn.environ["wsgi.input"].read() == b"0123456789"
    assert rig.conn.buffer[rig.conn.at :] == b"GET /next"


def test_one_empty_line_before_a_request_is_forgiven(rig: Rig) -> None:
    """RFC 9112 section 2.2; not two, and not for ever."""
    data = b"\r\n" + request("/")
    assert len(rig.requests(data, data, *[bytes([byte]) for byte in data])) == 3
    with pytest.raises(Refused) as refused:
        rig.requests(b"\r\n\r\n" + request("/"))
    assert refused.value.status == 400


# One whole request: the short way of the fast path.


def test_the_short_way_gives_what_the_long_way_gives() -> None:
    """Where it can; where it cannot it says so, and has changed nothing that the long way would see."""
    for data in STREAM:
        for _ in range(3):
            with Rig() as rig:
                short = rig.reader.take_whole(rig.conn, data)
                assert rig.take(data)
                conn = rig.conn
                assert (short is None) is (b"chunked" in data or data.startswith(b"\r\n"))
                if short is not None:
                    environ, flags, route = short
                    bodies = [keys.pop("wsgi.input").read() for keys in (environ, conn.environ)]
                    assert bodies[0] == bodies[1]
                    environ |= {"REMOTE_ADDR": conn.host, "REMOTE_PORT": conn.port}
                    assert (environ, flags, route) == (conn.environ, conn.flags, conn.route)


POST = request("/", method="POST", body=b"0123456789")


@pytest.mark.parametrize("body", [b"0123456789", b"\r\n\r\n012345", b"GET / HTTP"])
def test_a_small_body_that_came_with_its_head(rig: Rig, body: bytes) -> None:
    data = POST[:-10] + body
    for sighting in range(3):
        found = rig.reader.take_whole(rig.conn, data)
        assert found is not None
        environ, _, route = found
        assert (environ["CONTENT_LENGTH"], route.name) == ("10", "POST /")
        assert environ["wsgi.input"].read() == body
        assert list(rig.site.body_memo) == ([data[:-10]] if sighting else [])
    for other in (data[:-10], data[:-1], data + b"x", data * 2):
        assert rig.reader.take_whole(rig.conn, other) is None
    assert rig.site.memo == {}, "such a head alone is no whole request"


@pytest.mark.parametrize(
    "options", [{"body_bytes_max": 9}, {"body_memory_bytes": 9}, {"stream": True}], ids=["refused", "spilled", "stream"]
)
def test_a_body_that_the_short_way_does_not_take(options: dict[str, Any]) -> None:
    with Rig(**options) as rig:
        for _ in range(3):
            assert rig.reader.take_whole(rig.conn, POST) is None
        assert rig.site.body_memo == {}


def test_a_private_head_with_a_body_is_not_remembered(rig: Rig) -> None:
    data = request("/", "Cookie: session=secret", method="POST", body=b"0123456789")
    for _ in range(3):
        assert rig.reader.take_whole(rig.conn, data) is not None
    assert rig.site.body_memo == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        HELLO[:-1],
        HELLO + b"G",
        HELLO * 2,
        b"\r\n" + HELLO,
        HELLO.replace(b"Host: h", b"Host : h"),
        b"GET / HTTP/1.1\r\n\r\n",
        request("/", "Content-Length: 5"),
        request("/", "Content-Length: 5") + b"1234",
        request("/", "Content-Length: 5", "Expect: 100-continue") + b"12345",
        request("/", "Transfer-Encoding: chunked"),
    ],
    ids=ascii,
)
def test_what_the_short_way_leaves_to_the_long_one(rig: Rig, data: bytes) -> None:
    assert rig.reader.take_whole(rig.conn, data) is None
    assert (rig.site.memo, rig.site.seen) == ({}, set())


def test_the_short_way_remembers_as_the_long_one_does(rig: Rig) -> None:
    """At the second sighting, whichever way each one took; and never what is private."""
    rig.reader.take_whole(rig.conn, HELLO)
    assert rig.site.memo == {}
    rig.requests(HELLO)
    assert list(rig.site.memo) == [HELLO]
    other = request("/other")
    rig.requests(other)
    rig.reader.take_whole(rig.conn, other)
    assert list(rig.site.memo) == [HELLO, other]
    for _ in range(3):
        rig.reader.take_whole(rig.conn, request("/", "Cookie: session=secret"))
        rig.reader.take_whole(rig.conn, request("/" + "x" * MEMO_HEAD_BYTES_MAX))
    assert list(rig.site.memo) == [HELLO, other]


# A head that is coming.


def test_a_head_has_its_time_from_its_first_byte_on(rig: Rig) -> None:
    data = request("/")
    assert not rig.take(data[:1], now=100.0)
    assert (rig.conn.state, rig.conn.expires) == (HEAD, 130.0)
    for place in range(1, len(data) - 1):
        assert not rig.take(data[place : place + 1], now=100.0 + place)
    assert rig.conn.expires == 130.0, "a byte now and then must not buy time"
    assert rig.take(data[-1:], now=129.0)
    assert rig.conn.state == IDLE


def test_an_empty_line_alone_is_a_beginning(rig: Rig) -> None:
    """It starts the clock for a head, and is forgiven once."""
    assert not rig.take(b"\r\n", now=100.0)
    assert rig.conn.state == HEAD
    assert rig.take(request("/"))


@pytest.mark.parametrize(
    ("start", "filler", "status", "at_most"),
    [
        (b"GET /", b"a", 414, 220),
        (b"GET / HTTP/1.1\r\nX: ", b"a", 431, 420),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n", 431, 200),
        (b"GET / HTTP/1.1\r\n", b"X: " + b"y" * 90 + b"\r\n", 431, 900),
        (b"G" * 40, b"G", 501, 80),
        (b"\x16\x03\x01", b"\x02", 400, 4),
    ],
)
@pytest.mark.parametrize("size", [1, 10])
def test_a_head_that_grows_too_large_is_refused_on_the_way(
    start: bytes, filler: bytes, status: int, at_most: int, size: int
) -> None:
    limits = HeadLimits(request_line_bytes_max=100, head_bytes_max=600, fields_max=10, field_bytes_max=200)
    with Rig(limits=limits) as rig:
        sent = 0

        def send_on() -> None:
            nonlocal sent
            for piece in [start] + [filler * size] * 10_000:
                sent += len(piece)
                assert not rig.take(piece)

        with pytest.raises(Refused) as refused:
            send_on()
        assert refused.value.status == status
        assert sent <= at_most + len(filler) * size, "it was collected far beyond its limit"


def test_a_head_in_drops_is_not_looked_at_again_and_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else 64 KiB byte by byte would cost seconds."""
    looks: list[int] = []

    def look(buffer: bytes, limits: HeadLimits) -> None:
        looks.append(len(buffer))
        incomplete_head(buffer, limits)

    monkeypatch.setattr(reading, "incomplete_head", look)
    rig.take(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
    for _ in range(15_000):
        rig.take(b"v")
    assert sum(looks) < 15 * 15_000
    assert rig.take(b"\r\n\r\n")


# The memo.


def test_a_head_is_remembered_at_its_second_sighting(rig: Rig) -> None:
    site = rig.site
    rig.requests(HELLO)
    assert (list(site.memo), len(site.seen)) == ([], 1)
    rig.requests(HELLO)
    assert list(site.memo) == [HELLO]
    template, flags, route = site.memo[HELLO]
    assert (template["PATH_INFO"], flags, route.name) == ("/hello", 0, "GET /hello")
    assert (template["REMOTE_ADDR"], template["REMOTE_PORT"]) == ("", "")


def test_every_sighting_gives_the_same_and_none_sees_the_other_s_changes(rig: Rig) -> None:
    """The application may do with its environ what it likes."""
    seen = []
    for _ in range(5):
        assert rig.take(HELLO)
        seen.append((dict(rig.conn.environ), rig.conn.flags, rig.conn.route))
        rig.conn.environ["PATH_INFO"] = "/changed"
        rig.conn.environ["extra"] = "extra"
        del rig.conn.environ["HTTP_ACCEPT"]
        rig.conn.buffer, rig.conn.at = b"", 0
    assert seen == [seen[0]] * 5
    assert {key: value for key, value in rig.site.base.items() if key in BASE} == BASE
    assert set(rig.site.base) - set(BASE) == {"wsgi.input", "REMOTE_ADDR", "REMOTE_PORT", "vivace.route"}


def test_who_sent_it_is_not_remembered() -> None:
    site = new_site()
    for number in range(4):
        with Rig(site) as rig:
            rig.conn.host, rig.conn.port = f"192.0.2.{number}", f"{number}"
            [environ] = rig.requests(HELLO)
            assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (f"192.0.2.{number}", f"{number}")


@pytest.mark.parametrize(
    "data",
    [
        request("/", "Cookie: session=secret"),
        request("/", "Authorization: Basic c2VjcmV0"),
        request("/", "Proxy-Authorization: Basic c2VjcmV0"),
        request("/", "X-Api-Key: secret"),
        request("/", "X-CSRF-Token: secret"),
        request("/", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        request("/", "X-Request-Id: 1"),
        request("/?token=secret"),
        request("/", "X_Api_Key: secret"),
        request("/" + "x" * MEMO_HEAD_BYTES_MAX),
        request("/", "Content-Length: 5", method="POST") + b"12345",
        request("/", "Transfer-Encoding: chunked", method="POST") + chunked([b"x"]),
    ],
    ids=lambda data: data[:60].decode("ascii"),
)
def test_what_is_never_remembered(rig: Rig, data: bytes) -> None:
    """Credentials, values made for one request, heads with a body, and what is too long to be worth it."""
    for _ in range(5):
        assert len(rig.requests(data)) == 1
    assert rig.site.memo == {}
    assert rig.site.seen == set()


def test_what_was_dropped_stays_dropped(rig: Rig) -> None:
    """A name with an underscore, and Proxy (CVE-2016-5385), also when the head comes out of the memo."""
    for _ in range(4):
        [environ] = rig.requests(request("/", "X_Forwarded_For: evil", "Proxy: http://evil"))
        assert "evil" not in str(environ)
    assert len(rig.site.memo) == 1


def test_a_refused_head_is_never_remembered(rig: Rig) -> None:
    for _ in range(5):
        with pytest.raises(Refused):
            rig.requests(b"GET / HTTP/1.1\r\n\r\n")
        rig.conn.state, rig.conn.buffer, rig.conn.at = IDLE, b"", 0
    assert (rig.site.memo, rig.site.seen) == ({}, set())


def test_a_head_longer_than_what_is_remembered_by_one_byte(rig: Rig) -> None:
    spare = MEMO_HEAD_BYTES_MAX - len(request("/"))
    fits, not_quite = request("/" + "x" * spare), request("/" + "x" * (spare + 1))
    for data in (fits, not_quite):
        rig.requests(data * 3)
    assert list(rig.site.memo) == [fits]


def test_the_memo_is_bounded_and_goes_on(rig: Rig) -> None:
    for number in range(MEMO_HEADS_MAX + 10):
        rig.requests(request(f"/{number}") * 2)
        assert len(rig.site.memo) <= MEMO_HEADS_MAX
    assert len(rig.site.memo) == 10, "it was full, and all was forgotten"


def test_what_was_seen_is_bounded(rig: Rig) -> None:
    """A peer that never repeats itself."""
    for number in range(SEEN_MAX + 10):
        rig.requests(request(f"/{number}"))
        assert len(rig.site.seen) <= SEEN_MAX
    assert rig.site.memo == {}


def test_each_listener_has_a_memo_of_its_own() -> None:
    """Its environ tells where the request came in."""
    one, two = new_site(), new_site()
    two.base["SERVER_NAME"] = "other"
    for _ in range(3):
        for site, name in ((one, "test"), (two, "other")):
            with Rig(site) as rig:
                assert rig.requests(HELLO)[0]["SERVER_NAME"] == name
