"""An open-loop load: requests at a given rate, whatever the server does, their latency from the moment at which each
was to be sent.

wrk waits for an answer before it sends again. So it slows down with a server that is overloaded and never sees what
the clients of a public site see, who do not know of each other. Here arrivals are a Poisson process, a request that
finds no idle connection opens one, and above `connections_max` it waits at the client, with the time counted.

Rules: one process, one epoll, no thread. Knows nothing of servers or reports. A load whose generator is itself late is
worthless: `Outcome.late_s` says by how much, at the 99th percentile.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .clients import Address

clock = time.perf_counter

GRACE_S = 5.0  # answers are awaited so long after the last request was sent
HEADS_MAX = 4096  # heads remembered: they repeat within a second
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
SOURCES = 8  # addresses 127.0.0.x that connections come from, so that ephemeral ports do not run out


@dataclass
class Sample:
    """One request: when it was to be sent, was sent and was answered (seconds from the start), and its status."""

    meant_s: float
    sent_s: float
    done_s: float
    status: int  # 0: no answer
    retry_after: bool = False
    number: int = 0
    """Which of the wires it was."""

    @property
    def took_s(self) -> float:
        """From the moment at which it was to be sent."""
        return self.done_s - self.meant_s

    @property
    def served_s(self) -> float:
        """From the moment at which it was sent: what the server is answerable for, also where the loader is late."""
        return self.done_s - self.sent_s


@dataclass
class Outcome:
    """What became of the requests of one run."""

    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0
    late_s: float = 0.0
    cpu_s: float = 0.0
    connections: int = 0

    def of(self, *statuses: int) -> list[Sample]:
        return [sample for sample in self.samples if sample.status in statuses]

    def within(self, begin_s: float, end_s: float) -> list[Sample]:
        """Those that were to be sent in this part of the run."""
        return [sample for sample in self.samples if begin_s <= sample.meant_s < end_s]


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of them lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


class _Link:
    """One connection and the request on it."""

    __slots__ = ("buffer", "meant_s", "number", "sent_s", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""
        self.meant_s = 0.0
        self.sent_s = 0.0
        self.number = 0


class OpenLoop:
    """`rate` requests a second for `seconds`, in turn those of `wires`. `run` returns the Outcome."""

    def __init__(
        self,
        address: Address,
        wires: Sequence[bytes],
        rate: float,
        seconds: float,
        *,
        connections_max: int = 4000,
        seed: int = 1,
        stamped: bool = False,
    ) -> None:
        """`stamped`: an answer is there when the kernel has got it, not when this process comes to read it. So what a
        loader that shares its core is late by does not count as the server's."""
        self._address = address
        self._wires = wires
        self._rate = rate
        self._seconds = seconds
        self._connections_max = connections_max
        self._random = random.Random(seed)
        self._outcome = Outcome(seconds=seconds)
        self._poll = select.epoll()
        self._links: dict[int, _Link] = {}
        self._idle: list[_Link] = []
        self._due: deque[float] = deque()  # meant to be sent, and no connection to be had
        self._heads: dict[bytes, tuple[int, int, bool, bool]] = {}
        self._sent = 0
        self._began = 0.0
        self._stamped = stamped
        self._began_ns = 0  # the same on the clock of the kernel's stamps

    def run(self) -> Outcome:
        """Sends, receives, and waits for the last answers."""
        outcome = self._outcome
        self._began, self._began_ns, cpu_s = clock(), time.time_ns(), time.process_time()
        next_s = 0.0
        try:
            while True:
                now = clock() - self._began
                while next_s <= now and next_s < self._seconds:
                    self._due.append(next_s)
                    next_s += self._random.expovariate(self._rate)
                self._send_due(now)
                ends = next_s >= self._seconds
                if ends and ((not self._due and self._busy == 0) or now > self._seconds + GRACE_S):
                    break
                wait_s = 0.05 if ends or self._due else max(0.0, next_s - (clock() - self._began))
                for fd, _ in self._poll.poll(wait_s, 512):
                    self._on_readable(self._links[fd])
        finally:
            self._end()
        outcome.cpu_s = time.process_time() - cpu_s
        outcome.late_s = percentile([sample.sent_s - sample.meant_s for sample in outcome.samples], 0.99)
        return outcome

    @property
    def _busy(self) -> int:
        return len(self._links) - len(self._idle)

    def _send_due(self, now: float) -> None:
        due = self._due
        while due:
            link = self._idle.pop() if self._idle else self._connect()
            if link is None:
                return
            link.meant_s = due.popleft()
            link.sent_s = clock() - self._began
            link.number = self._sent % len(self._wires)
            self._sent += 1
            try:
                link.socket.send(self._wires[link.number])
            except OSError:
                self._on_end(link)

    def _connect(self) -> _Link | None:
        if len(self._links) >= self._connections_max:
            return None
        number = self._outcome.connections
        self._outcome.connections += 1
        connection = socket.socket()
        connection.bind((f"127.0.0.{2 + number % SOURCES}", 0))
        connection.settimeout(1.0)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            return None
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._stamped:
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        link = self._links[connection.fileno()] = _Link(connection)
        self._poll.register(connection, select.EPOLLIN)
        return link

    def _on_readable(self, link: _Link) -> None:
        try:
            data, stamps, _, _ = link.socket.recvmsg(65536, 64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_end(link)
            return
        link.buffer += data
        end = link.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        status, length, closes, retry_after = self._head(link.buffer[:end])
        if len(link.buffer) < end + 4 + length:
            return
        link.buffer = b""
        self._note(link, status, retry_after, self._stamp(stamps))
        link.meant_s = -1.0
        if closes:
            self._close(link)
        else:
            self._idle.append(link)

    def _head(self, head: bytes) -> tuple[int, int, bool, bool]:
        found = self._heads.get(head)
        if found is None:
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
            closes = fields.get(b"connection", b"").strip() == b"close"
            found = int(head[9:12]), int(fields[b"content-length"]), closes, b"retry-after" in fields
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[head] = found
        return found

    def _stamp(self, stamps: list[tuple[int, int, bytes]]) -> float:
        """When the last of it came, in seconds from the start; 0: it is not stamped."""
        for level, kind, data in stamps:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", data)
                return float(seconds * 1_000_000_000 + nanoseconds - self._began_ns) / 1e9
        return 0.0

    def _note(self, link: _Link, status: int, retry_after: bool = False, done_s: float = 0.0) -> None:
        done_s = done_s or clock() - self._began
        self._outcome.samples.append(Sample(link.meant_s, link.sent_s, done_s, status, retry_after, link.number))

    def _on_end(self, link: _Link) -> None:
        """The connection is over: an idle one may be, one with a request on it has lost that."""
        if link in self._idle:
            self._idle.remove(link)
        else:
            self._note(link, 0)
        self._close(link)

    def _close(self, link: _Link) -> None:
        self._links.pop(link.socket.fileno(), None)
        link.socket.close()

    def _end(self) -> None:
        for link in list(self._links.values()):
            if link not in self._idle:
                self._note(link, 0)
            self._close(link)
        for meant_s in self._due:
            self._outcome.samples.append(Sample(meant_s, self._seconds, self._seconds, 0))
        self._poll.close()
