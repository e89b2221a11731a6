"""Clients on threads of their own, for as long as a block runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from wire import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Crowd:
    """Calls each of `asks` on a thread until the block ends: each looks at `stop` now and then, and returns."""

    def __init__(self, asks: Iterable[Callable[[], object]]) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=ask) for ask in asks]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
