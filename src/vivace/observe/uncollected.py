"""No garbage collection meanwhile, for a look that one would spoil.

Rules: looks of several threads may overlap; the collector is on again after the last of them, if it was before the
first. Whoever asked `gc.isenabled()` for itself could find it switched off by another look, and leave it off for ever.
A child that is forked meanwhile has nobody who looks.

Threads: any.
"""

from __future__ import annotations

import gc
import os
from _thread import allocate_lock

_lock = allocate_lock()
_looks = 0
_was_on = False


def begin() -> None:
    """No collection begins until `end`, unless the application switches them on."""
    global _looks, _was_on
    with _lock:
        if not _looks:
            _was_on = gc.isenabled()
        _looks += 1
        gc.disable()


def end() -> None:
    """As it was, if this was the last look."""
    global _looks
    with _lock:
        _looks -= 1
        if not _looks and _was_on:
            gc.enable()


class _Look:
    """`begin` and `end` around a block."""

    def __enter__(self) -> None:
        begin()

    def __exit__(self, *exc_info: object) -> None:
        end()


look = _Look()


def is_on() -> bool:
    """Whether collections happen when nobody looks."""
    with _lock:
        return _was_on if _looks else gc.isenabled()


def _after_fork() -> None:
    global _lock, _looks
    _lock = allocate_lock()
    if _looks:
        _looks = 0
        if _was_on:
            gc.enable()


os.register_at_fork(after_in_child=_after_fork)
