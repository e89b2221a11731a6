from __future__ import annotations
import sys, random
from collections import deque
from benchmarks.simulated_machine import RUN, FREE, SLEEP, PARK, Machine, Thread
from vivace.schedule.heavy import HeavyQueue
from vivace.schedule.policy import *
from vivace.schedule.policy import overdue
def may_overtake(e,a,o): return e-o>=a
from vivace.schedule.routes import RouteTable

RECV = (FREE, 3e-6)
SEND = (FREE, 3.5e-6)
PARSE = (RUN, 5e-6)
RESPOND = (RUN, 2.5e-6)
POLL = (FREE, 1.2e-6)
TURN = (RUN, 1e-6)
PUT = (RUN, 8e-6)
GET = (RUN, 8e-6)
LOOK = (RUN, 3e-6)
THREAD_START_S = 80e-6
us = 1e-6
ms = 1e-3


class Request:
    __slots__ = ("client", "arrived", "ops", "path", "route", "cls")


class Server:
    def __init__(
        self,
        m,
        *,
        lanes="learn",
        threads=64,
        tick_s=2 * ms,
        gil=True,
        monitor=True,
        queue_timeout_s=0.0,
        mode=None,
    ):
        self.m = m
        self.policy = Policy(tick_s=tick_s, gil=gil, lanes=lanes)
        self.table = RouteTable(self.policy.new_route)
        self.kernel = deque()
        self.ready = deque()
        self.heavy = HeavyQueue()
        self.away = 0
        self.poolq = deque()
        self.idle = []
        self.threads = 0
        self.threads_max = threads
        self.promote = False
        self.leader = None
        self.parked = False
        self.baton = None
        self.active = 0
        self.queue_timeout_s = queue_timeout_s
        self.overtakes = 0
        self.pooled = 0
        self.refused = 0
        self.tick_s = tick_s
        self.peak = 0
        self.bell = False
        self.spawn(self.lead_first())
        if monitor and lanes == "learn":
            m.start(self.monitor())

    def spawn(self, body, delay=0.0):
        self.threads += 1
        return self.m.start(body, delay)

    def arrive(self, req):
        req.arrived = self.m.now
        self.kernel.append(req)
        if self.parked:
            self.parked = False
            self.m.wake(self.leader)

    def lead_first(self):
        me = [None]
        yield from self.worker(lead=True)

    def worker(self, lead=False, item=None):
        # a pool thread
        while True:
            if lead:
                lead = False
                yield from self.lead()
                item = None
            elif item is not None:
                yield GET
                yield from self.perform(item)
                item = None
            if self.promote:
                self.promote = False
                lead = True
                continue
            if self.poolq:
                item = self.poolq.popleft()
                continue
            box = [None, False]
            th = self.current_box(box)
            while box[0] is None and not box[1]:
                yield (PARK, 0.0)
            item, lead = box

    def current_box(self, box):
        self.idle.append((self.m.current, box))

    def submit(self, req):
        if self.idle:
            th, box = self.idle.pop()
            box[0] = req
            self.m.wake(th)
        elif self.threads < self.threads_max:
            self.spawn(self.worker(item=req), THREAD_START_S)
        else:
            self.poolq.append(req)

    def promote_one(self):
        if self.idle:
            th, box = self.idle.pop()
            box[1] = True
            self.m.wake(th)
        else:
            self.spawn(self.worker(lead=True), THREAD_START_S)

    def call(self, req):
        m = self.m
        me = m.current
        route = req.route
        watch = route.watch
        self.active += 1
        start = m.now
        cpu = me.cpu_s
        for op in req.ops: yield op
        c = self.active
        self.active -= 1
        wall = m.now - start
        if watch or wall > self.policy.quick_s:
            self.policy.observe(route, wall, me.cpu_s - cpu if watch else None, c)
        yield RESPOND
        yield SEND
        req.client.done(req)

    def perform(
        self,
        req,
    ):
        if self.late(req):
            return
        self.pooled += 1
        yield from self.call(req)
        if req.route is not None and getattr(req, "cls", None) and req in self.running_away:
            pass

    running_away = ()

    def late(self, req):
        if overdue(req.arrived, self.m.now, self.queue_timeout_s):
            self.refused += 1
            req.client.refused(req)
            return True
        return False

    def perform_away(self, req):
        pass

    def call_inline(self, req):
        m = self.m
        me = m.current
        if self.late(req):
            return True
        mine = self.baton = (me, m.now, me.cpu_s, req)
        yield from self.call(req)
        if self.baton is mine:
            self.baton = None
            return True
        return False

    def lead(self):
        m = self.m
        heavy = self.heavy
        ready = self.ready
        self.leader = m.current
        while True:
            yield TURN
            yield POLL
            if not self.kernel and not ready and not heavy.inline and not self.may():
                self.parked = True
                yield (PARK, 0.0)
            ready.extend(self.kernel)
            self.kernel.clear()
            while ready:
                req = ready.popleft()
                yield RECV
                yield PARSE
                req.route = route = self.table.find("GET", req.path)
                if route.lane == INLINE:
                    if not (yield from self.call_inline(req)):
                        return
                elif route.lane == POOL:
                    yield PUT
                    self.submit(req)
                else:
                    heavy.push(self.policy.heavy_key(route, req.arrived), req.arrived, req, route.away)
            while heavy.away and not self.away:
                yield PUT
                self.away += 1
                self.submit(Away(self, heavy.pop(True)))
            if heavy.inline:
                if not (yield from self.call_inline(heavy.pop(False))):
                    return

    def may(self):
        h=self.heavy
        return h.away and h._fits(h.away[0][3],self.m.now)
    def monitor(self):
        m = self.m
        while True:
            asked = m.now
            yield (SLEEP, self.tick_s)
            yield LOOK
            over = m.now - asked - self.tick_s
            b = self.baton
            if b is not None:
                th, start, cpu, req = b
                if may_overtake(m.now - start, req.route.allowance_s, over):
                    self.baton = None
                    self.overtakes += 1
                    self.policy.overtaken(req.route, m.now - start, th.cpu_now(m) - cpu)
                    self.promote_one()


