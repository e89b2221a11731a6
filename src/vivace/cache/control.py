"""What is to be forgotten, for all workers of a server and from outside: one anonymous file in memory (memfd) a server.

A supervisor makes it before it forks, or the process itself, and each worker maps it. A command of the same user finds
it through /proc/PID/fd: there is no socket, and nothing on disk.

Purges are a log, written by commands and workers. One word says how far it goes; each worker reads what is new to it,
and then notes how far it has come. So who had something purged can wait until every worker that lives has seen it. Who
falls behind the end of the log forgets everything that it kept before.

Rules:

* A writer may be killed at any moment. What it was writing counts only from the word that it writes last.
* Writers take turns (`exclusion`). Readers take none: they see by its number whether a record is whole.
* Must not know: entries, requests.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic, sleep, time

from vivace.cache.exclusion import Exclusion
from vivace.cache.keys import path_of
from vivace.cache.purges import KINDS, Purge
from vivace.procfs import has_open, memory_files, ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MEMFD_NAME: Final = "vivace-cache"
MAGIC: Final = int.from_bytes(b"viv-ctl\2", "little")
"""The last byte is the layout's version."""

H_MAGIC, H_PID, H_NUMBER, H_LOST_S, H_LAST_S = range(5)
"""H_NUMBER: of the newest purge, from 1. H_LOST_S, H_LAST_S: when the newest that is lost was made, and the newest of
all, as the bits of a float."""

PLACES_MAX: Final = 1024
PLACE_WORDS: Final = 4
PLACES_AT: Final = 512
P_PID, P_FD, P_APPLIED, P_BELL = range(4)
"""A worker: its process, the file's descriptor there, the purge that it has come to, and 1 more than the descriptor of
the pipe that wakes it (0: none)."""

LOG_AT: Final = 1 << 16
LOG_MAX: Final = 8192
RECORD_BYTES: Final = 1024
RECORD: Final = struct.Struct("=QdBBH")
"""Number, Unix time, kind, soft, length of the pattern; then the pattern."""
PATTERN_BYTES_MAX: Final = RECORD_BYTES - RECORD.size

FILE_BYTES: Final = LOG_AT + LOG_MAX * RECORD_BYTES
"""8 MB, of which only what is used takes memory."""

WAIT_S: Final = 0.25
"""For a turn, which takes some microseconds."""
LOOK_S: Final = 0.01


