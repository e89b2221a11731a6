"""content.compressor: what is coded and what is not, and what becomes of PEP 3333 on the way. No server: see
test_compressing.py for clients, frameworks and the wire.
"""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps import Body
from decoders import decode, decoder
from sinks import Outcome, Sink, exchange_of
from vivace.content.coded_response import FILE_BYTES_MAX
from vivace.content.coding import Gzip, find_codings
from vivace.content.compressor import Compressor
from vivace.errors import ApplicationError
from vivace.http1.flags import HEAD, HTTP10
from vivace.wsgi.files import FileWrapper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TYPES = ("text/*", "application/json", "*+json", "*+xml", "image/x-icon")
MIN = 1000
NUMBERS = random.Random(1)
PAGE = b"a page of some length, " * 100
HTML = ("Content-Type", "text/html; charset=utf-8")
LENGTH = ("Content-Length", str(len(PAGE)))


def compressor(**options: Any) -> Compressor:
    return Compressor(TYPES, MIN, **{"codings": {"gzip": Gzip()}, **options})


class Answer:
    """A response as it came out of an exchange."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.status = outcome.status.removeprefix("HTTP/1.1 ")
        self.fields = [tuple(line.split(": ", 1)) for line in outcome.fields]
        self.reported = outcome.reported
        self.content = outcome.content

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name: str) -> str | None:
        values = self.values(name)
        assert len(values) < 2, f"{name} came twice"
        return values[0] if values else None

    @property
    def coding(self) -> str | None:
        return self.field("Content-Encoding")

    @property
    def body(self) -> bytes:
        """Decoded."""
        return decode(self.coding, self.content)


def call(app: Any, accepted: str | None = "gzip", *, by: Compressor | None = None, **environ: Any) -> Answer:
    """What a client gets that sends `accepted`."""
    sink = Sink()
    reported: list[BaseException] = []
    given = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "wsgi.file_wrapper": FileWrapper, **environ}
    if accepted is not None:
        given["HTTP_ACCEPT_ENCODING"] = accepted
    flags = (HEAD if given["REQUEST_METHOD"] == "HEAD" else 0) | given.pop("flags", 0)
    exchange = exchange_of(sink, flags, lambda environ, error: reported.append(error))
    last, keep = exchange.run((by or compressor()).wrap(app), given)
    return Answer(Outcome(sink, exchange, last, keep, reported))


def answering(*headers: tuple[str, str], body: Any = (PAGE,), status: str = "200 OK") -> Any:
    """An application; `body` may be a function."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else list(body)

    return app


# Which responses.


def test_a_page_is_coded_whole() -> None:
    answer = call(answering(HTML, LENGTH, ("ETag", '"1"')))
    assert answer.status == "200 OK"
    assert answer.coding == "gzip"
    assert answer.field("Content-Length") == str(len(answer.content))
    assert answer.field("Vary") == "Accept-Encoding"
    assert answer.field("ETag") == 'W/"1"'
    assert answer.body == PAGE
    assert answer.reported == []


@pytest.mark.parametrize("coding", list(find_codings()))
def test_every_coding(coding: str) -> None:
    answer = call(answering(HTML), coding, by=compressor(codings=None))
    assert (answer.coding, answer.body) == (coding, PAGE)


def test_the_server_s_favourite_is_taken() -> None:
    codings = find_codings()
    answer = call(answering(HTML), "gzip, deflate, br, zstd", by=compressor(codings=codings))
    assert answer.coding == next(iter(codings))


@pytest.mark.parametrize("accepted", [None, "", "identity", "gzip;q=0", "br", "gzip;q=0.1, identity"])
def test_whoever_does_not_ask_gets_it_as_it_is_and_hears_that_it_varies(accepted: str | None) -> None:
    answer = call(answering(HTML, LENGTH, ("ETag", '"1"'), ("Accept-Ranges", "bytes")), accepted)
    assert (answer.coding, answer.content) == (None, PAGE)
    assert answer.field("Vary") == "Accept-Encoding"
    assert answer.field("ETag") == '"1"'
    assert answer.field("Accept-Ranges") == "bytes"
    assert answer.field("Content-Length") == str(len(PAGE))


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "404 Not Found", "500 Oh", "301 Moved Permanently"])
@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/plain", "text/css ;charset=x", "application/problem+json", "image/svg+xml"]
)
def test_these_are_coded(status: str, kind: str) -> None:
    answer = call(answering(("Content-Type", kind), status=status))
    assert (answer.status, answer.coding, answer.body) == (status, "gzip", PAGE)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "texts/html", "application/jsonx", ""])
