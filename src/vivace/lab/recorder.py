"""What a generator measures, slice by slice, and its way to the crew.

Rules: between two slices only appends to arrays and counts; a slice is binned (about 50 ns a time) and printed as a
line of JSON when it is over. What comes after the end of the load is a slice of its own, the last.
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from collections import Counter, defaultdict
from dataclasses import asdict
from math import inf

from vivace.lab.result import Slice
from vivace.observe.histogram import binned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.plan import Load
    from vivace.lab.prepared import Prepared


class Recorder:
    """The slice under way, and how the process does."""

    def __init__(self, load: Load, shots: list[Prepared]) -> None:
        # One for each name, in their order.
        self._times = list({id(shot.times): shot.times for shot in shots}.values())
        self._count, self._slice_s = load.slices, load.slice_s
        self._index = 0
        self._begin_s = 0.0
        self.next_s = inf
        """When the slice is over."""
        self.received = 0
        self.sent = 0
        self.late = array("f")
        self.statuses: defaultdict[str, int] = defaultdict(int)
        self._errors: defaultdict[str, int] = defaultdict(int)
        self._lateness: Counter[int] = Counter()
        self._own = (0.0, 0.0)
        self._shares = (0.0, 0.0)

    def begin(self, begin_s: float) -> None:
        """The load begins then."""
        self._begin_s = begin_s
        self._own = _own_times()
        self.next_s = begin_s + self._slice_s

    def answer(self, shot: Prepared, latency_s: float, service_s: float, kind: str) -> None:
        """An answer that was not known by heart."""
        shot.times.latency.append(latency_s)
        shot.times.service.append(service_s)
        self.statuses[kind] += 1

    def error(self, kind: str) -> None:
        """A request that has no answer."""
        self._errors[kind] += 1

    def on_time(self, now: float) -> None:
        """Ends each slice whose time is over."""
        while now >= self.next_s:
            self._end_slice()
            if self._index == self._count:
                busy, waited = _own_times()
                length_s = max(now - self._begin_s, 1e-9)
                self._shares = ((busy - self._own[0]) / length_s, (waited - self._own[1]) / length_s)
                self.next_s = inf
            else:
                self.next_s = self._begin_s + (self._index + 1) * self._slice_s

    def finish(self) -> None:
        """The last slice, and what is to be said of this process."""
        self._end_slice()
        busy, waited = self._shares
        _say({"sent": self.sent, "cpu_share": busy, "waited_share": waited, "late": dict(self._lateness)})

    def _end_slice(self) -> None:
        one = Slice(received=self.received, statuses=dict(self.statuses), errors=dict(self._errors))
        self.received = 0
        self.statuses.clear()
        self._errors.clear()
        latency: Counter[int] = Counter()
        service: Counter[int] = Counter()
        for times in self._times:
            if times.latency:
                found = binned(times.latency)
                latency.update(found)
                one.answers += len(times.latency)
                one.total_s += sum(times.latency)
                one.slowest_s = max(one.slowest_s, max(times.latency))
                if len(self._times) > 1:
                    one.names[times.name] = dict(found)
                del times.latency[:]
            if times.service:
                service.update(binned(times.service))
                del times.service[:]
        if self.late:
            self._lateness.update(binned(self.late))
            del self.late[:]
        one.latency, one.service = dict(latency), dict(service)
        _say({"slice": self._index, **asdict(one)})
        self._index += 1


def _own_times() -> tuple[float, float]:
    """Seconds that this process has run, and that it was ready to run and had no processor."""
    try:
        with open("/proc/self/schedstat") as file:
            waited_ns = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        waited_ns = 0
    return time.process_time(), waited_ns / 1e9


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stdout, flush=True)
