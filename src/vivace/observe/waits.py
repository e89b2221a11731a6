"""What a thread waits for, read from outside it: the kernel's view of one thread, in words.

`wait_of(pid, tid)` reads /proc/PID/task/TID/syscall (the call it is in, with its arguments), `stat` and `wchan`. The
thread is not stopped, takes no part and loses no time; nothing is written anywhere. It costs 20 to 60 us for a thread
of this process and takes the same rights as ptrace for another one (a child of the same user: granted).

Rules:

* Never raises for what it finds: where /proc is missing, hidden or raced by the thread itself, the answer is UNKNOWN
  or GONE, or names less.
* One look is a moment, not a verdict: a thread that computes is RUNNING, or in GIL while another one computes.

Telling the GIL from any other lock: both are futexes, but the GIL lies in the static data of the interpreter, and locks
made by a program lie on the heap. Measured to hold for CPython 3.11 to 3.13.

Must not know: requests, connections, the interpreter of the thread that is looked at.
"""

from __future__ import annotations

import os
import struct

from vivace.observe.descriptors import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNING = "running"
GIL = "gil"
LOCK = "lock"
SLEEP = "sleep"
IO = "io"  # a read, write, accept, connect ... on the descriptor `fd`
POLL = "poll"  # any of several descriptors; `fd` is the first
DISK = "disk"
CHILD = "child"
OTHER = "other"  # a system call that is none of these
BLOCKED = "blocked"  # in no system call: a page fault, a stopped process
UNKNOWN = "unknown"
GONE = "gone"

CAUSES = {
    RUNNING: "running",
    GIL: "gil",
    LOCK: "lock",
    SLEEP: "sleep",
    IO: "io",
    POLL: "io",
    DISK: "disk",
    CHILD: "child",
    OTHER: "other",
    BLOCKED: "other",
}
"""These kinds, as they are shown: what is in none of them was not seen."""

POLLED_MAX = 4
"""So many of the descriptors that are polled are named."""

_FUTEX = "futex"
_NUMBERS = {
    # name: (x86_64, aarch64). Linux: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, -1),
    "stat": (4, -1),
    "lstat": (6, -1),
    "poll": (7, -1),
    "ioctl": (16, 29),
    "pread": (17, 67),
    "pwrite": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "select": (23, -1),
    "sched_yield": (24, 124),
    "pause": (34, -1),
    "nanosleep": (35, 101),
    "sendfile": (40, 71),
    "connect": (42, 203),
    "accept": (43, 202),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "wait4": (61, 260),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "rename": (82, -1),
    "unlink": (87, -1),
    "rt_sigtimedwait": (128, 137),
    "sync": (162, 81),
    _FUTEX: (202, 98),
    "clock_nanosleep": (230, 115),
    "epoll_wait": (232, -1),
    "waitid": (247, 95),
    "openat": (257, 56),
    "unlinkat": (263, 35),
    "newfstatat": (262, 79),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "splice": (275, 76),
    "epoll_pwait": (281, 22),
    "fallocate": (285, 47),
    "accept4": (288, 242),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "recvmmsg": (299, 243),
    "syncfs": (306, 267),
    "sendmmsg": (307, 269),
    "renameat2": (316, 276),
    "getrandom": (318, 278),
    "copy_file_range": (326, 285),
    "statx": (332, 291),
    "io_uring_enter": (426, 426),
    "epoll_pwait2": (441, 441),
    "futex_waitv": (449, 449),
}
_ON_DESCRIPTOR = {
    **dict.fromkeys(("read", "readv", "pread", "preadv", "recvfrom", "recvmsg", "recvmmsg"), "reading from"),
    **dict.fromkeys(("write", "writev", "pwrite", "pwritev", "sendto", "sendmsg", "sendmmsg"), "writing to"),
    "sendfile": "writing to",
    "splice": "moving data from",
    "copy_file_range": "copying from",
    "accept": "accepting at",
    "accept4": "accepting at",
    "connect": "connecting",
    "ioctl": "ioctl on",
    "io_uring_enter": "io_uring on",
}
_ON_FILE = {
    "fsync": "syncing",
    "fdatasync": "syncing",
    "syncfs": "syncing",
    "ftruncate": "truncating",
    "fallocate": "allocating",
    "flock": "waiting for the lock on",
    "fcntl": "waiting for the lock on",
}
_SIMPLE = {
    **dict.fromkeys(("nanosleep", "clock_nanosleep"), (SLEEP, "sleeping")),
    **dict.fromkeys(("wait4", "waitid"), (CHILD, "waiting for a child process to end")),
    **dict.fromkeys(("open", "openat"), (DISK, "opening a file")),
    **dict.fromkeys(("stat", "lstat", "newfstatat", "statx"), (DISK, "looking at a file")),
    **dict.fromkeys(("unlink", "unlinkat", "rename", "renameat2"), (DISK, "changing a directory")),
    **dict.fromkeys(("pause", "rt_sigtimedwait"), (SLEEP, "waiting for a signal")),
    "sync": (DISK, "syncing every file system"),
    "getrandom": (OTHER, "waiting for random bytes"),
    "sched_yield": (RUNNING, "running"),
    "futex_waitv": (LOCK, "waiting for one of several locks"),
}
_POLLING = ("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2")

