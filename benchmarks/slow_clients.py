"""Clients that are as slow as they can be: heads and bodies that come byte by byte, responses that are hardly read.

    python -m benchmarks.slow_clients PORT HEADS BODIES READERS

Keeps that many of each kind open until it is told to stop (SIGTERM), opening another one wherever the server cuts one
off, and prints what it saw as one line of JSON: for each kind how many were opened, cut off, and how old those were.
A process of its own, so that it costs the load beside it nothing but its share of a core. One epoll, no thread.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from collections import deque

from .processes import raise_descriptor_limit

DRIP_S = 2.0  # between two bytes of one client
OPEN_MAX = 200  # a turn, so that many that were cut off at once come back one after another
SOURCES = 8

HEAD = b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: "
BODY = b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\n"
READ = b"GET /large HTTP/1.1\r\nHost: slow\r\n\r\n"
KINDS = {"heads": HEAD, "bodies": BODY, "readers": READ}


class Slow:
    """One client."""

    __slots__ = ("kind", "opened_s", "socket")

    def __init__(self, kind: str, connection: socket.socket) -> None:
        self.kind = kind
        self.socket = connection
        self.opened_s = time.perf_counter()


class Attack:
    """Holds `wanted` clients of each kind open."""

    def __init__(self, port: int, wanted: dict[str, int]) -> None:
        self._port = port
        self._wanted = wanted
        self._poll = select.epoll()
        self._open: dict[int, Slow] = {}
        self._turn: deque[tuple[float, Slow]] = deque()  # who drips next, and when
        self.stopping = False
        self._held = dict.fromkeys(wanted, 0)
        self.opened = dict.fromkeys(wanted, 0)
        self.cut: dict[str, list[float]] = {kind: [] for kind in wanted}

    def run(self) -> None:
        told = False
        while not self.stopping:
            self._refill()
            if not told and self._held == self._wanted:
                told = True
                print("ready", flush=True)
            for fd, _ in self._poll.poll(0.05, 512):
                if fd in self._open:
                    self._on_readable(self._open[fd])
            self._drip()

    def _refill(self) -> None:
        room = OPEN_MAX
        for kind, wanted in self._wanted.items():
            for _ in range(min(room, wanted - self._held[kind])):
                self._connect(kind)
                room -= 1

    def _connect(self, kind: str) -> None:
        connection = socket.socket()
        if kind == "readers":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # As over Ethernet: with the segments of the loop-back device, the system would buffer 3 MB for each.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        connection.bind((f"127.0.1.{1 + sum(self.opened.values()) % SOURCES}", 0))
        connection.settimeout(2.0)
        try:
            connection.connect(("127.0.0.1", self._port))
            connection.send(KINDS[kind])
        except OSError:
            connection.close()
            return
        connection.setblocking(False)
        slow = self._open[connection.fileno()] = Slow(kind, connection)
        # A reader does not look at what is there; that it is cut off it hears all the same.
        self._poll.register(connection, 0 if kind == "readers" else select.EPOLLIN)
        self._turn.append((time.perf_counter() + DRIP_S, slow))
        self.opened[kind] += 1
        self._held[kind] += 1

    def _on_readable(self, slow: Slow) -> None:
        """An answer to a request that was never whole: it was cut off."""
        self.cut[slow.kind].append(time.perf_counter() - slow.opened_s)
        self._held[slow.kind] -= 1
        self._open.pop(slow.socket.fileno())
        slow.socket.close()

    def _drip(self) -> None:
        now = time.perf_counter()
        while self._turn and self._turn[0][0] <= now:
            _, slow = self._turn.popleft()
            if slow.socket.fileno() < 0:
                continue
            try:
                if slow.kind == "readers":
                    slow.socket.recv(1)
                else:
                    slow.socket.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                self._on_readable(slow)
                continue
            self._turn.append((now + DRIP_S, slow))

    def report(self) -> dict[str, dict[str, float]]:
        found = {}
        for kind, ages in self.cut.items():
            oldest = max((time.perf_counter() - s.opened_s for s in self._open.values() if s.kind == kind), default=0.0)
            found[kind] = {
                "opened": self.opened[kind],
                "cut": len(ages),
                "age_s": sorted(ages)[len(ages) // 2] if ages else 0.0,
                "oldest_s": max([*ages, oldest]) if ages or oldest else 0.0,
            }
        return found


def main(argv: list[str]) -> None:
    raise_descriptor_limit()
    port, *counts = (int(word) for word in argv)
    attack = Attack(port, dict(zip(KINDS, counts, strict=True)))

    def stop(number: int, frame: object) -> None:
        attack.stopping = True

    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt):
        attack.run()
    print(json.dumps(attack.report()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
