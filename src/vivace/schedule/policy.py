"""What one route costs and which lane it takes. Pure: `now` and every measurement are arguments.

Rules
* A route's lane follows from what its calls cost, never from its name. It stands on one of three levels:
  0 INLINE, on the loop's thread at once; 1 HEAVY, on the loop's thread one at a time, the quick ones served in
  between; 2 off the loop's thread: POOL where it mostly blocks, HEAVY with `away` where it also computes, so that
  those which compute do not all want the GIL at once.
* Up: the first call of a route nobody knows is believed at once. A known route needs two slow calls within
  FORGET_SAMPLES: one is a collection of garbage, a page fault, a neighbour.
* Down: after a run of cheaper calls. Each return makes the next run four times as long, and from the first one on the
  calls must be cheaper by a margin: a route with two faces (cache hit, cache miss) comes to rest where its slow face
  belongs, one whose first call was only cold does not stay there.
* Waiting for the GIL looks like blocking. Only that part of wall - CPU counts which the others' computing cannot
  explain, so the mistake is always to let in fewer at once.
* Where most newcomers turned out slow, the next newcomer starts off the loop's thread.
* Must not know sockets, clocks, threads, requests. It never acts; the loop does.

Threads: `observe` and `overtaken` by the thread that ran the call, or the monitor, without a lock: a lost update of a
field, each one number, costs one sample.
"""

from __future__ import annotations

from vivace.schedule.route import CLEAN_SAMPLES, HEAVY, INLINE, LOOP, POOL, Route

# What is slow. A hand-off to an idle pooled thread costs 27-33 us of CPU, so what it saves must be several times that.
QUICK_S = 0.0005
"""Wall time from which a call is worth recording where its route is not watched."""
BLOCKED_S = 0.0005
"""Blocked time from which a call is better off the loop's thread, if it is BLOCKED_SHARE of what the call takes."""
BLOCKED_SHARE = 0.2
HEAVY_S = 0.0007
"""CPU time from which a call stands back behind the quick ones. The lane costs 60 us a call (a hello forced into it: 82
us, 24 on the fast path), and what frameworks need for a hello on a slow machine, 0.3 to 0.6 ms, is not worth that."""
AWAY_S = 0.005
"""Time from which one call on the loop's thread stalls it for longer than sharing the GIL with it would. Measured, 8
keep-alive clients, switch interval 0.2 ms, p50 of the quick ones with a heavy call of 1, 3 or 10 ms always running:
inline 1.3, 3.5 and 10.6 ms; on another thread 2.7, 3.1 and 1.9 ms."""
REGAIN_S = 0.001
"""What a few returns from system calls may wait for, where another thread computes under the GIL."""

# Averages and hysteresis, in samples.
ALPHA = 0.2  # weight of the newest sample
ALPHA_SHARE = 0.05  # ... in the share booked: slower than the calls in flight follow it, or it would oscillate
CLIP = 8.0  # a sample counts for at most this many times the mean (and two ticks)
NEW_SAMPLES = 4  # quick ones after which a new route is no longer watched
FORGET_SAMPLES = 64  # ... after which one slow one is forgotten
CROWDED = 0.25  # what a slow one counts for while others compute: it may have waited for a GIL whose owner had no core
CLEAN_GROWTH = 4  # ... and how many times more the next time
CLEAN_SAMPLES_MAX = 1024
CLEAN_SAMPLES_HEAVY = 64  # ... at level 1, where a mistake costs an order and no stall, and each watched call 3%
DOUBT_MAX = 255  # slow calls that may go by before a route is watched again
RETURN = 2.0  # once a route has returned, a call counts as cheaper only if it would be at so many times its cost
RETURN_HEAVY = 1.25  # ... at level 1, which costs a tenth of such a call, and a mistake an order and no stall
NEWCOMERS_SLOW = 0.5  # part of the newcomers that were slow from which the next one starts off the loop's thread

# The heavy lane.
ALLOWANCE = 4.0  # a heavy call may take this many times its mean (and a tick) ...
UNKNOWN_TICKS = 100.0  # ... one that starts away and has no mean yet, this many ticks
AGEING = 8.0  # a heavy call lets pass cheaper ones that arrive up to this many times its own cost later
RIVALRY = 0.8  # how much of the others' computing is taken to be in this one's way; see _share
SLACK = 2.0  # see _share
SHARE_MIN = 1 / 64  # below this share of the GIL a call need not wait for its turn

