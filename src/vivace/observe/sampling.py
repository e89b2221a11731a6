"""The profiler that is always on: looks at the threads of this process that run requests, at random moments.

Of each such thread it notes the route, the stack of the application (`stack_table`), and whether it was running,
waited for the GIL, for a lock, in sleep, for I/O, a disk or a child. Each sample weighs as much time as has passed
since the look before it. What was found is kept for some minutes (`slices`).

How a look is kept honest. Whoever wants the GIL gets it when its holder gives it up, which a quick request does only at
its end, when it sends: seen like that, a quick application would never be found at work. So a look has two steps. First
the sampler wakes up, whenever it gets the GIL. Then it makes the switch interval very short, sleeps for a random moment
longer than a quick request, wakes up, and has the GIL after some 30 us from a holder that had no part in the choice.
The first thing it does is to make the interval long, and to put collections off: so nobody takes the GIL from it before
it has seen all stacks, nor does code of others run in its own thread. (Frames that go on while they are walked have
been found to be no frames any more, in CPython 3.11.) Then both are as they were.

What the states mean:

* A thread that could run, but waits for a core, is "running" as far as it has computed before, else "other".
* A thread that waits for the GIL while the sampler holds it may be the one that was just interrupted. What was running
  is divided among such threads by the CPU time that each used in the second step; the rest of it is "gil".
* vivace's own work, and threads that are in no request, are left out.
* What ends within some 30 us of giving the GIL up is seen too seldom, and that too often: an error of a few percent for
  routes of less than 0.5 ms. Of a request that is over within the switch interval (0.2 ms) the first part was seen a
  third to a half as long as it took (measured with 20 to 45 of 60 to 140 us).

Rules: costs COST_MAX of a core at most (ASKED_COST_MAX while somebody asks), because looks that cost more come less
often, and nothing while nothing runs. Never raises for what it finds. Must not know: HTTP, connections, settings.

Threads: `begin`, `end`, `tree_of`, `told` by any; the rest on the sampler's own.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from vivace.observe import uncollected, waits
from vivace.observe.layout import S_LEADER, S_NOW
from vivace.observe.seen import GIL, NOT_TOLD, RUNNING, UNKNOWN, Seen, chance, cpu_ns, divide, sharpen
from vivace.observe.slices import NS, Slices
from vivace.observe.stack_table import StackTable, positions
from vivace.observe.stacks import is_own_file
from vivace.observe.waits import CAUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Protocol

    from vivace.observe.section import Section

    class Pulse(Protocol):
        """Of the loop: `turns` grows while anything happens; `wake` is called when it does, once `resting` is set."""

        turns: int
        resting: bool
        on_wake: Any


HZ = 15.0
"""While nobody asks: enough for the last minutes, and little beside a hello."""
HZ_MAX = 1000.0
COST_MAX = 0.008
"""Of a core; together with what it costs the others to be interrupted less than 1%."""
ASKED_COST_MAX = 0.03
"""While somebody has asked for more looks."""
SHORT_S, HELD_S = 2e-5, 0.05
"""The switch interval while a look is due, and during it. Shorter ones cost more where the GIL's holder waits for a
core."""
SCATTER_S = 0.001
"""A look comes so much later than the sampler wakes up, at most: longer than the time from one quick request to the
next. Longer requests are interrupted by the server's own switch interval."""
CROWDED_SCATTER_S = 0.00025
"""The same where several threads want the GIL: to them a short interval is a burden."""
REST_LOOKS = 12
"""After so many looks at nothing it rests."""
REST_S = 5.0
"""It rests no longer, in case that nobody has woken it."""
THREADS_MAX = 48
"""Threads a look. Of more, these are drawn by lot."""
FILES_MAX = 64


