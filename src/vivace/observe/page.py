"""The shared page: what every process of a server writes about itself, for whoever may look.

One anonymous file in memory (memfd), made by the supervisor and mapped by its workers. It has a header, which the
supervisor writes, a section for each worker, which that worker writes, and places for questions, which whoever asks
writes (`desk`). So a worker that is stuck, or was killed,
still tells what it was doing; and a command of the same user finds the page through /proc/PID/fd, without a socket and
without a writable disk.

Rules:

* A word (64 bits, native order) has one writer at a time and is stored whole: a reader never sees half of one.
* A text is written before the word that makes it valid, and read back to see that the word has not changed.
* Nothing here waits or locks. Readers take what they find; a number may be a moment old.
* Must not know what a request or a worker is: it gets numbers and bytes.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

from vivace.observe.layout import (
    H_FILE,
    H_MAGIC,
    H_PID,
    H_SECTIONS,
    H_STARTED,
    HEADER_BYTES,
    MAGIC,
    MEMFD_NAME,
    NOTE_AT,
    NOTE_BYTES,
    QUESTION_BYTES,
    QUESTIONS_MAX,
    SECTION_BYTES,
    SECTIONS_MAX,
    WORDS_BYTES,
)
from vivace.observe.section import Section
from vivace.procfs import memory_files


class Page:
    """The whole page. `create` makes one, `attach` maps that of another process."""

    def __init__(self, fd: int, sections: int) -> None:
        self.fd = fd
        self.sections = sections
        self.map = mmap.mmap(fd, _size(sections))
        self.words = memoryview(self.map)[:HEADER_BYTES].cast("Q")

    @classmethod
    def create(cls, sections: int) -> Page:
        """A new page. What is not touched takes no memory. Without memfd only this process and its children see it."""
        fd = -1
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create(MEMFD_NAME)
            os.ftruncate(fd, _size(sections))
        page = cls(fd, sections)
        words = page.words
        words[H_PID] = os.getpid()
        words[H_FILE] = max(fd, 0)
        words[H_STARTED] = time.monotonic_ns()
        words[H_SECTIONS] = sections
        words[H_MAGIC] = MAGIC
        return page

    @classmethod
    def attach(cls, fd: int) -> Page:
        """The page behind `fd`, which it keeps. Raises ValueError if it is none, or one of another version."""
        head = os.pread(fd, 8 * (H_SECTIONS + 1), 0)
        if len(head) < 8 * (H_SECTIONS + 1):
            raise ValueError("this is no page of vivace's")
        words = struct.unpack(f"={H_SECTIONS + 1}Q", head)
        if words[H_MAGIC] != MAGIC or not 0 < words[H_SECTIONS] <= SECTIONS_MAX:
            raise ValueError("this page was made by another version of vivace")
        return cls(fd, words[H_SECTIONS])

    def close(self) -> None:
        """Gives the descriptor back; the memory goes with the last view of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def section(self, number: int) -> Section:
        """The section of worker `number`, from 0."""
        return Section(memoryview(self.map)[HEADER_BYTES + number * SECTION_BYTES :][:SECTION_BYTES])

    def section_words(self, number: int) -> memoryview:
        """The words of worker `number` alone."""
        return memoryview(self.map)[HEADER_BYTES + number * SECTION_BYTES :][:WORDS_BYTES].cast("Q")

    def question(self, number: int, text_at: int) -> tuple[memoryview, memoryview]:
        """Words and, from `text_at` on, text of a place for questions (`desk`)."""
        at = HEADER_BYTES + self.sections * SECTION_BYTES + number * QUESTION_BYTES
        view = memoryview(self.map)
        return view[at : at + text_at].cast("Q"), view[at + text_at : at + QUESTION_BYTES]

    @property
    def note(self) -> str:
        """The supervisor's last word on why something failed."""
        raw = bytes(self.map[NOTE_AT : NOTE_AT + NOTE_BYTES])
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    @note.setter
    def note(self, text: str) -> None:
        self.map[NOTE_AT : NOTE_AT + NOTE_BYTES] = text.encode()[: NOTE_BYTES - 1].ljust(NOTE_BYTES, b"\0")


def _size(sections: int) -> int:
    return HEADER_BYTES + sections * SECTION_BYTES + QUESTIONS_MAX * QUESTION_BYTES


def page_of(pid: int) -> Page | None:
    """The page that process `pid` has open, if it has one. Raises OSError where it may not be looked into.

    Of several it is the one that `pid` made: a forked child has that of its parent open as well.
    """
    found = None
    for fd in memory_files(pid, MEMFD_NAME):
        try:
            page = Page.attach(fd)
        except ValueError:
            os.close(fd)
            continue
        if found is not None:
            found.close()
        found = page
        if page.words[H_PID] == pid:
            break
    return found
