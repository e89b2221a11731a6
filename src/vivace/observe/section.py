"""What one worker says of itself in the shared page.

Rules: those of `page`. Only the leader of the worker's loop writes counts; slots belong to whoever runs the request.
"""

from __future__ import annotations

import mmap
import time

from vivace.observe.layout import (
    ADAPTED_AT,
    ADAPTED_BYTES,
    ADAPTED_END,
    APPLICATION,
    BUCKETS,
    COUNTS_AT,
    ERROR,
    ERROR_BYTES,
    ERRORS,
    ERRORS_AT,
    HISTOGRAMS_AT,
    NOT_FOUND,
    NOT_FOUND_NAME,
    OTHERS,
    OTHERS_NAME,
    RECORD,
    RECORD_BYTES,
    RECORDS,
    RECORDS_AT,
    ROUTE_BYTES,
    ROUTE_WORDS,
    ROUTES,
    ROUTES_AT,
    S_CONNECTIONS,
    SECTION_BYTES,
    SLOT,
    SLOT_BYTES,
    SLOT_HEAD,
    SLOT_PHASE,
    SLOT_THREAD,
    SLOTS,
    SLOTS_AT,
    STATE_WORDS,
    W_LOST,
    WORDS_BYTES,
)

NOTE_MARK = " \N{MIDDLE DOT} ".encode()
"""Between a request and what the application says of it. A request line is ASCII."""


