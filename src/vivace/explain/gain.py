"""What a change would gain: a model of the server, fed by what was measured. Pure.

`Flow` is a closed queueing network. So many clients have a request in the server; each worker is a station that
serves one at a time (the GIL), behind it what is waited for elsewhere takes its time beside everything else (a delay),
a lock is a second station, and at most `threads` requests are past the door of a worker. Its rate is found by mean
value analysis (Reiser and Lavenberg, 1980), which is exact for exponential times. Times that vary less queue less: so
the truth lies between that and the bound that no queue can break (`bound`), and both stand at the ends of a gain.

A change is another Flow. A gain is what the model says of both, never of one: what the model gets wrong of a server it
gets wrong twice.

How far estimates were off when the change was made, on the patients of examples/patients, is told in docs/patients.md.
Rules: seconds; rates a second. Nothing of it knows what is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from vivace.explain.finding import RATE, RESPONSE, Gain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CLIENTS_MAX = 400
"""Of one worker: the recursion takes a step for each."""
STRETCH_MAX = 5.0
LEFT, LEFT_S = 0.01, 50e-6
"""Of the processor time of a request, what no change takes away."""
WARMER, WARMER_UNCOLLECTED = 0.3, 0.65
"""What is left of a request runs quicker without what was taken away, which had the processor's caches for itself: by
so much, if that was all but nothing of it. A template of Jinja is rendered in 380 us, and in 490 us just after another
one was compiled; a request of Flask takes 170 us, and 425 us just after all objects were looked at by the collector."""
LIKELY_TO_BOUND = 0.5
"""Where between the two the likely rate lies. Calls of one route mostly take much the same time."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What requests need on average, and what there is."""

    clients: float
    """Requests that are in the server or about to be sent, on average."""
    cpu_s: float
    """A request computes so long."""
    wait_s: float
    """... and waits for something outside for so long."""
    lock_s: float = 0.0
    """... and holds a lock that all need for so long; none of it in `cpu_s` or `wait_s`."""
    think_s: float = 0.0
    """Between an answer and the client's next request."""
    workers: int = 1
    threads: int = 64
    """Of one worker."""
    cores: float = 1.0
    """That the workers may use together."""
    stretch: float = 1.0
    """So many times as long as `cpu_s` computing takes: others are on the processors, or threads hand the GIL on."""

    @property
    def computing_s(self) -> float:
        return self.cpu_s * self.stretch

    @property
    def rate(self) -> float:
        """Requests a second: between the exponential network and the bound."""
        exponential = self._rate(_mean_values)
        return exponential + (self._rate(_bound) - exponential) * LIKELY_TO_BOUND

    @property
    def rates(self) -> tuple[float, float]:
        """(of the exponential network, the bound)."""
        return self._rate(_mean_values), self._rate(_bound)

    def _rate(self, one_worker: Callable[[float, Flow], float]) -> float:
        """Of all workers, each with its share of the clients."""
        inside = min(self.clients / self.workers, float(self.threads))
        rate = self.workers * one_worker(inside, self)
        return min(rate, self.cores / self.cpu_s) if self.cpu_s else rate

    @property
    def response_s(self) -> float:
        """Mean, from arrival to answer."""
        rate = self.rate
        return max(self.clients / rate - self.think_s, self.computing_s + self.wait_s + self.lock_s) if rate else 0.0


def _bound(clients: float, flow: Flow) -> float:
    """No more than each can do alone, nor than the busiest station can (asymptotic bounds)."""
    alone_s = flow.computing_s + flow.wait_s + flow.lock_s + flow.think_s
    busiest_s = max(flow.computing_s, flow.lock_s)
    rate = clients / max(alone_s, 1e-9)
    return min(rate, 1.0 / busiest_s) if busiest_s else rate


def _mean_values(clients: float, flow: Flow) -> float:
    """Exact mean value analysis; between whole numbers of clients, in proportion."""
    clients = min(clients, float(CLIENTS_MAX))
    delay_s = flow.wait_s + flow.think_s
    at_cpu = at_lock = rate = before = 0.0
    for count in range(1, ceil(max(clients, 1.0)) + 1):
        cpu_s, lock_s = flow.computing_s * (1.0 + at_cpu), flow.lock_s * (1.0 + at_lock)
        before, rate = rate, count / max(cpu_s + lock_s + delay_s, 1e-9)
        at_cpu, at_lock = rate * cpu_s, rate * lock_s
    part = clients - int(clients)
    if clients < 1.0:
        return rate * clients
    return before + (rate - before) * part if part else rate


def fitted(flow: Flow, rate: float) -> Flow:
    """The same, with computing stretched so far (STRETCH_MAX at most) that the model has the rate that was measured."""
    low, high = 1.0, STRETCH_MAX
    if not rate or flow.rate <= rate:
        return flow
    for _ in range(20):
        middle = (low + high) / 2
        if replace(flow, stretch=middle).rate > rate:
            low = middle
        else:
            high = middle
    return replace(flow, stretch=high)


