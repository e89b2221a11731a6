"""The objects that the collector of garbage knows, looked at without disturbing them.

`gc.get_objects` and `gc.get_referrers` also give what is still being made, and a tuple that somebody else refers to
meanwhile cannot be finished: its maker gets a SystemError. So what they give is filtered before anything else can run:
by iterators that are written in C, within one call, with no collection in between that could call somebody.

Rules: nothing is kept of what was not asked for; tuples and frames are never given. A look holds everything else up: 30
to 60 ms for a million objects. What is frozen (`gc.freeze`) is not seen.

Threads: any.
"""

from __future__ import annotations

import gc
from collections import Counter
from itertools import chain, compress, starmap
from operator import not_
from types import FrameType

from vivace.observe import uncollected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

NEVER = frozenset({tuple, FrameType})
PADDING = [()] * 16


def count() -> int:
    """How many objects the collector visits."""
    with uncollected.look:
        return sum(map(len, starmap(gc.get_objects, [()])))


def types() -> Counter[type]:
    """How many objects of each type there are."""
    with uncollected.look:
        return Counter(map(type, _of(gc.get_objects)))


def of(kinds: frozenset[type]) -> list[Any]:
    """The objects of these very types, the oldest first."""
    wanted = kinds - NEVER
    found: list[Any] = []
    with uncollected.look:
        for generation in range(2, -1, -1):
            found.extend(_chosen(gc.get_objects, generation, lambda kinds: map(wanted.__contains__, kinds)))
    return [each for each in found if type(each) in wanted and each is not found]


def referrers(thing: Any) -> list[Any]:
    """What refers to `thing`."""
    with uncollected.look:
        found = list(_chosen(gc.get_referrers, thing, lambda kinds: map(not_, map(NEVER.__contains__, kinds))))
    return [each for each in found if type(each) not in NEVER]


def _chosen(
    ask: Callable[..., list[Any]], argument: Any, choose: Callable[[Iterator[type]], Iterator[bool]]
) -> Iterator[Any]:
    """What `ask` gives, as far as `choose` says yes to its type.

    It is asked twice in a row, because `tee` keeps the last that it has given; what was made meanwhile comes last the
    second time. The paddings make both come to the end of what they were given, and let go of it.
    """
    each = chain(_of(ask, argument), PADDING)
    kinds = map(type, chain(_of(ask, argument), PADDING, PADDING))
    return compress(each, choose(kinds))


def _of(ask: Callable[..., list[Any]], *arguments: Any) -> Iterator[Any]:
    """What `ask` gives, asked when the first one is taken."""
    return chain.from_iterable(starmap(ask, [arguments]))
