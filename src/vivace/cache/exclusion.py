"""One at a time, among the threads and processes that map one file. The lock dies with its holder.

A record lock of POSIX (fcntl(2)) on one byte of the file keeps processes apart, a lock of this process its threads,
which such a lock does not tell apart. The kernel gives it back when the process that holds it ends, however it ends.

Rules:

* Nobody waits long: who does not get it in time does without what it wanted it for.
* POSIX drops all locks of a process on a file when it closes any descriptor of that file. So a process keeps one, and
  closes it last.
"""

from __future__ import annotations

import fcntl
import os
from _thread import allocate_lock
from time import monotonic


class Exclusion:
    """`if enter(...): try: ... finally: leave()`. Two with different bytes of one file do not meet."""

    def __init__(self, fd: int, byte: int) -> None:
        self._fd = fd
        self._byte = byte
        self._threads = allocate_lock()

    def enter(self, wait_s: float) -> bool:
        """Whether the caller is alone now. False: not within `wait_s`, or somebody has closed the descriptor."""
        if not self._threads.acquire(timeout=wait_s):
            return False
        until_s = 0.0
        try:
            while True:
                try:
                    fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
                    return True
                except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: fcntl(2) leaves it open which
                    now_s = monotonic()
                    until_s = until_s or now_s + wait_s
                    if now_s >= until_s:
                        break
                    os.sched_yield()
        except OSError:
            pass
        self._threads.release()
        return False

    def leave(self) -> None:
        """The next one may come."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)
        except OSError:
            pass
        self._threads.release()