class Control:
    """The file, as one process sees it. `read`, `applied` and `join`: one thread at a time. The rest: any."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.map = mmap.mmap(fd, FILE_BYTES)
        self.words = memoryview(self.map)[:LOG_AT].cast("Q")
        self.turn = Exclusion(fd, 0)
        self.place = -1
        """Of this process; -1 if it is no worker."""
        self._times = memoryview(self.map)[:4096].cast("d")
        self._seen = 0
        self._bell: tuple[int, int] | None = None

    @classmethod
    def create(cls) -> Control:
        """A new one, of this process. Raises OSError where there is no memfd."""
        fd = os.memfd_create(MEMFD_NAME)
        try:
            os.ftruncate(fd, FILE_BYTES)
            control = cls(fd)
        except OSError:
            os.close(fd)
            raise
        control.words[H_PID] = os.getpid()
        control.words[H_MAGIC] = MAGIC
        return control

    @classmethod
    def attach(cls, fd: int) -> Control:
        """The one behind `fd`, which it keeps. Raises ValueError: it is none, or one of another version."""
        if os.fstat(fd).st_size != FILE_BYTES or os.pread(fd, 8, 0) != MAGIC.to_bytes(8, "little"):
            raise ValueError("this is no file of a cache of this version of vivace")
        return cls(fd)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Whoever has something purged.

    def purge(self, kind: str, pattern: str = "", *, soft: bool = False) -> int:
        """Writes one into the log; its number, or 0 if there was no turn. Kinds: see `purges`.

        Raises ValueError for an unknown kind, and for a tag that is too long. A path or key that is too long becomes a
        shorter one that covers more.
        """
        text = self._shortened(kind, pattern)
        if kind not in KINDS or len(text[1]) > PATTERN_BYTES_MAX:
            raise ValueError(f"a purge of {kind} {pattern[:80]!r} is not possible")
        if not self.turn.enter(WAIT_S):
            return 0
        try:
            return self._log(KINDS.index(text[0]), text[1], soft)
        finally:
            self.turn.leave()

    def _shortened(self, kind: str, pattern: str) -> tuple[str, bytes]:
        raw = pattern.encode("utf-8", "surrogatepass")
        if len(raw) <= PATTERN_BYTES_MAX or kind not in ("path", "key"):
            return kind, raw
        target = path_of(pattern) if kind == "key" else pattern.rstrip("*")
        start = target.encode("utf-8", "surrogatepass")[: PATTERN_BYTES_MAX - 1]
        return "path", start.decode("utf-8", "ignore").encode() + b"*"

    def _log(self, kind: int, raw: bytes, soft: bool) -> int:
        words, times = self.words, self._times
        number = words[H_NUMBER] + 1
        at = LOG_AT + number % LOG_MAX * RECORD_BYTES
        oldest, oldest_s, *_ = RECORD.unpack_from(self.map, at)
        if oldest and oldest != number:
            times[H_LOST_S] = max(times[H_LOST_S], oldest_s)
        # Two purges are never made at the same time, nor in the wrong order when the clock is set back.
        now_s = max(time(), times[H_LAST_S] + 1e-6)
        RECORD.pack_into(self.map, at, 0, now_s, kind, soft, len(raw))
        self.map[at + RECORD.size : at + RECORD.size + len(raw)] = raw
        RECORD.pack_into(self.map, at, number, now_s, kind, soft, len(raw))
        times[H_LAST_S] = now_s
        words[H_NUMBER] = number
        return number

    def workers(self) -> dict[int, int]:
        """Process -> place of the workers that live."""
        words = self.words
        file = os.fstat(self.fd)
        found = {}
        for place in range(PLACES_MAX):
            at = PLACES_AT + place * PLACE_WORDS
            pid = words[at + P_PID]
            if pid and has_open(pid, words[at + P_FD], file):
                found[pid] = place
        return found

    def wait_applied(self, number: int, timeout_s: float) -> list[int]:
        """Waits until every worker has seen purge `number`; the processes that have not, in time."""
        give_up_s = monotonic() + timeout_s
        self.ring()
        while True:
            late = [
                pid
                for pid, place in self.workers().items()
                if self.words[PLACES_AT + place * PLACE_WORDS + P_APPLIED] < number
            ]
            if not late or monotonic() >= give_up_s:
                return late
            sleep(LOOK_S)

    def ring(self) -> None:
        """Wakes the workers that sleep: there is something to read."""
        for pid, place in self.workers().items():
            if bell := self.words[PLACES_AT + place * PLACE_WORDS + P_BELL]:
                ring(pid, bell - 1)

    # The workers.

    def bell(self) -> int:
        """A descriptor that becomes readable when there is something to read; then call `on_bell`. Before `join`.

        Raises OSError where there are no descriptors left.
        """
        if self._bell is None:
            self._bell = os.pipe2(
                os.O_NONBLOCK | os.O_CLOEXEC
            )  # its other end is kept: without, it would be at its end
        return self._bell[0]

    def on_bell(self) -> None:
        """It has been heard."""
        if self._bell is not None:
            try:
                os.read(self._bell[0], 4096)
            except BlockingIOError:
                pass

    @property
    def name(self) -> str:
        """Tells it from all others, on whatever machine."""
        status = os.fstat(self.fd)
        return f"{os.uname().nodename}-{self.words[H_PID]}-{status.st_dev}-{status.st_ino}"

    @property
    def number(self) -> int:
        """Of the newest purge; 0 if there was none. Cheap enough to look at before each answer."""
        number: int = self.words[H_NUMBER]
        return number

    def join(self) -> None:
        """This process is a worker from now on: purges are done when it has `applied` them. More than once is fine.

        To be called before it keeps anything.
        """
        pid = os.getpid()
        if self.place >= 0 and self.words[PLACES_AT + self.place * PLACE_WORDS + P_PID] == pid:
            return
        self.place, self._seen = -1, 0
        if not self.turn.enter(WAIT_S):
            return
        try:
            file = os.fstat(self.fd)
            for place in range(PLACES_MAX):
                at = PLACES_AT + place * PLACE_WORDS
                if not self.words[at + P_PID] or not has_open(self.words[at + P_PID], self.words[at + P_FD], file):
                    self.words[at + P_PID] = 0
                    self.words[at + P_FD], self.words[at + P_APPLIED] = self.fd, 0
                    self.words[at + P_BELL] = self._bell[0] + 1 if self._bell is not None else 0
                    self.words[at + P_PID] = pid
                    self.place = place
                    return
        finally:
            self.turn.leave()

    def leave(self) -> None:
        """This process serves no more."""
        if self.place >= 0:
            self.words[PLACES_AT + self.place * PLACE_WORDS + P_PID] = 0
            self.place = -1
        bell, self._bell = self._bell, None
        for fd in bell or ():
            os.close(fd)

    def read(self) -> list[Purge]:
        """The purges that are new to this process. To be applied; then call `applied`, with `number` from before."""
        self._seen, found = self.since(self._seen)
        return found

    def since(self, seen: int) -> tuple[int, list[Purge]]:
        """The number of the newest purge, and those after number `seen`. Any thread."""
        number = self.words[H_NUMBER]
        found = []
        if number - seen > LOG_MAX:
            seen = number - LOG_MAX
            found.append(Purge("all", "", self._times[H_LOST_S], number=seen))
        for each in range(seen + 1, number + 1):
            purge = self._record(each)
            if purge is None:  # written over meanwhile
                number = self.words[H_NUMBER]
                return number, [Purge("all", "", self._times[H_LAST_S], number=number)]
            found.append(purge)
        return number, found

    def _record(self, number: int) -> Purge | None:
        at = LOG_AT + number % LOG_MAX * RECORD_BYTES
        copy = self.map[at : at + RECORD_BYTES]
        itself, time_s, kind, soft, length = RECORD.unpack_from(copy)
        if itself != number or int.from_bytes(self.map[at : at + 8], "little") != number:
            return None
        pattern = copy[RECORD.size : RECORD.size + length].decode("utf-8", "surrogatepass")
        return Purge(KINDS[kind], pattern, time_s, soft=bool(soft), number=number)

    def applied(self, number: int) -> None:
        """Everything up to purge `number` is gone from what this process keeps."""
        if self.place >= 0:
            self.words[PLACES_AT + self.place * PLACE_WORDS + P_APPLIED] = number


def controls_of(pid: int) -> list[Control]:
    """Those that process `pid` made: one for each server in it. Raises OSError where it may not be looked into."""
    found = []
    seen = set()
    for fd in memory_files(pid, MEMFD_NAME):
        try:
            control = Control.attach(fd)
        except ValueError:
            os.close(fd)
            continue
        inode = os.fstat(fd).st_ino
        if control.words[H_PID] != pid or inode in seen:
            control.close()
            continue
        seen.add(inode)
        found.append(control)
    return found
