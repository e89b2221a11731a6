"""connection.reading: bodies, collected or read by the application as they arrive; `Expect: 100-continue`. No loop."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from rigs import Rig
from vivace.connection import connection
from vivace.connection.connection import RUNNING
from vivace.connection.reading import CONTINUE
from vivace.errors import Refused
from vivace.http1.flags import CLOSE
from wire import chunked, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPECT = "Expect: 100-continue"
LENGTH = "Content-Length: 10"
CHUNKED = "Transfer-Encoding: chunked"
BODY = b"0123456789"


def post(*fields: str) -> bytes:
    return request("/", *fields, method="POST")


def taken(rig: Rig, data: bytes) -> Any:
    """`wsgi.input` of the request that begins with `data`; the connection is the application's now."""
    assert rig.take(data)
    rig.conn.state = RUNNING
    rig.conn.exchange = SimpleNamespace(framing=None, flags=rig.conn.flags | CLOSE)
    return rig.conn.environ["wsgi.input"]


def interim(rig: Rig) -> bytes:
    """What the client has got."""
    rig.peer.setblocking(False)
    try:
        return rig.peer.recv(1000)
    except BlockingIOError:
        return b""


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(stream=True) as made:
        yield made


@pytest.fixture
def plain() -> Iterator[Rig]:
    with Rig() as made:
        yield made


# Bodies that are collected.


def test_a_body_has_its_time_from_its_last_bytes_on(plain: Rig) -> None:
    data = request("/", method="POST", body=b"0123456789")
    assert not plain.take(data[:-10], now=100.0)
    assert (plain.conn.state, plain.conn.expires) == (connection.BODY, 160.0)
    assert not plain.take(b"01234", now=110.0)
    assert plain.conn.expires == 170.0
    assert plain.conn.incoming.received == 5
    assert plain.take(b"56789", now=120.0)


def test_a_chunked_body_that_was_collected_has_a_length(plain: Rig) -> None:
    """PEP 3333 knows no Transfer-Encoding: the application sees CONTENT_LENGTH."""
    [environ] = plain.requests(request("/", "Transfer-Encoding: chunked", method="POST") + chunked([b"abc", b"de"]))
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in environ


@pytest.mark.parametrize("body_bytes_max", [10, 0])
def test_just_within_the_limit(body_bytes_max: int) -> None:
    with Rig(body_bytes_max=body_bytes_max) as rig:
        data = request("/", "Transfer-Encoding: chunked", method="POST") + chunked([b"12345", b"67890"])
        for one in (request("/", method="POST", body=b"0123456789"), data):
            [environ] = rig.requests(one)
            assert len(environ["body"]) == 10


def test_a_length_over_the_limit_is_refused_by_its_head() -> None:
    with Rig(body_bytes_max=10) as rig, pytest.raises(Refused) as refused:
        rig.take(request("/", "Content-Length: 11", method="POST"))
    assert refused.value.status == 413


