"""What /proc tells of other processes, as several rooms need it: who lives, what it has open, and how to wake it.

Linux only, but for `alive`. Must not know: anything else of vivace.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def alive(pid: int) -> bool:
    """Whether there is such a process, whoever owns it."""
    if pid <= 0:
        return False  # to kill(2) these are groups of processes
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def has_open(pid: int, fd: int, file: os.stat_result) -> bool:
    """Whether process `pid` lives and has `file` open as `fd`: a process number may have come to mean another one."""
    try:
        found = os.stat(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:
        return False
    except OSError:
        return alive(pid)
    return (found.st_ino, found.st_dev) == (file.st_ino, file.st_dev)


def ring(pid: int, fd: int) -> None:
    """Wakes the process that reads from its pipe `fd`; nothing where it has ended, or may not be looked into."""
    path = f"/proc/{pid}/fd/{fd}"
    try:
        if not os.readlink(path).startswith("pipe:"):
            return
        end = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(end, b"!")
    except OSError:
        pass  # it is full, so has been rung often enough; or gone
    finally:
        os.close(end)


def memory_files(pid: int, name: str) -> Iterator[int]:
    """The anonymous files in memory called `name` that process `pid` has open, opened here: whoever asks closes them.

    One file comes as often as it is open there. Raises OSError where the process may not be looked into.
    """
    for path, link in _links(pid):
        if link.startswith(f"/memfd:{name} "):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue  # closed meanwhile
            yield fd


def sockets_of(pid: int) -> set[int]:
    """The inodes of the sockets that process `pid` has open; empty where that may not be read."""
    try:
        return {int(link[8:-1]) for _, link in _links(pid) if link.startswith("socket:[")}
    except OSError:
        return set()


def _links(pid: int) -> Iterator[tuple[str, str]]:
    """(path, what it is) of every descriptor of process `pid`. Raises OSError where it may not be looked into."""
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        path = f"{folder}/{fd}"
        try:
            link = os.readlink(path)
        except OSError:
            continue  # closed meanwhile
        yield path, link