class Section:
    """A view of one section. Every process that maps the page may have one."""

    __slots__ = ("_errors", "_free", "_highest", "_numbers", "_records", "_spare", "_view", "counts", "words")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.words = view[:WORDS_BYTES].cast("Q")
        self.counts = view[COUNTS_AT:RECORDS_AT].cast("Q")
        """ROUTE_WORDS words for each route, by its number."""
        self._free = list(range(SLOTS, 0, -1))
        self._highest = 0
        """No slot above has been entered here."""
        self._numbers: dict[str, int] = {}
        self._spare: list[int] = []
        self._records = self._errors = 0

    @classmethod
    def private(cls) -> Section:
        """One that nobody else sees."""
        return cls(memoryview(mmap.mmap(-1, SECTION_BYTES)))

    def clear(self) -> None:
        """For the next worker in this place, which counts on from where the last one ended."""
        self.words[W_LOST] += self.words[S_CONNECTIONS]
        self._view[: STATE_WORDS * 8] = bytes(STATE_WORDS * 8)
        self._view[ADAPTED_AT:ADAPTED_END] = bytes(ADAPTED_END - ADAPTED_AT)
        for slot in range(SLOTS):
            self._view[SLOTS_AT + slot * SLOT_BYTES :][:8] = bytes(8)

    # Requests that are in progress away from the loop.

    def enter(self, text: bytes, phase: int = APPLICATION, route: int = 0, thread: int = 0) -> int:
        """Notes a request; the number to `leave` with, 0 if there is no room. Any thread of the worker.

        `thread` is the system's number of the thread that runs it; 0: none does.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return 0
        if slot > self._highest:
            self._highest = slot
        at = SLOTS_AT + (slot - 1) * SLOT_BYTES
        SLOT.pack_into(self._view, at, time.monotonic_ns(), phase, route, thread, len(text), text)
        return slot

    def proceed(self, slot: int, phase: int, thread: int = 0) -> None:
        """The request in `slot` has come to `phase`, on `thread`. Its owner."""
        at = SLOTS_AT + (slot - 1) * SLOT_BYTES
        SLOT_PHASE.pack_into(self._view, at + 8, phase)
        SLOT_THREAD.pack_into(self._view, at + 12, thread)

    def note(self, slot: int, note: str) -> None:
        """What the application says of the request in `slot`; "" takes it back. Its owner."""
        at = SLOTS_AT + (slot - 1) * SLOT_BYTES
        began, phase, route, thread, size, text = SLOT.unpack_from(self._view, at)
        whole = text[: min(size, len(text))].partition(NOTE_MARK)[0]
        if note:
            note_bytes = NOTE_MARK + note.encode("utf-8", "replace")
            whole = whole[: len(text) - len(note_bytes)] + note_bytes
        SLOT.pack_into(self._view, at, began, phase, route, thread, len(whole), whole)

    def leave(self, slot: int) -> None:
        """The request has ended. Any thread of the worker; once."""
        SLOT.pack_into(self._view, SLOTS_AT + (slot - 1) * SLOT_BYTES, 0, 0, 0, 0, 0, b"")
        self._free.append(slot)

    def in_progress(self) -> list[tuple[int, int, int, int, str]]:
        """The requests in progress, oldest first: (start in nanoseconds of the monotonic clock, phase, route, thread,
        text)."""
        found = []
        for slot in range(SLOTS):
            began, phase, route, thread, size, text = SLOT.unpack_from(self._view, SLOTS_AT + slot * SLOT_BYTES)
            if began:
                found.append((began, phase, route, thread, _text(text, size)))
        return sorted(found)

    def requests(self) -> list[tuple[str, int]]:
        """The requests in progress, oldest first: (text, start in nanoseconds of the monotonic clock)."""
        return [(text, began) for began, _, _, _, text in self.in_progress()]

    def on_threads(self) -> list[tuple[int, int, int, int]]:
        """(slot, start, route, thread) of each request that a thread runs: what `in_progress` has, at a tenth of its
        cost."""
        found = []
        for number, began in enumerate(self._view[SLOTS_AT:ROUTES_AT].cast("Q")[:: SLOT_BYTES // 8].tolist(), 1):
            if began:
                _, phase, route, thread = SLOT_HEAD.unpack_from(self._view, SLOTS_AT + (number - 1) * SLOT_BYTES)
                if thread and phase == APPLICATION:
                    found.append((number, began, route, thread))
        return found

    @property
    def vacant(self) -> bool:
        """Whether no request is in a slot. For the worker whose section it is: nobody else knows."""
        return len(self._free) == SLOTS

    def on_own_threads(self) -> list[tuple[int, int, int]]:
        """(thread, start, route) as `on_threads` has them, but for that worker: it looks at no more than it must."""
        found = []
        for at in range(SLOTS_AT, SLOTS_AT + self._highest * SLOT_BYTES, SLOT_BYTES):
            began, phase, route, thread = SLOT_HEAD.unpack_from(self._view, at)
            if began and thread and phase == APPLICATION:
                found.append((thread, began, route))
        return found

    def began(self, slot: int) -> int:
        """The start of the request in `slot`, 0 if there is none."""
        return int(SLOT_HEAD.unpack_from(self._view, SLOTS_AT + (slot - 1) * SLOT_BYTES)[0])

    # Routes, by number.

    @property
    def has_room(self) -> bool:
        """Whether half of the numbers of routes are free."""
        self._read_routes()
        return len(self._spare) >= ROUTES // 2

    def _read_routes(self) -> None:
        """Which numbers the workers before in this place have given to which routes."""
        if not self._numbers:
            self.name_route(OTHERS, OTHERS_NAME)
            self.name_route(NOT_FOUND, NOT_FOUND_NAME)
            self._numbers = {found: number for number in range(ROUTES) if (found := self.route(number))}
            taken = set(self._numbers.values())
            self._spare = [number for number in range(NOT_FOUND - 1, 0, -1) if number not in taken]

    def number_route(self, name: str) -> int:
        """The number of the route called `name`: what it had in this place before, a free one, or OTHERS."""
        self._read_routes()
        key = _name(name).rstrip(b"\0").decode("utf-8", "replace")
        number = self._numbers.get(key, 0)
        if not number:
            if not self._spare:
                return OTHERS
            number = self._numbers[key] = self._spare.pop()
            self.name_route(number, name)
        return number

    def retire_route(self, number: int) -> None:
        """Nothing has been counted under this number, and nothing will be: it may be given to another route."""
        name = self.route(number)
        if self._numbers.pop(name, 0):
            self.name_route(number, "")
            self._spare.insert(0, number)

    def name_route(self, number: int, name: str) -> None:
        """Says what `number` means in S_NOW, `counts` and histograms."""
        if not 0 < number < ROUTES:
            return
        at = ROUTES_AT + number * ROUTE_BYTES
        self._view[at : at + ROUTE_BYTES] = _name(name)

    def route(self, number: int) -> str:
        """The name of a route, "" if it has none."""
        if not 0 < number < ROUTES:
            return ""
        at = ROUTES_AT + number * ROUTE_BYTES
        return bytes(self._view[at : at + ROUTE_BYTES]).partition(b"\0")[0].decode("utf-8", "replace")

    def route_counts(self, number: int) -> memoryview:
        """The words of a route."""
        return self.counts[number * ROUTE_WORDS : (number + 1) * ROUTE_WORDS]

    def histogram(self, number: int) -> memoryview:
        """The buckets of a route, or of LAG. See `histogram` for their bounds."""
        at = HISTOGRAMS_AT + number * BUCKETS * 8
        return self._view[at : at + BUCKETS * 8].cast("Q")

    # What an adaptive server decided last.

    def tell_adapted(self, text: str) -> None:
        """Leader."""
        raw = text.encode("utf-8", "replace")[:ADAPTED_BYTES]
        self._view[ADAPTED_AT : ADAPTED_AT + ADAPTED_BYTES] = raw.ljust(ADAPTED_BYTES, b"\0")

    @property
    def adapted(self) -> str:
        """The last decision; "" before the first."""
        raw = bytes(self._view[ADAPTED_AT : ADAPTED_AT + ADAPTED_BYTES])
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    # The last of what was slow, and of what failed.

    def add_record(self, ended_ns: int, times_ns: tuple[int, ...], status: int, route: int, text: bytes) -> None:
        """A request that took long; the oldest such one is forgotten. Leader."""
        at = RECORDS_AT + self._records % RECORDS * RECORD_BYTES
        self._records += 1
        RECORD.pack_into(self._view, at, ended_ns, *times_ns, status, route, len(text), text)

    def records(self) -> list[tuple[int, tuple[int, ...], int, int, str]]:
        """(end, times, status, route, text) of the last slow requests, newest first: see RECORD."""
        found = []
        for number in range(RECORDS):
            row = RECORD.unpack_from(self._view, RECORDS_AT + number * RECORD_BYTES)
            if not row[0]:
                break  # they are filled in order; what is not touched takes no memory
            found.append((row[0], row[1:8], row[8], row[9], _text(row[11], row[10])))
        return sorted(found, reverse=True)

    def add_error(self, route: int, text: bytes) -> None:
        """A failure of the application, with its traceback; the oldest one is forgotten. Any thread."""
        at = ERRORS_AT + self._errors % ERRORS * ERROR_BYTES
        self._errors += 1
        ERROR.pack_into(self._view, at, time.time_ns(), route, min(len(text), ERROR_BYTES), text)

    def errors(self) -> list[tuple[int, int, str]]:
        """(Unix time in nanoseconds, route, text) of the last failures, newest first."""
        found = []
        for number in range(ERRORS):
            at, route, size, text = ERROR.unpack_from(self._view, ERRORS_AT + number * ERROR_BYTES)
            if not at:
                break
            found.append((at, route, _text(text, size)))
        return sorted(found, reverse=True)


def _name(name: str) -> bytes:
    return name.encode("utf-8", "replace")[: ROUTE_BYTES - 1].ljust(ROUTE_BYTES, b"\0")


def _text(raw: bytes, size: int) -> str:
    return raw[: min(size, len(raw))].decode("utf-8", "replace")
