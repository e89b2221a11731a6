"""Figures in words: three digits and a unit, as no fourth is ever the same in the next run. Pure."""

from __future__ import annotations


def span(seconds: float) -> str:
    """A length of time with its unit: `1.3 ms`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size * 0.9995:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds * 1e6)} us"


def percent(share: float) -> str:
    """A share of 0 to 1: `37%`."""
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def size(count: float) -> str:
    """Bytes with their unit."""
    for unit, step in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if count >= step:
            return f"{number(count / step)} {unit}"
    return f"{count:.0f} B"


def number(value: float) -> str:
    """Three digits."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