class Away:
    def __init__(self, s, req):
        self.s = s
        self.req = req


_perform = Server.perform


def perform(self, req):
    if isinstance(req, Away):
        if not self.late(req.req):
            self.pooled += 1
            yield from self.call(req.req)
        self.away -= 1
        if self.parked:
            self.parked = False
            self.m.wake(self.leader)
    else:
        yield from _perform(self, req)


Server.perform = perform


class Client:
    """closed loop"""

    def __init__(self, sim, cls, think, rng):
        self.sim = sim
        self.cls = cls
        self.think = think
        self.rng = rng

    def send(self):
        r = Request()
        r.client = self
        r.path, r.ops = self.cls.make(self.rng)
        r.cls = self.cls
        self.sim.server.arrive(r)

    def done(self, req):
        self.cls.lat.append((self.sim.m.now, self.sim.m.now - req.arrived))
        self.sim.m.at(self.sim.m.now + self.think * (0.5 + self.rng.random()), self.send)

    refused = done


class Open:
    def __init__(self, sim, cls, rate, rng):
        self.sim = sim
        self.cls = cls
        self.rate = rate
        self.rng = rng

    def send(self):
        r = Request()
        r.client = self
        r.path, r.ops = self.cls.make(self.rng)
        r.cls = self.cls
        self.sim.m.at(self.sim.m.now + self.rng.expovariate(self.rate), self.send)
        self.sim.server.arrive(r)

    def done(self, req):
        self.cls.lat.append((self.sim.m.now, self.sim.m.now - req.arrived))

    def refused(self, req):
        self.cls.refused += 1


