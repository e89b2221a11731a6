"""The page of a process that has no supervisor: its own servers stand in it as workers do in the other kind.

Threads: any.
"""

from __future__ import annotations

import os
import threading
import time

from vivace.observe.desk import Desk
from vivace.observe.layout import H_STATE, H_TARGET, S_PID, S_STARTED, S_STATE, SERVING
from vivace.observe.page import Page
from vivace.observe.section import Section

SERVERS_MAX = 8
"""More of them in one process count where nobody sees it."""

_guard = threading.Lock()
_page: Page | None = None
_pid = 0
_free: list[int] = []


class OwnPlace:
    """One server's place. `section` is where it counts, `desk` where it answers; None: there is none."""

    def __init__(self, number: int, section: Section, desk: Desk | None = None) -> None:
        self._number = number
        self.section = section
        self.desk = desk

    @classmethod
    def take(cls) -> OwnPlace:
        """A free place; a private one where there is none."""
        global _page, _pid, _free
        with _guard:
            if _page is None or _pid != os.getpid():  # a forked child has a page of its own
                try:
                    _page = Page.create(SERVERS_MAX)
                except OSError:  # no descriptors
                    return cls(-1, Section.private())
                _pid, _free = os.getpid(), list(range(SERVERS_MAX - 1, -1, -1))
            if not _free:
                return cls(-1, Section.private())
            number = _free.pop()
            section = _page.section(number)
            if len(_free) == SERVERS_MAX - 1 and not section.has_room:
                # The servers before it have had other routes, and nobody serves by this page any more.
                _page.close()
                _page = Page.create(SERVERS_MAX)
                section = _page.section(number)
            _page.words[H_STATE] = SERVING
            _page.words[H_TARGET] = SERVERS_MAX - len(_free)
            desk = Desk(_page, number)
        section.clear()
        section.words[S_STARTED] = time.monotonic_ns()
        section.words[S_STATE] = SERVING
        section.words[S_PID] = _pid
        return cls(number, section, desk)

    def leave(self) -> None:
        """The server has ended. Twice does no harm."""
        number, self._number = self._number, -1
        if number >= 0 and _page is not None and _pid == os.getpid():
            self.section.words[S_PID] = self.section.words[S_STATE] = 0
            with _guard:
                _free.append(number)
                _page.words[H_TARGET] = SERVERS_MAX - len(_free)


def current() -> Page | None:
    """The page of this process; None while it has no server."""
    return _page if _pid == os.getpid() else None
