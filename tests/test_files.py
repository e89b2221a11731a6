"""wsgi.files: what `wsgi.file_wrapper` gives, and which files the system may send by itself."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import tempfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from vivace.wsgi.files import BLOCK_BYTES, FileWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

DATA = bytes(range(256)) * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


class Reader:
    """The least that PEP 3333 asks of a file-like object."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)
        self.asked: list[int] = []

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        return self.data.read(size)


# Iteration.


def test_iterates_in_blocks() -> None:
    reader = Reader(DATA)
    blocks = list(FileWrapper(reader))
    assert b"".join(blocks) == DATA
    assert {len(block) for block in blocks[:-1]} == {BLOCK_BYTES} == set(reader.asked)


@pytest.mark.parametrize(("asked", "taken"), [(1, BLOCK_BYTES), (8192, BLOCK_BYTES), (1 << 20, 1 << 20)])
def test_a_block_size_may_ask_for_more_and_not_for_less(asked: int, taken: int) -> None:
    """It is "a suggestion" (PEP 3333)."""
    reader = Reader(DATA)
    assert b"".join(FileWrapper(reader, asked)) == DATA
    assert set(reader.asked) == {taken}


def test_iterates_from_where_the_file_stands_and_once() -> None:
    source = io.BytesIO(DATA)
    source.seek(1000)
    wrapper = FileWrapper(source)
    assert iter(wrapper) is wrapper
    assert b"".join(wrapper) == DATA[1000:]
    assert list(wrapper) == []


def test_empty_and_short_reads() -> None:
    """A pipe may give less than was asked for; only b"" is the end."""

    class Drops(Reader):
        def read(self, size: int) -> bytes:
            return super().read(min(size, 3))

    assert list(FileWrapper(Reader(b""))) == []
    assert list(FileWrapper(Drops(b"12345"))) == [b"123", b"45"]


# close().


def test_close_is_that_of_the_file() -> None:
    source = io.BytesIO(DATA)
    FileWrapper(source).close()
    assert source.closed


def test_there_is_no_close_where_the_file_has_none() -> None:
    """PEP 3333: only "if the file-like object has one"."""
    assert not hasattr(FileWrapper(Reader(b"")), "close")


# What the system may send.


@pytest.mark.parametrize("buffering", [0, -1, 100])
@pytest.mark.parametrize("offset", [0, 1, 1000, len(DATA), len(DATA) + 5])
def test_a_region_begins_where_the_file_stands(path: Path, buffering: int, offset: int) -> None:
    with open(path, "rb", buffering=buffering) as file:
        file.seek(offset)
        assert FileWrapper(file).region() == (file.fileno(), offset, max(0, len(DATA) - offset))


@pytest.mark.parametrize("buffering", [0, -1])
def test_what_was_read_before_is_not_sent(path: Path, buffering: int) -> None:
    """The system's position is ahead of a buffered file's."""
    with open(path, "rb", buffering=buffering) as file:
        assert file.read(10) == DATA[:10]
        region = FileWrapper(file).region()
        assert region is not None
        assert region[1:] == (10, len(DATA) - 10)


@pytest.mark.parametrize(
    "make",
    [tempfile.TemporaryFile, tempfile.NamedTemporaryFile, lambda: tempfile.SpooledTemporaryFile(1)],
    ids=["TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile"],
)
def test_temporary_files(make: Callable[[], Any]) -> None:
    with make() as file:
        file.write(DATA)
        file.seek(7)
        wrapper = FileWrapper(file)
        region = wrapper.region()
        if region is not None:
            fd, offset, count = region
            assert os.pread(fd, count, offset) == DATA[7:]
        assert b"".join(wrapper) == DATA[7:]


def test_what_was_written_and_not_yet_flushed_is_sent_as_well(tmp_path: Path) -> None:
    with open(tmp_path / "new", "w+b") as file:
        file.write(b"0123456789")
        file.seek(0)
        file.write(b"abc")
        region = FileWrapper(file).region()
        if region is not None:
            fd, offset, count = region
            assert os.pread(fd, count, offset) == b"3456789"
        assert b"".join(FileWrapper(file)) == b"3456789"