@pytest.mark.parametrize("accepted", ["gzip", None])
def test_other_types_are_left_alone(kind: str, accepted: str | None) -> None:
    answer = call(answering(("Content-Type", kind), LENGTH), accepted)
    assert (answer.coding, answer.content, answer.field("Vary")) == (None, PAGE, None)


def test_a_response_without_a_type_is_left_alone() -> None:
    answer = call(answering(LENGTH))
    assert (answer.coding, answer.content, answer.field("Vary")) == (None, PAGE, None)


@pytest.mark.parametrize(
    ("field", "vary"),
    [
        (("Content-Encoding", "br"), "Accept-Encoding"),
        (("content-encoding", "identity"), "Accept-Encoding"),
        (("Content-Range", "bytes 0-9/100"), "Accept-Encoding"),
        (("Cache-Control", "public, No-Transform"), None),
    ],
)
def test_what_must_not_be_coded(field: tuple[str, str], vary: str | None) -> None:
    for body in ([PAGE], lambda: iter([PAGE])):
        answer = call(answering(HTML, field, body=body))
        assert answer.content == PAGE
        assert answer.values("Content-Encoding") == ([field[1]] if "ncoding" in field[0] else [])
        assert answer.field("Vary") == vary


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_statuses_without_a_body(status: str, method: str) -> None:
    answer = call(answering(HTML, status=status, body=()), REQUEST_METHOD=method)
    assert (answer.status, answer.coding, answer.content) == (status, None, b"")


def test_a_part_is_not_coded() -> None:
    answer = call(answering(HTML, ("Content-Range", "bytes 0-9/100"), status="206 Partial Content"))
    assert (answer.coding, answer.content, answer.field("Vary")) == (None, PAGE, "Accept-Encoding")


@pytest.mark.parametrize("headers", [[HTML], [HTML, ("Content-Length", "999")]], ids=["unknown", "length"])
@pytest.mark.parametrize("body", [[b"x" * 999], [b"x"] * 999, (b"x" * 999,)])
def test_short_bodies_are_not_worth_it(headers: list[Any], body: Any) -> None:
    answer = call(answering(*headers, body=lambda: body))
    assert (answer.coding, answer.content) == (None, b"x" * 999)
    assert answer.field("Content-Length") == "999"
    assert answer.field("Vary") == "Accept-Encoding"


def test_bodies_of_the_least_length_are() -> None:
    assert call(answering(HTML, body=[b"x" * 1000])).coding == "gzip"


@pytest.mark.parametrize("body", [lambda noise: [noise], lambda noise: iter([noise])])
def test_what_does_not_become_shorter_stays(body: Any) -> None:
    noise = bytes(NUMBERS.randrange(256) for _ in range(2000))
    answer = call(answering(HTML, ("Content-Length", "2000"), ("ETag", '"1"'), body=lambda: body(noise)))
    assert (answer.coding, answer.content, answer.field("ETag")) == (None, noise, '"1"')
    assert answer.field("Content-Length") == "2000"


# The head.


@pytest.mark.parametrize(
    ("vary", "merged"),
    [
        ([], ["Accept-Encoding"]),
        (["Cookie"], ["Cookie, Accept-Encoding"]),
        (["Cookie, Origin"], ["Cookie, Origin, Accept-Encoding"]),
        (["Cookie", "Origin"], ["Cookie, Origin, Accept-Encoding"]),
        (["accept-encoding"], ["accept-encoding"]),
        (["Cookie , ACCEPT-Encoding"], ["Cookie , ACCEPT-Encoding"]),
        (["Cookie", "Accept-Encoding"], ["Cookie", "Accept-Encoding"]),
        (["*"], ["*"]),
        (["Cookie, *"], ["Cookie, *"]),
        ([""], ["Accept-Encoding"]),
        (["X-Accept-Encoding"], ["X-Accept-Encoding, Accept-Encoding"]),
    ],
)
@pytest.mark.parametrize("accepted", ["gzip", None])
def test_vary_is_merged(vary: list[str], merged: list[str], accepted: str | None) -> None:
    for _ in range(2):  # the second time it is remembered
        answer = call(answering(HTML, *(("Vary", value) for value in vary)), accepted)
        assert answer.values("Vary") == merged


