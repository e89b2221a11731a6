"""Plain data of several places, added up to one. Pure.

Numbers are added, but for those whose name says otherwise; lists of numbers of one length are added place by place,
other lists united; objects are added name by name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = frozenset(("bytes_max", "longest_s", "seconds_max"))
LEAST = frozenset(("share",))


def added(one: Any, other: Any, name: str = "") -> Any:
    """`one` and `other`, of the same shape, of which either may lack names. Neither is changed."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = dict(one)
        for key, value in other.items():
            both[key] = added(one[key], value, key) if key in one else value
        return both
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other) and all(isinstance(value, int | float) for value in (*one, *other)):
            return [first + second for first, second in zip(one, other, strict=True)]
        return [*one, *(value for value in other if value not in one)]
    if isinstance(one, int | float) and isinstance(other, int | float) and not isinstance(one, bool):
        return max(one, other) if name in LARGEST else min(one, other) if name in LEAST else one + other
    return one
