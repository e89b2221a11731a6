"""Of several threads that want the same thing, one makes it; the others wait for that.

Rules:

* Waiting is bounded in time, and refused where it would never end: for what the waiting thread makes itself, further up
  in its calls, or for a thread that waits, over any number of others, for this one.
* What was made reaches all who waited. An Exception does, too, as with concurrent.futures: making it again at once for
  each of them would be the stampede that this prevents. What ends only the thread that made it (a RequestTimeout,
  SystemExit) sends them on to make it themselves, one of them at a time.
"""

from __future__ import annotations

import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.cache.values import Kept


class Flight:
    """Something that is being made."""

    __slots__ = ("error", "landed", "made", "owner")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.landed = threading.Event()
        self.made: Kept | None = None
        """Set by the owner, if it came to that."""
        self.error: Exception | None = None


class Flights:
    """What is being made now, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        self._waiting: dict[int, Flight] = {}
        """Thread -> what it waits for."""

    def begin(self, name: str) -> Flight | None:
        """For who will make it; None: somebody does already."""
        with self._lock:
            if name in self._flights:
                return None
            flight = self._flights[name] = Flight(threading.get_ident())
            return flight

    def land(self, name: str, flight: Flight) -> None:
        """It is made, or will not be: its owner says so in any case."""
        with self._lock:
            del self._flights[name]
        flight.landed.set()

    def fly(self, name: str, flight: Flight, make: Callable[[Flight], Any]) -> Any:
        """What `make(flight)` returns, for the owner of `flight`."""
        try:
            return make(flight)
        except Exception as error:
            flight.error = error
            raise
        finally:
            self.land(name, flight)

    def share(self, name: str, make: Callable[[Flight], Any], wait_s: float) -> Any:
        """What `make(flight)` returns here, or a copy of what another thread set as `flight.made`.

        Raises what making it raised. Makes it beside another thread where waiting for that takes too long.
        """
        deadline = monotonic() + wait_s
        while True:
            flight = self.begin(name)
            if flight is not None:
                return self.fly(name, flight, make)
            with self._lock:
                flight = self._flights.get(name)
            if flight is None:
                continue
            if not self._wait(flight, deadline - monotonic()):
                return make(Flight(threading.get_ident()))
            if flight.error is not None:
                raise flight.error
            if flight.made is not None:
                return flight.made.value

    def _wait(self, flight: Flight, seconds: float) -> bool:
        """Whether it landed in time."""
        own = threading.get_ident()
        with self._lock:
            seen: Flight | None = flight
            while seen is not None and not seen.landed.is_set():
                if seen.owner == own:
                    return False
                seen = self._waiting.get(seen.owner)
            self._waiting[own] = flight
        try:
            return flight.landed.wait(max(0.0, seconds))
        finally:
            with self._lock:
                del self._waiting[own]
