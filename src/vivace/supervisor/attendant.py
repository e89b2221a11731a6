"""The process that shows the shared page at the admin address, as its supervisor knows it: a child beside the workers.

Rules:

* It is started first and ended last, started again when it dies, ever more slowly, and left alone by a reload.
* A program that replaces this one (`upgrade`) ends that of the program before and starts its own; who connects
  meanwhile waits in the queue of the listener, which stays open.
* Its end costs no request: workers and supervisor do not notice.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from vivace.observe.layout import H_ADMIN
from vivace.supervisor.obituary import cause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.observe.page import Page
    from vivace.worker.console import Console

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_S = 10.0
"""One that lived so long is started again at once."""
END_S = 2.0
"""How long it may take to end; then it is killed."""


class Attendant:
    """The child, or the wish to have one. `wanted`: there is an admin address."""

    def __init__(self, page: Page, console: Console, *, wanted: bool) -> None:
        self.wanted = wanted
        self.pid = 0
        self.channel: socket.socket | None = None
        self._page = page
        self._console = console
        self._started_s = 0.0
        self._not_before_s = 0.0
        self._failures = 0
        self._ending = False

    def due_s(self) -> float | None:
        """When it is to be started; None: it is there, or nobody wants it."""
        return self._not_before_s if self.wanted and not self.pid else None

    def fork(self, now: float) -> socket.socket | None:
        """In the child, its end of the channel; None in the supervisor, or where the system cannot fork."""
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            self._console.warn(f"the admin process cannot be started: {error.strerror}; trying again")
            self._not_before_s = now + BACKOFF_MAX_S
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            ours.close()
            return theirs
        theirs.close()
        self.take_over(pid, ours)
        self._started_s = now
        return None

    def take_over(self, pid: int, channel: socket.socket, *, end: bool = False) -> None:
        """Looks after this process from now on; `end`: until it has ended, as it is told to."""
        channel.setblocking(False)
        self.pid, self.channel = pid, channel
        self._page.words[H_ADMIN] = pid
        if end:
            self._ending = True
            _signal(pid, signal.SIGTERM)

    def has_died(self, pid: int, status: int, now: float) -> None:
        """A child that is no worker has ended: perhaps this one."""
        if pid != self.pid or self.channel is None:
            return
        self.channel.close()
        self.channel = None
        self.pid = self._page.words[H_ADMIN] = 0
        if self._ending:
            self._ending = False
            return
        self._failures = 1 if now - self._started_s >= STEADY_S else self._failures + 1
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (self._failures - 1)) if self._failures > 1 else 0.0
        self._not_before_s = now + wait_s
        self._console.say("error", f"the admin process {pid} {cause(status)}; it is started again in {wait_s:g} s")

    def tell(self, line: str) -> None:
        if self.channel is not None:
            send_line(self.channel, line)

    def end(self) -> None:
        """The end of everything: returns when it has gone."""
        self.wanted = False
        if not self.pid or self.channel is None:
            return
        _signal(self.pid, signal.SIGTERM)
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        give_up = time.monotonic() + END_S
        # Its end of the channel closes when it ends: nothing has to be asked again and again.
        while (left := give_up - time.monotonic()) > 0 and not _closed(self.channel):
            poll.poll(left * 1000)
        _signal(self.pid, signal.SIGKILL)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        self.channel.close()
        self.pid = self._page.words[H_ADMIN] = 0


def send_line(channel: socket.socket, line: str) -> None:
    """Tells a child of the supervisor something."""
    try:
        channel.send(line.encode() + b"\n")
    except OSError:
        pass  # it is on its way out already


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _closed(channel: socket.socket) -> bool:
    try:
        return channel.recv(64) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
