"""Readiness of descriptors: epoll, kqueue or select behind the same four functions.

A poller is `add(fd, mode)`, `change(fd, mode)`, `remove(fd)` and `wait(timeout_s, events_max)`, plus what
wakes it from another thread. It knows descriptors and nothing of what they carry.

Rules:

* A mode is exactly one of `READ`, `WRITE`, `AWAY` and `SHARED`. `SHARED` is for a listener that several processes wait
  at: where the system can, one of them is woken and not all (EPOLLEXCLUSIVE, epoll_ctl(2)); it is added and removed,
  never changed. `AWAY` is for a connection that a thread is busy
  with: nothing is reported, except at most once that the peer hung up (where the system can tell).
* Readiness is level-triggered: what was reported and not consumed is reported again. So a thread may
  drop a batch of events half-way, and nobody loses one.
* `add`, `change`, `remove` and `wake` may be called by any thread, also while another one waits;
  `wait` by one thread at a time.
* `wait` takes seconds (-1: for ever) and returns pairs (descriptor, bits); callers act on the descriptor alone.
* A wake-up is reported as an event of `wake_fd`; the caller answers it with `on_wake()`.
"""

from __future__ import annotations

import errno
import os
import select

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

READ = 1
WRITE = 2
AWAY = 3
SHARED = 4

EVENTS_MAX = 256
"""Events taken in one call: 1,023, Python's default, makes each call allocate 12 KiB."""

FD_SETSIZE = 1024
"""The size of select's fd_set on every system that has no better poller here (POSIX leaves it to the system)."""

KINDS = ("auto", "epoll", "kqueue", "select")


class EpollPoller:
    """Linux. One `epoll_wait` serves any number of events; a change costs one `epoll_ctl`."""

    connections_max = 1 << 31

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._masks = (
            0,
            select.EPOLLIN,
            select.EPOLLOUT,
            select.EPOLLRDHUP | select.EPOLLONESHOT,
            select.EPOLLIN | getattr(select, "EPOLLEXCLUSIVE", 0),
        )
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self.wake_fd, select.EPOLLIN)
        # The system call's own method: not one Python frame between it and the loop.
        self.wait: Callable[[float, int], list[tuple[int, int]]] = self._epoll.poll

    def add(self, fd: int, mode: int) -> None:
        self._epoll.register(fd, self._masks[mode])

    def change(self, fd: int, mode: int) -> None:
        self._epoll.modify(fd, self._masks[mode])

    def remove(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def on_wake(self) -> None:
        """Takes the wake-up back, so that it is not reported again."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            pass

    def wake(self) -> None:
        """Makes `wait` return; may be called by a signal handler."""
        try:
            os.eventfd_write(self.wake_fd, 1)
        except (OSError, ValueError):
            pass  # it is full, so already awake; or closed

    def close(self) -> None:
        self._epoll.close()
        fd, self.wake_fd = self.wake_fd, -1  # the number may soon be somebody else's: a late wake() must miss it
        os.close(fd)


class _PipePoller:
    """What the pollers without an eventfd share: a pipe that wakes them."""

    connections_max = 1 << 31

    def __init__(self) -> None:
        self.wake_fd, self._write_fd = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._write_fd, False)

    def on_wake(self) -> None:
        try:
            while os.read(self.wake_fd, 512):
                pass
        except BlockingIOError:
            pass

    def wake(self) -> None:
        try:
            os.write(self._write_fd, b"w")
        except OSError:
            pass  # it is full, so already awake; or closed

    def close(self) -> None:
        fds = self.wake_fd, self._write_fd
        self.wake_fd = self._write_fd = -1
        for fd in fds:
            os.close(fd)


class SelectPoller(_PipePoller):
    """Everywhere else. `select()` is bounded by FD_SETSIZE and costs time with every descriptor watched."""

    connections_max = FD_SETSIZE - 128

    def __init__(self) -> None:
        super().__init__()
        self._modes: dict[int, int] = {self.wake_fd: READ}

    def add(self, fd: int, mode: int) -> None:
        if fd >= FD_SETSIZE:
            raise OSError(errno.EMFILE, f"select() cannot watch a descriptor above {FD_SETSIZE - 1}")
        self._modes[fd] = READ if mode == SHARED else mode
        self.wake()

    change = add

    def remove(self, fd: int) -> None:
        if self._modes.pop(fd, None) is None:
            raise FileNotFoundError(f"descriptor {fd} is not watched")
        self.wake()

    def wait(self, timeout_s: float, events_max: int) -> list[tuple[int, int]]:
        modes = self._modes.copy()
        readers = [fd for fd, mode in modes.items() if mode == READ]
        writers = [fd for fd, mode in modes.items() if mode == WRITE]
        try:
            readable, writable, _ = select.select(readers, writers, (), None if timeout_s < 0 else timeout_s)
        except (OSError, ValueError):
            # A descriptor was closed by its owner between the copy and the call: look again.
            self._drop_closed(modes)
            return []
        return [(fd, READ) for fd in readable] + [(fd, WRITE) for fd in writable]

    def _drop_closed(self, modes: dict[int, int]) -> None:
        for fd in modes:
            try:
                os.fstat(fd)
            except OSError:
                self._modes.pop(fd, None)


class KqueuePoller(_PipePoller):
    """macOS and the BSDs. Not run on this project's CI, which is Linux; the select poller is."""

    def __init__(self) -> None:
        super().__init__()
        self._queue = select.kqueue()  # type: ignore[attr-defined, unused-ignore]
        self._modes: dict[int, int] = {}
        self.add(self.wake_fd, READ)

    def _set(self, fd: int, mode: int, flags: int) -> None:
        filters = {READ: select.KQ_FILTER_READ, WRITE: select.KQ_FILTER_WRITE}  # type: ignore[attr-defined, unused-ignore]
        if mode in filters:
            self._queue.control([select.kevent(fd, filters[mode], flags)], 0)  # type: ignore[attr-defined, unused-ignore]

    def add(self, fd: int, mode: int) -> None:
        mode = READ if mode == SHARED else mode
        self._modes[fd] = mode
        self._set(fd, mode, select.KQ_EV_ADD)  # type: ignore[attr-defined, unused-ignore]

    def change(self, fd: int, mode: int) -> None:
        self._set(fd, self._modes.get(fd, AWAY), select.KQ_EV_DELETE)  # type: ignore[attr-defined, unused-ignore]
        self.add(fd, mode)

    def remove(self, fd: int) -> None:
        self._set(fd, self._modes.pop(fd, AWAY), select.KQ_EV_DELETE)  # type: ignore[attr-defined, unused-ignore]

    def wait(self, timeout_s: float, events_max: int) -> list[tuple[int, int]]:
        events = self._queue.control(None, events_max, None if timeout_s < 0 else timeout_s)
        return [(event.ident, 1) for event in events]

    def close(self) -> None:
        self._queue.close()
        super().close()


Poller = EpollPoller | SelectPoller | KqueuePoller


def make_poller(kind: str = "auto") -> Poller:
    """The best poller of this system, or the one named; raises ValueError where there is none."""
    if kind not in KINDS:
        raise ValueError(f"poller {kind!r} is none of {', '.join(KINDS)}")
    if kind == "auto":
        kind = next(name for name in ("epoll", "kqueue", "select") if hasattr(select, name))
    if not hasattr(select, kind):
        raise ValueError(f"this system has no {kind}; poller = auto takes what there is")
    if kind == "epoll":
        return EpollPoller()
    return KqueuePoller() if kind == "kqueue" else SelectPoller()