class Profiler:
    """Samples the requests of one worker. `begin` starts its thread, `end` ends it."""

    def __init__(self, section: Section, pulse: Pulse, hz: float = HZ) -> None:
        self._section = section
        self._pulse = pulse
        self._hz = hz
        self._faster: tuple[float, float] = (hz, 0.0)
        """(looks a second, until when): what somebody has asked for."""
        self._guard = threading.Lock()
        self._table = StackTable(is_own_file)
        self._slices = Slices(time.monotonic_ns())
        self._routes: dict[int, str] = {}
        self._idents: dict[int, int] = {}
        """Identities of threads, by the system's numbers."""
        self._newcomers = True
        """There are threads that are not among those."""
        self._files: dict[int, int] = {}
        self._before: dict[int, Seen] = {}
        """The last look, by thread."""
        self._crowded = False
        """Whether several threads wanted the GIL then."""
        self._process = waits.Process(os.getpid())
        self._cost_s = 0.0
        """Of a look, on average."""
        self._turns = -1
        self._quiet = 0
        self._last_ns = 0
        self._over = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread: threading.Thread | None = None

    # From outside.

    def begin(self) -> None:
        """Looks from now on."""
        self._over = False
        self._pulse.on_wake = self.wake
        self._thread = threading.Thread(target=self._run, name="vivace-profiler", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system gives no more threads: it serves without
            self._thread = None

    def end(self) -> None:
        """Looks no more, and closes what it has open."""
        self._over = True
        self._pulse.on_wake = None
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(REST_S)

    def wake(self) -> None:
        """Something happens again. Any thread, or a signal handler."""
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it is awake already

    def told(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to {"since_s": Unix time, "hz", "for_s"}: what was sampled since then, from the slice on that
        lasted then; with `hz` it looks so often for `for_s` from now on, and a new slice begins.

        {"from_s", "to_s" (Unix time), "looks", "cost_s" (CPU time of the sampler), "late_s" (how late the looks were,
        together), "frames": [[function, file, line]], "stacks": [[frame numbers, outermost first]], "samples":
        [[route, state, stack number, seconds]]}
        """
        now_ns, now_s = time.monotonic_ns(), time.time()
        hz, for_s = float(question.get("hz") or 0.0), float(question.get("for_s") or 0.0)
        since_s = float(question.get("since_s") or now_s)
        with self._guard:
            answer = self._answer(now_ns - int((now_s - since_s) * NS), now_ns, now_s)
            if hz > 0.0 and for_s > 0.0:
                self._faster = min(hz, HZ_MAX), time.monotonic() + for_s
                self._slices.cut(now_ns)
                self.wake()
        return answer

    def tree_of(self, thread: int, began_ns: int, ended_ns: int = 0) -> list[dict[str, Any]]:
        """What was seen of one request: what the thread with the system's number `thread` did from `began_ns` to
        `ended_ns` (monotonic clock; 0: until now), as a tree: see `call_tree.tree`. Empty: nothing was."""
        with self._guard:
            sums = self._slices.request_of(thread, began_ns, ended_ns)
            stacks = {stack: self._places_of(stack) for _, stack in sums}
        from vivace.observe.call_tree import tree

        return tree((stacks[stack], state, seconds) for (state, stack), seconds in sums.items())

    # The thread.

    def _run(self) -> None:
        sharpen()
        self._last_ns = time.monotonic_ns()
        try:
            while not self._over:
                asked = time.monotonic() < self._faster[1]
                hz, cost = (self._faster[0], ASKED_COST_MAX) if asked else (self._hz, COST_MAX)
                pause_s = max(1.0 / hz, self._cost_s / cost) * (0.5 + chance())
                if not self._bell.acquire(timeout=pause_s):
                    self._round()
        finally:
            self._close()

    def _round(self) -> None:
        """Looks, or finds that there is nothing to look at."""
        before = time.thread_time()
        turns, self._turns = self._turns, self._pulse.turns
        section = self._section
        if turns == self._turns and section.vacant and not section.words[S_NOW]:
            self._last_ns = time.monotonic_ns()
            self._quiet += 1
            if self._quiet >= REST_LOOKS:
                self._rest()
            return
        self._quiet = 0
        try:
            self.look()
        except Exception:  # a thread was where no frame can be read: the others are seen at the next look
            self._before = {}
        cost_s = time.thread_time() - before
        self._slices.present.cost_s += cost_s
        self._cost_s += (cost_s - self._cost_s) / 16

    def _rest(self) -> None:
        """Until the loop turns again."""
        pulse = self._pulse
        self._close()
        pulse.resting = True
        if pulse.turns == self._turns and not self._over:
            self._bell.acquire(timeout=REST_S)
        self._quiet = 0
        self._last_ns = time.monotonic_ns()

    # One look.

    def look(self) -> None:
        """Looks once at every thread that runs a request."""
        leader = self._section.words[S_LEADER]
        if self._newcomers:
            self._newcomers = False
            self._idents = {one.native_id or 0: one.ident or 0 for one in threading.enumerate()}
        used = {thread: cpu_ns(thread) for thread in self._before}
        used[leader] = cpu_ns(leader)
        began_ns, used_ns, own_ns = time.monotonic_ns(), time.process_time_ns(), time.thread_time_ns()
        busy = self._busy(used, began_ns)
        due_ns, weight, seen = self._see_all((CROWDED_SCATTER_S if self._crowded else SCATTER_S) * chance())
        now_ns = time.monotonic_ns()
        all_ns = time.process_time_ns() - used_ns - (time.thread_time_ns() - own_ns)
        # From here on others may have the GIL: each reading of a file gives it away.
        for one in seen:
            if one.frame is not None:
                one.stack = self._table.number_of(one.positions)
            if not one.state and one.stack:
                self._find_state(one)
            one.frame, one.positions = None, []
        self._before = {one.thread: one for one in seen}
        self._crowded = sum(one.state in (RUNNING, GIL) for one in seen) > 1
        divide(seen, used, busy, all_ns, now_ns - began_ns)
        seconds = (now_ns - self._last_ns) / NS * weight
        self._last_ns = now_ns
        with self._guard:
            self._slices.present.looks += 1
            self._slices.present.late_s += max(0, now_ns - due_ns) / NS
            for one in seen:
                if one.stack:
                    self._add(one, now_ns, seconds)
            if self._slices.is_due(now_ns):
                self._cut(now_ns)

    def _busy(self, used: dict[int, int], now_ns: int) -> dict[int, float]:
        """Shares of a core that threads have had since the last look."""
        length_ns = max(1, now_ns - self._last_ns)
        return {
            thread: min(1.0, max(0, used[thread] - before.seen_ns) / length_ns)
            for thread, before in self._before.items()
        }

    def _see_all(self, pause_s: float) -> tuple[int, float, list[Seen]]:
        """When the look was due, `pause_s` from now; what each thread seen stands for; where each of them is."""
        due_ns = time.monotonic_ns() + int(pause_s * NS)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SHORT_S)
        try:
            time.sleep(pause_s)
            if abs(sys.getswitchinterval() - SHORT_S) > 1e-6:  # somebody else has set it meanwhile
                interval = sys.getswitchinterval()
            sys.setswitchinterval(HELD_S)
            with uncollected.look:  # over before the interval is as it was: nobody is to see that it was off
                frames = sys._current_frames()
                weight, looked = 1.0, self._in_requests()
                if len(looked) > THREADS_MAX:
                    weight = len(looked) / THREADS_MAX
                    first = int(len(looked) * chance())
                    looked = (looked + looked)[first : first + THREADS_MAX]
                return due_ns, weight, [self._see(thread, began, route, frames) for thread, began, route in looked]
        finally:
            sys.setswitchinterval(interval + 5e-7)  # it is cut off to whole microseconds

    def _in_requests(self) -> list[tuple[int, int, int]]:
        """(thread, start or 0, number of its route)"""
        section = self._section
        found = [] if section.vacant else section.on_own_threads()
        route, leader = section.words[S_NOW], section.words[S_LEADER]
        if route and leader and all(thread != leader for thread, _, _ in found):
            found.append((leader, 0, route))
        return found

    def _see(self, thread: int, began: int, route: int, frames: dict[int, FrameType]) -> Seen:
        """Where the thread is. One that has not run since the last look is where it was."""
        name = self._routes.get(route)
        if name is None:
            name = self._routes[route] = self._section.route(route)
        cpu = cpu_ns(thread)
        before = self._before.get(thread)
        if before is not None and before.stack and before.cpu_ns == cpu and before.began == began:
            return Seen(thread, began, name, cpu, before.stack, before.state)
        frame = frames.get(self._idents.get(thread, 0))
        if frame is None:  # a thread that is new: it is known by the next look
            self._newcomers = True
        seen = Seen(thread, began, name, cpu, 0, "")
        if frame is not None and (found := positions(self._idents[thread])):
            seen.frame, seen.positions = frame, found
        return seen

    def _find_state(self, one: Seen) -> None:
        """What the thread waits for. If it is somewhere else by now, it waited for the GIL then."""
        thread = one.thread
        try:
            fd = self._files.get(thread, -1)
            if fd < 0:
                if len(self._files) >= FILES_MAX:
                    self._close()
                fd = os.open(f"/proc/self/task/{thread}/syscall", os.O_RDONLY | os.O_CLOEXEC)
                self._files[thread] = fd
            raw = os.pread(fd, 256, 0)
            ran = cpu_ns(thread) != one.cpu_ns
            one.state = CAUSES.get(self._process.glance(raw, thread)[0], UNKNOWN)
        except OSError:
            one.state = NOT_TOLD
            return
        if ran:
            one.cpu_ns = -1  # it is looked at again, next time
            frame = one.frame
            if (
                frame is None
                or frame.f_lasti != one.positions[0][1]
                or sys._current_frames().get(self._idents[thread]) is not frame
            ):
                one.state = GIL

    def _add(self, one: Seen, now_ns: int, seconds: float) -> None:
        rest = {RUNNING: UNKNOWN, NOT_TOLD: UNKNOWN}.get(one.state, one.state)
        for state, part in ((RUNNING, one.running), (rest, 1.0 - one.running)):
            if part > 0.0:
                self._slices.add(one.route, state, one.stack, seconds * part)
                self._slices.follow(one.thread, one.began, state, one.stack, now_ns, seconds * part)

    def _cut(self, now_ns: int) -> None:
        """A new slice; what is not mentioned any more is forgotten."""
        self._slices.cut(now_ns)
        self._routes.clear()
        if self._table.is_full:
            self._table.forget_but(self._slices.stacks())
        self._close()

    # Answers.

    def _answer(self, since_ns: int, now_ns: int, now_s: float) -> dict[str, Any]:
        slices = self._slices.since(since_ns)
        sums: dict[tuple[str, str, int], float] = {}
        for one in slices:
            for key, seconds in one.sums.items():
                sums[key] = sums.get(key, 0.0) + seconds
        frames: dict[tuple[str, str, int], int] = {}
        stacks: dict[int, int] = {}
        written: list[list[int]] = []
        for _, _, stack in sums:
            if stack not in stacks:
                stacks[stack] = len(written)
                written.append([frames.setdefault(place, len(frames)) for place in self._places_of(stack)])
        return {
            "from_s": now_s - (now_ns - slices[0].began_ns) / NS,
            "to_s": now_s,
            "looks": sum(one.looks for one in slices),
            "cost_s": sum(one.cost_s for one in slices),
            "late_s": sum(one.late_s for one in slices),
            "frames": [list(place) for place in frames],
            "stacks": written,
            "samples": [[route, state, stacks[stack], seconds] for (route, state, stack), seconds in sums.items()],
        }

    def _places_of(self, stack: int) -> list[tuple[str, str, int]]:
        """Outermost first."""
        frames = self._table.frames
        return [frames[number] for number in reversed(self._table.stack(stack))]

    def _close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()
