"""What the threads that run requests do, as shares of their time: looked at from outside, over and over.

The shared page tells which thread runs which route, /proc/PID/task/TID/syscall what that thread is in (`waits`). A
look at one thread costs the one who looks some 10 us, and its owner nothing: no code runs in the worker. So a route is
found to spend "73% in sleep, 22% waiting for the GIL".

What the shares mean, and their error:

* Only threads in a request count: those in a slot of the page, and the one that leads while it is in a turn of the loop
  (S_NOW). A pooled thread that waits for work is in none.
* The kernel does not say of one look whether a thread that runs is on a core or waits for one. How much of each there
  was, it says of the thread as a whole (schedstat), and by that the share is divided into "running" and "ready". Where
  cores are short, part of what waits for the GIL is "ready": such a thread wakes up each switch interval to ask again.
* n samples have a standard error of sqrt(share * (1 - share) / n): 2% after 500 of them.
* A request that ends while it is looked at does not count. So of routes that take less than 0.1 ms too few are seen,
  and their shares among other routes are too small; those within a route are not affected.
* Looks come at random moments, so that nothing that is periodic can hide between them.

Rules: never raises for a worker that has gone or may not be looked into: then there are no shares. Its cost is bounded,
by LOOKS_MAX a round and COST_MAX of a core. Must not know: who looks, settings.

Threads: `look` by one, `take` by any.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time

from vivace.observe import waits
from vivace.observe.layout import S_LEADER, S_NOW, S_PID, S_STARTED
from vivace.observe.waits import CAUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page
    from vivace.observe.section import Section

    Row = tuple[int, str, str, str]
    """(process, route, cause, on what), by which samples are counted."""

READY = "ready"
"""The part of "running" in which no core was free."""

RATE_HZ = 50.0
COST_MAX = 0.015
"""Of a core. Looks that cost more come less often."""
LOOKS_MAX = 64
"""Threads a round. Of more, these are drawn by lot."""
FILES_MAX = 256
NAMES_S = 5.0
"""A descriptor may be another one by then."""
NAMED_MAX = 8
"""So many things that a route waits for are told."""
NAMES_MAX = 1024


class Sampler:
    """Looks at the workers of one page. `begin` does so on a thread of its own until `end`, `take` gives the shares."""

    def __init__(self, page: Page, rate_hz: float = RATE_HZ) -> None:
        self._page = page
        self._pause_s = 1.0 / rate_hz
        self._sections: dict[int, Section] = {}
        self._processes: dict[int, tuple[int, waits.Process]] = {}
        self._files: dict[tuple[int, int, str], int] = {}
        self._ran: dict[tuple[int, int], tuple[int, int]] = {}
        """Nanoseconds on a core and ready for one, of each thread."""
        self._names: dict[tuple[int, str, int], tuple[float, str]] = {}
        self._guard = threading.Lock()
        self._rounds = 0
        self._found: dict[Row, float] = {}
        self._times: dict[int, list[int]] = {}
        """The same of the threads of a process together, since `take`."""
        self._cost_s = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Looks from now on."""
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="vivace-sampler", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Looks no more, and closes what it has open."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._close()

    def _run(self) -> None:
        while not self._over.is_set():
            before = time.thread_time()
            self.look()
            cost_s = time.thread_time() - before
            pause_s = random.expovariate(1.0 / self._pause_s)
            self._over.wait(max(pause_s, cost_s / COST_MAX - cost_s))

    # One round.

    def look(self) -> None:
        """Looks once at every thread that runs a request."""
        before = time.thread_time()
        seen = self._in_requests()
        weight = 1.0
        if len(seen) > LOOKS_MAX:
            weight = len(seen) / LOOKS_MAX
            seen = random.sample(seen, LOOKS_MAX)
        found = [row for place in seen if (row := self._look_at(*place)) is not None]
        with self._guard:
            for section, _, _, _, thread in seen:
                self._count_times(section.words[S_PID], thread)
            self._rounds += 1
            for row in found:
                self._found[row] = self._found.get(row, 0.0) + weight
            self._cost_s += time.thread_time() - before

    def _in_requests(self) -> list[tuple[Section, int, int, int, int]]:
        """(section, slot or 0, start or 0, route, thread)"""
        found = []
        for number in range(self._page.sections):
            section = self._sections.get(number)
            if section is None:
                section = self._sections[number] = self._page.section(number)
            words = section.words
            if words[S_PID]:
                found += [(section, slot, began, route, thread) for slot, began, route, thread in section.on_threads()]
                route = words[S_NOW]
                if route and words[S_LEADER]:
                    found.append((section, 0, 0, route, words[S_LEADER]))
        return found

    def _look_at(self, section: Section, slot: int, began: int, route: int, thread: int) -> Row | None:
        """What this thread does; None: it has ended the request meanwhile, or nobody may know."""
        words = section.words
        pid = words[S_PID]
        raw = self._read(pid, thread, "syscall")
        if (section.began(slot) != began if slot else not words[S_NOW]) or words[S_PID] != pid:
            return None
        known = self._processes.get(pid)
        if known is None or known[0] != words[S_STARTED]:
            self._processes[pid] = known = words[S_STARTED], waits.Process(pid)
        kind, call, arguments = known[1].glance(raw, thread)
        cause = CAUSES.get(kind)
        if cause is None:
            return None
        on = self._named(known[1], call, arguments) if cause in ("io", "disk") and arguments else ""
        return pid, section.route(route), cause, on

    def _count_times(self, pid: int, thread: int) -> None:
        """Adds what this thread has run and waited for a core since it was seen last (proc_pid_schedstat(5))."""
        words = self._read(pid, thread, "schedstat").split()
        if len(words) == 3:
            now = int(words[0]), int(words[1])
            before = self._ran.get((pid, thread), now)
            self._ran[pid, thread] = now
            times = self._times.setdefault(pid, [0, 0])
            times[0] += now[0] - before[0]
            times[1] += now[1] - before[1]

    def _read(self, pid: int, thread: int, name: str) -> bytes:
        """One file of the thread (proc_pid_syscall(5)), which stays open; nothing where that is not told."""
        key = pid, thread, name
        fd = self._files.get(key, -1)
        try:
            if fd < 0:
                if len(self._files) >= FILES_MAX:
                    self._close()
                fd = os.open(f"/proc/{pid}/task/{thread}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                self._files[key] = fd
            return os.pread(fd, 256, 0)
        except OSError:  # it has ended, or belongs to another user
            if self._files.pop(key, -1) >= 0:
                os.close(fd)
            return b""

    def _named(self, process: waits.Process, call: str, arguments: list[int]) -> str:
        """What it waits for, for a person. Dear, so it is remembered for a while."""
        key = process.pid, call, process.fd_of(call, arguments)
        now = time.monotonic()
        until, name = self._names.get(key, (0.0, ""))
        if now >= until:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            name = _grouped(process.named(call, arguments))
            self._names[key] = now + NAMES_S, name
        return name

    def _close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()
        self._ran.clear()

    # All rounds.

    def take(self) -> dict[str, Any]:
        """The shares since the last time, and begins anew:

        {"rounds", "cost_s" (CPU time of the one who looked), "workers": {process: who}, "routes": {name: who}}, with
        `who` {"in_flight": threads in a request, on average, "causes": {one of CAUSES, or READY: share of their time},
        "on": [{"text", "share"}]}, what they wait for most.
        """
        with self._guard:
            rounds, self._rounds = self._rounds, 0
            found, self._found = self._found, {}
            times, self._times = self._times, {}
            cost_s, self._cost_s = self._cost_s, 0.0
        rows = _divided(found, times)
        workers = {pid: _shares(rows, 0, pid, rounds) for pid in {row[0] for row in rows}}
        routes = {name: _shares(rows, 1, name, rounds) for name in {row[1] for row in rows}}
        return {"rounds": rounds, "cost_s": cost_s, "workers": workers, "routes": routes}


def _divided(found: dict[Row, float], times: dict[int, list[int]]) -> dict[Row, float]:
    """The samples, with "running" divided by how much of it the threads of that process were on a core."""
    rows: dict[Row, float] = {}
    for row, samples in found.items():
        pid, route, cause, on = row
        ran, delayed = times.get(pid, (0, 0))
        if cause == CAUSES[waits.RUNNING] and delayed:
            rows[pid, route, READY, on] = samples * delayed / (ran + delayed)
            samples *= ran / (ran + delayed)
        rows[row] = samples
    return rows


def _shares(rows: dict[Row, float], column: int, key: int | str, rounds: int) -> dict[str, Any]:
    causes: dict[str, float] = {}
    on: dict[str, float] = {}
    for row, samples in rows.items():
        if row[column] == key:
            causes[row[2]] = causes.get(row[2], 0.0) + samples
            if row[3]:
                on[row[3]] = on.get(row[3], 0.0) + samples
    total = sum(causes.values())
    return {
        "in_flight": total / rounds,
        "causes": {cause: samples / total for cause, samples in _most(causes)},
        "on": [{"text": text, "share": samples / total} for text, samples in _most(on)[:NAMED_MAX]],
    }


def _most(shares: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])


def _grouped(text: str) -> str:
    """`reading from fd 7, TCP socket 10.0.0.2:40412 to 10.0.0.5:5432 (recvfrom)` without what differs from connection
    to connection: `reading from TCP socket to 10.0.0.5:5432`. "" of what could not be found out any more."""
    text = re.sub(r", (?:for at most|without a time limit).*| \(\w+\)$", "", text)
    if re.search(r"\bfd \d+$|time to pass$", text):
        return ""
    return re.sub(r"socket \S+ to ", "socket to ", re.sub(r"\bfd \d+, ", "", text))
