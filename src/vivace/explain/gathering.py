"""Gathers evidence: looks at a running server for some seconds, while it is loaded or serves whom it serves.

Rules: everything that takes long goes on at the same time, so that all of it is of the same seconds. What cannot be had
is left out, and why stands in `Evidence.missing`; only a server that is not there at all is an error.
"""

from __future__ import annotations

import os
import threading
import time

from vivace.errors import SettingError
from vivace.explain import sources
from vivace.explain.evidence import Evidence
from vivace.explain.facts import gather_facts, gather_settings
from vivace.explain.memory import Inquiry
from vivace.explain.profile import ask_profile
from vivace.observe.desk import ask
from vivace.observe.layout import H_PID
from vivace.observe.listeners import Listeners
from vivace.observe.processors import processors
from vivace.observe.snapshot import ENDED, between, take
from vivace.observe.threads import Sampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.observe.page import Page

SAMPLE_HZ = 100.0
LOOK_S = 0.1
TRACE_S = 5.0


class Aside:
    """A call on a thread of its own; `result` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._found: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


def gather(page: Page, seconds: float, *, trace_s: float = TRACE_S, try_gc: bool = True) -> Evidence:
    """What the server of `page` does in the next `seconds`, and a little longer where memory grows or collections take
    long: then that is looked into. Raises SettingError if it ends meanwhile.

    `trace_s`: so long one worker may be traced, which makes it several times as slow; 0: not at all.
    """
    parts: dict[str, Any] = {}
    missing: dict[str, str] = {"load": "it is served as it is"}
    inquiry = Inquiry(lambda question, wait_s, pids: ask(page, question, wait_s, pids))
    memory = Aside(inquiry.begin)
    _settle(missing, memory)
    machine = _Machine(page.words[H_PID])
    sampler = Sampler(page, SAMPLE_HZ)
    sampler.begin()
    try:
        older = take(page)
        began_s = time.time()
        facts = Aside(lambda: gather_facts(page, seconds))
        profile = Aside(lambda: _ask_profile(page, began_s, seconds))
        machine.watch(seconds)
        newer = take(page, sampler)
    finally:
        sampler.end()
    if newer["server"]["state"] == ENDED:
        raise SettingError(f"the server, process {newer['server']['pid']}, has ended while it was examined")
    found = {**machine.figures(), **_collections(older, newer)}
    _put(parts, missing, "profile", profile)
    _put(parts, missing, "facts", facts)
    _put(parts, missing, "settings", Aside(lambda: gather_settings(page)))
    finished = Aside(lambda: inquiry.finish(trace_s=trace_s, try_gc=try_gc))
    for name in ("memory", "gc"):
        _put(parts, missing, name, finished, name)
    return Evidence(
        figures=between(older, newer),
        snapshot=newer,
        machine=found,
        sources=sources.read(parts["profile"]) if parts.get("profile") else {},
        missing=missing,
        **parts,
    )


def _settle(missing: dict[str, str], aside: Aside) -> None:
    try:
        aside.result()
    except (SettingError, OSError) as error:
        missing["memory"] = str(error)


def _put(parts: dict[str, Any], missing: dict[str, str], name: str, aside: Aside, within: str = "") -> None:
    """The result, or what stands in it under `within`, or why there is none."""
    try:
        found = aside.result()
    except (SettingError, OSError) as error:
        missing[name] = str(error)
        return
    parts[name] = found.get(within) if within else found
    if parts[name] is None:
        missing[name] = "no worker answered"


def _ask_profile(page: Page, began_s: float, seconds: float) -> dict[str, Any]:
    """The stacks of these seconds."""
    ask_profile(page, began_s, hz=SAMPLE_HZ, for_s=seconds)
    time.sleep(seconds)
    return ask_profile(page, began_s)[0]


def _collections(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Collections of garbage by generation, and the seconds they took."""
    return {
        name: [after - before for before, after in zip(older["totals"][name], newer["totals"][name], strict=True)]
        for name in ("collections", "collecting_s")
    }


class _Machine:
    """The machine and the accept queues, looked at while time passes."""

    def __init__(self, pid: int) -> None:
        self._listeners = Listeners(pid)
        self._drops = _drops(self._listeners.look())
        self._queue = self._backlog = 0
        self._times = _processor_times()

    def watch(self, seconds: float) -> None:
        """Waits so long, and looks at the queues meanwhile."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left_s))
            for row in self._listeners.look():
                if row["queue"] >= self._queue:
                    self._queue, self._backlog = row["queue"], row["backlog"] or 0

    def figures(self) -> dict[str, Any]:
        """`Evidence.machine`."""
        busy, idle = (now - before for now, before in zip(_processor_times(), self._times, strict=True))
        cores = os.cpu_count() or 1
        idle_cores = cores * idle / (busy + idle) if busy + idle else 0.0
        allowed = processors()
        return {
            "cores": allowed,
            "busy_cores": cores - idle_cores,
            "idle_cores": min(idle_cores, float(allowed)),
            "queue_max": self._queue,
            "backlog": self._backlog,
            "drops": max(0, _drops(self._listeners.look()) - self._drops),
        }


def _drops(rows: list[dict[str, Any]]) -> int:
    return sum(row["drops"] or 0 for row in rows)


def _processor_times() -> tuple[float, float]:
    """(busy, idle) of all processors, in ticks (proc_stat(5)); what a hypervisor takes is busy. (0, 0): not told."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            words = [float(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    idle = words[3] + words[4]
    return sum(words) - idle, idle