def test_chunks_over_the_limit_are_refused_by_the_size_that_exceeds_it() -> None:
    with Rig(body_bytes_max=10) as rig:
        assert not rig.take(request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\n12345\r\n")
        with pytest.raises(Refused) as refused:
            rig.take(b"6\r\n")
    assert refused.value.status == 413


def test_a_disk_that_takes_nothing_is_507_and_told(tmp_path: Path) -> None:
    with Rig(body_memory_bytes=5, spill_dir=str(tmp_path / "gone")) as rig:
        with pytest.raises(Refused) as refused:
            rig.take(request("/", method="POST", body=b"0123456789"))
        assert refused.value.status == 507
        assert [type(error) for error in rig.disk_errors] == [FileNotFoundError]


def test_a_connection_that_closes_lets_go_of_its_body(tmp_path: Path) -> None:
    with Rig(body_memory_bytes=5, spill_dir=str(tmp_path)) as rig:
        rig.take(request("/", "Content-Length: 100", method="POST") + b"0123456789")
        file = rig.conn.incoming.spool._file
        rig.reader.forget(rig.conn)
        assert file.closed
        assert rig.conn.incoming is None


# Streams.


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_the_application_is_called_with_the_head_alone(rig: Rig, framing: str) -> None:
    source = taken(rig, post(framing))
    assert rig.conn.environ.get("CONTENT_LENGTH") == ("10" if framing == LENGTH else None)
    rig.peer.send(BODY if framing == LENGTH else chunked([BODY]))
    exchange = rig.conn.exchange
    assert exchange.flags & CLOSE, "a response that begins before the body has ended must say that it is the last"
    assert source.read() == BODY
    assert source.read() == b""
    assert not exchange.flags & CLOSE
    assert rig.reader.release(rig.conn), "the next request may follow"


@pytest.mark.parametrize("at", range(11))
def test_a_part_came_with_the_head(rig: Rig, at: int) -> None:
    source = taken(rig, post(LENGTH) + BODY[:at])
    if at < 10:
        rig.peer.send(BODY[at:])
    assert source.read() == BODY
    assert interim(rig) == b""


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_the_next_request_behind_the_body_is_left_alone(rig: Rig, framing: str) -> None:
    source = taken(rig, post(framing))
    rig.peer.send((BODY if framing == LENGTH else chunked([BODY])) + b"GET /next")
    assert source.read() == BODY
    assert rig.reader.release(rig.conn)
    assert rig.conn.buffer[rig.conn.at :] == b"GET /next"


def test_who_waits_for_the_client_steps_aside_first(rig: Rig) -> None:
    source = taken(rig, post(LENGTH) + BODY[:4])
    assert source.read1(100) == BODY[:4]
    assert rig.aside == []
    threading.Timer(0.05, rig.peer.send, [BODY[4:]]).start()
    assert source.read() == BODY[4:]
    assert rig.aside == [rig.conn]


def test_a_client_that_sends_too_slowly() -> None:
    with Rig(stream=True, body_timeout_s=0.02) as rig:
        source = taken(rig, post(LENGTH) + BODY[:4])
        with pytest.raises(TimeoutError, match="too slowly"):
            source.read()
        assert rig.conn.close_reason == "body_timeout"
        assert not rig.reader.release(rig.conn)


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_a_client_that_leaves_within_its_body(rig: Rig, framing: str) -> None:
    source = taken(rig, post(framing) + (BODY[:4] if framing == LENGTH else b"4\r\n0123\r\n"))
    rig.peer.close()
    with pytest.raises(ConnectionResetError):
        source.read()
    assert rig.conn.close_reason == "client_early"
    assert not rig.reader.release(rig.conn)


@pytest.mark.parametrize("broken", [b"zz\r\n", b"4\r\n0123xx", b"-1\r\n", b"4 \r\n0123\r\n"])
def test_chunks_that_are_none(rig: Rig, broken: bytes) -> None:
    source = taken(rig, post(CHUNKED))
    rig.peer.send(b"2\r\nok\r\n" + broken)
    with pytest.raises(ValueError, match="chunk"):
        source.read()
    assert rig.conn.close_reason == "refused"
    assert not rig.reader.release(rig.conn)


def test_more_chunks_than_the_limit() -> None:
    with Rig(stream=True, body_bytes_max=10) as rig:
        source = taken(rig, post(CHUNKED))
        rig.peer.send(b"a\r\n0123456789\r\n")
        assert source.read(10) == BODY
        rig.peer.send(b"1\r\nx\r\n0\r\n\r\n")
        with pytest.raises(ValueError, match="larger"):
            source.read()
        assert not rig.reader.release(rig.conn)


def test_an_unread_stream_ends_the_connection(rig: Rig) -> None:
    """Nobody knows how much of it is still to come, or when."""
    taken(rig, post(LENGTH) + BODY[:4])
    assert not rig.reader.release(rig.conn)
    assert rig.conn.incoming is None


def test_a_stream_read_after_its_request(rig: Rig) -> None:
    """A thread of the application that kept `wsgi.input`: it gets the end, and no bytes of the next request."""
    source = taken(rig, post(LENGTH) + BODY)
    assert source.read(10) == BODY
    rig.reader.release(rig.conn)
    rig.peer.send(b"GET /next HTTP/1.1\r\n")
    assert source.read() == b""
    assert interim(rig) == b""


def test_a_lapsed_stream_takes_nothing_of_the_next_one(rig: Rig) -> None:
    """The same, where the next request has a body as well."""
    first = taken(rig, post(LENGTH) + BODY)
    assert first.read(10) == BODY
    assert rig.reader.release(rig.conn)
    rig.conn.state, rig.conn.buffer, rig.conn.at = 0, b"", 0
    second = taken(rig, post(LENGTH) + b"abcdefghij")
    assert first.read(5) == b""
    assert second.read() == b"abcdefghij"


# Expect: 100-continue (RFC 9110 section 10.1.1).


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_a_client_that_waits_is_answered_when_its_body_is_asked_for(framing: str) -> None:
    with Rig(lazy_max=1) as rig:
        source = taken(rig, post(framing, EXPECT))
        assert interim(rig) == b""
        rig.peer.setblocking(True)

        def client() -> None:
            assert rig.peer.recv(1000) == CONTINUE
            rig.peer.send(BODY if framing == LENGTH else chunked([BODY]))

        thread = threading.Thread(target=client)
        thread.start()
        assert source.read() == BODY
        thread.join()
        assert interim(rig) == b"", "once"
        assert rig.reader.release(rig.conn)


def test_a_body_that_nobody_asks_for_is_not_asked_for() -> None:
    with Rig(lazy_max=1) as rig:
        taken(rig, post(LENGTH, EXPECT))
        assert rig.conn.exchange.flags & CLOSE
        assert not rig.reader.release(rig.conn), "whether the body comes is the client's to decide"
        assert interim(rig) == b""


def test_no_interim_response_within_the_final_one() -> None:
    """RFC 9110 section 15.2: it would be taken for a part of the body."""
    with Rig(lazy_max=1) as rig:
        source = taken(rig, post(LENGTH, EXPECT))
        rig.conn.exchange.framing = -1
        rig.peer.send(BODY)
        assert source.read() == BODY
        assert interim(rig) == b""


def test_a_body_that_is_there_already_was_not_waited_for() -> None:
    with Rig(lazy_max=1) as rig:
        source = taken(rig, post(LENGTH, EXPECT) + BODY)
        assert source.read() == BODY
        assert interim(rig) == b""
        assert rig.reader.release(rig.conn)


def test_so_many_threads_may_wait_for_such_a_body_and_no_more() -> None:
    """The others' bodies are asked for at once and collected, so that silent clients do not use the threads up."""
    with Rig(lazy_max=1) as rig:
        reader = rig.reader
        taken(rig, post(LENGTH, EXPECT))
        with Rig() as other:
            other.reader = reader
            assert not other.take(post(LENGTH, EXPECT))
            assert interim(other) == CONTINUE
            assert other.take(BODY)
            assert other.conn.environ["wsgi.input"].read() == BODY
            reader.release(rig.conn)
            reader.release(other.conn)
            other.conn.state = 0
            taken(other, post(LENGTH, EXPECT))
            assert interim(other) == b"", "there is room again"


def test_a_connection_that_closes_makes_room() -> None:
    with Rig(lazy_max=1) as rig:
        taken(rig, post(LENGTH, EXPECT))
        rig.reader.forget(rig.conn)
        rig.conn.state, rig.conn.buffer, rig.conn.at = 0, b"", 0
        taken(rig, post(LENGTH, EXPECT))
        assert interim(rig) == b""
        rig.reader.forget(rig.conn)


def test_an_expectation_without_a_body_expects_nothing() -> None:
    with Rig(lazy_max=1) as rig:
        for data in (post(EXPECT), post("Content-Length: 0", EXPECT)):
            assert rig.requests(data)[0]["body"] == b""
        assert interim(rig) == b""
