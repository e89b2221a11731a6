"""The Universal Scalability Law: how throughput grows with the number of requests in flight, and where it turns. Pure.

    X(N) = one N / (1 + sigma (N - 1) + kappa N (N - 1))        Gunther, Guerrilla Capacity Planning, chapter 4

`sigma` is what only one can do at a time, `kappa` what each pays for each other. As N / X(N) is a polynomial of N, the
fit is linear: least squares of the relative errors, with neither of the two below 0.

Rules: three points at least say something of both; of fewer only as many unknowns are taken as there are points. Beyond
the largest N that was measured the law is a guess, and whoever shows it says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = ((0,), (0, 1), (0, 2), (0, 1, 2))
"""Which of (1, N - 1, N (N - 1)) may have a coefficient other than 0."""


@dataclass(frozen=True, slots=True)
class Usl:
    """One curve. `one`: answers a second with one request in flight."""

    one: float
    sigma: float
    kappa: float
    error: float
    """Root of the mean square of the relative errors of what it was fitted to."""

    def at(self, in_flight: float) -> float:
        """Answers a second."""
        others = in_flight - 1
        return self.one * in_flight / (1 + self.sigma * others + self.kappa * in_flight * others)

    @property
    def best(self) -> float:
        """The number in flight at which throughput is highest; infinite if it never turns."""
        return math.sqrt(max(0.0, 1 - self.sigma) / self.kappa) if self.kappa > 0 else math.inf

    @property
    def ceiling(self) -> float:
        """The throughput that it approaches or turns at; infinite if nothing limits it."""
        if self.kappa > 0:
            return self.at(max(1.0, self.best))
        return self.one / self.sigma if self.sigma > 0 else math.inf


def fit(points: Sequence[tuple[float, float]]) -> Usl | None:
    """The curve through (in flight, answers a second); None where nothing was measured."""
    points = [(count, rate) for count, rate in points if count >= 1 and rate > 0]
    if not points:
        return None
    rows = [[rate / count * term for term in (1.0, count - 1, count * (count - 1))] for count, rate in points]
    best: tuple[float, list[float]] | None = None
    for model in MODELS:
        if len(model) > len({count for count, _ in points}):
            continue
        found = _least_squares([[row[at] for at in model] for row in rows])
        if found is None or found[0] <= 0 or min(found) < 0:
            continue
        values = [0.0, 0.0, 0.0]
        for at, value in zip(model, found, strict=True):
            values[at] = value
        error = sum((sum(a * b for a, b in zip(row, values, strict=True)) - 1) ** 2 for row in rows)
        if best is None or error < best[0] - 1e-12:
            best = (error, values)
    if best is None:
        return None
    error, (alone, serial, crosstalk) = best
    return Usl(1 / alone, serial / alone, crosstalk / alone, math.sqrt(error / len(rows)))


def _least_squares(rows: list[list[float]]) -> list[float] | None:
    """x that brings rows times x closest to 1, by the normal equations; None where they have no one answer."""
    size = len(rows[0])
    table = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)] for i in range(size)
    ]
    for at in range(size):
        pivot = max(range(at, size), key=lambda i: abs(table[i][at]))
        if abs(table[pivot][at]) < 1e-30:
            return None
        table[at], table[pivot] = table[pivot], table[at]
        for i in range(size):
            if i != at:
                factor = table[i][at] / table[at][at]
                table[i] = [a - factor * b for a, b in zip(table[i], table[at], strict=True)]
    return [table[i][size] / table[i][i] for i in range(size)]
