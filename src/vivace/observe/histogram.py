"""Log-linear histograms of lengths of time. Pure.

A bucket is what the upper half of a 32-bit IEEE 754 number says: its exponent and seven bits of its fraction. So each
power of two is divided into 128 parts, a bucket is at most 0.8% wide, and its middle at most 0.4% from whatever fell
into it; and binning is one copy of an array, which is seen as 16-bit numbers.

Rules: from LEAST_S to MOST_S; what is shorter or longer falls into the first or last bucket.
"""

from __future__ import annotations

import sys
from collections import Counter
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping

PARTS = 128
LEAST_S = 2.0**-20
"""About a microsecond."""
MOST_S = 2.0**12
"""More than an hour."""
BUCKETS = 32 * PARTS
_FIRST = (127 - 20) * PARTS
_packed = Struct(">f").pack
_UPPER = slice(1 if sys.byteorder == "little" else 0, None, 2)


def binned(times: array[float]) -> Mapping[int, int]:
    """Bucket -> how many of `times` (seconds, an array of type "f") fall into it."""
    raw = Counter(memoryview(times).cast("B").cast("H")[_UPPER].tolist())
    low, high = min(raw), max(raw)
    if low >= _FIRST and high < _FIRST + BUCKETS:
        return {key - _FIRST: count for key, count in raw.items()}
    found: Counter[int] = Counter()
    for key, count in raw.items():
        # A negative number has its sign in the highest bit.
        found[0 if key < _FIRST or key >= 0x8000 else min(key - _FIRST, BUCKETS - 1)] += count
    return found


def bucket_of(seconds: float) -> int:
    """The bucket of one length of time: as `binned` has it, at a tenth of its cost."""
    raw = _packed(min(seconds, MOST_S))
    if raw[0] >= 0x80:  # the sign
        return 0
    return max(0, min((raw[0] << 8 | raw[1]) - _FIRST, BUCKETS - 1))


def lower_s(bucket: int) -> float:
    """The least that falls into a bucket; of `bucket` + 1, what does no longer."""
    octave, part = divmod(bucket, PARTS)
    return LEAST_S * (1 << octave) * (1 + part / PARTS)


def middle_s(bucket: int) -> float:
    """What stands for all that is in a bucket."""
    return (lower_s(bucket) + lower_s(bucket + 1)) / 2


def quantiles(buckets: Mapping[int, int], shares: tuple[float, ...]) -> list[float]:
    """For each of `shares` (ascending, 0 to 1), the time that this part of all does not exceed; 0 of nothing."""
    total = sum(buckets.values())
    found: list[float] = []
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        while len(found) < len(shares) and passed >= shares[len(found)] * total and passed:
            found.append(middle_s(bucket))
    return found + [0.0] * (len(shares) - len(found))
