"""What came of a load: slices of time as the generators report them, merged, and a `Result` to read. Pure.

Rules: times are seconds. A histogram is {bucket: count} of `observe.histogram`, so that those of several processes
merge by addition; a percentile is the middle of a bucket that something fell into (at most 0.4% off), and the slowest
one is exact. Answers that are counted have come within the measured part; one that was begun in it and came later
(while the load drained) counts in the latencies, not in the rate. What failed is counted by kind and has no latency.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from vivace.observe.histogram import quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Histogram = dict[int, int]

SHARES = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)
VERSION = 1

ERRORS = ("connect", "connect timeout", "reset", "closed", "bad response", "timeout", "not sent", "tls")
"""What a request that has no answer is counted as. `not sent`: due in open loop, but no connection was ever free.
Answers of 400 and more are answers: see `statuses`."""


@dataclass(slots=True)
class Slice:
    """What happened in one stretch of time. Several processes' slices of the same time add up."""

    answers: int = 0
    received: int = 0
    """Bytes."""
    latency: Histogram = field(default_factory=dict)
    """From the intended send in open loop, from the send in closed."""
    service: Histogram = field(default_factory=dict)
    """From the send, in open loop."""
    names: dict[str, Histogram] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    total_s: float = 0.0
    slowest_s: float = 0.0


def added(slices: Iterable[Slice]) -> Slice:
    """All of them as one."""
    total = Slice()
    latency: Counter[int] = Counter()
    service: Counter[int] = Counter()
    statuses: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    names: dict[str, Counter[int]] = {}
    for one in slices:
        total.answers += one.answers
        total.received += one.received
        total.total_s += one.total_s
        total.slowest_s = max(total.slowest_s, one.slowest_s)
        latency.update(one.latency)
        service.update(one.service)
        statuses.update(one.statuses)
        errors.update(one.errors)
        for name, histogram in one.names.items():
            names.setdefault(name, Counter()).update(histogram)
    total.latency, total.service = dict(latency), dict(service)
    total.statuses, total.errors = dict(statuses), dict(errors)
    total.names = {name: dict(histogram) for name, histogram in names.items()}
    return total


@dataclass(slots=True)
class Loader:
    """How the load's own processes did."""

    processes: int = 1
    cpu_share: float = 0.0
    """Of the busiest process: processor time by time."""
    waited_share: float = 0.0
    """Of the same: how long it was ready to run and had no processor."""
    late_p99_s: float = 0.0
    """Open loop: how long after its time a request was sent though a connection was free."""
    sent: int = 0
    bottleneck: str = ""
    """Why the figures tell of the loader rather than of the server, or ""."""


@dataclass(slots=True)
class Server:
    """The server's processes, when they are on this machine."""

    pid: int = 0
    processes: int = 0
    cpu_s: float = 0.0
    """In the measured part."""
    cpu_us_per_request: float = 0.0
    rss_bytes: int = 0
    """At the end. Pages that processes share are counted for each."""
    rss_max_bytes: int = 0


@dataclass(slots=True)
class Warmup:
    """What was cut off at the begin."""

    seconds: float = 0.0
    method: str = ""
    """In a sentence: how it was found, or that it was given."""
    steady: bool = True
    """False: no steady state was found; nothing was cut."""


