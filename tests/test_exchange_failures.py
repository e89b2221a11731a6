"""wsgi.exchange: what an application does wrong becomes a clean 500, or a response that is visibly cut off."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest

from apps import TEXT, Body, lengthy
from sinks import LARGE, Sink, app_of, assert_clean_500, exchange_of, run
from vivace.errors import ApplicationError, PeerGone
from vivace.http1.flags import CLOSE, HEAD, HTTP10
from vivace.wsgi.files import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


# start_response.


def test_start_response_twice_without_exc_info() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return [b"secret"]

    outcome = run(app)
    assert_clean_500(outcome)
    assert "a second time without exc_info" in str(outcome.reported[0])


@pytest.mark.parametrize("lazy", [False, True])
def test_exc_info_replaces_a_head_that_is_not_out(lazy: bool) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-Old", "secret")])
        if lazy:
            yield b""
        try:
            raise ValueError("oops")
        except ValueError:
            start_response("503 Service Unavailable", TEXT, sys.exc_info())
        yield b"sorry"

    outcome = run(app)
    assert (outcome.status, outcome.content) == ("HTTP/1.1 503 Service Unavailable", b"sorry")
    assert "secret" not in str(outcome.fields)
    assert outcome.reported == []


def test_exc_info_replaces_a_head_more_than_once() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for status in ("501 One", "502 Two", "503 Three"):
            try:
                raise ValueError
            except ValueError:
                start_response(status, TEXT, sys.exc_info())
        return [b"sorry"]

    assert run(app).status == "HTTP/1.1 503 Three"


def test_exc_info_after_the_head_raises_the_application_s_own_exception() -> None:
    raised = ValueError("oops")
    seen: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"begun"
        try:
            try:
                raise raised
            except ValueError:
                start_response("500 Oops", TEXT, sys.exc_info())
        except ValueError as error:
            seen.append(error)
            raise

    outcome = run(app)
    assert seen == outcome.reported == [raised]
    assert outcome.sink.resets == [False]
    assert not outcome.keep
    assert outcome.status == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200", TEXT),
        ("OK", TEXT),
        (200, TEXT),
        (None, TEXT),
        ("100 Continue", TEXT),
        ("200 OK\r\nX: y", TEXT),
        ("200 OK", None),
        ("200 OK", tuple(TEXT)),
        ("200 OK", {"X": "y"}),
        ("200 OK", [("X", "a\r\nb")]),
        ("200 OK", [("X", None)]),
        ("200 OK", [["X", "y"]]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("Content-Length", "many")]),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("kind", ["list", "iterator", "write", "file", "empty"])
def test_a_head_that_must_not_be_sent_is_a_clean_500(status: Any, headers: Any, kind: str) -> None:
    """Whatever carries the body, and before any of it: the body is closed."""
    body = Body([b"secret"])

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response(status, headers)
        if kind == "write":
            write(b"secret")
        if kind == "file":
            return FileWrapper(io.BytesIO(b"secret"))
        return {"list": [b"secret"], "empty": []}.get(kind, body)

    outcome = run(app)
    assert_clean_500(outcome)
    assert isinstance(outcome.reported[0], ApplicationError)
    assert body.closes == (kind == "iterator")


def test_no_start_response_at_all() -> None:
    for body in ([], [b"secret"], iter([]), iter([b"secret"]), FileWrapper(io.BytesIO(b"secret"))):
        outcome = run(lambda environ, start_response, body=body: body)
        assert_clean_500(outcome)
        assert "without calling start_response" in str(outcome.reported[0])


# Bodies that disagree with their Content-Length.


@pytest.mark.parametrize("length", [0, 4, 6, 100])
@pytest.mark.parametrize("blocks", [[b"12345"], [b"12", b"345"], (b"12345",)], ids=ascii)
def test_a_list_of_another_length_is_a_clean_500(length: int, blocks: Any) -> None:
    outcome = run(app_of(blocks, headers=lengthy(length)))
    assert_clean_500(outcome)
    assert str(outcome.reported[0]) == f"the body has 5 bytes, but Content-Length says {length}"


def test_an_empty_iterable_with_a_length_is_a_clean_500() -> None:
    for blocks in ([], [b""]):
        assert_clean_500(run(app_of(lambda blocks=blocks: Body(blocks), headers=lengthy(5))))


@pytest.mark.parametrize("flags", [0, HTTP10])
def test_an_iterable_that_ends_short_is_cut_off(flags: int) -> None:
    body = Body([b"12", b"34"])
    outcome = run(app_of(body, headers=lengthy(5)), flags)
    assert outcome.body == b"1234"
    assert (outcome.keep, outcome.sink.resets, body.closes) == (False, [False], 1)
    assert str(outcome.reported[0]) == "the body ended 1 bytes short of its Content-Length, 5"


@pytest.mark.parametrize("blocks", [[b"123456"], [b"123", b"456"], [b"12345", b"6"], [b"12345", b"", b"6", b"7"]])
@pytest.mark.parametrize("write", [False, True])
def test_never_more_than_the_content_length(blocks: list[bytes], write: bool) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        send = start_response("200 OK", lengthy(5))
        if write:
            for block in blocks:
                send(block)
            return []
        return Body(blocks)

    outcome = run(app)
    assert outcome.body in (b"12345", b"Internal Server Error\n")
    assert not outcome.keep or outcome.status.startswith("HTTP/1.1 500")
    assert "more bytes than its Content-Length" in str(outcome.reported[0])


def test_just_the_content_length_is_fine() -> None:
    for blocks in ([b"12345"], [b"12", b"345"], [b"12345", b"", b""]):
        outcome = run(app_of(lambda blocks=blocks: Body(blocks), headers=lengthy(5)))
        assert (outcome.body, outcome.keep, outcome.reported) == (b"12345", True, [])


# Failures.


FAILURES = [
    ValueError,
    SystemExit,
    GeneratorExit,
    MemoryError,
    RecursionError,
    OSError,
    StopIteration,
    ApplicationError,
]


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("flags", [0, HEAD, CLOSE, HTTP10])
def test_the_application_raises_before_its_head_is_out(error: type[BaseException], flags: int) -> None:
    def early(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise error("secret")

    def late(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-Old", "secret")])
        raise error("secret")

    class Failing(Body):
        def __iter__(self) -> Iterator[bytes]:
            raise error("secret")

    body = Failing([])
    for app in (early, late, app_of(body)):
        outcome = run(app, flags)
        assert_clean_500(outcome, flags)
        assert type(outcome.reported[0]) is error
        assert "secret" not in str(outcome.fields)
    assert body.closes == 1


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize(
    ("headers", "flags", "reset"),
    [(TEXT, 0, False), (lengthy(9), 0, False), (lengthy(9), HTTP10, False), (TEXT, HTTP10, True)],
)
def test_the_application_raises_when_its_head_is_out(
    error: type[BaseException], headers: list[tuple[str, str]], flags: int, reset: bool
) -> None:
    """Cut off; where only the end of the connection would end the body, by a reset (RFC 9112 section 8)."""

    class Failing:
        def __init__(self) -> None:
            self.left = 2
            self.closes = 0

        def __iter__(self) -> Failing:
            return self

        def __next__(self) -> bytes:
            self.left -= 1
            if not self.left:
                raise error("mid body")
            return b"begun"

        def close(self) -> None:
            self.closes += 1

    body = Failing()
    outcome = run(app_of(body, headers=headers), flags)
    if error is StopIteration:
        return  # that is how an iterator ends
    assert outcome.wire.count(b"HTTP/1.1") == 1, "a second response within the first"
    assert b"begun" in outcome.body
    assert not outcome.body.endswith(b"0\r\n\r\n"), "the cut-off body looks whole"
    assert (outcome.last, outcome.keep, outcome.sink.resets) == (b"", False, [reset])
    assert type(outcome.reported[0]) is error
    assert body.closes == 1


@pytest.mark.parametrize("head_out", [False, True])
def test_keyboard_interrupt_is_answered_and_raised_again(head_out: bool) -> None:
    """On the main thread it is Ctrl-C: the loop must learn of it."""

    def blocks() -> Iterator[bytes]:
        yield b"begun" if head_out else b""
        raise KeyboardInterrupt

    sink, body = Sink(), Body(blocks())
    reported: list[BaseException] = []
    exchange = exchange_of(sink, report=lambda environ, error: reported.append(error))
    with pytest.raises(KeyboardInterrupt):
        exchange.run(app_of(body), {})
    assert sink.data.startswith(b"HTTP/1.1 200" if head_out else b"HTTP/1.1 500")
    assert [type(error) for error in reported] == [KeyboardInterrupt]
    assert (body.closes, sink.resets) == (1, [False] if head_out else [])


NOT_BYTES = [
    *(["secret"], ["a", b"b"], [bytearray(b"a")], [None], [5], (b"a", "b"), [b"a", None], [""], [[b"a"]]),
    *(b"secret", "secret", None, 5, object(), {"a": 1}),
    *(lambda: iter([""]), lambda: iter([None]), lambda: iter([0])),
]


@pytest.mark.parametrize("body", NOT_BYTES, ids=lambda body: type(body).__name__)
def test_a_body_that_is_not_of_bytes(body: Any) -> None:
    assert_clean_500(run(app_of(body)))


def test_text_after_bytes_is_cut_off() -> None:
    body = Body([b"one", "two"])
    outcome = run(app_of(body))
    assert (outcome.keep, outcome.sink.resets, body.closes) == (False, [False], 1)
    assert "must be made of bytes" in str(outcome.reported[0])


# The peer is gone.


@pytest.mark.parametrize("room", [0, 1, 2])
def test_the_peer_is_gone_while_the_body_is_sent(room: int) -> None:
    """Nothing is reported, the body is closed once, nothing more is asked of it."""
    asked = 0

    def blocks() -> Iterator[bytes]:
        nonlocal asked
        for _ in range(10):
            asked += 1
            yield b"block"

    body = Body(blocks())
    with pytest.raises(PeerGone):
        run(app_of(body), sink=Sink(room))
    assert (asked, body.closes) == (room + 1, 1)


def test_the_peer_is_gone_while_the_application_writes() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)(b"one")
        raise AssertionError("write did not raise")

    with pytest.raises(PeerGone):
        run(app, sink=Sink(0))


def test_the_peer_is_gone_under_a_large_list() -> None:
    class Closing(list[bytes]):
        closes = 0

        def close(self) -> None:
            self.closes += 1

    body = Closing([LARGE])
    with pytest.raises(PeerGone):
        run(app_of(body), sink=Sink(0))
    assert body.closes == 1


def test_the_peer_is_gone_while_a_file_is_sent(tmp_path: Path) -> None:
    """The sink has taken the file over: it alone closes it."""
    (tmp_path / "file").write_bytes(b"0123456789")
    closes = 0

    class Counting(io.FileIO):
        def close(self) -> None:
            nonlocal closes
            closes += 1
            super().close()

    with pytest.raises(PeerGone):
        run(app_of(FileWrapper(Counting(tmp_path / "file"))), sink=Sink(0))
    assert closes == 1


# close().


@pytest.mark.parametrize("error", [ValueError, SystemExit, PeerGone])
def test_close_that_raises_spoils_nothing(error: type[BaseException]) -> None:
    class Failing(Body):
        def close(self) -> None:
            super().close()
            raise error("close")

    body = Failing([b"one"])
    outcome = run(app_of(body))
    assert (outcome.content, outcome.keep, body.closes) == (b"one", True, 1)
    assert [type(reported) for reported in outcome.reported] == [error]


def test_close_that_raises_after_a_failure_hides_it_not() -> None:
    class Failing(Body):
        def close(self) -> None:
            super().close()
            raise ValueError("close")

    def blocks() -> Iterator[bytes]:
        yield b""
        raise LookupError("first")

    outcome = run(app_of(lambda: Failing(blocks())))
    assert outcome.status.startswith("HTTP/1.1 500")
    assert [str(error) for error in outcome.reported] == ["first", "close"]


def test_close_is_that_of_the_iterable_not_of_its_iterator() -> None:
    class Pair:
        def __init__(self) -> None:
            self.iterators = [Body([b"one"])]
            self.closes = 0

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.iterators[0])

        def close(self) -> None:
            self.closes += 1

    body = Pair()
    run(app_of(body))
    assert (body.closes, body.iterators[0].closes) == (1, 0)