_ARCHITECTURES = ("x86_64", "aarch64")


def names_of(machine: str) -> dict[int, str]:
    """System calls by number on `machine` (as `os.uname()` has it); empty for one that is not known."""
    if machine not in _ARCHITECTURES:
        return {}
    column = _ARCHITECTURES.index(machine)
    return {numbers[column]: name for name, numbers in _NUMBERS.items() if numbers[column] >= 0}


_names = names_of(os.uname().machine) if hasattr(os, "uname") else {}


class Wait:
    """What one thread did at one moment. `kind` is one of the names above, `text` the same for a person."""

    __slots__ = ("call", "fd", "kind", "text")

    def __init__(self, kind: str, text: str, call: str = "", fd: int = -1) -> None:
        self.kind = kind
        self.text = text
        self.call = call
        """The system call it was in, "" for none."""
        self.fd = fd
        """The descriptor that it concerned, -1 for none."""

    def __repr__(self) -> str:
        return f"<Wait {self.kind}: {self.text}>"


def wait_of(pid: int, tid: int) -> Wait:
    """What the thread `tid` (its native id) of process `pid` does now."""
    return Process(pid).wait_of(tid)


class Process:
    """Looks at the threads of one process. Keeps what does not change, for whoever looks often."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._static: list[tuple[int, int]] | None = None

    def glance(self, raw: bytes, tid: int) -> tuple[str, str, list[int]]:
        """(kind, system call, its arguments) of what `syscall` of the thread says: a tenth of the cost of `wait_of`,
        and nothing that a person could read."""
        words = raw.split()
        if not words or words[0] == b"running":
            return (RUNNING if words else UNKNOWN), "", []
        try:
            number, *arguments = (int(word, 0) for word in words)
        except ValueError:
            return UNKNOWN, "", []
        name = _names.get(number, "")
        kind = self._kind(name, arguments) if number >= 0 else BLOCKED
        if kind in (IO, BLOCKED, OTHER) and self._state(tid) == "D":
            kind = DISK
        return kind, name, arguments

    def fd_of(self, name: str, arguments: list[int]) -> int:
        """The descriptor that the system call waits for, the first of several, -1 for none."""
        if name in _POLLING:
            return next(iter(self._polled(name, [*arguments, 0, 0, 0, 0])[0]), -1)
        return arguments[0] & 0xFFFFFFFF if name in _ON_DESCRIPTOR or name in _ON_FILE else -1

    def named(self, name: str, arguments: list[int]) -> str:
        """What the system call waits for, for a person: `reading from fd 7, TCP socket ... (recvfrom)`."""
        return self._in_call(name, [*arguments, 0, 0, 0, 0]).text

    def wait_of(self, tid: int) -> Wait:
        """What the thread does now."""
        try:
            words = _read(f"/proc/{self.pid}/task/{tid}/syscall").split()
        except OSError:
            return self._without_call(tid)
        if not words:
            return self._without_call(tid)
        if words[0] == "running":
            return Wait(RUNNING, "running")
        try:
            number, *arguments = (int(word, 0) for word in words)
        except ValueError:
            return self._without_call(tid)
        if number < 0:
            return Wait(BLOCKED, "waiting, in no system call (a page fault, or it is stopped)")
        name = _names.get(number, "")
        wait = self._in_call(name or f"system call {number}", [*arguments, 0, 0, 0, 0, 0, 0])
        return wait if self._state(tid) != "D" or wait.kind == DISK else self._uninterruptible(tid, wait)

    def _kind(self, name: str, arguments: list[int]) -> str:
        if name == _FUTEX:
            return GIL if self._is_static(arguments[0]) else LOCK
        if name in _SIMPLE:
            return _SIMPLE[name][0]
        if name in _ON_DESCRIPTOR:
            return IO
        if name in _POLLING:
            none = (name in ("poll", "ppoll") and not arguments[1]) or ("select" in name and not arguments[0])
            return SLEEP if none else POLL
        return DISK if name in _ON_FILE else OTHER

    def _in_call(self, name: str, arguments: list[int]) -> Wait:
        kind = self._kind(name, arguments)
        if name == _FUTEX:
            return Wait(kind, "waiting for the GIL, to compute" if kind == GIL else "waiting for a lock", name)
        if name in _SIMPLE:
            return Wait(*_SIMPLE[name], name)
        if name in _ON_DESCRIPTOR or name in _ON_FILE:
            fd = arguments[0] & 0xFFFFFFFF
            what = _ON_DESCRIPTOR.get(name) or _ON_FILE[name]
            return Wait(kind, f"{what} {describe(self.pid, fd)} ({name})", name, fd)
        if name in _POLLING:
            fds, limit = self._polled(name, arguments)
            named = ", ".join(describe(self.pid, fd) for fd in fds[:POLLED_MAX])
            more = f" and {len(fds) - POLLED_MAX} more" if len(fds) > POLLED_MAX else ""
            text = f"waiting for {named or 'time to pass'}{more}{limit} ({name})"
            return Wait(POLL if fds else SLEEP, text, name, fds[0] if fds else -1)
        return Wait(OTHER, f"in {name}", name)

    # The GIL.

    def _is_static(self, address: int) -> bool:
        """Whether `address` lies in the static data of the interpreter."""
        if self._static is None:
            self._static = list(_static_data(self.pid))
        return any(begin <= address < end for begin, end in self._static)

    # What is polled: the arguments point to it.

    def _polled(self, name: str, arguments: list[int]) -> tuple[list[int], str]:
        """The descriptors of a poll, as far as they can be read, and its time limit in words."""
        address, count, third, fourth = arguments[:4]
        if name in ("poll", "ppoll"):
            limit = _limit(third) if name == "poll" else ""
            data = self._memory(address, 8 * min(count, 64))
            fds = [fd for fd, _, _ in struct.iter_unpack("=ihh", data[: len(data) // 8 * 8])]
            return [fd for fd in fds if fd >= 0], limit
        if name in ("select", "pselect6"):
            fds = [fd for at in (count, third) for fd in self._set(at, min(address, 1024))]
            return fds, ""
        limit = "" if name == "epoll_pwait2" else _limit(fourth)
        return self._in_epoll(address & 0xFFFFFFFF), limit

    def _set(self, address: int, count: int) -> list[int]:
        """Members of an fd_set."""
        data = self._memory(address, (count + 63) // 64 * 8) if address else b""
        return [fd for fd in range(min(count, len(data) * 8)) if data[fd // 8] >> (fd % 8) & 1]

    def _in_epoll(self, epoll: int) -> list[int]:
        """What the epoll instance watches (proc_pid_fdinfo(5)); itself where that cannot be read."""
        try:
            lines = _read(f"/proc/{self.pid}/fdinfo/{epoll}").splitlines()
            return [int(line.split()[1]) for line in lines if line.startswith("tfd:")] or [epoll]
        except (OSError, ValueError, IndexError):
            return [epoll]

    def _memory(self, address: int, size: int) -> bytes:
        """`size` bytes of the process, fewer or none where that is not allowed."""
        try:
            fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(fd, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(fd)

    # Where the call cannot be read, or does not tell.

    def _state(self, tid: int) -> str:
        """R running, S asleep, D in uninterruptible sleep ... (proc_pid_stat(5)); "" where it cannot be read."""
        try:
            return _read(f"/proc/{self.pid}/task/{tid}/stat").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""

    def _channel(self, tid: int) -> str:
        """The kernel function that it waits in, "" where that is hidden."""
        try:
            name = _read(f"/proc/{self.pid}/task/{tid}/wchan").strip()
        except OSError:
            return ""
        return name if name != "0" else ""

    def _uninterruptible(self, tid: int, wait: Wait) -> Wait:
        channel = self._channel(tid)
        where = f" (in {channel})" if channel else ""
        return Wait(
            DISK, f"{wait.text}; the kernel waits for a disk or a network file system{where}", wait.call, wait.fd
        )

    def _without_call(self, tid: int) -> Wait:
        state = self._state(tid)
        if not state:
            there = os.path.isdir(f"/proc/{self.pid}/task")
            return Wait(GONE, "gone") if there else Wait(UNKNOWN, "doing what this system does not tell")
        if state == "R":
            return Wait(RUNNING, "running")
        channel = self._channel(tid)
        where = f" in {channel}" if channel else ""
        return Wait(DISK if state == "D" else UNKNOWN, f"waiting{where} (state {state})")


def _static_data(pid: int) -> Iterator[tuple[int, int]]:
    """Writable mappings of the interpreter's own file, with the zeroed data behind them."""
    try:
        lines = _read(f"/proc/{pid}/maps").splitlines()
    except OSError:
        return
    behind = -1
    for line in lines:
        words = line.split(None, 5)
        begin, end = (int(word, 16) for word in words[0].split("-"))
        file = os.path.basename(words[5]) if len(words) > 5 else ""
        if "w" in words[1] and (file.startswith(("python", "libpython")) or (not file and begin == behind)):
            yield begin, end
            behind = end if file else -1
        else:
            behind = -1


def _limit(value: int) -> str:
    """A time limit in ms, as an int of C, in words."""
    timeout_ms = (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)
    return ", without a time limit" if timeout_ms < 0 else f", for at most {timeout_ms / 1000:g} s"


def _read(path: str) -> str:
    with open(path, encoding="latin-1") as file:
        return file.read()
