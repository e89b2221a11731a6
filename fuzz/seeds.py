"""The streams that are kept: one a line of text in `seeds.txt`, `KIND ESCAPED`, sorted, without the same one twice.

Kinds: stream (requests), chunks (a chunked body), partial (a head that is not complete), line (a request line). Escapes
are Python's. tests/test_fuzz_seeds.py replays all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import invariants

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = Path(__file__).parent / "seeds.txt"
BYTES_MAX = 1000
"""A longer one is made again by `grammar` when it is needed."""
FILE_BYTES_MAX = 200_000

Seed = tuple[str, bytes]


def load(path: Path = FILE) -> list[Seed]:
    """Every seed."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text("ascii").splitlines():
        kind, _, text = line.partition(" ")
        found.append((kind, text.encode("ascii").decode("unicode_escape").encode("latin-1")))
    return found


def save(seeds: Iterable[Seed], path: Path = FILE) -> None:
    """Writes them; raises ValueError where they are too many."""
    text = "".join(
        f"{kind} {data.decode('latin-1').encode('unicode_escape').decode('ascii')}\n"
        for kind, data in sorted(set(seeds))
    )
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"{len(text)} bytes of seeds: keep fewer than {FILE_BYTES_MAX}")
    path.write_text(text, "ascii")


def replay(kind: str, data: bytes, cuts: list[int]) -> tuple[str, ...]:
    """Holds one seed to its invariants, all of them; returns its signature. Raises Broken."""
    if kind == "stream":
        return invariants.check(data, cuts, oracle=True, reader=True)
    return CHECKS[kind](data, cuts)


CHECKS = {
    "chunks": invariants.check_chunks,
    "partial": lambda data, cuts: invariants.check_partial(data),
    "line": lambda data, cuts: invariants.check_line(data),
}
KINDS = ("stream", *CHECKS)