class Cls:
    def __init__(self, name, make):
        self.name = name
        self.make = make
        self.lat = []
        self.refused = 0


def hello():
    return Cls("quick", lambda r: ("/", [(RUN, 8 * us)]))


def sleeper():
    return Cls("sleep20", lambda r: ("/slow", [(RUN, 30 * us), (SLEEP, 20 * ms), (RUN, 20 * us)]))


def cpu(s, name):
    return Cls(name, lambda r: ("/cpu", [(RUN, s * (0.9 + 0.2 * r.random()))]))


def mixed():
    return Cls(
        "mixed",
        lambda r: (
            "/mixed",
            [x for _ in range(5) for x in ((RUN, 1 * ms), (SLEEP, (0.5 + r.random()) * ms))],
        ),
    )


def native():
    return Cls("native", lambda r: ("/hash", [(FREE, 50 * ms)]))


def bimodal(p):
    return Cls(
        "bimodal",
        lambda r: ("/bi", [(RUN, 50 * us), (SLEEP, 20 * ms)] if r.random() < p else [(RUN, 50 * us)]),
    )


def storm():
    return Cls(
        "storm",
        lambda r: ("/s/x%c%c%c" % tuple(r.choices("abcdefghij", k=3)), [(RUN, 30 * us), (SLEEP, 20 * ms)]),
    )


class Sim:
    def __init__(self, loads, *, cores=2, switch=0.2 * ms, seed=1, **kw):
        gil = switch is not None
        self.m = Machine(cores, switch)
        self.server = Server(self.m, gil=gil, **kw)
        self.rng = random.Random(seed)
        self.loads = loads
        for cls, n, think in loads:
            for i in range(abs(n)):
                c = Client(self, cls, think, self.rng) if n > 0 else Open(self, cls, think, self.rng)
                self.m.at(self.rng.random() * 2 * ms, c.send)

    def run(self, dur):
        self.m.run(dur)
        out = []
        for cls, _, _ in self.loads:
            xs = sorted(l for t, l in cls.lat if t > dur * 0.25)
            n = len(xs) or 1
            out.append(
                f"{cls.name:8} {len(xs) / (dur * 0.75):8.0f}/s p50 {xs[n // 2] * 1e3 if xs else 0:8.2f} p99 {xs[int(n * 0.99)] * 1e3 if xs else 0:8.2f}"
            )
        s = self.server
        print(
            "   ".join(out),
            f"  | overtaken {s.overtakes} pooled {s.pooled} threads {s.threads} refused {s.refused}",
        )


if __name__ == "__main__":
    import time

    T = 150 * us
    L = {
        "hello": lambda: [(hello(), 8, T)],
        "sleep": lambda: [(sleeper(), 32, T), (hello(), 8, T)],
        "cpu1": lambda: [(cpu(1 * ms, "cpu1"), 32, T), (hello(), 8, T)],
        "cpu50": lambda: [(cpu(50 * ms, "cpu50"), 8, T), (hello(), 8, T)],
        "cpu3": lambda: [(cpu(3 * ms, "cpu3"), 8, T), (hello(), 8, T)],
        "mixed": lambda: [(mixed(), 32, T), (hello(), 8, T)],
        "native": lambda: [(native(), 8, T), (hello(), 8, T)],
        "bi10": lambda: [(bimodal(0.1), 16, T), (hello(), 8, T)],
        "bi1": lambda: [(bimodal(0.01), 16, T), (hello(), 8, T)],
        "storm": lambda: [(storm(), 32, T), (hello(), 8, T)],
    }
    names = sys.argv[1:] or L
    for n in names:
        for tag, kw in (("learn", {}), ("pool64", dict(lanes="pool")), ("inline", dict(lanes="inline"))):
            t = time.time()
            print(f"{n:7}{tag:7}", end=" ")
            Sim(L[n](), **kw).run(1.0)
            print(f"   [{time.time() - t:.1f}s]")
