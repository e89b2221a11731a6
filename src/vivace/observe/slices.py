"""What was sampled, in memory that is bounded: sums over slices of time, and what each thread did last.

A slice is SLICE_S of time: seconds by (route, state, stack). The oldest go when there are too many, or when too many
such sums are kept; so the last minutes are there when somebody asks. For single requests the last samples of each
thread are kept as well, one after the other; samples in a row that are the same are one entry.

Rules: pure; time is an argument (nanoseconds of the monotonic clock). A weight is a length of time in seconds. Must not
know: threads, frames, what a stack or a state means.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    Key = tuple[str, str, int]
    """(route, state, number of the stack)"""

SLICE_S = 10.0
SLICES_MAX = 48
"""Eight minutes, less where somebody has asked often: each question begins a slice."""
SUMS_MAX = 20_000
"""Of all slices together: 3 MB at most."""
LAST_MAX = 128
"""Entries of one thread."""
THREADS_MAX = 256
THREAD_S = 60.0
"""What a thread did is forgotten if it has not been seen for so long."""

NS = 1e9


class Slice:
    """One piece of time."""

    __slots__ = ("began_ns", "cost_s", "ended_ns", "late_s", "looks", "sums")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.ended_ns = 0
        """0: it is the present one."""
        self.looks = 0
        self.cost_s = 0.0
        """CPU time of whoever looked."""
        self.late_s = 0.0
        """How much later than they were due the looks were, together."""
        self.sums: dict[Key, float] = {}


class Entry:
    """What a thread did for a while."""

    __slots__ = ("at_ns", "request", "seconds", "stack", "state")

    def __init__(self, request: int, state: str, stack: int, at_ns: int, seconds: float) -> None:
        self.request = request
        """When the request entered its slot, 0 where it has none: tells requests of one thread apart."""
        self.state = state
        self.stack = stack
        self.at_ns = at_ns
        """When it was seen last."""
        self.seconds = seconds


class Slices:
    """The last minutes."""

    def __init__(self, now_ns: int) -> None:
        self.slices: deque[Slice] = deque([Slice(now_ns)])
        self._threads: dict[int, deque[Entry]] = {}

    @property
    def present(self) -> Slice:
        """The slice that samples are added to."""
        return self.slices[-1]

    def cut(self, now_ns: int) -> None:
        """Begins a new slice, and forgets what is too old or too much."""
        slices = self.slices
        slices[-1].ended_ns = now_ns
        slices.append(Slice(now_ns))
        for thread, last in self._threads.copy().items():
            if last[-1].at_ns < now_ns - THREAD_S * NS:
                del self._threads[thread]
        kept = sum(len(one.sums) for one in slices)
        while len(slices) > 1 and (len(slices) > SLICES_MAX or kept > SUMS_MAX):
            kept -= len(slices.popleft().sums)

    def is_due(self, now_ns: int) -> bool:
        """Whether it is time to `cut`."""
        return now_ns - self.present.began_ns >= SLICE_S * NS

    def add(self, route: str, state: str, stack: int, seconds: float) -> None:
        """A sample, or the part of one that was in this state."""
        sums = self.present.sums
        key = route, state, stack
        sums[key] = sums.get(key, 0.0) + seconds

    def follow(self, thread: int, request: int, state: str, stack: int, now_ns: int, seconds: float) -> None:
        """The same for the thread itself. The first sample of a request cannot stand for more time than it has run."""
        last = self._threads.get(thread)
        if last is None:
            if len(self._threads) >= THREADS_MAX:
                self._threads.pop(next(iter(self._threads)))
            last = self._threads[thread] = deque(maxlen=LAST_MAX)
        before = last[-1] if last and request else None
        if before is not None and (before.request, before.state, before.stack) == (request, state, stack):
            before.at_ns = now_ns
            before.seconds += seconds
            return
        if request and not (last and last[-1].request == request):
            seconds = min(seconds, (now_ns - request) / NS)
        last.append(Entry(request, state, stack, now_ns, seconds))

    def request_of(self, thread: int, began_ns: int, ended_ns: int = 0) -> dict[tuple[str, int], float]:
        """Seconds by (state, stack) that were seen of one request: what `thread` did between these times, as far as it
        belongs to the same request as what it did last. `ended_ns` 0: until now."""
        found = [
            entry
            for entry in list(self._threads.get(thread, ()))
            if entry.at_ns >= began_ns and (not ended_ns or entry.at_ns <= ended_ns)
        ]
        sums: dict[tuple[str, int], float] = {}
        for entry in found:
            if entry.request in (0, found[-1].request):
                key = entry.state, entry.stack
                sums[key] = sums.get(key, 0.0) + entry.seconds
        if ended_ns and (total_s := sum(sums.values())) > (span_s := (ended_ns - began_ns) / NS):
            return {key: seconds * span_s / total_s for key, seconds in sums.items()}
        return sums

    def since(self, began_ns: int) -> list[Slice]:
        """The slices that reach beyond this time, the oldest first."""
        return [one for one in self.slices if not one.ended_ns or one.ended_ns > began_ns]

    def stacks(self) -> set[int]:
        """Numbers of all stacks that are mentioned."""
        found = {stack for one in self.slices for _, _, stack in one.sums}
        for last in self._threads.values():
            found.update(entry.stack for entry in last)
        return found
