"""Is `vivace compare` right about equals, and does it find 3%? A hundred comparisons of a server with itself, and as
many with one that does 3% more work as begin within the time, at most twenty.

The same code as the command's, with shorter runs. A verdict on any of the five figures counts. Equals get the least
number of rounds that has an interval worth the name; the others as many as `--find 3%` asks for, by CPU per request.
"""

from __future__ import annotations

import time

from vivace.lab import crew
from vivace.lab.compare import Duel, Outcome, play
from vivace.lab.plan import Load, Shot
from vivace.lab.server import Command, from_application
from vivace.lab.stats import ROUNDS_LEAST

from .. import servers
from .trial import Result, Setup, Target

EQUALS, PLANTED = 100, 20
FALSE_MOST, FOUND_LEAST = 0.05, 0.9
MORE = 0.03
RUN_S, WARMUP_S = 0.25, 0.1
BUDGET_S = 300.0
PLANTED_PARTS = 20
"""Times as long as a part of another trial: the comparisons that are to find something begin within that."""
CONNECTIONS = 4


def run(setup: Setup) -> Result:
    result = Result(
        "comparing",
        "Comparing a server with itself, and with one that does 3% more",
        f"`/cpu` of apps/trials.py (2 ms of Python), vivace with one worker, runs of {RUN_S:g} s after {WARMUP_S:g} s "
        f"with {CONNECTIONS} connections; a server started for each run. Equals: {ROUNDS_LEAST} rounds. 3%: as many as "
        f"--find 3% asks for, by CPU per request, at most {BUDGET_S / 60:g} minutes; begun within "
        f"{PLANTED_PARTS * setup.seconds / 60:g} minutes.",
    )
    share = 10 if setup.quick else 1
    wrong = [equal(setup, number) for number in range(EQUALS // share)]
    told = sum(map(bool, wrong))
    names = ", ".join(sorted({name for names in wrong for name in names})) or "none"
    result.targets.append(
        Target(
            f"equals: a verdict in at most {FALSE_MOST:.0%} of the comparisons",
            f"{told} of {len(wrong)} ({names})",
            told <= FALSE_MOST * len(wrong),
        )
    )
    ends_s = time.monotonic() + PLANTED_PARTS * setup.seconds
    found = []
    while len(found) < PLANTED // share and (not found or time.monotonic() < ends_s):
        found.append(planted(setup, len(found)))
    right = sum(ratio > 1 for ratio, _ in found)
    result.targets.append(
        Target(
            f"{MORE:.0%} more work: found in at least {FOUND_LEAST:.0%}",
            f"{right} of {len(found)}",
            right >= FOUND_LEAST * len(found),
        )
    )
    result.row("3%: found the wrong way round", str(sum(0 < ratio < 1 for ratio, _ in found)))
    result.row("3%: rounds, least and most", f"{min(n for _, n in found)} to {max(n for _, n in found)}")
    return result


def equal(setup: Setup, number: int) -> list[str]:
    """The figures of one comparison of equals that got a verdict."""
    outcome = compared(setup, 1.0, number, find=0.0)
    names = [row.figure.name for row in outcome.rows if row.differs]
    setup.say(f"equals {number + 1}: {', '.join(names) or 'no difference shown'}")
    return names


def planted(setup: Setup, number: int) -> tuple[float, int]:
    """The ratio of CPU per request, 0 if there was no verdict, and the rounds that it took."""
    outcome = compared(setup, 1.0 + MORE, number, find=MORE)
    row = next(row for row in outcome.rows if row.figure.name == "cpu")
    change = row.comparison.change
    setup.say(
        f"3%, {number + 1}: {change.ratio:.3f} [{change.low:.3f}, {change.high:.3f}] after {len(outcome.rounds)} rounds"
    )
    return (change.ratio if row.differs else 0.0), len(outcome.rounds)


def compared(setup: Setup, work: float, seed: int, find: float) -> Outcome:
    load = Load([Shot("GET", "/cpu")], connections=CONNECTIONS, seconds=RUN_S + WARMUP_S, warmup_s=WARMUP_S)
    with crew.Spares() as spares:
        duel = Duel(side(setup, 1.0), side(setup, work), load, spares.fire, [setup.server_core])
        play(duel, rounds=ROUNDS_LEAST, find=find, budget_s=BUDGET_S, figures=["cpu"] if find else (), seed=seed)
    return duel.outcome(seed=seed)


def side(setup: Setup, work: float) -> Command:
    command = from_application("trials:app", folder=str(servers.HERE / "apps"))
    command.environ["BENCH_LOOPS"] = str(round(setup.loops * work))
    return command
