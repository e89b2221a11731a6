"""Who makes what now, among the workers of a machine: so that one of them calls the application and the others wait.

A small table in shared memory, sets of four places. A claim is the hash of a key, a process and a time. It lapses when
its time is up or its process has ended, so nobody has to tidy up after the dead.

Rules:

* Where there is no place, or no turn at the table, the answer is yes: the worst that happens is a second call.
* Of two keys with the same hash (64 bits, of the process's own seed) one waits for the other in vain: it finds nothing
  and makes it itself.
"""

from __future__ import annotations

import os
from time import monotonic_ns

from vivace.cache.exclusion import Exclusion
from vivace.procfs import alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SETS: Final = 256
WAYS: Final = 4
PLACE_WORDS: Final = 4
CLAIMS_BYTES: Final = SETS * WAYS * PLACE_WORDS * 8

C_MARK, C_PID, C_UNTIL = range(3)
"""C_PID 0: nobody can claim it until then. C_UNTIL: nanoseconds of the monotonic clock."""

WAIT_S: Final = 0.005
"""For a turn at the table, which takes 3 us: more than this is a process that was stopped within it."""


class Claims:
    """The table. `words` are its memory, `fd` the file that it lies in."""

    def __init__(self, fd: int, words: memoryview) -> None:
        self._words = words
        self._turn = Exclusion(fd, 1)

    def claim(self, mark: int, ttl_s: float) -> bool:
        """As `Shared.claim`."""
        if not self._turn.enter(WAIT_S):
            return True
        try:
            words, now = self._words, monotonic_ns()
            place = self._find(mark)
            if place >= 0 and words[place + C_UNTIL] > now:
                pid = words[place + C_PID]
                if not pid or alive(pid):
                    return not pid
            if place < 0:
                place = self._free(mark, now)
            if place >= 0:
                words[place + C_MARK] = 0
                words[place + C_PID] = os.getpid()
                words[place + C_UNTIL] = now + int(ttl_s * 1e9)
                words[place + C_MARK] = mark
            return True
        finally:
            self._turn.leave()

    def claimed(self, mark: int) -> bool:
        """As `Shared.claimed`."""
        place = self._find(mark)
        if place < 0 or self._words[place + C_UNTIL] <= monotonic_ns():
            return False
        pid: int = self._words[place + C_PID]
        return pid != 0 and alive(pid)

    def release(self, mark: int, pass_s: float) -> None:
        """As `Shared.release`."""
        if not self._turn.enter(WAIT_S):
            return  # it lapses by itself
        try:
            words = self._words
            place = self._find(mark)
            if place < 0 or words[place + C_PID] != os.getpid():
                return
            if pass_s > 0:
                words[place + C_UNTIL] = monotonic_ns() + int(pass_s * 1e9)
                words[place + C_PID] = 0
            else:
                words[place + C_MARK] = 0
        finally:
            self._turn.leave()

    def _places(self, mark: int) -> range:
        first = (mark >> 32) % SETS * WAYS * PLACE_WORDS
        return range(first, first + WAYS * PLACE_WORDS, PLACE_WORDS)

    def _find(self, mark: int) -> int:
        """The place of `mark`, whether or not it has lapsed; -1 if there is none."""
        for place in self._places(mark):
            if self._words[place + C_MARK] == mark:
                return place
        return -1

    def _free(self, mark: int, now: int) -> int:
        """A place that nobody needs any more, or -1."""
        for place in self._places(mark):
            if not self._words[place + C_MARK] or self._words[place + C_UNTIL] <= now:
                return place
        return -1
