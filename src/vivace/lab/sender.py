"""The connections of one generator, and what is done with each: opened, written to, read from, failed, closed.

Everything but the path of the answer that is known (`generator.drive`), and the clock: what is due, what has timed out,
when the load is over.

Rules: single-threaded, nothing blocks after `connect`; every request that was taken ends in exactly one answer or one
error of the recorder.
"""

from __future__ import annotations

import select
import time
from collections import deque
from heapq import heappop, heappush
from math import inf

from vivace.lab.answer import BadResponse, Reader
from vivace.lab.arrivals import planned
from vivace.lab.link import CLOSED, CONNECTING, IDLE, READING, SHAKING, WRITING, Dialer, Link
from vivace.lab.plan import OPEN
from vivace.lab.prepared import prepared
from vivace.lab.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivace.lab.plan import Load, Place
    from vivace.lab.prepared import Prepared

READ_BYTES = 16 * 1024
"""For a first read: more is seldom an answer that repeats. Long bodies are read in BULK_BYTES."""
BULK_BYTES = 256 * 1024
KNOWN_MAX = 512
"""Whole answers that are remembered, of up to READ_BYTES."""
EVENTS_MAX = 256
RETRY_S = 0.1
"""Closed loop: how long a link rests after it failed, so that a server that is down is not asked 100,000 times."""
TICK_S, DRAIN_TICK_S = 0.1, 0.01
PRECISE_S = 0.002
"""epoll_wait counts in milliseconds; for shorter waits select() on the epoll descriptor counts in microseconds."""


