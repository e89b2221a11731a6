"""vivace's loop, pool and monitor as threads of a simulated machine, and clients that load them.

The decisions are the real ones: Policy, RouteTable and HeavyQueue are imported from vivace and given virtual time.
What the loop itself does is a handful of costs, measured on the machine of docs/benchmarks.md and rounded.

Not modelled: parsing errors, bodies, slow clients, connections that come and go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from random import Random

from benchmarks.simulated_machine import FREE, PARK, RUN, SLEEP, Machine, Op, Thread
from vivace.config.load import from_keywords
from vivace.schedule.admission import Admission
from vivace.schedule.heavy import HeavyQueue
from vivace.schedule.policy import Policy, concurrency, overdue
from vivace.schedule.route import HEAVY, INLINE, POOL, Route
from vivace.schedule.routes import RouteTable

US, MS = 1e-6, 1e-3

# The loop: once a turn, then once a request.
TURN, WAIT = (RUN, 1 * US), (FREE, 1.2 * US)
READ, PARSE = (FREE, 2.5 * US), (RUN, 5 * US)
ENCODE, SEND = (RUN, 2.5 * US), (FREE, 6.5 * US)
# A hand-off: 27-33 us of CPU in all, with the wake-ups.
PUT, GET = (RUN, 8 * US), (RUN, 8 * US)
REFUSE = (RUN, 5 * US)
LOOK = (RUN, 3 * US)  # the monitor, once a tick
THREAD_START_S = 80 * US
TICK_S = from_keywords().tick_s

Call = tuple[str, list[Op]]  # the path asked for, and what the application does


class Request:
    """One request on its way."""

    __slots__ = ("arrived_s", "ops", "path", "route", "stream", "token")

    def __init__(self, stream: Stream, call: Call) -> None:
        self.stream = stream
        self.path, self.ops = call
        self.arrived_s = 0.0
        self.token = 0  # of its booking, 0 if it has none
        self.route: Route


Job = Request | None  # what a pooled thread is given; None: to lead


class Server:
    """The server under test. `threads`: most pooled threads; `lanes` as Policy's."""

    def __init__(
        self, machine: Machine, *, cores: int, lanes: str = "learn", threads: int = 64, queue_timeout_s: float = 0.0
    ) -> None:
        self.policy = Policy(tick_s=TICK_S, gil=machine.gil, lanes=lanes, cores=cores)
        self.routes = RouteTable(self.policy.new_route)
        self.overtakes = 0
        self.pooled = 0
        self.threads = 0
        self._threads_max = threads
        self._queue_timeout_s = queue_timeout_s
        self._machine = machine
        self._arrived: deque[Request] = deque()  # in the kernel
        self._ready: deque[Request] = deque()  # reported by the poller
        self._heavy = HeavyQueue()
        self._admission = Admission(queue_timeout_s, threads)
        self._waiting: deque[Job] = deque()  # for a pooled thread
        self._idle: list[tuple[Thread, list[Job]]] = []
        self._leader: Thread | None = None
        self._leader_waits = False
        self._baton: tuple[Thread, float, float, Route] | None = None  # who, since, its CPU time then, in what
        self._start_thread(None, 0.0)
        if lanes == "learn":
            machine.start(self._monitor())

    def arrive(self, request: Request) -> None:
        """The request's last byte reaches the socket."""
        request.arrived_s = self._machine.now_s
        self._arrived.append(request)
        self._wake_leader()

    # Threads

    def _wake_leader(self) -> None:
        if self._leader_waits and self._leader is not None:
            self._leader_waits = False
            self._machine.wake(self._leader)

    def _start_thread(self, job: Job, delay_s: float = THREAD_START_S) -> None:
        self.threads += 1
        self._machine.start(self._work(job), delay_s)

    def _give(self, job: Job) -> None:
        """To the thread that worked last, or a new one, or the queue."""
        if self._idle:
            thread, box = self._idle.pop()
            box.append(job)
            self._machine.wake(thread)
        elif job is None or self.threads < self._threads_max:
            self._start_thread(job)
        else:
            self._waiting.append(job)

    def _work(self, job: Job) -> Iterator[Op]:
        box: list[Job] = []
        while True:
            if job is None:
                yield from self._lead()
            else:
                yield GET
                self.pooled += 1
                if not self._late(job):
                    self._admission.began()
                    yield from self._call(job, leading=False)
                if job.token:
                    self._heavy.ended(job.token)
                    if self._heavy.away:
                        self._wake_leader()
            if self._waiting:
                job = self._waiting.popleft()
                continue
            self._idle.append((self._machine.current, box))
            while not box:
                yield (PARK, 0.0)
            job = box.pop()

    def _monitor(self) -> Iterator[Op]:
        machine = self._machine
        while True:
            asked_s = machine.now_s
            yield (SLEEP, TICK_S)
            yield LOOK
            overslept_s = machine.now_s - asked_s - TICK_S
            if self._baton is None:
                continue
            thread, started_s, cpu_s, route = self._baton
            elapsed_s = machine.now_s - started_s
            if elapsed_s - overslept_s >= route.allowance_s:
                self._baton = None
                self.overtakes += 1
                self.policy.overtaken(route, elapsed_s, thread.cpu_now_s(machine.now_s) - cpu_s)
                self._give(None)

    # The loop

    def _lead(self) -> Iterator[Op]:
        machine, heavy, ready = self._machine, self._heavy, self._ready
        self._leader = machine.current
        while True:
            yield TURN
            yield WAIT
            if not self._arrived and not ready and not heavy.inline:
                yield from self._sleep()
            ready.extend(self._arrived)
            self._arrived.clear()
            while ready:
                request = ready.popleft()
                yield READ
                yield PARSE
                route = request.route = self.routes.find("GET", request.path)
                if route.lane == INLINE:
                    if not (yield from self._call_inline(request)):
                        return
                elif self._expected_wait_s(request) > self._admission.limit_s:
                    yield REFUSE
                    yield SEND
                    request.stream.on_refused(request)
                elif route.lane == POOL:
                    yield PUT
                    self._admission.submitted(route.wall_s)
                    self._give(request)
                else:
                    key = self.policy.heavy_key(route, request.arrived_s)
                    heavy.push(
                        key, request.arrived_s, request, route.away, route.allowance_s, route.cpu_s, route.wall_s
                    )
            while started := heavy.start_away(machine.now_s):
                request, request.token = started
                yield PUT
                self._admission.submitted(request.route.wall_s)
                self._give(request)
            if heavy.inline:
                request, waiting, began_s = heavy.pop(), len(heavy.inline), machine.now_s
                if not (yield from self._call_inline(request)):
                    return
                self._admission.ran_inline(began_s, machine.now_s, waiting)

    def _expected_wait_s(self, request: Request) -> float:
        """As connection.overload has it."""
        heavy, route = self._heavy, request.route
        if route.lane == HEAVY and not route.away:
            return self._admission.inline_wait_s(len(heavy.inline))
        wait_s = self._admission.pool_wait_s(len(self._waiting)) if self._waiting else 0.0
        if heavy.away and route.lane == HEAVY:
            wait_s += heavy.ahead_s(self.policy.heavy_key(route, request.arrived_s), route.cpu_s)
        return wait_s

    def _sleep(self) -> Iterator[Op]:
        self._leader_waits = True
        room_at_s = self._heavy.room_at_s()
        if room_at_s is not None:
            self._machine.at(room_at_s + US, self._wake_leader)
        yield (PARK, 0.0)
        self._leader_waits = False

    def _call_inline(self, request: Request) -> Generator[Op, None, bool]:
        """Runs the call under the baton; returns False if the thread was overtaken."""
        if self._late(request):
            return True
        machine = self._machine
        mine = self._baton = (machine.current, machine.now_s, machine.current.cpu_s, request.route)
        yield from self._call(request, leading=True)
        if self._baton is not mine:
            return False
        self._baton = None
        return True

    def _call(self, request: Request, leading: bool) -> Iterator[Op]:
        machine, route, token = self._machine, request.route, request.token
        thread = machine.current
        watch = route.watch
        rivals = self._heavy.rivals(token, leading)
        started_s, cpu_s, all_s = machine.now_s, thread.cpu_s, machine.cpu_s
        yield from iter(request.ops)
        wall_s = machine.now_s - started_s
        if watch:
            cpu_s = thread.cpu_s - cpu_s
            others_s = machine.cpu_s - all_s - cpu_s
            rivals += self._heavy.rivals(token, leading)
            self.policy.observe(route, wall_s, cpu_s, concurrency(cpu_s, others_s, rivals / 2))
        elif wall_s > self.policy.quick_s:
            self.policy.suspect(route, wall_s)
        yield ENCODE
        yield SEND
        request.stream.on_answer(request)

    def _late(self, request: Request) -> bool:
        if not overdue(request.arrived_s, self._machine.now_s, self._queue_timeout_s):
            return False
        self._admission.expired()
        request.stream.on_refused(request)
        return True