@pytest.mark.parametrize(("etag", "coded"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ("unquoted", "unquoted")])
def test_a_strong_etag_becomes_weak(etag: str, coded: str) -> None:
    assert call(answering(HTML, ("Etag", etag))).field("ETag") == coded


def test_what_was_said_of_the_bytes_goes() -> None:
    untrue = ["Accept-Ranges", "Content-MD5", "Digest", "Content-Digest", "repr-digest"]
    headers = [HTML, *((name, "x") for name in untrue), ("X-Kept", "x"), ("Last-Modified", "then")]
    answer = call(answering(*headers))
    assert [name for name in untrue if answer.values(name)] == []
    assert (answer.field("X-Kept"), answer.field("Last-Modified")) == ("x", "then")
    plain = call(answering(*headers), None)
    assert [name for name in untrue if not plain.values(name)] == []


def test_the_application_s_own_list_stays_as_it_is() -> None:
    headers = [HTML, LENGTH, ("ETag", '"1"'), ("Vary", "Cookie")]
    before = list(headers)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", headers)
        return [PAGE]

    by = compressor()
    for accepted in ("gzip", None, "gzip"):
        call(app, accepted, by=by)
        assert headers == before


@pytest.mark.parametrize(
    ("if_none_match", "etag"),
    [
        ('W/"1"', 'W/"1"'),
        ('"0", W/"1"', 'W/"1"'),
        ('"1"', '"1"'),
        ('"1", W/"1"', '"1"'),
        ('W/"2"', '"1"'),
        ("*", '"1"'),
        (None, '"1"'),
    ],
)
@pytest.mark.parametrize("headers", [[], [HTML]], ids=["no type", "a type"])
def test_a_304_tells_the_etag_that_the_client_has(if_none_match: str | None, etag: str, headers: Any) -> None:
    environ = {} if if_none_match is None else {"HTTP_IF_NONE_MATCH": if_none_match}
    for accepted in ("gzip", None):
        app = answering(*headers, ("ETag", '"1"'), status="304 Not Modified", body=())
        answer = call(app, accepted, **environ)
        assert (answer.status, answer.field("ETag")) == ("304 Not Modified", etag)
        assert answer.field("Vary") == "Accept-Encoding"


def test_a_304_of_an_image_is_left_alone() -> None:
    app = answering(("Content-Type", "image/png"), ("ETag", '"1"'), status="304 Not Modified", body=())
    answer = call(app, HTTP_IF_NONE_MATCH='W/"1"')
    assert (answer.field("ETag"), answer.field("Vary")) == ('"1"', None)


# HEAD.


@pytest.mark.parametrize("body", [(), (PAGE,), lambda: iter(()), lambda: iter([PAGE, PAGE]), lambda: Body([])])
@pytest.mark.parametrize("headers", [[HTML], [HTML, LENGTH]], ids=["unknown", "length"])
def test_head_is_told_what_get_would_be(body: Any, headers: Any) -> None:
    answer = call(answering(*headers, ("ETag", '"1"'), body=body), REQUEST_METHOD="HEAD")
    assert (answer.coding, answer.content, answer.reported) == ("gzip", b"", [])
    assert (answer.field("ETag"), answer.field("Vary")) == ('W/"1"', "Accept-Encoding")
    assert answer.field("Content-Length") is None
    assert answer.field("Transfer-Encoding") is None


def test_head_of_what_is_too_short() -> None:
    for headers, body in (([HTML, ("Content-Length", "10")], []), ([HTML], [b"x" * 10])):
        answer = call(answering(*headers, body=body), REQUEST_METHOD="HEAD")
        assert (answer.coding, answer.field("Content-Length"), answer.content) == (None, "10", b"")


