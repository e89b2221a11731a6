"""The processes of a load, begun together, and their slices added up to a Result.

`run` blocks until the load is over. `Spares` is for many loads, one after the other. Rules: the generators are
processes of their own (`python -m vivace.lab.generator`), so that they share neither this one's GIL nor its memory;
each makes one load; they begin at one moment of CLOCK_MONOTONIC. Whatever happens, they are gone when `run` returns or
raises.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from vivace.errors import SettingError
from vivace.lab.plan import OPEN, packed
from vivace.lab.processes import Use, Watch, listener
from vivace.lab.result import Loader, Result, Server, Slice, Warmup, added, slice_from
from vivace.lab.warmup import steady_from
from vivace.observe.histogram import quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from vivace.lab.plan import Load, Place

    Progress = Callable[[float, Slice], None]

LEAD_S = 0.05
"""Between the order to begin and the begin."""
BUSY_SHARE = 0.9
LATE_S = 0.001
LATE_PART = 0.1
"""A loader is late when its p99 of lateness is over LATE_S and over this part of the p99 of the latencies."""


def run(
    load: Load, place: Place, *, pid: int = 0, progress: Progress | None = None, spares: Spares | None = None
) -> Result:
    """Makes the load and returns what came of it.

    `pid`: the server, when it is known; else the process of this machine that listens there, if there is one.
    `progress` is called with the seconds since the begin and each slice when it is over. The processes are taken from
    `spares`, if there are any. Raises SettingError when nothing listens.
    """
    pid = pid or listener(place)
    job = packed(load, place)
    crew: list[subprocess.Popen[str]] = []
    try:
        for process in range(load.processes):
            crew.append(_start() if spares is None else spares.take())
            _tell(crew[-1], {**job, "process": process})
        for member in crew:
            _await_ready(member, place)
        watch = Watch(pid) if pid else None
        result = _watched(crew, load, place, watch, progress)
    finally:
        for member in crew:
            _end(member)
    if spares is not None:
        spares.fill(load.processes)
    return result


class Spares:
    """Processes for the next load, started when the one before it is over: they import their modules while a server
    ends and another one begins, which saves a tenth of a second each time. A context manager: at its end they are gone.
    """

    def __init__(self) -> None:
        self._waiting: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._waiting:
            _end(self._waiting.pop())

    def fire(self, load: Load, place: Place, pid: int) -> Result:
        """`run`, with these."""
        return run(load, place, pid=pid, spares=self)

    def take(self) -> subprocess.Popen[str]:
        """One of them; one that is new if there is none."""
        return self._waiting.pop() if self._waiting else _start()

    def fill(self, count: int) -> None:
        """Until so many wait."""
        while len(self._waiting) < count:
            self._waiting.append(_start())


def _start() -> subprocess.Popen[str]:
    source = str(Path(__file__).parent.parent.parent)
    environ = {**os.environ, "PYTHONPATH": source, "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-S", "-m", "vivace.lab.generator"],  # without site: it needs none of what is installed
        env=environ,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _end(member: subprocess.Popen[str]) -> None:
    member.kill()
    member.wait()
    for pipe in (member.stdin, member.stdout):
        if pipe is not None:
            pipe.close()


def _tell(member: subprocess.Popen[str], line: object) -> None:
    assert member.stdin is not None
    member.stdin.write(json.dumps(line) + "\n")
    member.stdin.flush()


def _await_ready(member: subprocess.Popen[str], place: Place) -> None:
    assert member.stdout is not None
    line = member.stdout.readline()
    said = json.loads(line) if line else {"failed": "the loader ended; see above"}
    if "failed" in said:
        raise SettingError(f"{place.url}: no connection: {said['failed']}")


class Sums:
    """What the processes of the load have said so far."""

    def __init__(self, load: Load) -> None:
        self.slices = [Slice() for _ in range(load.slices + 1)]
        self.heard = [0] * (load.slices + 1)
        self.uses: dict[int, Use] = {}
        """After so many slices, what the server had used."""
        self.loaders: list[dict[str, Any]] = []


def _watched(
    crew: list[subprocess.Popen[str]], load: Load, place: Place, watch: Watch | None, progress: Progress | None
) -> Result:
    sums = Sums(load)
    _look(watch, sums, 0)
    begin_s = time.monotonic() + LEAD_S
    with selectors.DefaultSelector() as ready:
        for member in crew:
            assert member.stdout is not None
            _tell(member, begin_s)
            ready.register(member.stdout, selectors.EVENT_READ, _Lines())
        while ready.get_map():
            for key, _ in ready.select():
                data = os.read(key.fd, 1 << 20)
                if not data:
                    ready.unregister(key.fileobj)
                for line in key.data.feed(data):
                    _hear(json.loads(line), sums, load, watch, progress)
    if len(sums.loaders) < len(crew):
        raise SettingError("a process of the loader ended before the load was over; see above")
    return result_of(load, place, sums, watch)


class _Lines:
    """Whole lines of what comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def _hear(said: dict[str, Any], sums: Sums, load: Load, watch: Watch | None, progress: Progress | None) -> None:
    index = said.pop("slice", None)
    if index is None:
        sums.loaders.append(said)
        return
    sums.slices[index] = added((sums.slices[index], slice_from(said)))
    sums.heard[index] += 1
    if sums.heard[index] == load.processes and index < load.slices:
        _look(watch, sums, index + 1)
        if progress is not None:
            progress((index + 1) * load.slice_s, sums.slices[index])


