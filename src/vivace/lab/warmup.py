"""Where the steady state of a load begins. Pure.

The method, on one figure for each slice of time (the median latency of its answers, so that a rare slow one or a mix
of requests does not speak for it):

1. MSER-5 (White, Cobb and Spratt 2000): in means of five slices, cut off the first d such that the standard error of
   what is left, sum((x - mean)^2) / count^2, is least; d in the first half only.
2. A server that stalls once in the first half would have all before the stall cut off by this. So no more is cut than
   the run at the begin that differs from the steady part: a slice does while it is further from the median of
   the second half than three of its standard deviations (from the median absolute deviation) and than a tenth.
3. If the medians of the last three quarters go one way, each by a twentieth and by three of its standard errors, or if
   all of the first half differs, there is no steady state.

Measured on made-up series in `tests/test_lab_warmup.py`.
"""

from __future__ import annotations

from math import sqrt
from statistics import fmean, median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

BATCH: Final = 5
SLICES_MIN: Final = 20
"""Fewer say nothing."""
DEVIATIONS: Final = 3 * 1.4826
TOLERANCE: Final = 0.1
CALM: Final = 2
"""So many slices in a row that belong to the steady part end the run at the begin."""


def steady_from(figures: Sequence[float | None]) -> int | None:
    """The first slice of the steady state; None: there is none. A slice without answers has None."""
    known = [figure for figure in figures if figure is not None]
    if len(known) < SLICES_MIN:
        return 0
    run = _differing(figures)
    if _drifts(figures):
        return None
    if not run:
        return 0
    cut = _mser([figure if figure is not None else max(known) for figure in figures])
    return None if run >= len(figures) // 2 else min(cut, run)


def _mser(figures: Sequence[float]) -> int:
    """MSER-5: the slice to begin with."""
    batches = [fmean(figures[at : at + BATCH]) for at in range(0, len(figures) - BATCH + 1, BATCH)]
    best, least = 0, float("inf")
    for cut in range(len(batches) // 2 + 1):
        left = batches[cut:]
        mean = fmean(left)
        error = sum((figure - mean) ** 2 for figure in left) / len(left) ** 2
        if error < least:
            best, least = cut, error
    return best * BATCH


def _drifts(figures: Sequence[float | None]) -> bool:
    """It does not come to rest: from each of the last three quarters to the next it goes the same way."""
    known = [figure for figure in figures if figure is not None]
    quarter = len(known) // 4
    parts = [known[at * quarter : (at + 1) * quarter] for at in (1, 2, 3)]
    second, third, fourth = map(median, parts)
    spread = max(
        median(abs(figure - middle) for figure in part) for part, middle in ((parts[1], third), (parts[2], fourth))
    )
    # 1.25 by the square root of the count: the standard error of a median.
    least = max(TOLERANCE / 2 * third, DEVIATIONS * spread * 1.25 / sqrt(quarter))
    steps = (third - second, fourth - third)
    return min(steps) > least or max(steps) < -least


def _differing(figures: Sequence[float | None]) -> int:
    """How many slices at the begin are unlike the second half."""
    half = [figure for figure in figures[len(figures) // 2 :] if figure is not None]
    if not half:
        return 0
    middle = median(half)
    spread = median(abs(figure - middle) for figure in half)
    allowed = max(DEVIATIONS * spread, TOLERANCE * middle)
    calm = 0
    for index, figure in enumerate(figures):
        calm = calm + 1 if figure is not None and abs(figure - middle) <= allowed else 0
        if calm == CALM:
            return index + 1 - CALM
    return len(figures)