def test_head_by_write_and_by_a_late_generator() -> None:
    def writing(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [HTML])
        write(PAGE)
        write(PAGE)
        return [PAGE]

    def late(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [HTML])
        yield PAGE
        raise AssertionError("nobody wants it")

    for app in (writing, late):
        answer = call(app, REQUEST_METHOD="HEAD")
        assert (answer.status, answer.coding, answer.content, answer.reported) == ("200 OK", "gzip", b"", [])


@pytest.mark.parametrize("accepted", ["gzip", None])
def test_what_the_client_asked_counts_whatever_the_application_makes_of_it(accepted: str | None) -> None:
    def asking_for_more(environ: Any, start_response: Any) -> Any:
        environ["REQUEST_METHOD"] = "GET"
        if environ.pop("HTTP_IF_NONE_MATCH", None):
            start_response("304 Not Modified", [("ETag", '"1"')])
            return []
        start_response("200 OK", [HTML])
        return iter([PAGE, PAGE])

    head = call(asking_for_more, accepted, REQUEST_METHOD="HEAD")
    assert (head.coding, head.content, head.reported) == (accepted, b"", [])
    assert call(asking_for_more, accepted, HTTP_IF_NONE_MATCH='W/"1"').field("ETag") == 'W/"1"'


# Paths.


@pytest.mark.parametrize(
    ("path", "coded"),
    [
        ("/", True),
        ("/login", False),
        ("/login/", True),
        ("/loginx", True),
        ("/account/", False),
        ("/account/a/b", False),
        ("/account", True),
        ("//account//a", False),
        ("/x/../account/a", False),
        ("/./login", False),
        ("/account/../x", True),
        ("/..", True),
    ],
)
def test_excluded_paths(path: str, coded: bool) -> None:
    by = compressor(excluded=("/login", "/account/*"))
    answer = call(answering(HTML), by=by, PATH_INFO=path)
    assert (answer.coding is not None, answer.field("Vary") is not None) == (coded, coded)
    assert answer.body == PAGE
    mounted = call(answering(HTML), by=by, SCRIPT_NAME="/account", PATH_INFO="/a")
    assert mounted.coding is None


# Streams.


def test_each_block_is_put_before_the_next_is_made() -> None:
    sink_of: list[Sink] = []
    seen: list[int] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [HTML])
        for number in range(5):
            seen.append(len(sink_of[0].puts))
            yield b"block %d" % number

    sink = Sink()
    sink_of.append(sink)
    exchange = exchange_of(sink)
    exchange.run(compressor().wrap(app), {"REQUEST_METHOD": "GET", "HTTP_ACCEPT_ENCODING": "gzip"})
    assert seen == [0, 1, 2, 3, 4]
    reader = decoder("gzip")
    for number, put in enumerate(sink.puts[:5]):
        chunk = put.split(b"\r\n\r\n", 1)[1] if number == 0 else put
        size, _, rest = chunk.partition(b"\r\n")
        assert reader(rest[: int(size, 16)]) == b"block %d" % number


BLOCKS = st.lists(st.binary(max_size=50) | st.integers(1, 3).map(lambda n: PAGE * n), max_size=6)
CODINGS = find_codings()


def by_list(blocks: list[bytes]) -> Any:
    return list(blocks)


def by_tuple(blocks: list[bytes]) -> Any:
    return tuple(blocks)


def by_iterator(blocks: list[bytes]) -> Any:
    return iter(blocks)


@given(
    blocks=BLOCKS,
    written=BLOCKS,
    shape=st.sampled_from([by_list, by_tuple, by_iterator, Body]),
    told=st.booleans(),
    coding=st.sampled_from([*CODINGS, None]),
    flags=st.sampled_from([0, HTTP10]),
    late=st.booleans(),
)
@settings(max_examples=150)
def test_any_blocks_in_the_same_bytes_out(
    blocks: list[bytes], written: list[bytes], shape: Any, told: bool, coding: str | None, flags: int, late: bool
) -> None:
    whole = b"".join(blocks if late else written + blocks)
    headers = [HTML, *([("Content-Length", str(len(whole)))] if told else [])]

    def early_app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", headers)
        for block in written:
            write(block)
        return shape(blocks)

    def late_app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", headers)
        yield from blocks

    answer = call(late_app if late else early_app, coding, by=compressor(codings=CODINGS), flags=flags)
    assert (answer.status, answer.reported, answer.outcome.sink.resets) == ("200 OK", [], [])
    assert answer.body == whole
    assert answer.coding in (None, coding)
    assert answer.field("Vary") == "Accept-Encoding"
    length = answer.field("Content-Length")
    assert length is None or int(length) == len(answer.content)


