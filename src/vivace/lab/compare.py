"""A and B under the same load, in mirrored rounds: which runs, what is read from them, and what may be said of it.

Rules: each run has a server that was started for it. A process has luck of its own (addresses, hash seeds) which lasts
as long as it lives, and which a hundred runs of one process would show as a difference. Only one server runs at a
time, so that neither has the other's idle threads beside it. Statistics are those of `stats`. The load comes from
whoever calls: `Fire` sends it and returns what came of it.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from dataclasses import dataclass, field

from vivace.errors import SettingError
from vivace.lab.gates import UNDECIDED
from vivace.lab.plan import OPEN, Place
from vivace.lab.server import start
from vivace.lab.stats import Round, compare, mirrored, narrow, rounds_needed, smallest_found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vivace.lab.gates import Gate
    from vivace.lab.plan import Load
    from vivace.lab.result import Result
    from vivace.lab.server import Command
    from vivace.lab.stats import Comparison

    Fire = Callable[[Load, Place, int], Result]
    """(load, where, process of the server or 0) -> result."""
    Runs = dict[str, tuple[Result, Result]]
    """"A" and "B": its two runs of a round, in the order of time."""

FAILED_SHARE_MOST = 0.01
"""Of requests, on either side: a server that fails is quick for the wrong reason."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured. `better` is what more of it means: 1 better, -1 worse."""

    name: str
    title: str
    unit: str
    better: int
    more: str
    less: str
    loaded: bool
    """It says nothing when the loader is the bottleneck."""


FIGURES = {
    row.name: row
    for row in (
        Figure("rate", "requests a second", "", 1, "answers {} more a second", "answers {} fewer a second", True),
        Figure("cpu", "CPU per request", "us", -1, "uses {} more CPU", "uses {} less CPU", False),
        Figure("p50", "p50", "s", -1, "takes {} longer", "is {} quicker", True),
        Figure("p99", "p99", "s", -1, "takes {} longer", "is {} quicker", True),
        Figure("memory", "memory", "bytes", -1, "needs {} more memory", "needs {} less memory", False),
    )
}


def value_of(figure: str, result: Result) -> float:
    """One figure of one run; 0 where it is not known."""
    server = result.server
    if figure == "rate":
        # At a given rate it is the load's, not the server's.
        return 0.0 if result.mode == OPEN else result.rate
    if figure == "cpu":
        return server.cpu_us_per_request if server else 0.0
    if figure == "memory":
        return float(server.rss_max_bytes) if server else 0.0
    return result.percentiles((0.5,) if figure == "p50" else (0.99,))[0]


@dataclass(slots=True)
class Row:
    """A figure, compared. `a`, `b`: the medians of their runs."""

    figure: Figure
    a: float
    b: float
    comparison: Comparison
    smallest: float
    """The difference that so many rounds find in nine comparisons of ten."""
    withheld: str = ""
    """Why there can be no verdict, or ""."""

    @property
    def differs(self) -> bool:
        return self.comparison.differs and not self.withheld

    @property
    def verdict(self) -> str:
        """In words; what B does."""
        if self.withheld:
            return self.withheld
        ratio = self.comparison.change.ratio
        if not math.isfinite(self.comparison.change.high):
            return "too few rounds"
        if not self.comparison.differs:
            return "no difference shown"
        words = self.figure.more if ratio > 1 else self.figure.less
        return "B " + words.format(_percent(abs(ratio - 1)))


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


@dataclass(slots=True)
class Outcome:
    """All of a comparison."""

    labels: dict[str, str]
    rounds: list[Runs] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    gates: list[tuple[Gate, str]] = field(default_factory=list)
    """With what became of each."""
    notes: list[str] = field(default_factory=list)
    sound: bool = True
    """False: the two cannot be compared, and no verdict is given."""


class Duel:
    """Runs rounds. `cores`: processors of the server; empty: any."""

    def __init__(self, a: Command, b: Command, load: Load, fire: Fire, cores: Sequence[int] = ()) -> None:
        self.sides = {"A": a, "B": b}
        self.load = load
        self.rounds: list[Runs] = []
        self.orders: list[str] = []
        self._fire = fire
        self._cores = cores

    def run(self, order: str, on_run: Callable[[str], None] = lambda side: None) -> None:
        """One round: "ABBA" or "BAAB". Raises SettingError where a server does not start or ends."""
        found: dict[str, list[Result]] = {"A": [], "B": []}
        for side in order:
            on_run(side)
            found[side].append(self._one(self.sides[side]))
        self.rounds.append({side: (first, second) for side, (first, second) in found.items()})
        self.orders.append(order)

    def _one(self, command: Command) -> Result:
        target = next((shot.target for shot in self.load.shots if shot.method == "GET"), "/")
        with start(command, target, cores=self._cores) as running:
            result = self._fire(self.load, Place(*running.address), running.pid)
            if not running.running():
                raise SettingError(f"{command.label}: ended under the load; its last words:\n{running.last_words()}")
        if not result.total.answers:
            raise SettingError(f"{command.label}: gave no answer under the load: {dict(result.total.errors)}")
        return result

    def outcome(self, gates: Sequence[Gate] = (), seed: int = 1) -> Outcome:
        """What may be said after the rounds so far."""
        labels = {side: command.label for side, command in self.sides.items()}
        return judged(labels, self.rounds, self.orders, gates, seed)


