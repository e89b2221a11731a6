"""content.coding: what any decoder of the format gives back is what went in, at every level and block by block."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders import decode, decoder
from vivace.content import coding as coding_module
from vivace.content.coding import DYNAMIC, PAD_BYTES_MAX, STORED, Gzip, find_codings

if TYPE_CHECKING:
    from vivace.content.coding import Coding

CODINGS: dict[str, Coding] = {**find_codings(), "gzip by zlib": Gzip()}
WORDS = (
    b"serve request head body field cache store fresh stale key vary age date path query worker thread loop socket "
    b"read write block chunk length type coding level stream flush end"
).split()
NUMBERS = Random(1)
TEXT = b" ".join(NUMBERS.choice(WORDS) + b"%d" % NUMBERS.randrange(10) for _ in range(4000))

each = pytest.mark.parametrize("coding", CODINGS.values(), ids=list(CODINGS))


def test_gzip_is_always_there_and_comes_last() -> None:
    assert list(find_codings())[-1] == "gzip"


@each
@pytest.mark.parametrize("level", [DYNAMIC, STORED, *range(1, 10)])
@pytest.mark.parametrize("body", [b"", b"x", TEXT], ids=["nothing", "a byte", "a text"])
def test_whole_bodies(coding: Coding, level: int, body: bytes) -> None:
    coded = coding.encode(body, level)
    assert decode(coding.name, coded) == body
    assert len(coded) < len(body) / 2 + 40
    assert coding.slow_bytes(level) >= 30_000


@each
def test_what_is_kept_is_not_longer_than_what_is_sent_once(coding: Coding) -> None:
    assert len(coding.encode(TEXT, STORED)) <= len(coding.encode(TEXT, DYNAMIC))


@each
@given(blocks=st.lists(st.binary(min_size=1, max_size=300) | st.integers(1, 9).map(lambda n: TEXT[: n * 1000])))
@settings(max_examples=30)
def test_each_block_of_a_stream_can_be_decoded_at_once(coding: Coding, blocks: list[bytes]) -> None:
    stream = coding.stream(DYNAMIC)
    reader = decoder(coding.name)
    for block in blocks:
        coded = stream.add(block)
        assert coded
        assert reader(coded) == block
    reader(stream.finish())
    assert reader.ended


@each
@pytest.mark.parametrize("level", range(1, 10))
def test_streams_of_every_level(coding: Coding, level: int) -> None:
    stream = coding.stream(level)
    coded = [stream.add(TEXT), stream.add(TEXT), stream.finish()]
    assert decode(coding.name, b"".join(coded)) == TEXT * 2


@each
def test_a_stream_that_is_not_finished_can_be_told(coding: Coding) -> None:
    reader = decoder(coding.name)
    reader(coding.stream(DYNAMIC).add(TEXT))
    assert not reader.ended


def test_random_bodies_grow_by_little() -> None:
    body = bytes((number * 7919 ^ number >> 3) & 255 for number in range(1000))
    for coding in CODINGS.values():
        assert decode(coding.name, coding.encode(body, DYNAMIC)) == body


# The length of gzip.


@pytest.mark.parametrize("coding", [Gzip(), CODINGS["gzip"]], ids=["zlib", "as installed"])
def test_a_padded_member_has_many_lengths_and_one_content(coding: Coding) -> None:
    plain = len(coding.encode(TEXT, DYNAMIC))
    lengths = set()
    for _ in range(200):
        coded = coding.encode(TEXT, DYNAMIC, True)
        assert decode("gzip", coded) == TEXT
        lengths.add(len(coded) - plain)
    assert min(lengths) >= 1
    assert max(lengths) <= PAD_BYTES_MAX
    assert len(lengths) > 30


def test_the_head_of_a_stream_is_padded_once() -> None:
    lengths = set()
    for _ in range(50):
        stream = Gzip().stream(DYNAMIC)
        first, second = stream.add(b"secret"), stream.add(b"secret")
        lengths.add((len(first), len(second)))
        assert decode("gzip", first + second + stream.finish()) == b"secretsecret"
    assert len({first for first, _ in lengths}) > 10
    assert len({second for _, second in lengths}) == 1


def test_what_has_another_head_is_left_alone() -> None:
    odd = b"\x1f\x8b\x08\x10" + b"x" * 20
    assert coding_module._padded(odd) == odd


# What is installed.


def test_isal_does_the_quick_levels_and_zlib_the_others() -> None:
    calls: list[Any] = []

    class Isal:
        @staticmethod
        def compress(body: bytes, level: int, wbits: int) -> bytes:
            calls.append(level)
            return zlib.compress(body, level or 1, wbits)

    coding = Gzip(Isal)
    for level in (DYNAMIC, 1, 3, 4, 9, STORED):
        assert decode("gzip", coding.encode(TEXT, level)) == TEXT
    assert calls == [2, 1, 3]
    assert coding.slow_bytes(DYNAMIC) > Gzip().slow_bytes(DYNAMIC) > Gzip().slow_bytes(STORED)


def test_without_anything_installed_there_is_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding_module, "_module", lambda name: None)
    found = find_codings()
    assert list(found) == ["gzip"]
    assert decode("gzip", found["gzip"].encode(TEXT, DYNAMIC)) == TEXT


def test_the_standard_library_s_zstandard_is_used_where_it_has_one() -> None:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    assert find_codings()["zstd"]._module.__name__ == name  # type: ignore[attr-defined]


def test_importing_the_module_imports_no_coding() -> None:
    code = "import sys, vivace.content.coding; print(*{'brotli', 'isal', 'backports.zstd'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# Threads.


@each
def test_threads_may_share_a_coding(coding: Coding) -> None:
    bodies = [TEXT[number * 100 :] for number in range(8)]
    results: list[bool] = []

    def work(number: int) -> None:
        for _ in range(10):
            right = decode(coding.name, coding.encode(bodies[number], DYNAMIC)) == bodies[number]
            results.append(right)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80


def test_compressors_that_wait_are_few() -> None:
    zstd = CODINGS.get("zstd")
    if zstd is None:
        pytest.skip("no Zstandard here")
    for _ in range(20):
        zstd.encode(TEXT, 1)
    assert len(zstd._idle[1]) == 1  # type: ignore[attr-defined]