@pytest.mark.parametrize("shape", [lambda: iter([PAGE]), lambda: Body([PAGE]), lambda: map(bytes, [PAGE])])
def test_one_block_as_long_as_its_length_is_coded_whole(shape: Any) -> None:
    answer = call(answering(HTML, LENGTH, body=shape))
    assert answer.field("Content-Length") == str(len(answer.content))
    assert answer.body == PAGE


class One:
    """An iterable that says that it has one block."""

    def __init__(self, block: Any) -> None:
        self.block = block

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        yield self.block


@pytest.mark.parametrize(("block", "coding"), [(PAGE, "gzip"), (b"short", None)])
def test_an_iterable_of_one_block_is_whole(block: bytes, coding: str | None) -> None:
    answer = call(answering(HTML, body=lambda: One(block)))
    assert (answer.coding, answer.body) == (coding, block)
    assert answer.field("Content-Length") == str(len(answer.content))


def test_a_stream_has_no_length() -> None:
    answer = call(answering(HTML, LENGTH, body=lambda: iter([PAGE[:100], PAGE[100:]])))
    assert (answer.coding, answer.field("Content-Length"), answer.body) == ("gzip", None, PAGE)
    assert answer.field("Transfer-Encoding") == "chunked"


# Files.


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("size", "coding"), [(MIN - 1, None), (MIN, "gzip"), (200_000, "gzip"), (FILE_BYTES_MAX + 1, None)]
)
def test_short_files_are_coded_and_long_ones_left_to_the_system(
    tmp_path: Path, told: bool, size: int, coding: str | None
) -> None:
    content = (PAGE * (size // len(PAGE) + 1))[:size]
    path = tmp_path / "file"
    path.write_bytes(content)
    file = open(path, "rb")
    headers = [HTML, *([("Content-Length", str(size))] if told else [])]
    answer = call(answering(*headers, body=lambda: FileWrapper(file)))
    assert (answer.coding, answer.body) == (coding, content)
    assert bool(answer.outcome.sink.files) == (coding is None)
    assert answer.field("Content-Length") == str(len(answer.content))
    assert file.closed


def test_what_has_no_descriptor_is_a_stream() -> None:
    file = io.BytesIO(PAGE * 100)
    answer = call(answering(HTML, body=lambda: FileWrapper(file)))
    assert (answer.coding, answer.body, file.closed) == ("gzip", PAGE * 100, True)


def test_a_file_that_is_shorter_than_it_says_is_a_clean_500() -> None:
    file = io.BytesIO(PAGE)
    answer = call(answering(HTML, ("Content-Length", "5000"), body=lambda: FileWrapper(file)))
    assert (answer.status[:3], answer.coding, file.closed) == ("500", None, True)
    assert isinstance(answer.reported[0], ApplicationError)


def test_of_a_longer_file_as_much_is_sent_as_it_says() -> None:
    answer = call(answering(HTML, LENGTH, body=lambda: FileWrapper(io.BytesIO(PAGE + b"more"))))
    assert (answer.coding, answer.body, answer.reported) == ("gzip", PAGE, [])


def test_head_of_a_file_does_not_read_it() -> None:
    class Unread(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("read")

    file = Unread(PAGE)
    answer = call(answering(HTML, LENGTH, body=lambda: FileWrapper(file)), REQUEST_METHOD="HEAD")
    assert (answer.status, answer.coding, answer.reported, file.closed) == ("200 OK", "gzip", [], True)


# What goes wrong.


def test_a_body_that_fails_is_cut_off() -> None:
    def failing() -> Iterator[bytes]:
        yield PAGE
        raise ValueError("oh")

    answer = call(answering(HTML, body=failing))
    assert [str(error) for error in answer.reported] == ["oh"]
    assert answer.outcome.sink.resets == [False]
    wire = answer.outcome.wire
    assert not wire.endswith(b"0\r\n\r\n")
    reader = decoder("gzip")
    size, _, rest = wire.split(b"\r\n\r\n", 1)[1].partition(b"\r\n")
    assert reader(rest[: int(size, 16)]) == PAGE
    assert not reader.ended


@pytest.mark.parametrize("length", [len(PAGE) * 2 - 1, len(PAGE) * 2 + 1])
def test_a_stream_of_another_length_than_it_says_is_cut_off(length: int) -> None:
    headers = [HTML, ("Content-Length", str(length))]
    answer = call(answering(*headers, body=lambda: iter([PAGE, PAGE])))
    assert isinstance(answer.reported[0], ApplicationError)
    assert answer.outcome.sink.resets == [False]
    assert not answer.outcome.wire.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("body", [[PAGE], (PAGE, b"x")])
def test_a_list_of_another_length_than_it_says_is_a_clean_500(body: Any) -> None:
    answer = call(answering(HTML, ("Content-Length", "5000"), body=lambda: body))
    assert answer.status[:3] == "500"
    assert answer.coding is None
    assert isinstance(answer.reported[0], ApplicationError)


@pytest.mark.parametrize(
    "body",
    [["text"], [None], [bytearray(PAGE)], lambda: iter(["text"]), lambda: iter([None]), lambda: One("x"), lambda: None],
)
@pytest.mark.parametrize("accepted", ["gzip", None])
def test_a_body_that_is_not_of_bytes_is_a_clean_500(body: Any, accepted: str | None) -> None:
    answer = call(answering(HTML, body=body), accepted)
    assert answer.status[:3] == "500"
    assert len(answer.reported) == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", [("Content-Type", "text/html"), ("X", "a\r\nb")]),
        ("200 OK", [("Content-Type", "text/html"), ("Content-Length", "x")]),
        ("200 OK", [("Content-Type", "text/html"), ("Content-Length", "5"), ("Content-Length", "5")]),
        ("200 OK", [("Content-Type", 5)]),
        ("200 OK", [("Content-Type",)]),
        ("200 OK", [5]),
        ("200 OK", (("Content-Type", "text/html"),)),
        ("200 OK", None),
        ("OK", [HTML]),
        (200, [HTML]),
        (b"200 OK", [HTML]),
    ],
)
@pytest.mark.parametrize("accepted", ["gzip", None])
def test_heads_that_make_no_sense_are_the_exchange_s_to_refuse(status: Any, headers: Any, accepted: str | None) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, headers)
        return [PAGE]

    answer = call(app, accepted)
    assert answer.status[:3] == "500"
    assert isinstance(answer.reported[0], ApplicationError)