def play(
    duel: Duel,
    *,
    rounds: int,
    find: float = 0.0,
    budget_s: float = 0.0,
    figures: Sequence[str] = (),
    seed: int = 1,
    on_run: Callable[[int, int, str], None] = lambda number, planned, side: None,
) -> None:
    """Runs `rounds`, or with `find` (0.03: 3%) as many as the spread of the `figures` asks for; in either case no more
    than begin within `budget_s`. `on_run` hears the round's number, how many are planned, and the side.
    """
    began_s = time.monotonic()
    draw = random.Random(seed)
    orders: list[str] = []
    planned = rounds
    while len(duel.rounds) < planned:
        if budget_s and duel.rounds and time.monotonic() - began_s > budget_s:
            break
        if not orders:
            orders = mirrored(2, draw)
        number, total = len(duel.rounds) + 1, planned
        duel.run(orders.pop(), lambda side, number=number, total=total: on_run(number, total, side))  # type: ignore[misc]
        if find:
            planned = max(rounds, needed(duel.rounds, find, figures))


def needed(rounds: Sequence[Runs], find: float, figures: Sequence[str] = ()) -> int:
    """How many rounds find a difference of `find` in all of `figures` (none given: the first that is measured)."""
    measured = series(rounds)
    names = [name for name in figures if name in measured] or list(measured)[:1]
    planned = max((rounds_needed(measured[name], find, len(measured)) for name in names), default=1)
    if planned <= len(rounds) and not all(narrow(measured[name], find, len(measured)) for name in names):
        return len(rounds) + 1
    return planned


def series(rounds: Sequence[Runs]) -> dict[str, list[Round]]:
    """The figures that every run has, round by round."""
    found = {}
    for name in FIGURES:
        values = [
            [(value_of(name, runs[side][0]), value_of(name, runs[side][1])) for side in ("A", "B")] for runs in rounds
        ]
        if values and all(value > 0 for a, b in values for value in (*a, *b)):
            found[name] = [Round(a, b) for a, b in values]
    return found


def judged(
    labels: dict[str, str], rounds: Sequence[Runs], orders: Sequence[str], gates: Sequence[Gate] = (), seed: int = 1
) -> Outcome:
    """Every figure with its verdict, and the gates. Pure."""
    outcome = Outcome(labels, list(rounds), list(orders))
    outcome.notes = faults(rounds)
    outcome.sound = not outcome.notes
    limited = loader_limits(rounds)
    if limited:
        outcome.notes.append(limited)
    measured = series(rounds)
    for name, pairs in measured.items():
        figure = FIGURES[name]
        withheld = "" if outcome.sound else "not comparable"
        if figure.loaded and limited:
            withheld = withheld or "the loader is the bottleneck"
        outcome.rows.append(
            Row(
                figure,
                statistics.median(value for one in pairs for value in one.a),
                statistics.median(value for one in pairs for value in one.b),
                compare(pairs, len(measured), seed),
                smallest_found(pairs, len(measured)),
                withheld,
            )
        )
    outcome.gates = [(gate, _gate(gate, outcome)) for gate in gates]
    return outcome


def _gate(gate: Gate, outcome: Outcome) -> str:
    if gate.figure == "errors":
        return gate.judge_value(failed_share(outcome.rounds, "B"))
    row = next((row for row in outcome.rows if row.figure.name == gate.figure), None)
    if row is None:
        return UNDECIDED
    if not gate.relative:
        return gate.judge_value(row.b)
    return UNDECIDED if row.withheld else gate.judge_ratio(row.comparison.change)


def failed_share(rounds: Sequence[Runs], side: str) -> float:
    """Of all requests to one side that ended."""
    results = [result for runs in rounds for result in runs[side]]
    ended = sum(result.total.answers + sum(result.total.errors.values()) for result in results)
    return sum(result.failed for result in results) / ended if ended else 0.0


def faults(rounds: Sequence[Runs]) -> list[str]:
    """Why the two cannot be compared, in sentences."""
    found = []
    statuses: dict[str, dict[str, float]] = {}
    for side in ("A", "B"):
        share = failed_share(rounds, side)
        if share > FAILED_SHARE_MOST:
            found.append(f"{share:.1%} of the requests to {side} failed: {_failures(rounds, side)}")
        results = [result for runs in rounds for result in runs[side]]
        answers = sum(result.total.answers for result in results) or 1
        statuses[side] = {
            key: sum(result.total.statuses.get(key, 0) for result in results) / answers
            for key in {key for result in results for key in result.total.statuses}
        }
    for key in sorted({*statuses["A"], *statuses["B"]}):
        a, b = statuses["A"].get(key, 0.0), statuses["B"].get(key, 0.0)
        if abs(a - b) > FAILED_SHARE_MOST and not found:
            found.append(f"they do not answer alike: {a:.0%} of the answers of A are {key}, and {b:.0%} of those of B")
    return found


def _failures(rounds: Sequence[Runs], side: str) -> str:
    kinds: dict[str, int] = {}
    for runs in rounds:
        for result in runs[side]:
            for kind, count in [*result.total.errors.items(), ("5xx", result.total.statuses.get("5xx", 0))]:
                if count:
                    kinds[kind] = kinds.get(kind, 0) + count
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))


def loader_limits(rounds: Sequence[Runs]) -> str:
    """A sentence if in half of the runs of a side the loader was the bottleneck, or ""."""
    for side in ("A", "B"):
        said = [result.loader.bottleneck for runs in rounds for result in runs[side]]
        if sum(map(bool, said)) * 2 >= len(said) and any(said):
            return f"the loader was the bottleneck in {sum(map(bool, said))} of {len(said)} runs of {side}: {max(said)}"
    return ""


def split_cores(processes: int) -> tuple[list[int], list[int]]:
    """(for the server, for the loader's processes): a core for each of the latter, from the end; both empty where
    there are not enough for that.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) <= processes:
        return [], []
    return usable[:-processes], usable[-processes:]
