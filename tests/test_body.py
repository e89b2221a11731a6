"""wsgi.body: `wsgi.input` wherever the body is: nowhere, in memory, in a file, or still on its way."""

from __future__ import annotations

import io
import os
import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.wsgi.body import EMPTY, EmptyInput, Spool, stream_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, BinaryIO

BODY = b"".join(b"line %d\n" % number for number in range(100)) + b"no newline"


def of_memory(body: bytes, cuts: list[int] | None = None) -> BinaryIO:
    return spooled(body, cuts, len(body))


def of_file(body: bytes, cuts: list[int] | None = None) -> BinaryIO:
    return spooled(body, cuts, -1)


def spooled(body: bytes, cuts: list[int] | None, memory_bytes_max: int) -> BinaryIO:
    spool = Spool(memory_bytes_max, "")
    for block in cut(body, cuts):
        spool.add(block)
    return spool.finish()


def of_stream(body: bytes, cuts: list[int] | None = None) -> Any:
    blocks = [block for block in cut(body, cuts) if block]
    return stream_input(lambda: blocks.pop(0) if blocks else b"")


def cut(body: bytes, cuts: list[int] | None) -> list[bytes]:
    places = [0, *sorted(cuts or []), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


EVERY = pytest.mark.parametrize("make", [of_memory, of_file, of_stream])

# What PEP 3333 asks of wsgi.input ("Input and Error Streams"), by name and arguments.
CALLS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)),
    st.tuples(st.just("readline"), st.integers(-1, 40)),
    st.tuples(st.sampled_from(["read", "readline", "readlines", "__next__"])),
)


LINES = st.lists(st.sampled_from([b"a", b"\n", b"bc\n"]), max_size=40).map(b"".join)


def call(source: Any, name: str, *arguments: int) -> Any:
    try:
        return getattr(source, name)(*arguments)
    except StopIteration:
        return "the end"


# As a file.


@pytest.mark.parametrize("make", [of_memory, of_file, of_stream])
@given(
    body=st.one_of(
        st.binary(max_size=60), st.lists(st.sampled_from([b"a", b"\n", b"bc\n"]), max_size=40).map(b"".join)
    ),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    calls=st.lists(CALLS, max_size=12),
)
def test_it_reads_as_a_file_does(
    make: Callable[..., Any], body: bytes, cuts: list[int], calls: list[tuple[str, int]]
) -> None:
    """Whatever is called in whatever order, on a body that came in whatever pieces: as io.BytesIO answers."""
    cuts = [min(place, len(body)) for place in cuts]
    expected = io.BytesIO(body)
    with make(body, cuts) as source:
        for name, *arguments in calls:
            assert call(source, name, *arguments) == call(expected, name, *arguments), (name, arguments)


@EVERY
def test_it_ends_where_the_body_ends(make: Callable[..., Any]) -> None:
    with make(BODY) as source:
        assert source.read() == BODY
        assert [source.read(), source.read(10), source.readline(), source.readlines(), list(source)] == [
            b"",
            b"",
            b"",
            [],
            [],
        ]


@EVERY
def test_iteration_and_none(make: Callable[..., Any]) -> None:
    with make(BODY) as source:
        assert list(source) == io.BytesIO(BODY).readlines()
    with make(BODY) as source:
        assert (source.read(3), source.read(None)) == (BODY[:3], BODY[3:])


@EVERY
@pytest.mark.parametrize("hint", [1, 8, 20, 100])
def test_readlines_with_a_hint(make: Callable[..., Any], hint: int) -> None:
    """Whole lines of about so many bytes; how exact that is differs between Python's own files."""
    with make(BODY) as source:
        lines = source.readlines(hint)
        assert lines == io.BytesIO(BODY).readlines()[: len(lines)]
        assert hint <= sum(map(len, lines)) <= hint + 20
        assert b"".join(lines) + source.read() == BODY


@EVERY
def test_readinto(make: Callable[..., Any]) -> None:
    """What `shutil`, `zipfile` and parsers of multipart bodies use."""
    buffer = bytearray(64)
    with make(BODY) as source:
        assert source.readinto(buffer) == 64
        assert bytes(buffer) == BODY[:64]
        assert source.readable()


# None.


def test_the_empty_body() -> None:
    assert [EMPTY.read(), EMPTY.read(5), EMPTY.read(None), EMPTY.readall()] == [b""] * 4
    assert [EMPTY.readline(), EMPTY.readline(5), EMPTY.readinto(bytearray(5))] == [b"", b"", 0]
    assert [EMPTY.readlines(), EMPTY.readlines(5), list(EMPTY)] == [[], [], []]
    assert EMPTY.readable()