class Sender:
    """The links, the plan and what is measured."""

    def __init__(self, load: Load, place: Place, process: int) -> None:
        """Raises OSError if nothing listens."""
        self.load, self.process = load, process
        self.open_loop = load.mode == OPEN
        self.shots = prepared(load, place)
        self.record = Recorder(load, self.shots)
        self.dialer = Dialer(place)
        self.blocked = self.dialer.blocked
        self.epoll = select.epoll()
        count = load.connections // load.processes + (process < load.connections % load.processes)
        self.all = [Link() for _ in range(count)]
        self.links: dict[int, Link] = {}
        self.idle = deque(self.all)
        self.thinking: list[tuple[float, int, Link]] = []
        self.plan: Iterator[tuple[float, Prepared]] = iter(())
        self.due_s, self.next_shot = inf, self.shots[0]
        self.tick_s = self.end_s = self.last_s = inf
        self.done = False

    # Before the load.

    def connect(self) -> None:
        """All links, so that a closed loop does not begin with a storm of connections. Raises OSError if none succeeds.

        Open loop has one and connects the others as it needs them, the last used first: a connection that says nothing
        would hold up a server that reads from one at a time.
        """
        failed: OSError | None = None
        until_s = time.monotonic() + self.load.timeout_s
        for link in self.all[-1:] if self.open_loop else self.all:
            failed = self._dial(link) or failed
        while (left_s := until_s - time.monotonic()) > 0 and any(0 < link.state < IDLE for link in self.all):
            for fd, _ in self.epoll.poll(min(left_s, 1.0), EVENTS_MAX):
                failed = self._step(self.links[fd]) or failed
        for link in self.all:
            if 0 < link.state < IDLE:
                failed = TimeoutError(f"no connection in {self.load.timeout_s:g} s")
                self.close(link)
        if failed is not None and not any(link.state == IDLE for link in self.all):
            raise failed

    def _dial(self, link: Link) -> OSError | None:
        try:
            self.dialer.open(link)
        except OSError as error:
            return error
        self.links[link.fd] = link
        self.epoll.register(link.fd, select.EPOLLOUT)
        return None

    def _step(self, link: Link) -> OSError | None:
        """Goes on connecting. A link that failed is CLOSED."""
        if link.state not in (CONNECTING, SHAKING):
            return None  # it says more than was asked: it is looked at when it is used
        try:
            if link.state == CONNECTING:
                self.dialer.on_connected(link)
            if link.state == SHAKING:
                self.dialer.shake(link)
        except self.blocked as error:
            wants_write = "Write" in type(error).__name__
            self.epoll.modify(link.fd, select.EPOLLOUT if wants_write else select.EPOLLIN)
            return None
        except OSError as error:
            self.close(link)
            return error
        self.epoll.modify(link.fd, select.EPOLLIN)
        return None

    def begin(self, begin_s: float) -> None:
        """Sets the clock of the load."""
        self.plan = planned(self.load, self.shots, begin_s, self.process)
        self.end_s = begin_s + self.load.seconds
        self.last_s = self.end_s + self.load.timeout_s
        self.record.begin(begin_s)
        self.due_s, self.next_shot = next(self.plan)
        if not self.open_loop:
            self.due_s = begin_s  # all wait until then
        self.tick_s = begin_s

    # The loop.

    def wait(self, now: float) -> list[tuple[int, int]]:
        """Events; none when something is due first."""
        until_s = min(self.tick_s, self.due_s) if self.idle else self.tick_s
        gap_s = until_s - now
        if gap_s <= 0:
            return self.epoll.poll(0, EVENTS_MAX)
        if gap_s > PRECISE_S or not self.open_loop:
            return self.epoll.poll(max(gap_s - 0.001, 0.001), EVENTS_MAX)
        select.select([self.epoll], [], [], gap_s)
        return self.epoll.poll(0, EVENTS_MAX)

    def on_tick(self, now: float) -> None:
        """Ten times a second and at each end of a slice: what a clock does."""
        self.record.on_time(now)
        while self.thinking and self.thinking[0][0] <= now:
            self.idle.append(heappop(self.thinking)[2])
        for link in self.all:
            if link.shot is not None and now - link.sent_s > self.load.timeout_s:
                self.fail(link, now, "connect timeout" if link.state in (CONNECTING, SHAKING) else "timeout")
        if now >= self.end_s:
            if not self.open_loop:
                self.due_s = inf
            self.done = self.due_s == inf and not any(link.shot for link in self.all)
            if now >= self.last_s:
                self.give_up(now)
        self.tick_s = min(now + (TICK_S if now < self.end_s else DRAIN_TICK_S), self.record.next_s)
        if self.thinking:
            self.tick_s = min(self.tick_s, self.thinking[0][0])
        if now < self.end_s:
            self.tick_s = min(self.tick_s, self.end_s)

    def give_up(self, now: float) -> None:
        """The timeout after the end has passed: what has not been answered now is not."""
        for link in self.all:
            if link.shot is not None:
                self.fail(link, now, "timeout")
        while self.due_s != inf:
            self.record.error("not sent")
            self.due_s, self.next_shot = next(self.plan)
        self.done = True

    # One link.

    def take(self, link: Link, now: float) -> None:
        """Gives the next request to a free link."""
        shot = link.shot = self.next_shot
        link.intended_s = self.due_s if self.open_loop else now
        link.sent_s = now
        self.due_s, self.next_shot = next(self.plan)
        self.record.sent += 1
        if link.state == IDLE:
            self.write(link, now, shot.data)
            return
        error = self._dial(link)
        if error is not None:
            self.fail(link, now, "connect")

    def write(self, link: Link, now: float, data: bytes) -> None:
        """Sends `data`, as much as the socket takes; the rest when it is writable."""
        try:
            sent = link.send(data)
        except self.blocked:
            sent = 0
        except OSError:
            self.fail(link, now, "reset")
            return
        if sent < len(data):
            self.unsent(link, data[sent:])
            return
        if link.state == WRITING:
            self.epoll.modify(link.fd, select.EPOLLIN)
        link.state = READING

    def unsent(self, link: Link, rest: bytes) -> None:
        """It goes on when the socket can be written to."""
        link.rest = rest
        if link.state != WRITING:
            link.state = WRITING
            # An answer may come before the request is written: a refusal of a long body.
            self.epoll.modify(link.fd, select.EPOLLIN | select.EPOLLOUT)

    def on_event(self, link: Link, event: int, now: float) -> None:
        """Whatever is not a first piece of an answer."""
        if link.state in (CONNECTING, SHAKING):
            error = self._step(link)
            if error is not None:
                tls = link.sock is not None or "ssl" in type(error).__module__
                self.fail(link, now, "tls" if tls else "connect")
            elif link.state == IDLE and link.shot is not None:
                self.write(link, now, link.shot.data)
            return
        if link.state == WRITING and event & select.EPOLLOUT:
            self.write(link, now, link.rest)
            event &= ~select.EPOLLOUT
        if event and link.state >= IDLE:
            try:
                data = link.recv(BULK_BYTES)
            except self.blocked:
                return
            except OSError:
                data = b""
                if link.shot is not None:
                    self.fail(link, now, "reset")
                    return
            self.on_data(link, data, now)

    def on_data(self, link: Link, data: bytes, now: float) -> None:
        """Bytes (none: the end of the connection) that are not a whole known answer."""
        shot = link.shot
        if shot is None:
            self.close(link)  # a server may close what idles; what speaks unasked is not trusted either
            return
        reader = link.reader
        first = reader is None
        if reader is None:
            reader = link.reader = Reader(shot.headless)
        self.record.received += len(data)
        try:
            if data:
                done = reader.feed(data)
                while not done:
                    data = link.recv(BULK_BYTES)
                    first = False
                    if not data:
                        break
                    self.record.received += len(data)
                    done = reader.feed(data)
            if not data and not reader.until_close:
                self.fail(link, now, "closed")
                return
        except BadResponse:
            self.fail(link, now, "bad response")
            return
        except self.blocked:
            return
        except OSError:
            self.fail(link, now, "reset")
            return
        if first and reader.keep and link.state == READING and len(data) < READ_BYTES:
            if len(shot.known) >= KNOWN_MAX:
                shot.known.clear()
            shot.known[data] = f"{reader.status // 100}xx"
        self.answered(link, time.monotonic(), reader)

    def answered(self, link: Link, now: float, reader: Reader) -> None:
        """The answer is whole."""
        shot = link.shot
        assert shot is not None
        self.record.answer(shot, now - link.intended_s, now - link.sent_s, f"{reader.status // 100}xx")
        link.reader = None
        link.shot = None
        if not reader.keep or link.state == WRITING:
            self.close(link)
        else:
            link.state = IDLE
        self.rest(link, shot, now)

    def rest(self, link: Link, shot: Prepared, now: float) -> None:
        """The link is free: it takes what is due, thinks, or waits for what comes."""
        if shot.think_s and not self.open_loop:
            self.think(link, now + shot.think_s)
        elif link.state == IDLE:
            self.idle.append(link)
        else:
            self.idle.appendleft(link)

    def think(self, link: Link, until_s: float) -> None:
        heappush(self.thinking, (until_s, id(link), link))
        self.tick_s = min(self.tick_s, until_s)

    def fail(self, link: Link, now: float, kind: str) -> None:
        """The request of this link has no answer."""
        self.record.error(kind)
        link.shot = None
        self.close(link)
        if self.open_loop:
            self.idle.appendleft(link)
        else:
            self.think(link, now + RETRY_S)

    def close(self, link: Link) -> None:
        """Ends the connection; the link stays."""
        if link.sock is not None:
            del self.links[link.fd]
            link.sock.close()  # which takes it out of the epoll set
        link.sock, link.fd, link.state = None, -1, CLOSED
        link.reader, link.rest = None, b""
