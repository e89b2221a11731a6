"""The blocks of an application's body, of which a copy is collected while they are handed on (see `fill`).

Called on the thread of the application. Must not know what becomes of the copy.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.connection.fill import Fill


class Stream:
    """The blocks of the application's body, of which a copy is collected. Each is handed on before the next is asked
    for (PEP 3333), unless what the client gets of them is known at their end only."""

    __slots__ = ("_blocks", "_body", "_fill")

    def __init__(self, fill: Fill, body: Any, blocks: Iterator[bytes]) -> None:
        self._fill = fill
        self._body = body
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        fill = self._fill
        collected: list[bytes] = []
        size = 0
        withheld = fill.wish.partial
        for block in self._blocks:
            if fill._entry is not None:
                if type(block) is bytes:
                    collected.append(block)
                    size += len(block)
                    if size > fill._filler.bytes_max:
                        fill._drop("its body is longer than what is kept")
                else:
                    fill._drop("its body is not made of bytes")
                if withheld and fill._entry is not None:
                    fill.held = collected
                    continue
                if withheld and type(block) is bytes:
                    block = b"".join(collected)
                    fill.held = []
            fill._begin()
            yield block
        if fill._entry is not None:
            whole = b"".join(collected)
            if withheld:
                handed = fill._whole(whole)
                yield whole if handed is None else handed
            else:
                fill._keep(fill._entry, whole)
        fill._begin()

    def close(self) -> None:
        """PEP 3333: the application's, whatever happened."""
        close(self._body)


class Single(Stream):
    """... of a body that says that it is one block: its length is known with that."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


def is_one(body: Any) -> bool:
    """Whether an iterable says that it has one block."""
    try:
        return hasattr(type(body), "__len__") and len(body) == 1
    except TypeError:
        return False


def chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """`first`, then the `rest`."""
    yield first
    yield from rest


def close(body: Any) -> None:
    """PEP 3333: where there is something to call."""
    closing = getattr(body, "close", None)
    if closing is not None:
        closing()