class Stream:
    """Requests of one class: `clients` that each wait for their answer, or `rate` a second whatever happens.

    `make(rng)` gives the next call. Between an answer and the next request of a client lie `think_s`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Random], Call],
        clients: int = 0,
        *,
        rate: float = 0.0,
        think_s: float = 150 * US,
    ) -> None:
        self.name, self.make, self.clients, self.rate, self.think_s = name, make, clients, rate, think_s
        self.took_s: list[float] = []
        self.refused = 0
        self.refused_after_s: list[float] = []

    def start(self, machine: Machine, server: Server, rng: Random, warm_s: float) -> None:
        """Begins to load `server`; what ends before `warm_s` is not counted."""
        self._machine, self._server, self._rng, self._warm_s = machine, server, rng, warm_s
        for _ in range(self.clients):
            machine.at(rng.random() * 2 * MS, self._send)
        if self.rate:
            machine.at(0.0, self._send_next)

    def _send(self) -> None:
        self._server.arrive(Request(self, self.make(self._rng)))

    def _send_next(self) -> None:
        self._machine.at(self._machine.now_s + self._rng.expovariate(self.rate), self._send_next)
        self._send()

    def on_answer(self, request: Request) -> None:
        """The last byte of the answer is sent."""
        now_s = self._machine.now_s
        if now_s > self._warm_s:
            self.took_s.append(now_s - request.arrived_s)
        if self.clients:
            self._machine.at(now_s + self.think_s * (0.5 + self._rng.random()), self._send)

    def on_refused(self, request: Request) -> None:
        """A 503 instead of an answer."""
        if self._machine.now_s > self._warm_s:
            self.refused += 1
            self.refused_after_s.append(self._machine.now_s - request.arrived_s)
        if self.clients:
            self._machine.at(self._machine.now_s + self.think_s, self._send)
