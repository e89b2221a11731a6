"""Responses that are being made, and the requests that wait for them (collapsed forwarding).

Rules:

* One request at a time goes to the application for a key; the others are parked, and come again by the loop's `ready`
  when it has landed: kept, or not to be kept.
* Nobody waits longer than `wait_s`: then each goes by itself. Nor does anybody wait for what was not kept the last time
  (Varnish's hit-for-miss): what cannot be shared is never made one after the other.
* What another worker makes is looked for every LOOK_S while somebody waits for it.

Threads: `board`, `tick` by the leader; `land` by any.
"""

from __future__ import annotations

import threading
from time import monotonic, time

from vivace.cache.entry import Entry
from vivace.connection.refreshing import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.cache.levels import Levels
    from vivace.connection.connection import Connection
    from vivace.connection.loop import Loop

UNKEPT_MAX = 4096
UNKEPT_S = 30.0
"""Varnish: 120 s."""

FAILED_S = 1.0
"""... after a failure, which may pass."""

LOOK_S = 0.004


class Flight:
    """One of them."""

    __slots__ = ("began_s", "elsewhere", "key", "waiting")

    def __init__(self, key: str, elsewhere: bool) -> None:
        self.key = key
        self.began_s = monotonic()
        self.elsewhere = elsewhere
        """Another worker makes it."""
        self.waiting: list[Connection] = []


class Flights:
    """All of one loop."""

    def __init__(self, loop: Loop, levels: Levels, wait_s: float) -> None:
        self._loop = loop
        self._levels = levels
        self._shared = levels.shared
        self._wait_s = wait_s
        self._guard = threading.Lock()
        self._flights: dict[str, Flight] = {}
        self._unkept: dict[str, float] = {}
        """Key -> until when nobody waits for it."""

    def is_unkept(self, key: str) -> bool:
        """Whether it is useless to wait for `key`."""
        return self._unkept.get(key, 0.0) > monotonic()

    def board(self, key: str, conn: Connection | None) -> Flight | None:
        """The flight that the caller is to make; None: another one makes it, and `conn` waits for that."""
        with self._guard:
            flight = self._flights.get(key)
            if flight is None:
                elsewhere = self._shared is not None and not self._shared.claim(key, self._wait_s)
                if elsewhere and conn is None:
                    return None
                flight = self._flights[key] = Flight(key, elsewhere)
                if not elsewhere:
                    return flight
                self._loop.sweeper.hurry(LOOK_S)
            if conn is not None:
                flight.waiting.append(conn)
            return None

    def land(self, flight: Flight | None, key: str, unkept_s: float = 0.0) -> None:
        """What `flight` was for is kept, or will not be for `unkept_s`: whoever waits for it comes again."""
        if unkept_s:
            if len(self._unkept) >= UNKEPT_MAX:
                self._unkept.clear()
            self._unkept[key] = monotonic() + unkept_s
        else:
            self._unkept.pop(key, None)
        if flight is None:
            return
        if self._shared is not None:
            self._shared.release(flight.key, unkept_s)
        self._wake(self._taken_off(flight))

    def tick(self) -> list[Connection]:
        """Looks after those who wait; those that have waited too long, who are to go by themselves."""
        alone: list[Connection] = []
        if not self._flights:
            return alone
        hurried = False
        limit_s = monotonic() - self._wait_s
        for flight in list(self._flights.values()):
            if flight.began_s < limit_s:
                alone += self._taken_off(flight)
            elif flight.elsewhere:
                found = self._levels.look(flight.key)
                made = found is not None and (type(found) is not Entry or found.fresh_until_s > time())
                if made or (self._shared is not None and not self._shared.claimed(flight.key)):
                    self._wake(self._taken_off(flight))
                else:
                    hurried = True
        if hurried:
            self._loop.sweeper.hurry(LOOK_S)
        else:
            self._loop.sweeper.awake()
        return alone

    def end(self) -> None:
        """The loop has ended: nobody takes off any more, and who waits is let go. Leader."""
        for flight in list(self._flights.values()):
            self._loop.ready.extend(self._taken_off(flight))
        self._let_go()

    def _taken_off(self, flight: Flight) -> list[Connection]:
        with self._guard:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            waiting, flight.waiting = flight.waiting, []
        return waiting

    def _wake(self, waiting: list[Connection]) -> None:
        if waiting:
            self._loop.ready.extend(waiting)
            if self._loop.done:
                self._let_go()
            else:
                self._loop.poller.wake()

    def _let_go(self) -> None:
        """Closes what came too late for the loop."""
        ready = self._loop.ready
        while ready:
            try:
                conn = ready.popleft()
            except IndexError:
                return  # another thread does the same
            if not isinstance(conn, Job):
                self._loop.close(conn, "stopping")