# Trials whether calls that compute can do so side by side, in samples.
TWIN_TRIAL = 4  # side by side, of one trial
TWIN_STRETCH = 1.3  # wall / CPU of each up to which they did not wait for each other
TWIN_STRETCH_MAX = 1.6  # ... and the mean from which they do after all


class Policy:
    """Decides lanes. `lanes`: "learn", "pool" (all calls on pooled threads), "inline" (none, ever).

    `tick_s`: how often the monitor looks. `gil`: whether there is one. `cores`: those this process may use.
    `metered`: somebody wants to know what slow calls spend their time on, even where nothing follows from it.
    """

    def __init__(
        self, *, tick_s: float, gil: bool, lanes: str = "learn", cores: int = 1, metered: bool = False
    ) -> None:
        if lanes not in ("learn", "pool", "inline"):
            raise ValueError(f"lanes must be learn, pool or inline, not {lanes!r}")
        self.tick_s = tick_s
        self.gil = gil
        self.lanes = lanes
        self.cores = cores
        self.metered = metered
        self.quick_s = QUICK_S if lanes == "learn" or metered else float("inf")
        self.newcomers_slow = 0.0
        """Moving average over first calls: 1 where one belonged off the loop's thread, else 0."""
        self.newcomers_share = 0.0
        """... and the share of the GIL that those wanted."""

    def new_route(self, name: str) -> Route:
        """A route nobody has called yet: inline, unless most of the last ones turned out slow."""
        route = Route(name, self.tick_s)
        if self.lanes != "learn":
            route.lane = POOL if self.lanes == "pool" else INLINE
            route.watch = False
            route.allowance_s = float("inf")
        elif self.newcomers_slow > NEWCOMERS_SLOW:
            self._off_loop(route, self.newcomers_share)
        return route

    def suspect(self, route: Route, wall_s: float) -> None:
        """An unwatched inline call was slow, and nobody knows why: the next ones are watched.

        On a noisy machine that is mostly a neighbour's doing. Each time the watching finds nothing, twice as many slow
        calls must come before the next one, unless they are slow beyond doubt.
        """
        if self.lanes != "learn":
            route.watch = self.metered and route.lane != LOOP
            return
        if route.lane == LOOP or (route.ignore > 0 and wall_s < self.tick_s):
            route.ignore -= 1
            return
        route.overtakes = 0
        route.watch = True
        route.suspected = True
        route.strikes = max(route.strikes, 0.5)
        route.clean = 0

    def observe(self, route: Route, wall_s: float, cpu_s: float, concurrency: float) -> None:
        """Takes in one finished, watched call of the application.

        `concurrency`: how many computed at the same time, this one included; see the function of that name.
        """
        if self.lanes != "learn":
            route.watch = self.metered and wall_s > QUICK_S
            return
        route.overtakes = 0
        blocked_s = self._blocked_s(route, wall_s, cpu_s, concurrency)
        first = route.samples == 0
        self._average(route, wall_s, cpu_s, blocked_s)
        level = self._level(blocked_s, cpu_s)
        if first:
            self._newcomer(level == 2, cpu_s, blocked_s)
            self._settle(route, level)
            route.clean = 1
        elif level > route.level:
            self._dearer(route, CROWDED if concurrency > 1.0 else 1.0)
        else:
            route.strikes = max(0.0, route.strikes - 1.0 / FORGET_SAMPLES)
            margin = 1.0
            if route.clean_needed > CLEAN_SAMPLES:
                margin = RETURN if route.level == 2 else RETURN_HEAVY
            if route.level == 0:
                self._quick(route)
            elif self._level((wall_s - cpu_s) * margin, cpu_s * margin) < route.level:
                self._cheaper(route, level)
            elif level == route.level:
                route.clean = route.peak = 0
        if route.level == 2:
            if cpu_s > AWAY_S and self.gil and self.cores > 1:
                self._try_twins(route, wall_s, cpu_s, concurrency)
            share = self._share(route.cpu_s, route.blocked_s)
            self._off_loop(route, share if first else route.share + (share - route.share) * ALPHA_SHARE)
        elif route.level == 1:
            route.allowance_s = self.tick_s + ALLOWANCE * route.wall_s

    def overtaken(self, route: Route, elapsed_s: float, cpu_s: float | None, crowded: bool = False) -> None:
        """The monitor overtook an inline call of `route` that is still running.

        Moves a route out of the way before its first call has ended, so that a burst on it stalls the loop once
        and not once a call. `cpu_s`: its thread's CPU time within `elapsed_s`, None if it was not read.
        `crowded`: whether others may have been computing (`HeavyQueue.rivals` is not 0).
        """
        if self.lanes != "learn" or route.lane == LOOP:
            return
        route.overtakes += 1
        route.watch = True
        strikes = route.strikes + route.overtakes * (CROWDED if crowded else 1.0)
        if route.samples and not self._convinced(route, strikes):
            return
        cpu_s = cpu_s or 0.0
        blocked_s = max(0.0, elapsed_s - cpu_s)
        if route.samples == 0 and route.level == 0:
            self._newcomer(True, cpu_s, blocked_s)
        route.clean = route.peak = 0
        self._off_loop(route, self._share(cpu_s, blocked_s))

    def heavy_key(self, route: Route, arrived_s: float) -> float:
        """Order in the heavy lane, smaller first: the cheapest expected first, with ageing.

        A call that costs c lets pass cheaper ones that arrive up to AGEING * c later, and none that arrive after:
        no stream of cheap calls starves it.
        """
        return arrived_s + AGEING * route.cpu_s

    # What one sample says

    def _blocked_s(self, route: Route, wall_s: float, cpu_s: float, concurrency: float) -> float:
        """Of wall - CPU, what waiting for the GIL does not explain; below 0 if it explains more.

        Each other call that computes makes this one wait about as long as it computes itself, and a little at each
        return from a system call.
        """
        blocked_s = wall_s - cpu_s
        if self.gil and concurrency > 1.0:
            blocked_s -= cpu_s * RIVALRY * (concurrency - 1.0)
            if route.level < 2:
                blocked_s -= REGAIN_S
        return max(-cpu_s, blocked_s)

    def _level(self, blocked_s: float, cpu_s: float) -> int:
        own_s = max(0.0, blocked_s) + cpu_s
        if own_s > AWAY_S or (blocked_s > BLOCKED_S and blocked_s > own_s * BLOCKED_SHARE):
            return 2
        return (1 if self.gil else 2) if cpu_s > HEAVY_S else 0

    def _share(self, cpu_s: float, blocked_s: float) -> float:
        """The share of the GIL that a call off the loop's thread books, 1 / (calls of its kind at once).

        1 + blocked / CPU calls keep one GIL busy; with SLACK, because they do not take turns by appointment. Twice as
        many of those that compute too little to be in anybody's way.

        It cannot run away: of n calls that only compute, each waits (n - 1) * CPU, `_blocked_s` believes 1 - RIVALRY
        of it, and 1 + SLACK * (1 - RIVALRY) * (n - 1) are let in next (or twice that), which is fewer.
        """
        if not self.gil or cpu_s <= 0.0:
            return 0.0
        share = cpu_s / (cpu_s + SLACK * max(0.0, blocked_s))
        return share if cpu_s > HEAVY_S else share / 2.0

    # Moving

    def _average(self, route: Route, wall_s: float, cpu_s: float, blocked_s: float) -> None:
        route.samples += 1
        if route.samples == 1:
            route.wall_s, route.cpu_s, route.blocked_s = wall_s, cpu_s, blocked_s
            return
        more_s = 2.0 * self.tick_s
        route.wall_s += (min(wall_s, CLIP * route.wall_s + more_s) - route.wall_s) * ALPHA
        route.cpu_s += (min(cpu_s, CLIP * route.cpu_s + more_s) - route.cpu_s) * ALPHA
        # May be negative, where less was waited for than could have been: so the mean is not biased.
        most_s = CLIP * abs(route.blocked_s) + more_s
        route.blocked_s += (max(-most_s, min(blocked_s, most_s)) - route.blocked_s) * ALPHA

    def _newcomer(self, slow: bool, cpu_s: float, blocked_s: float) -> None:
        self.newcomers_slow += (slow - self.newcomers_slow) * ALPHA
        if slow:
            self.newcomers_share += (self._share(cpu_s, blocked_s) - self.newcomers_share) * ALPHA

    def _convinced(self, route: Route, strikes: float) -> bool:
        """Whether so many slow calls move the route: one is enough where it has come back more than once."""
        return strikes > 1.0 or (strikes == 1.0 and route.clean_needed > CLEAN_SAMPLES * CLEAN_GROWTH)

    def _dearer(self, route: Route, weight: float) -> None:
        route.clean = route.peak = route.doubt = 0
        route.strikes += weight
        if self._convinced(route, route.strikes):
            level = self._level(route.blocked_s, route.cpu_s)
            if level > route.level:
                self._settle(route, level)
                route.strikes = 0.0

    def _cheaper(self, route: Route, level: int) -> None:
        route.clean += 1
        route.peak = max(route.peak, level)
        most = CLEAN_SAMPLES_MAX if route.level == 2 else CLEAN_SAMPLES_HEAVY
        if route.clean >= min(most, route.clean_needed):
            self._settle(route, route.peak)
            route.clean_needed = max(route.clean_needed, min(most, route.clean_needed * CLEAN_GROWTH))
            route.clean = route.peak = 0
            route.strikes = 0.0

    def _quick(self, route: Route) -> None:
        route.clean += 1
        if route.clean_needed > CLEAN_SAMPLES:
            done = route.clean >= route.clean_needed
        else:
            done = route.clean >= NEW_SAMPLES and route.strikes == 0.0
        if done:
            route.watch = False
            route.strikes = 0.0
            if route.suspected:
                route.suspected = False
                route.doubt = route.ignore = min(DOUBT_MAX, 2 * route.doubt + 1)

    def _settle(self, route: Route, level: int) -> None:
        route.watch = True
        if level == 2:
            self._off_loop(route, self._share(route.cpu_s, route.blocked_s))
            return
        route.level = level
        route.away = 0.0
        route.lane = HEAVY if level else INLINE
        route.allowance_s = self.tick_s + (ALLOWANCE * route.wall_s if level else 0.0)

    def _off_loop(self, route: Route, share: float) -> None:
        """Level 2, booking `share` of the GIL. A loop that reads `lane` and then `away` never sees HEAVY and 0."""
        route.share = share
        if share >= SHARE_MIN:
            if route.frees:
                share /= self.cores
            elif route.twin_trial:
                share = min(share, 0.5)
        route.level = 2
        route.away = share
        route.lane = HEAVY if share >= SHARE_MIN else POOL
        route.allowance_s = ALLOWANCE * route.wall_s + self.tick_s * (1.0 if route.samples else UNKNOWN_TICKS)

    def _try_twins(self, route: Route, wall_s: float, cpu_s: float, concurrency: float) -> None:
        """Finds out whether the route's computing releases the GIL (hashes, compression, numpy).

        Nothing in one call tells. So now and then two are let in together: if neither takes longer for it, they
        may run on as many threads as there are cores. A mistake shows in the mean, and is taken back.
        """
        if route.cpu_s < AWAY_S or route.blocked_s > route.cpu_s:
            return
        if route.frees:
            route.frees = route.wall_s < TWIN_STRETCH_MAX * route.cpu_s
        elif route.twin_trial:
            if concurrency < 1.5:
                return
            route.twin_trial -= 1
            if wall_s > TWIN_STRETCH * cpu_s:
                route.twin_trial = 0
            elif route.twin_trial == 0:
                route.frees = True
        elif route.twin_wait:
            route.twin_wait -= 1
        else:
            route.twin_trial = TWIN_TRIAL
            route.twin_wait = route.twin_next = min(CLEAN_SAMPLES_MAX, route.twin_next * CLEAN_GROWTH)


def concurrency(cpu_s: float, others_s: float, rivals: float) -> float:
    """How many computed while a call did, itself included: what `Policy.observe` asks for.

    `others_s`: CPU time of the process's other threads meanwhile (time.process_time less the thread's own). No call
    has waited longer for the GIL than that; nor for more threads than `rivals`, those that may compute at all
    (`HeavyQueue.rivals`, the mean of its start and its end).
    """
    return 1.0 + (min(rivals, others_s / cpu_s) if cpu_s > 0.0 and others_s > 0.0 else 0.0)


def overdue(arrived_s: float, now_s: float, queue_timeout_s: float) -> bool:
    """Whether a call has waited past its queue deadline (0: it has none) and is refused unserved."""
    return 0.0 < queue_timeout_s < now_s - arrived_s