def _look(watch: Watch | None, sums: Sums, index: int) -> None:
    use = watch.look() if watch is not None else None
    if use is not None:
        sums.uses[index] = use


# From slices to a result.


def result_of(load: Load, place: Place, sums: Sums, watch: Watch | None) -> Result:
    """What the slices, and what else was heard, add up to."""
    *slices, drained = sums.slices
    warmup, cut = _warmup(load, slices)
    result = Result(
        url=place.url,
        mode=load.mode,
        seconds=load.seconds - warmup.seconds,
        connections=load.connections,
        rate_wanted=0.0 if load.at_times else load.rate,
        total=added([*slices[cut:], drained]),
        slices=slices,
        slice_s=load.slice_s,
        drained=drained.answers,
        warmup=warmup,
    )
    result.loader = _loader(load, sums, result)
    if watch is not None:
        result.server = _server(watch.root, sums, slices, cut)
    return result


def _warmup(load: Load, slices: list[Slice]) -> tuple[Warmup, int]:
    """And how many slices are cut off."""
    if load.warmup_s is not None:
        cut = min(round(load.warmup_s / load.slice_s), len(slices) - 1)
        return Warmup(cut * load.slice_s, "as given"), cut
    if load.at_times:
        return Warmup(0.0, "a replay is measured whole"), 0
    found = steady_from([quantiles(one.latency, (0.5,))[0] if one.latency else None for one in slices])
    if found is None:
        return Warmup(0.0, "no steady state was found (MSER-5 on median latencies); nothing was cut off", False), 0
    return Warmup(found * load.slice_s, "found by MSER-5 on median latencies"), found


def _loader(load: Load, sums: Sums, result: Result) -> Loader:
    busiest = max(sums.loaders, key=lambda one: float(one["cpu_share"] + one["waited_share"]))
    late: Counter[int] = Counter()
    for one in sums.loaders:
        late.update({int(bucket): count for bucket, count in one["late"].items()})
    found = Loader(
        processes=load.processes,
        cpu_share=busiest["cpu_share"],
        waited_share=busiest["waited_share"],
        late_p99_s=quantiles(late, (0.99,))[0] if late else 0.0,
        sent=sum(one["sent"] for one in sums.loaders),
    )
    found.bottleneck = bottleneck(found, result)
    return found


def bottleneck(loader: Loader, result: Result) -> str:
    """Why the figures tell of the loader; "" if they do not. Pure."""
    if loader.cpu_share + loader.waited_share > BUSY_SHARE:
        waited = f" and waited for a processor {loader.waited_share:.0%}" if loader.waited_share > 0.05 else ""
        return f"its busiest process ran {loader.cpu_share:.0%} of the time{waited}"
    if result.mode == OPEN and loader.late_p99_s > max(LATE_S, LATE_PART * result.percentiles((0.99,))[0]):
        return f"1% of its requests were sent {loader.late_p99_s * 1000:.1f} ms late or more"
    return ""


def _server(pid: int, sums: Sums, slices: list[Slice], cut: int) -> Server | None:
    measured = [index for index in sums.uses if index >= cut]
    if not measured:
        return None
    first, last = min(measured), max(measured)
    use = sums.uses[last]
    cpu_s = use.cpu_s - sums.uses[first].cpu_s
    answers = sum(one.answers for one in slices[first:last])
    return Server(
        pid=pid,
        processes=use.processes,
        cpu_s=cpu_s,
        cpu_us_per_request=cpu_s / answers * 1e6 if answers else 0.0,
        rss_bytes=use.rss_bytes,
        rss_max_bytes=max(one.rss_bytes for one in sums.uses.values()),
    )
