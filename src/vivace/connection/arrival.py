"""When a request reached this machine: what it waited before the loop found it.

The poller reports at once what is ready already. It came while the turn before ran, and is taken to have come evenly;
what was waited for has not waited itself. That is an estimate: behind a call that stalled the loop it may be off by
half of the stall, and it does not see what the loop waits for the GIL when it is woken.

Where `stamped`, the kernel is asked. It then stamps each segment that comes (SO_TIMESTAMPNS, socket(7); an accepted
socket inherits the option of its listener), which costs every packet of the machine a clock. To look at a stamp costs
6 us, and 30 where the application has taken the processor's caches, so it is done for the first event of a turn, at
most once in LOOK_S, and after each turn that was long: the poller reports in the order in which sockets became ready,
so the first one waited longest. What lies between two looks is estimated: the same part of the time between two turns.
After a wait that was long (LATE_S) all of the turn's events are looked at, unless they are many.

Rules: where there is no stamp (Unix sockets, other systems), a request begins when the loop finds it.

Threads: the leader.
"""

from __future__ import annotations

import socket
import struct
import time

from vivace.connection.meter import clock
from vivace.observe.histogram import bucket_of
from vivace.observe.layout import LAG, W_LAG_LOOKS, W_LAG_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.observe.section import Section

AT_ONCE_S = 8e-6
"""A wait of the poller that is over sooner found something ready; the kernel takes longer to wake a thread."""
LOOK_S = 0.01
LATE_S = 0.002
"""After a longer wait whatever has come meanwhile is looked at: the others came at any time during it ..."""
LATE_EACH_S = 0.002
"""... if they are so few that it costs next to nothing. Where many wait, they have come one after the other."""
TRIES = 4
"""So many of the first are asked for one that knows."""
LAG_S_MAX = 3600.0
"""More than that is no wait, but a clock that was set."""
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the module socket does not name it
TIMESPEC = struct.Struct("qq")


def turn_on(listener: socket.socket) -> None:
    """What is accepted from now on is stamped, where the system can."""
    if listener.family != socket.AF_UNIX:
        try:
            listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            pass


def waited_s(fd: int) -> float:
    """How long ago what is still unread came, or the last piece of it; 0 where nobody knows."""
    try:
        peek = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    except OSError:
        return 0.0
    try:
        _, ancillary, _, _ = peek.recvmsg(1, 64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return 0.0
    finally:
        peek.detach()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            lag_s = (time.time_ns() - seconds * 1_000_000_000 - nanoseconds) / 1e9
            return lag_s if 0 < lag_s < LAG_S_MAX else 0.0
    return 0.0


def arrived(fd: int) -> float:
    """When the first byte that is still unread came; now, where nobody knows."""
    return clock() - waited_s(fd)


class Arrivals:
    """The estimate of one loop, and its histogram in the shared page."""

    __slots__ = ("_accept_s", "_accepted_s", "_histogram", "_look_s", "_share", "_turned_s", "_words", "stamped")

    def __init__(self, section: Section, *, stamped: bool) -> None:
        self._histogram = section.histogram(LAG)
        self._words = section.words
        self.stamped = stamped
        """Whether the kernel says when something came."""
        self._accept_s = 0.0
        self._accepted_s = 0.0
        self.begin()

    def begin(self) -> None:
        """A thread begins to lead the loop."""
        self._look_s = self._share = 0.0
        self._turned_s = clock()

    def turn(
        self, conns: dict[int, Connection], events: list[tuple[int, int]], asked: float, now: float
    ) -> tuple[float, bool]:
        """(how long the first of `events` has waited, whether each of them is to be looked at), in a turn for which the
        poller was `asked` and that began at `now`."""
        turned_s, self._turned_s = self._turned_s, now
        turn_s = now - turned_s
        late = False
        if not self.stamped:
            lag_s = turn_s * len(events) / (len(events) + 1) if now - asked < AT_ONCE_S else 0.0
            if now >= self._look_s:
                self._look_s = now + LOOK_S
                self._count(lag_s)
        elif now < self._look_s and asked - turned_s < LATE_S:
            lag_s = self._share * turn_s
        else:
            lag_s, self._share, self._look_s = self.look(conns, events, now, turn_s)
            late = lag_s > LATE_S and lag_s > LATE_EACH_S * len(events)
        return lag_s, late

    def look(
        self, conns: dict[int, Connection], events: list[tuple[int, int]], now: float, turn_s: float
    ) -> tuple[float, float, float]:
        """(how long what was ready first had waited when a turn began at `now`, which part that is of `turn_s`, the
        time since the turn before, and when to look again)."""
        for fd, _ in events[:TRIES]:
            conn = conns.get(fd)
            if conn is not None and not conn.state and (lag_s := waited_s(fd)):  # 0: it has ended
                lag_s = self._count(lag_s - (clock() - now))
                return lag_s, min(1.0, lag_s / max(1e-9, turn_s)), now + LOOK_S
        return 0.0, 0.0, now + LOOK_S

    def accepted(self, fd: int, now: float) -> float:
        """When the first bytes of a connection came that has just been accepted, in a turn that began at `now`."""
        if not self.stamped:
            return now
        if now >= self._accepted_s + LOOK_S:
            self._accepted_s = now
            self._accept_s = self._count(waited_s(fd) - (clock() - now))
        elif self._accept_s > LATE_S:
            return arrived(fd)
        return now - self._accept_s

    def _count(self, lag_s: float) -> float:
        lag_s = max(0.0, lag_s)
        self._histogram[bucket_of(lag_s)] += 1
        self._words[W_LAG_LOOKS] += 1
        self._words[W_LAG_NS] += int(lag_s * 1e9)
        return lag_s
