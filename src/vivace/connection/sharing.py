"""Connections that go to a sibling: another worker of the same server.

Which worker a new connection wakes is the kernel's choice, and it likes the one that it woke last: of 64 connections
made at once, two workers were seen to get 64 and none. So a worker that accepts one while another has fewer passes it
on (SCM_RIGHTS, unix(7)). And a worker that is replaced passes on those that are idle: their next request finds them
served, and nobody has to connect anew.

Rules:

* What is passed on has been read of by nobody: whatever waits in the socket goes with it. So only plain connections
  between two requests go, and new ones of any kind.
* Each place in the page has an inbox, made by the supervisor, which outlives the worker in that place. What nobody has
  fetched when a worker dies is passed on by the supervisor.
* Counting is by glance: a number that is a moment old costs balance, never a connection.

Threads: the leader.
"""

from __future__ import annotations

import os
import socket

from vivace.errors import SettingError
from vivace.observe.layout import S_COMING, S_CONNECTIONS, S_STATE, SERVING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.observe.page import Page

SLACK = 2
"""So many more connections than the least busy sibling are kept, and an eighth of what that one has."""

LOOKS_YOUNG = 3
"""For so many looks after its start a worker looks again at each connection: its siblings start with it, and whoever
was not seen to serve for a second would have none of the connections that are made in it.
"""

GIFTS_MAX = 64
"""At most so many are fetched in a row."""


class Siblings:
    """The other workers, and the inbox of this one. `inboxes`: (to fetch from, to send into), by place in the page."""

    def __init__(self, page: Page, number: int, inboxes: list[tuple[socket.socket, socket.socket]]) -> None:
        self._words = [page.section(place).words for place in range(page.sections)]
        self._inboxes = inboxes
        self._own = number
        self._serving: list[int] = []
        self._looks = 0
        self.inbox = inboxes[number][0]
        self._words[number][S_COMING] = 0

    def look(self) -> None:
        """Finds out who serves; about once a second."""
        self._looks += 1
        self._find()

    def _find(self) -> None:
        self._serving = [
            place for place, words in enumerate(self._words) if words[S_STATE] == SERVING and place != self._own
        ]

    def relieve(self, count: int, fd: int, listener: str) -> bool:
        """Passes a new connection on, if this worker has `count` and a sibling has rather fewer; whether it did."""
        if self._looks <= LOOKS_YOUNG and count >= SLACK:
            self._find()
        best, least = -1, count
        for place in self._serving:
            words = self._words[place]
            load = words[S_CONNECTIONS] + words[S_COMING]
            if load < least and words[S_STATE] == SERVING:
                best, least = place, load
        return best >= 0 and count >= least + SLACK + least // 8 and self.give(best, fd, listener)

    def lightest(self) -> int | None:
        """The sibling with the fewest connections, if there is any."""
        self.look()
        return min(
            self._serving,
            key=lambda place: self._words[place][S_CONNECTIONS] + self._words[place][S_COMING],
            default=None,
        )

    def give(self, place: int, fd: int, listener: str) -> bool:
        """Passes on the connection `fd`, which came to `listener`; the caller closes its own copy. False: it cannot."""
        # Counted before it goes: the other one begins at nothing again once its inbox is empty, and a connection that
        # was counted after that would be expected for ever.
        self._words[place][S_COMING] += 1
        if send(self._inboxes[place][1], fd, listener.encode()):
            return True
        self._words[place][S_COMING] = max(0, self._words[place][S_COMING] - 1)
        return False

    def fetch(self, take: Callable[[int, str], None]) -> None:
        """Calls `take(descriptor, listener)` for what others have passed on."""
        for _ in range(GIFTS_MAX):
            gift = receive(self.inbox)
            if gift is None:
                self._words[self._own][S_COMING] = 0
                return
            take(gift[0], gift[1].decode())


def make_inboxes(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """`count` inboxes: (to fetch from, to send into). Raises SettingError where there are no descriptors left."""
    try:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    except OSError as error:
        raise SettingError(f"workers: {error.strerror}; raise the limit of open files (ulimit -n)") from None
    for pair in pairs:
        for each in pair:
            each.setblocking(False)
    return pairs


def send(inbox: socket.socket, fd: int, label: bytes) -> bool:
    """Puts `fd` into an inbox; whether there was room."""
    try:
        socket.send_fds(inbox, [label], [fd])
    except OSError:
        return False
    return True


def receive(inbox: socket.socket) -> tuple[int, bytes] | None:
    """A descriptor and its label out of an inbox; None if it is empty."""
    while True:
        try:
            label, fds, _, _ = socket.recv_fds(inbox, 256, 1)
        except OSError:
            return None
        if fds:
            os.set_inheritable(fds[0], False)
            return fds[0], label