@pytest.mark.parametrize("accepted", ["gzip", None])
def test_start_response_is_called_once(accepted: str | None) -> None:
    def twice(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [HTML])
        start_response("200 OK", [HTML])
        return [PAGE]

    def never(environ: Any, start_response: Any) -> Any:
        return iter([PAGE])

    for app in (twice, never, lambda environ, start_response: [PAGE]):
        answer = call(app, accepted)
        assert answer.status[:3] == "500"
        assert isinstance(answer.reported[0], ApplicationError)


def failing(environ: Any, start_response: Any, kind: str) -> list[bytes]:
    """Starts a response, fails, and answers that with an error page."""
    import sys

    start_response("200 OK", [("Content-Type", kind), ("X-First", "1")])
    try:
        raise ValueError("oh")
    except ValueError:
        start_response("503 Oh", [HTML], sys.exc_info())
    return [PAGE]


@pytest.mark.parametrize("kind", ["text/html", "image/png"])
@pytest.mark.parametrize("accepted", ["gzip", None])
def test_start_response_again_before_the_first_byte(kind: str, accepted: str | None) -> None:
    answer = call(lambda environ, start_response: failing(environ, start_response, kind), accepted)
    assert (answer.status, answer.body, answer.reported) == ("503 Oh", PAGE, [])
    assert answer.field("X-First") is None
    assert answer.field("Vary") == "Accept-Encoding"


def test_start_response_again_behind_the_first_byte_raises() -> None:
    import sys

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [HTML])
        yield PAGE
        try:
            raise ValueError("oh")
        except ValueError:
            start_response("500 Oh", [HTML], sys.exc_info())
        yield b"never"

    answer = call(app)
    assert [str(error) for error in answer.reported] == ["oh"]
    assert answer.outcome.sink.resets == [False]