def compressed(kind: str, folder: Path) -> Any:
    """DATA in a compressed file, opened for reading: its descriptor is that of the compressed bytes."""
    target = folder / kind
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data", DATA)
        return zipfile.ZipFile(target).open("data")
    module: Any = {"gzip": gzip, "bz2": bz2, "lzma": lzma}[kind]
    with module.open(target, "wb") as file:
        file.write(DATA)
    return module.open(target, "rb")


@pytest.mark.parametrize("kind", ["gzip", "bz2", "lzma", "zip"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_descriptor_of_other_bytes_than_read_gives_is_not_sent(tmp_path: Path, kind: str) -> None:
    """`gzip.open(...)` has a `fileno`, of a file that holds something else."""
    with compressed(kind, tmp_path) as file:
        assert file.read(10) == DATA[:10]
        wrapper = FileWrapper(file)
        assert wrapper.region() is None
        assert b"".join(wrapper) == DATA[10:]


def test_a_file_whose_read_does_something_else_is_not_sent(path: Path) -> None:
    """A wrapper that decrypts, counts or slows down passes everything else on to the file."""

    class Upper:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def read(self, size: int = -1) -> bytes:
            return bytes(self.file.read(size)).upper()

    path.write_bytes(b"text")
    with open(path, "rb") as file:
        wrapper = FileWrapper(Upper(file))
        assert wrapper.region() is None
        assert b"".join(wrapper) == b"TEXT"


def test_text_files_are_not_sent(path: Path) -> None:
    """Their `read` gives str, which is no body: the application is told so by the usual check of blocks."""
    path.write_bytes(b"text")
    with open(path, encoding="utf-8") as file:
        assert FileWrapper(file).region() is None


def pipe() -> Any:
    reader, writer = os.pipe()
    os.write(writer, b"data")
    os.close(writer)
    return open(reader, "rb")


def one_end() -> Any:
    ours, peer = socket.socketpair()
    peer.sendall(b"data")
    peer.close()
    file = ours.makefile("rb")
    ours.close()
    return file


@pytest.mark.parametrize("make", [pipe, one_end, lambda: io.BytesIO(b"data"), lambda: Reader(b"data")])
def test_what_is_no_regular_file_goes_in_blocks(make: Callable[[], Any]) -> None:
    source = make()
    wrapper = FileWrapper(source)
    assert wrapper.region() is None
    assert b"".join(wrapper) == b"data"
    getattr(source, "close", lambda: None)()


class Odd(Reader):
    """A file-like object whose `fileno` and `tell` are no use."""

    def __init__(self, fileno: Callable[[], Any], tell: Callable[[], Any] = lambda: 0) -> None:
        super().__init__(b"data")
        self.fileno = fileno
        self.tell = tell


def failing(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.fixture
def odd_fd(path: Path) -> Iterator[int]:
    with open(path, "rb") as file:
        yield file.fileno()


def test_odd_files_go_in_blocks(odd_fd: int) -> None:
    odd = [
        Odd(failing(OSError("fileno"))),
        Odd(failing(io.UnsupportedOperation("fileno"))),
        Odd(failing(AttributeError("fileno"))),
        Odd(failing(ValueError("I/O operation on closed file"))),
        Odd(failing(NotImplementedError("fileno"))),
        Odd(lambda: -1),
        Odd(lambda: 1 << 20),
        Odd(lambda: None),
        Odd(lambda: odd_fd, failing(OSError("tell"))),
        Odd(lambda: odd_fd, failing(NotImplementedError("tell"))),
        Odd(lambda: odd_fd, lambda: None),
    ]
    for source in odd:
        wrapper = FileWrapper(source)
        assert wrapper.region() is None
        assert b"".join(wrapper) == b"data"
