"""The engine that runs the grammar: counts, keeps what behaves in a new way, and writes down what breaks."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

from . import invariants, seeds
from .grammar import streams
from .served import Server

if TYPE_CHECKING:
    from collections.abc import Callable

# Of all streams, so many are held to the invariants that cost more than a reading.
TWIN_EVERY = 4
AGAIN_EVERY = 10
READER_EVERY = 40
ORACLE_EVERY = 100
SERVED_EVERY = 1000
MEMORY_EVERY = 5000
REPORT_S = 60.0
BROKEN_MAX = 20


class Run:
    """One run, and its numbers."""

    def __init__(self, seed: int, served: bool = True) -> None:
        self.seed = seed
        self.cases = 0
        self.served = 0
        self.broken: list[tuple[bytes, list[int], str]] = []
        self.known: set[str] = set()
        self.fresh: list[bytes] = []
        self.slowest_s = 0.0
        self._with_server = served
        for kind, data in seeds.load():
            if kind == "stream":
                self.known.update(invariants.check(data, []))

    def go(self, cases: int, seconds: float, say: Callable[[str], None]) -> None:
        """Until so many cases, or so long; 0 for no bound."""
        began = time.monotonic()
        reported = began
        peak = 0
        with Server() as server:
            for data, cuts in streams(self.seed):
                self._one(data, cuts, server)
                self.cases += 1
                if self.cases % 256 == 0:
                    now = time.monotonic()
                    if now - reported > REPORT_S:
                        reported = now
                        say(self.line(now - began))
                    if (cases and self.cases >= cases) or (seconds and now - began >= seconds):
                        break
                if self.cases % MEMORY_EVERY == 0:
                    self._guarded(b"", [], invariants.check_memory)
                    # After the first, everything that is kept has been filled once or more.
                    if self.cases == MEMORY_EVERY * 40:
                        peak = memory_kib()
                if len(self.broken) >= BROKEN_MAX:
                    break
        say(self.line(time.monotonic() - began))
        if peak:
            say(f"memory: {peak} KiB after {MEMORY_EVERY * 40} cases, {memory_kib()} KiB at the end")

    def _one(self, data: bytes, cuts: list[int], server: Server) -> None:
        def check() -> None:
            started = time.process_time()
            signature = invariants.check(
                data,
                cuts,
                twin=self.cases % TWIN_EVERY == 0,
                again=self.cases % AGAIN_EVERY == 0,
                oracle=self.cases % ORACLE_EVERY == 0,
                reader=self.cases % READER_EVERY == 0,
            )
            self.slowest_s = max(self.slowest_s, time.process_time() - started)
            if not self.known.issuperset(signature) and len(data) <= seeds.BYTES_MAX:
                self.known.update(signature)
                self.fresh.append(data)
            if self._with_server and self.cases % SERVED_EVERY == 0:
                self.served += 1
                server.check(data, cuts)

        self._guarded(data, cuts, check)

    def _guarded(self, data: bytes, cuts: list[int], check: Callable[[], object]) -> None:
        try:
            check()
        except Exception as error:
            self.broken.append((data, cuts, f"{type(error).__name__}: {error}"))
            print(f"BROKEN {data!r} {cuts!r}\n{error!r}", file=sys.stderr, flush=True)

    def line(self, took_s: float) -> str:
        """The numbers so far."""
        return (
            f"{self.cases} cases in {took_s:.0f} s ({time.process_time():.0f} s of CPU time), {self.served} of them"
            f" served over a socket, {len(self.fresh)} new ways, {len(self.broken)} broken, slowest"
            f" {self.slowest_s * 1000:.1f} ms, memory {memory_kib()} KiB"
        )


def memory_kib() -> int:
    """The most that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
