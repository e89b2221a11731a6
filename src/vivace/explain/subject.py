"""A server that the doctor starts and loads itself, and what it finds out while it does.

Rules: the load is that of `lab`: closed loop, so many clients, from this machine. What runs here has ended when it is
left.
"""

from __future__ import annotations

import threading
import time

from vivace.errors import SettingError
from vivace.explain.case import Case
from vivace.explain.counting import CLIENT, DATABASE, count
from vivace.explain.gathering import Aside, gather
from vivace.lab import crew
from vivace.lab.plan import CLOSED, Load, Place
from vivace.lab.server import from_preset, start
from vivace.observe.page import page_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vivace.explain.evidence import Evidence
    from vivace.lab.plan import Shot
    from vivace.lab.result import Result
    from vivace.lab.server import Running
    from vivace.observe.page import Page

WARMUP_S = 1.5
PAGE_S = 5.0
SLACK_S = 0.5
MORE_S = 2.0
"""Of each load that follows while memory is looked into."""


class Subject:
    """An application and how it is loaded."""

    def __init__(self, app: str, shots: list[Shot], options: Sequence[str] = (), *, clients: int = 8) -> None:
        self.app = app
        self.shots = shots
        self.options = list(options)
        self.clients = clients

    def _asks(self, evidence: Evidence) -> bool:
        """Whether its requests ask something else, so that it matters how often."""
        return any(spot.kind in (DATABASE, CLIENT) for spot in Case(evidence).spots)

    @property
    def target(self) -> str:
        """What shows that it answers."""
        return next((shot.target for shot in self.shots if shot.method in ("GET", "HEAD")), "/")

    def examine(self, seconds: float, tell: Callable[[str], None]) -> Evidence:
        """Starts it, loads it, looks. Raises SettingError if it does not start, or answers nothing."""
        command = from_preset("vivace", self.app, self.options)
        with start(command, self.target) as running:
            page = _page(running)
            try:
                return self._examine(running, page, seconds, tell)
            finally:
                page.close()

    def _examine(self, running: Running, page: Page, seconds: float, tell: Callable[[str], None]) -> Evidence:
        place = Place(*running.address)
        tell(f"{self.app or 'the application'} is loaded by {self.clients} clients for {seconds:.0f} s")
        load = self.load(WARMUP_S + seconds + SLACK_S, WARMUP_S)
        over = threading.Event()
        firing = Aside(lambda: self._fire(load, place, running.pid, over))
        try:
            time.sleep(WARMUP_S)
            evidence = gather(page, seconds)
        finally:
            over.set()
        result: Result = firing.result()
        if not result.total.answers:
            raise SettingError(f"{self.app}: nothing was answered: {dict(result.total.errors) or 'no answer came'}")
        evidence.load = {
            "clients": self.clients,
            "mode": load.mode,
            "think_s": sum(shot.think_s * shot.weight for shot in self.shots) / sum(shot.weight for shot in self.shots),
            "bottleneck": result.loader.bottleneck,
            "loader_cores": result.loader.cpu_share * result.loader.processes,
            "result": result.summary(),
        }
        evidence.missing.pop("load", None)
        evidence.calls = count(self.app, self.shots) if self._asks(evidence) else None
        return evidence

    def _fire(self, load: Load, place: Place, pid: int, over: threading.Event) -> Result:
        """Loads for as long as it is looked at; the result is that of the first load."""
        result = crew.run(load, place, pid=pid)
        while not over.is_set():
            crew.run(self.load(MORE_S, 0.0), place, pid=pid)
        return result

    def load(self, seconds: float, warmup_s: float) -> Load:
        """One of so many seconds, of which the first `warmup_s` do not count."""
        return Load(self.shots, CLOSED, connections=self.clients, seconds=seconds, warmup_s=warmup_s)


def _page(running: Running) -> Page:
    """Its shared page. Raises SettingError where there is none."""
    until_s = time.monotonic() + PAGE_S
    while time.monotonic() < until_s:
        page = page_of(running.pid)
        if page is not None:
            return page
        time.sleep(0.01)
    raise SettingError("the server has no shared page to look at: is /proc there, and metrics on?")
