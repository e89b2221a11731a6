"""The fuzzer's seeds hold, and it would see a fault: those that it once found are put back, and it finds them."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import vivace
from vivace.errors import Refused
from vivace.http1 import chunked, head, target

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "fuzz").is_dir():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from fuzz import guided, invariants, seeds  # noqa: E402
from fuzz.__main__ import main  # noqa: E402
from fuzz.generated import Run  # noqa: E402
from fuzz.grammar import streams  # noqa: E402
from fuzz.invariants import Broken  # noqa: E402
from fuzz.served import Server, tell  # noqa: E402

SEEDS = seeds.load()
CUTS: list[list[int]] = [[], [1], [16, 64], list(range(1, 120))]


@pytest.mark.parametrize("kind", seeds.KINDS)
def test_seeds(kind: str) -> None:
    """Each whole, in two and three pieces, and byte by byte."""
    found = [data for name, data in SEEDS if name == kind]
    assert len(found) > 20
    for data in found:
        for cuts in CUTS:
            seeds.replay(kind, data, [cut for cut in cuts if cut < len(data)])


def test_seeds_of_a_whole_server() -> None:
    with Server() as server:
        for name, data in SEEDS:
            if name == "stream":
                server.check(data, [cut for cut in (7, 40) if cut < len(data)])


def test_the_file_of_seeds(tmp_path: Path) -> None:
    assert seeds.FILE.stat().st_size < seeds.FILE_BYTES_MAX
    assert {name for name, _ in SEEDS} == set(seeds.KINDS)
    assert len(set(SEEDS)) == len(SEEDS)
    odd = [("stream", bytes(range(256))), ("line", b"\\r\\n \\ "), ("chunks", b"")]
    seeds.save([*odd, odd[0]], tmp_path / "seeds")
    assert seeds.load(tmp_path / "seeds") == sorted(odd)


def test_the_same_seed_makes_the_same_streams() -> None:
    first, second, other = (list(islice(streams(seed), 300)) for seed in (1, 1, 2))
    assert first == second != other


def test_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases", "2000", "--seed", "3"]) == 0
    assert "0 broken" in capsys.readouterr().out
    invariants.check_memory()


def test_a_run_of_hypothesis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "hypothesis", "--cases", "50"]) == 0
    assert "0 broken" in capsys.readouterr().out


def test_every_target_has_something_to_begin_with() -> None:
    assert all(len(guided.first(kind)) > 50 for kind in seeds.KINDS)


# Would it see a fault?

LF_IN_A_TARGET = b"GET /a\nb HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def table(allowed: bytes, other: bytes) -> bytes:
    """A table for bytes.translate that changes all but `allowed`."""
    return bytes(byte if byte in allowed else other[0] for byte in range(256))


def test_it_sees_a_bare_lf_in_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    invariants.check(LF_IN_A_TARGET, [5])
    printable = bytes(byte for byte in range(0x20, 0x7F) if byte != ord("#"))
    monkeypatch.setattr(target, "_STRANGERS", table(printable, b"\n"))
    target.kept.clear()
    with pytest.raises(Broken, match="the twins differ"):
        invariants.check(LF_IN_A_TARGET, [5])
    target.kept.clear()


def test_it_sees_an_error_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = CHUNKED + b"00?5\r\nhello\r\n0\r\n\r\n"
    invariants.check(stream, [60])
    run = Run(0)
    monkeypatch.setattr(chunked, "_OTHERS", table(b"0123456789abcdefABCDEF", b"?"))
    with pytest.raises(ValueError, match="invalid literal"):
        invariants.check(stream, [60])
    with Server() as server:
        run._one(stream, [60], server)
    assert len(run.broken) == 1


def test_it_sees_what_depends_on_the_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(buffer: bytes, limits: head.HeadLimits) -> None:
        if buffer.endswith(b"X"):
            raise Refused(400, "hasty")

    import wire_corpus

    monkeypatch.setattr(wire_corpus, "incomplete_head", hasty)
    stream = b"GET / HTTP/1.1\r\nX: X\r\nHost: x\r\n\r\n"
    with pytest.raises(Broken, match="cut, it is another request"):
        invariants.check(stream, [stream.index(b"X") + 1])


def test_it_sees_what_leaks_into_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, str] = {}
    parse = invariants.parse_head

    def leaking(raw: bytes, environ: dict[str, str], limits: head.HeadLimits) -> tuple[int, int]:
        result = parse(raw, environ, limits)
        environ.setdefault("HTTP_COOKIE", kept.get("HTTP_COOKIE", "none"))
        kept.update(environ)
        return result

    monkeypatch.setattr(invariants, "parse_head", leaking)
    with pytest.raises(Broken, match="the twins differ"):
        invariants.check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [])


def test_it_sees_another_answer_of_a_server() -> None:
    def liar(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return tell({**environ, "PATH_INFO": "/other"}, start_response)

    with Server(liar) as server:
        server.check(LF_IN_A_TARGET, [])
        for _ in server._servers:
            with pytest.raises(Broken, match="the application got another request"):
                server.check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [])


def test_fuzz_runs_this_vivace() -> None:
    assert Path(vivace.__file__).is_relative_to(ROOT)
