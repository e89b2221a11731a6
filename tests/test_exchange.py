"""wsgi.exchange: PEP 3333's server side with a list in place of a connection. Failures: test_exchange_failures.py.

What reaches a client through a real connection stands in test_conformance.py.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest

from apps import TEXT, Body, lengthy
from sinks import DATE, LARGE, Sink, app_of, assert_clean_500, exchange_of, run
from vivace.errors import ApplicationError
from vivace.http1.flags import CLOSE, HEAD, HTTP10
from vivace.http1.response import ResponseHeads
from vivace.wsgi.exchange import JOIN_BYTES_MAX, Exchange
from vivace.wsgi.files import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# Bodies.


@pytest.mark.parametrize(
    "body",
    [
        [b"hello world"],
        [b"hello", b" world"],
        (b"hello", b" world"),
        [b"", b"hello world", b""],
        lambda: iter([b"hello", b" world"]),
        lambda: iter([b"", b"hello", b"", b" world", b""]),
        lambda: Body([b"hello world"]),
        lambda: (block for block in (b"hello", b" world")),
        lambda: map(bytes, [b"hello", b" world"]),
        lambda: FileWrapper(io.BytesIO(b"hello world")),
        lambda: io.BytesIO(b"hello world"),
    ],
)
@pytest.mark.parametrize("flags", [0, HTTP10, CLOSE, HTTP10 | CLOSE])
@pytest.mark.parametrize("headers", [TEXT, lengthy(11)], ids=["unknown", "length"])
def test_every_kind_of_body(body: Any, flags: int, headers: list[tuple[str, str]]) -> None:
    outcome = run(app_of(body, headers=headers), flags)
    assert outcome.status == "HTTP/1.1 200 OK"
    assert outcome.content == b"hello world"
    assert (outcome.reported, outcome.sink.resets) == ([], [])
    assert outcome.exchange.body_bytes == len(outcome.content) or "chunked" in str(outcome.fields)
    framed = [field for field in outcome.fields if field.startswith(("Content-Length", "Transfer-Encoding"))]
    if not framed:
        assert flags & HTTP10
        assert not outcome.keep
    else:
        assert len(framed) == 1
        assert outcome.keep is not bool(flags & CLOSE)
    assert ("Connection: close" in outcome.fields) is not outcome.keep


@pytest.mark.parametrize("size", [0, 1, JOIN_BYTES_MAX - 1, JOIN_BYTES_MAX, JOIN_BYTES_MAX + 1, 1_000_000])
@pytest.mark.parametrize("kind", [list, tuple, iter, Body])
def test_every_size_of_body(size: int, kind: Callable[[list[bytes]], Any]) -> None:
    block = b"x" * size
    outcome = run(app_of(kind([block])))
    assert outcome.content == block
    assert outcome.keep
    if kind in (list, tuple):
        assert f"Content-Length: {size}" in outcome.fields


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_is_answered_in_one_piece_that_the_caller_sends(kind: Any) -> None:
    """So that the answers to pipelined requests share a write; above JOIN_BYTES_MAX it is not worth copying."""
    for blocks in ([b"a"], [b"a", b"b"], [b"x" * JOIN_BYTES_MAX]):
        outcome = run(app_of(kind(blocks)))
        assert outcome.sink.puts == []
        assert outcome.body == b"".join(blocks)
    outcome = run(app_of(kind([LARGE])))
    assert (len(outcome.sink.puts), outcome.last) == (1, b"")


@pytest.mark.parametrize("body", [[], (), [b""], [b"", b""], lambda: iter([]), lambda: iter([b""]), lambda: Body([])])
def test_an_empty_body(body: Any) -> None:
    outcome = run(app_of(body))
    assert (outcome.status, outcome.body, outcome.keep) == ("HTTP/1.1 200 OK", b"", True)
    assert "Content-Length: 0" in outcome.fields


def test_an_iterable_of_one_block_has_its_length_told() -> None:
    """PEP 3333, "Handling the Content-Length Header": len() is 1."""

    class One(Body):
        def __len__(self) -> int:
            return 1

    outcome = run(app_of(lambda: One([b"hello"])))
    assert "Content-Length: 5" in outcome.fields
    assert outcome.body == b"hello"


def test_bytes_of_a_subclass_are_bytes() -> None:
    class Text(bytes):
        pass

    for body in ([Text(b"hello")], [Text(b"hel"), Text(b"lo")], iter([Text(b"hello"), Text(b"")])):
        assert run(app_of(body)).content == b"hello"


# Each block is put before the next one is asked for (PEP 3333, "Buffering and Streaming").


@pytest.mark.parametrize("headers", [TEXT, lengthy(6)], ids=["chunked", "length"])
@pytest.mark.parametrize("flags", [0, HTTP10])
def test_each_block_is_put_before_the_next_one_is_asked_for(headers: list[tuple[str, str]], flags: int) -> None:
    sink = Sink()
    seen: list[bytes] = []

    def blocks() -> Iterator[bytes]:
        for block in (b"one", b"", b"two"):
            seen.append(sink.data)
            yield block
        seen.append(sink.data)

    run(app_of(blocks, headers=headers), flags, sink)
    assert seen[0] == b""
    assert b"one" in seen[1]
    assert seen[2] == seen[1], "an empty block sends nothing"
    assert b"two" in seen[3]


def test_close_comes_after_the_last_block_is_put() -> None:
    sink = Sink()
    at_close: list[bytes] = []

    class Watching(Body):
        def close(self) -> None:
            super().close()
            at_close.append(sink.data)

    run(app_of(lambda: Watching([b"one", b"two"])), sink=sink)
    assert b"two" in at_close[0]


def test_the_head_goes_out_with_the_first_block_in_one_put() -> None:
    outcome = run(app_of(lambda: iter([b"", b"one", b"two"])))
    assert outcome.sink.puts[0].endswith(b"\r\n\r\n3\r\none\r\n")


def test_a_lazy_application_calls_start_response_with_its_first_block() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("201 Created", [("X-Lazy", "yes")])
        yield b""
        yield b"body"

    outcome = run(app)
    assert (outcome.status, outcome.content) == ("HTTP/1.1 201 Created", b"body")
    assert "X-Lazy: yes" in outcome.fields


def test_a_block_before_start_response_is_a_clean_500() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b"secret"
        start_response("200 OK", TEXT)

    assert_clean_500(run(app))


# write().


def test_write_transmits_before_it_returns() -> None:
    sink = Sink()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", TEXT)
        assert sink.data == b"", "the head waits for the first block"
        write(b"")
        assert sink.data == b"", "an empty block does not send it"
        assert write(b"one") is None
        assert sink.data.endswith(b"\r\n\r\n3\r\none\r\n")
        write(b"")
        write(b"two")
        assert sink.data.endswith(b"\r\n3\r\ntwo\r\n")
        return [b"three", b"four"]

    outcome = run(app, sink=sink)
    assert outcome.content == b"onetwothreefour"
    assert (outcome.keep, outcome.reported) == (True, [])


KINDS_OF_B: list[Callable[[], Any]] = [
    lambda: [b"b"],
    lambda: (b"b",),
    lambda: [b"", b"b"],
    lambda: iter([b"b"]),
    lambda: FileWrapper(io.BytesIO(b"b")),
]


@pytest.mark.parametrize("rest", KINDS_OF_B)
@pytest.mark.parametrize("length", [None, 2])
def test_write_and_then_a_body(rest: Any, length: int | None) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", lengthy(length) if length else TEXT)(b"a")
        return rest()

    assert run(app).content == b"ab"


@pytest.mark.parametrize("rest", [[], (), [b""], iter([]), Body([b"", b""])])
@pytest.mark.parametrize("length", [None, 2])
def test_write_and_no_body(rest: Any, length: int | None) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", lengthy(length) if length else TEXT)
        write(b"a")
        write(b"b")
        return rest

    assert run(app).content == b"ab"


def test_write_to_head_and_204_sends_the_head_alone() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response(status, [])
        write(b"one")
        write(b"two")
        return [b"three"]

    for status, flags in (("204 No Content", 0), ("304 Not Modified", 0), ("200 OK", HEAD)):
        outcome = run(app, flags)
        assert (outcome.status, outcome.body) == (f"HTTP/1.1 {status}", b"")
        assert outcome.keep


@pytest.mark.parametrize("data", ["text", None, 5, bytearray(b"x"), memoryview(b"x"), [b"x"]])
def test_write_of_what_is_not_bytes(data: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)(data)
        return []

    outcome = run(app)
    assert_clean_500(outcome)
    assert type(data).__name__ in str(outcome.reported[0])


def test_write_before_start_response() -> None:
    """Only by keeping the `write` of nobody: the exchange itself must not fall over it."""
    exchange = exchange_of(Sink())
    with pytest.raises(ApplicationError, match="before start_response"):
        exchange.write(b"x")


# No body where none may be.


@pytest.mark.parametrize("kind", ["one", "two", "large", "iterator", "endless", "file", "none"])
@pytest.mark.parametrize(
    ("status", "flags"), [("200 OK", HEAD), ("404 Not Found", HEAD | CLOSE), ("204 No Content", 0),
                          ("205 Reset Content", 0), ("304 Not Modified", 0), ("304 Not Modified", HTTP10)]
)  # fmt: skip
def test_no_body_where_none_may_be(kind: str, status: str, flags: int) -> None:
    asked = 0

    def endless() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            assert asked < 3, "blocks that nobody will see are asked for"
            yield b"secret"

    body = {
        "one": [b"secret"],
        "two": [b"sec", b"ret"],
        "large": [LARGE],
        "iterator": Body([b"sec", b"ret"]),
        "endless": Body(endless()),
        "file": FileWrapper(io.BytesIO(b"secret")),
        "none": [],
    }[kind]
    outcome = run(app_of(body, status, []), flags)
    assert (outcome.status, outcome.body) == (f"HTTP/1.1 {status}", b"")
    assert outcome.keep is not bool(flags & CLOSE)
    assert "Transfer-Encoding" not in str(outcome.fields)
    assert status[:3] != "204" or "Content-Length" not in str(outcome.fields)
    assert outcome.exchange.body_bytes == 0
    if isinstance(body, Body):
        assert body.closes == 1


def test_head_tells_the_length_of_the_body_it_leaves_out() -> None:
    for body in ([b"12345"], [b"123", b"45"]):
        assert "Content-Length: 5" in run(app_of(body), HEAD).fields
    assert "Content-Length: 5" in run(app_of(lambda: Body([]), headers=lengthy(5)), HEAD).fields


# Files.


@pytest.fixture
def file(tmp_path: Path) -> Iterator[io.BufferedReader]:
    (tmp_path / "file").write_bytes(b"0123456789")
    with open(tmp_path / "file", "rb") as opened:
        yield opened


@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize("flags", [0, HTTP10, CLOSE])
def test_a_file_is_handed_to_the_sink(file: io.BufferedReader, offset: int, flags: int) -> None:
    file.seek(offset)
    outcome = run(app_of(FileWrapper(file)), flags)
    assert outcome.sink.files == [(offset, 10 - offset)]
    assert outcome.body == b"0123456789"[offset:]
    assert f"Content-Length: {10 - offset}" in outcome.fields
    assert outcome.keep is not bool(flags & CLOSE)
    assert file.closed
    assert outcome.exchange.body_bytes == 10 - offset


def test_a_file_is_sent_as_far_as_its_content_length(file: io.BufferedReader) -> None:
    """A range: the application has found its place and told how much of it."""
    file.seek(2)
    outcome = run(app_of(FileWrapper(file), "206 Partial Content", lengthy(5)))
    assert (outcome.body, outcome.sink.files) == (b"23456", [(2, 5)])


def test_a_file_shorter_than_its_content_length_is_a_clean_500(file: io.BufferedReader) -> None:
    outcome = run(app_of(FileWrapper(file), headers=lengthy(11)))
    assert_clean_500(outcome)
    assert str(outcome.reported[0]) == "the file has 10 bytes left, but Content-Length says 11"
    assert file.closed


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    file = open(tmp_path / "empty", "rb")
    outcome = run(app_of(FileWrapper(file)))
    assert "Content-Length: 0" in outcome.fields
    assert (outcome.body, outcome.keep, file.closed) == (b"", True, True)


@pytest.mark.parametrize(("status", "flags"), [("200 OK", HEAD), ("204 No Content", 0), ("304 Not Modified", 0)])
def test_a_file_where_no_body_may_be(file: io.BufferedReader, status: str, flags: int) -> None:
    outcome = run(app_of(FileWrapper(file), status), flags)
    assert (outcome.body, outcome.sink.files, file.closed) == (b"", [], True)


def test_a_file_behind_write_goes_in_blocks(file: io.BufferedReader) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> FileWrapper:
        start_response("200 OK", TEXT)(b"first ")
        return FileWrapper(file)

    outcome = run(app)
    assert (outcome.content, outcome.sink.files, file.closed) == (b"first 0123456789", [], True)


def test_a_wrapper_of_the_application_s_own_class_goes_in_blocks(file: io.BufferedReader) -> None:
    class Upper(FileWrapper):
        def __next__(self) -> bytes:
            return b"<" + super().__next__() + b">"

    outcome = run(app_of(Upper(file)))
    assert (outcome.content, outcome.sink.files, file.closed) == (b"<0123456789>", [], True)


def test_an_exchange_keeps_nothing_of_another() -> None:
    """Threads share the encoder of heads, and that alone."""
    heads = ResponseHeads("vivace")
    found: list[tuple[int, bytes]] = []

    def one(number: int) -> None:
        for _ in range(200):
            exchange = Exchange(Sink(), 0, heads, DATE, lambda environ, error: None, 1.0)
            answer, _ = exchange.run(app_of([b"%d" % number], headers=[("X-Number", str(number))]), {})
            found.append((number, answer))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 800
    for number, answer in found:
        assert b"X-Number: %d\r\n" % number in answer
        assert answer.endswith(b"\r\n\r\n%d" % number)