def gain_of(before: Flow, *after: Flow, how: str = "") -> Gain:
    """Of requests a second, for the same clients. Of several `after` the first is the likely one, the others are how
    little and how much the change may do."""
    now = max(before.rate, 1e-9)
    lows, highs = zip(*(one.rates for one in after), strict=True)
    least, most = before.rates
    likely = after[0].rate / now
    low = min(min(lows) / max(least, 1e-9), min(highs) / max(most, 1e-9), likely)
    high = max(max(lows) / max(least, 1e-9), max(highs) / max(most, 1e-9), likely)
    return Gain(RATE, low, likely, high, how)


def without(flow: Flow, *, cpu_s: float = 0.0, wait_s: float = 0.0, warmer: float = 0.0) -> Flow:
    """The same with so much less to do for a request; what the server and a framework do is left, and runs quicker by
    `warmer`, in proportion."""
    least_s = min(flow.cpu_s, max(LEFT_S, flow.cpu_s * LEFT))
    left_s = max(0.0, flow.cpu_s - cpu_s)
    left_s *= 1.0 - warmer * (1.0 - left_s / flow.cpu_s)
    return replace(flow, cpu_s=max(least_s, left_s), wait_s=max(0.0, flow.wait_s - wait_s))


def saving(
    flow: Flow, parts: tuple[float, float, float], *, cpu_s: float = 0.0, wait_s: float = 0.0, warmer: float = 0.0
) -> Gain:
    """What it gains to be rid of (least, likely, most) of so much time of each request. `warmer`: see `without`; at the
    lower end of the gain there is none of that."""
    low, likely, high = (
        without(flow, cpu_s=cpu_s * part, wait_s=wait_s * part, warmer=quicker)
        for part, quicker in zip(parts, (0.0, warmer, warmer), strict=True)
    )
    return gain_of(flow, likely, low, high)


def cached(
    flow: Flow, share: float, hit_rate: tuple[float, float, float], hit_s: float, part: float | None = None
) -> Gain:
    """A cache that answers (least, likely, most) of `share` of all requests, in `hit_s` of processor time each.

    `part`: of what all requests compute and wait, that of these; without it as much as `share`.
    """
    part = share if part is None else part
    low, likely, high = (
        replace(
            flow, cpu_s=flow.cpu_s * (1 - hits * part) + hit_s * hits * share, wait_s=flow.wait_s * (1 - hits * part)
        )
        for hits in hit_rate
    )
    return gain_of(flow, likely, low, high)


# For those who come whatever happens (open loop): how many are needed.


def waiting_s(servers: int, rate: float, service_s: float, variation: float = 1.0) -> float:
    """The mean wait for one of `servers` (M/G/c by Allen and Cunneen's formula); inf: they are too few.

    `variation`: the squared coefficient of variation of the service times.
    """
    load = rate * service_s
    if load >= servers:
        return float("inf")
    blocking = 1.0  # Erlang's B, by its recursion
    for count in range(1, servers + 1):
        blocking = load * blocking / (count + load * blocking)
    busy = load / servers
    delayed = blocking / (1.0 - busy * (1.0 - blocking))  # Erlang's C
    return delayed * service_s / (servers - load) * (1.0 + variation) / 2.0


def servers_for(rate: float, service_s: float, wait_s: float, variation: float = 1.0, most: int = 1024) -> int:
    """The fewest with a mean wait of at most `wait_s`; `most` if more would be needed."""
    servers = min(most, max(1, int(rate * service_s)))
    while servers < most and waiting_s(servers, rate, service_s, variation) > wait_s:
        servers += 1
    return servers


def threads_for(cpu_s: float, wait_s: float) -> int:
    """So many keep one GIL busy: 1 + wait / CPU, where all calls are of one kind."""
    return max(1, ceil(1.0 + wait_s / max(cpu_s, 1e-6)))


def response_gain(before_s: float, low_s: float, likely_s: float, high_s: float, how: str = "") -> Gain:
    """Of the mean response time, for those who come whatever happens."""
    before_s = max(before_s, 1e-9)
    return Gain(RESPONSE, low_s / before_s, likely_s / before_s, high_s / before_s, how)


def told(gain: Gain) -> str:
    """In words: `2.1 times the requests/s (1.6 to 2.4)`."""
    if gain.what == RATE:
        return f"{_times(gain.likely)} times the {gain.what} ({_times(gain.low)} to {_times(gain.high)})"
    low, high = sorted((1.0 - gain.low, 1.0 - gain.high))
    return f"{1.0 - gain.likely:.0%} less {gain.what} ({max(low, 0.0):.0%} to {high:.0%})"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 1.95 else f"{ratio:.2f}"


def as_json(flow: Flow) -> dict[str, Any]:
    """With the rate that the model gives it."""
    return {
        **{name: getattr(flow, name) for name in Flow.__slots__},
        "rate": flow.rate,
    }
