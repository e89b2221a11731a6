"""Raising an exception in another thread that runs Python code.

Two ways, because CPython has no single one:

* `raise_in`: `PyThreadState_SetAsyncExc`. The thread gets it at its next step of Python code. A call into C (a system
  call, a query, a lock) is not cut short: the exception comes when it returns.
* `MainThread`: a signal, whose handler raises. It also ends system calls that Python itself makes (sleep, recv, lock,
  wait for a child: PEP 475 has them call handlers first), but only the main thread runs handlers.

An exception that was sent and has not come yet stays pending. So a thread that has left the work it was meant for calls
`forget_pending` before it does anything else.

Must not know: requests.
"""

from __future__ import annotations

import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

SIGNAL: Any = getattr(signal, "SIGURG", None)
"""Ignored by whoever does not ask for it, and asked for by nearly nobody: what Go's runtime interrupts threads with."""


def raise_in(thread: int, kind: type[BaseException]) -> None:
    """`kind()` is raised in the thread with this identity, once, at its next step of Python code."""
    _set(thread, kind)


def forget_pending(thread: int) -> None:
    """What `raise_in` sent to the thread and has not come yet does not come any more."""
    _set(thread, None)


def _set(thread: int, kind: type[BaseException] | None) -> None:
    import ctypes

    exception = ctypes.py_object() if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)


class MainThread:
    """While in force, `kick` makes the main thread call `on_kick`, which may raise, even in a system call.

    `with MainThread(on_kick):` does nothing in other threads and where there is no such signal.
    """

    def __init__(self, on_kick: Callable[[], None]) -> None:
        self._on_kick = on_kick
        self._before: Any = None
        self.thread = 0
        """Identity of the main thread, 0 while not in force."""

    def __enter__(self) -> MainThread:
        if SIGNAL is not None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(SIGNAL, self._handle)
            self.thread = threading.get_ident()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.thread:
            self.thread = 0
            if self._in_force():
                signal.signal(SIGNAL, self._before if self._before is not None else signal.SIG_DFL)

    def kick(self) -> bool:
        """From any thread. False where the application has put a handler of its own in the place."""
        if not self.thread or not self._in_force():
            return False
        signal.pthread_kill(self.thread, SIGNAL)
        return True

    def _in_force(self) -> bool:
        return signal.getsignal(SIGNAL) == self._handle

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._on_kick()
        if callable(self._before):
            self._before(number, frame)