@pytest.mark.parametrize("accepted", ["gzip", "identity", None])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["text/html", "image/png"])
@pytest.mark.parametrize("blocks", [[PAGE], [PAGE, PAGE], [], ["not bytes"]])
def test_close_is_called_once(accepted: str | None, method: str, kind: str, blocks: list[Any]) -> None:
    body = Body(blocks)
    call(answering(("Content-Type", kind), body=lambda: body), accepted, REQUEST_METHOD=method)
    assert body.closes == 1


def test_close_is_called_where_there_is_nothing_to_iterate() -> None:
    class Odd:
        closes = 0

        def __iter__(self) -> Any:
            raise ValueError("oh")

        def close(self) -> None:
            self.closes += 1

    body = Odd()
    answer = call(answering(HTML, body=lambda: body))
    assert (answer.status[:3], body.closes) == ("500", 1)


# Beside the compressor.


def test_what_is_large_makes_way_first() -> None:
    asides: list[Any] = []
    by = compressor(step_aside=asides.append)
    assert call(answering(HTML, body=[b"x" * 100_000]), by=by).coding == "gzip"
    assert asides == []
    for body in ([b"x" * 100_001], lambda: iter([b"x" * 100_001])):
        assert call(answering(HTML, body=body), by=by).coding == "gzip"
        assert asides.pop().__name__ == "start_response"
    assert asides == []


ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "test",
    "SERVER_PORT": "80",
    "wsgi.version": (1, 0),
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.url_scheme": "http",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accepted", ["gzip", None])
@pytest.mark.parametrize("body", [(PAGE,), lambda: iter([PAGE, PAGE])])
def test_it_is_a_valid_application_around_a_valid_one(method: str, accepted: str | None, body: Any) -> None:
    app = validator(compressor().wrap(validator(answering(HTML, body=body))))
    environ = {**ENVIRON, "REQUEST_METHOD": method}
    if accepted:
        environ["HTTP_ACCEPT_ENCODING"] = accepted
    sink = Sink()
    reported: list[BaseException] = []
    exchange = exchange_of(sink, HEAD if method == "HEAD" else 0, lambda environ, error: reported.append(error))
    answer = Answer(Outcome(sink, exchange, *exchange.run(app, environ), reported))
    assert reported == []
    assert answer.coding == accepted
    assert answer.field("Vary") == "Accept-Encoding"


def test_memory_of_what_clients_and_applications_say_is_bounded() -> None:
    by = compressor()
    for number in range(1000):
        call(answering(("Content-Type", f"text/x{number}"), ("Vary", f"X-{number}")), f"gzip;q=1, x{number}", by=by)
        by.kept_coding({"HTTP_ACCEPT_ENCODING": f"gzip, y{number}"})
    assert max(len(by._accepted), len(by._accepted_kept), len(by._taken)) <= 256


# For what is kept.


def test_choosing_for_what_is_kept() -> None:
    by = compressor(codings=None, excluded=("/login",))
    order = [name for name in ("br", "zstd", "gzip") if name in CODINGS]
    environ = {"HTTP_ACCEPT_ENCODING": "gzip, deflate, br, zstd", "PATH_INFO": "/", "SCRIPT_NAME": ""}
    assert by.kept_coding(environ) == order[0]
    assert by.kept_coding({**environ, "HTTP_ACCEPT_ENCODING": "gzip"}) == "gzip"
    assert by.kept_coding({**environ, "PATH_INFO": "/login"}) == ""
    assert by.kept_coding({"PATH_INFO": "/", "SCRIPT_NAME": ""}) == ""
    assert by.takes("200 OK", [HTML], 5000)
    assert not by.takes("200 OK", [HTML], MIN - 1)
    assert not by.takes("200 OK", [("Content-Type", "image/png")], 5000)
    assert not by.takes("204 No Content", [HTML], 5000)
    assert not by.takes("200 OK", [HTML, ("Content-Encoding", "br")], 5000)


@pytest.mark.parametrize("coding", list(CODINGS))
def test_coding_what_is_kept(coding: str) -> None:
    by = compressor(codings=None)
    body = by.encode(coding, PAGE)
    assert decode(coding, body) == PAGE
    assert by.encode(coding, PAGE) == body, "it is kept: its length must not vary"
