"""The engine that is hypothesis: the strategies of tests/wire_strategies.py, many more examples, the same invariants.

Hypothesis makes a stream in a millisecond, not in ten microseconds, but it shrinks what fails to the smallest stream.
"""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from wire_strategies import HEADS

from . import invariants

BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\nX-T: t\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n"]
)
STREAMS = st.lists(st.tuples(HEADS, BODIES).map(b"".join), min_size=1, max_size=3).map(b"".join)


def run(cases: int) -> int:
    """So many examples; 1 if an invariant was broken, and hypothesis has printed the smallest stream."""

    @hypothesis.settings(max_examples=cases, deadline=None, database=None, print_blob=True)
    @hypothesis.given(STREAMS | st.binary(max_size=200), st.lists(st.integers(1, 300), max_size=5).map(sorted))
    def every_stream(stream: bytes, cuts: list[int]) -> None:
        invariants.check(stream, [cut for cut in cuts if cut < len(stream)], oracle=True, reader=True)

    try:
        every_stream()
    except Exception as error:
        print(f"BROKEN {error!r}")
        return 1
    print(f"{cases} cases, 0 broken")
    return 0