@dataclass(slots=True)
class Result:
    """One load, measured."""

    url: str
    mode: str
    seconds: float
    """Of the measured part."""
    connections: int
    rate_wanted: float = 0.0
    total: Slice = field(default_factory=Slice)
    """Of the measured part, with what came while the load drained."""
    slices: list[Slice] = field(default_factory=list)
    """All, from the begin of the load, warm-up included: `slice_s` each."""
    slice_s: float = 1.0
    drained: int = 0
    """Of `total.answers`, how many came after the end."""
    loader: Loader = field(default_factory=Loader)
    server: Server | None = None
    warmup: Warmup = field(default_factory=Warmup)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return (self.total.answers - self.drained) / self.seconds if self.seconds else 0.0

    @property
    def bytes_rate(self) -> float:
        return self.total.received / self.seconds if self.seconds else 0.0

    @property
    def mean_s(self) -> float:
        return self.total.total_s / self.total.answers if self.total.answers else 0.0

    @property
    def failed(self) -> int:
        """Requests without an answer, and answers of 500 and more."""
        return sum(self.total.errors.values()) + self.total.statuses.get("5xx", 0)

    @property
    def failed_share(self) -> float:
        """Of all requests that ended."""
        ended = self.total.answers + sum(self.total.errors.values())
        return self.failed / ended if ended else 0.0

    def percentiles(self, shares: tuple[float, ...] = SHARES) -> list[float]:
        """The latency that each share (ascending, 0 to 1) of the answers does not exceed, in seconds."""
        return [min(value, self.total.slowest_s) for value in quantiles(self.total.latency, shares)]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; plus, under "summary", what a person or a script looks for."""
        return {"version": VERSION, "summary": self.summary(), **asdict(self)}

    def summary(self) -> dict[str, Any]:
        """Rate, latencies in seconds, failures."""
        found: dict[str, Any] = {
            "rate": self.rate,
            "answers": self.total.answers,
            "failed": self.failed,
            "mean_s": self.mean_s,
            "max_s": self.total.slowest_s,
            "bottleneck": self.loader.bottleneck,
        }
        for share, value in zip(SHARES, self.percentiles(), strict=True):
            found[f"p{share * 100:g}_s"] = value
        return found


def together(results: Sequence[Result]) -> Result:
    """Several runs of the same load as one, end to end: for a picture of what all of them saw."""
    first = results[0]
    servers = [one.server for one in results if one.server is not None]
    requests = sum(one.cpu_s / one.cpu_us_per_request * 1e6 for one in servers if one.cpu_us_per_request)
    cpu_s = sum(one.cpu_s for one in servers)
    return Result(
        url=first.url,
        mode=first.mode,
        seconds=sum(one.seconds for one in results),
        connections=first.connections,
        rate_wanted=first.rate_wanted,
        total=added(one.total for one in results),
        slices=[one for result in results for one in result.slices],
        slice_s=first.slice_s,
        drained=sum(one.drained for one in results),
        loader=Loader(
            processes=first.loader.processes,
            cpu_share=max(one.loader.cpu_share for one in results),
            waited_share=max(one.loader.waited_share for one in results),
            late_p99_s=max(one.loader.late_p99_s for one in results),
            sent=sum(one.loader.sent for one in results),
            bottleneck=max(one.loader.bottleneck for one in results),
        ),
        server=Server(
            processes=servers[0].processes,
            cpu_s=cpu_s,
            cpu_us_per_request=cpu_s / requests * 1e6 if requests else 0.0,
            rss_bytes=servers[-1].rss_bytes,
            rss_max_bytes=max(one.rss_max_bytes for one in servers),
        )
        if servers
        else None,
        warmup=Warmup(sum(one.warmup.seconds for one in results), first.warmup.method),
    )


def from_json(found: dict[str, Any]) -> Result:
    """What `Result.to_json` made, after a trip through JSON. Raises ValueError for anything else."""
    if found.get("version") != VERSION:
        raise ValueError(f"not the result of vivace bench, version {VERSION}")
    fields = {key: value for key, value in found.items() if key not in ("version", "summary", "missed")}
    try:
        fields["total"] = slice_from(fields["total"])
        fields["slices"] = [slice_from(one) for one in fields["slices"]]
        fields["loader"] = Loader(**fields["loader"])
        fields["server"] = Server(**fields["server"]) if fields["server"] else None
        fields["warmup"] = Warmup(**fields["warmup"])
        return Result(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the result of vivace bench: {error}") from None


def slice_from(found: dict[str, Any]) -> Slice:
    """A slice that came as JSON, whose keys are text."""
    found = dict(found)
    for key in ("latency", "service"):
        found[key] = {int(bucket): count for bucket, count in found[key].items()}
    found["names"] = {
        name: {int(bucket): count for bucket, count in histogram.items()} for name, histogram in found["names"].items()
    }
    return Slice(**found)