def test_the_empty_body_cannot_be_closed() -> None:
    """It is shared by all requests without one."""
    with EMPTY as source:
        source.close()
    assert not EMPTY.closed
    assert EMPTY.read() == b""
    assert isinstance(EMPTY, EmptyInput)


@pytest.mark.parametrize("change", [lambda: EMPTY.write(b"x"), lambda: EMPTY.seek(1), lambda: EMPTY.truncate(1)])
def test_the_empty_body_takes_nothing(change: Callable[[], Any]) -> None:
    with pytest.raises((OSError, NotImplementedError)):
        change()
    assert EMPTY.read() == b""


# In memory or in a file.


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_the_border_between_memory_and_file(tmp_path: Path, pieces: int) -> None:
    for size, in_file in ((0, False), (99, False), (100, False), (101, True), (5000, True)):
        body = os.urandom(size)
        spool = Spool(100, str(tmp_path))
        for block in cut(body, [size * part // pieces for part in range(1, pieces)]):
            spool.add(block)
        source = spool.finish()
        assert spool.size == size
        assert isinstance(source, io.BytesIO) is not in_file
        assert source.read() == body
        spool.close()


def test_the_file_lies_in_the_spill_dir_and_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the process, nothing is left over; and nobody else can open it."""
    made: list[str | None] = []
    real = tempfile.TemporaryFile

    def watched(*arguments: Any, **keywords: Any) -> Any:
        made.append(keywords["dir"])
        return real(*arguments, **keywords)

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    for spill_dir in (str(tmp_path), ""):
        spool = Spool(10, spill_dir)
        spool.add(b"x" * 11)
        assert os.listdir(tmp_path) == []
        spool.close()
    assert made == [str(tmp_path), None]


def test_memory_is_given_back_when_the_file_takes_over() -> None:
    spool = Spool(10, "")
    for _ in range(100):
        spool.add(b"x" * 5)
    assert spool._blocks == []
    assert spool.finish().read() == b"x" * 500
    spool.close()


def test_close_closes_the_file() -> None:
    spool = Spool(1, "")
    spool.add(b"body")
    source = spool.finish()
    spool.close()
    assert source.closed


def test_close_before_the_end_and_without_a_body() -> None:
    for blocks in ([], [b"x"], [b"x" * 100]):
        spool = Spool(10, "")
        for block in blocks:
            spool.add(block)
        spool.close()
        spool.close()


def test_a_body_of_one_block_is_not_copied() -> None:
    body = b"x" * 1000
    spool = Spool(1000, "")
    spool.add(body)
    assert spool.finish().read() is body


def test_a_spill_dir_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    spool = Spool(10, str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        spool.add(b"x" * 11)
    spool.close()


def test_a_full_disk_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **keywords: io.FileIO("/dev/full", "r+"))
    spool = Spool(10, "")
    with pytest.raises(OSError, match="No space left"):
        spool.add(b"x" * 11)
    spool.close()


# On its way.


def test_a_stream_is_read_when_it_is_asked_for_and_not_before() -> None:
    asked: list[int] = []
    blocks = [b"one\n", b"two\n"]

    def receive() -> bytes:
        asked.append(1)
        return blocks.pop(0) if blocks else b""

    source = stream_input(receive)
    assert asked == []
    assert source.readline() == b"one\n"
    assert len(asked) == 1, "the next block may never come"
    assert source.read() == b"two\n"


def test_what_has_come_can_be_had_without_waiting() -> None:
    """`read1` and `peek`: for applications that echo a stream."""
    blocks = [b"one", b"two"]
    source = stream_input(lambda: blocks.pop(0) if blocks else b"")
    assert source.read1(100) == b"one"
    assert source.peek(1) == b"two"
    assert source.read() == b"two"


def test_blocks_larger_than_what_is_asked_for() -> None:
    body = os.urandom(300_000)
    with of_stream(body) as source:
        assert source.read(10) + source.read(200_000) + source.read() == body


@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError, ValueError])
def test_a_stream_that_breaks(error: type[Exception]) -> None:
    """A body that was cut off must not look whole."""
    blocks = [b"begun"]

    def receive() -> bytes:
        if blocks:
            return blocks.pop(0)
        raise error("broken")

    source = stream_input(receive)
    assert source.read(5) == b"begun"
    for _ in range(2):
        with pytest.raises(error, match="broken"):
            source.read(1)


def test_a_stream_that_breaks_within_a_read() -> None:
    blocks = [b"begun"]

    def receive() -> bytes:
        if blocks:
            return blocks.pop(0)
        raise ConnectionResetError("broken")

    source = stream_input(receive)
    with pytest.raises(ConnectionResetError, match="broken"):
        source.read()
