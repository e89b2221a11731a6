"""`vivace compare A B`: two servers under the same load, and whether what differs is more than noise.

A and B are read by `lab.sides`: a preset, a command with {port}, an application, a settings file, a git revision, or
the URL of a server that runs. Each run has a server of its own, except at a URL.

Exit codes: 0; 1 if the two cannot be compared (one fails, or they answer differently); 2 if something given makes no
sense or a server does not start; 3 if a gate failed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time

from vivace.cli.main import EXIT_FAILED, EXIT_OK, tell
from vivace.cli.words import Words, paths_of, requests_of, save
from vivace.errors import SettingError
from vivace.lab import crew
from vivace.lab.compare import Duel, play, split_cores
from vivace.lab.compare_text import as_json, lines_of
from vivace.lab.gates import FAILED, UNDECIDED, read_gate
from vivace.lab.plan import CLOSED, OPEN, Load, Place
from vivace.lab.sides import Sides
from vivace.lab.stats import ROUNDS_LEAST
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.requests import Requests

EXIT_GATE = 3
ROUNDS, ROUNDS_MAX = 10, 10_000
SECONDS, WARMUP_S = 2.0, 0.5
CONNECTIONS = 10
USAGE = (
    "vivace compare A B [--app APP] [--path TARGET]... [-X METHOD] [-H 'Name: value']... [-d DATA|@FILE] "
    "[-r FILE [--host NAME] [--credentials] [--unsafe]] [-c N] [--rate R] [--time T] [--warmup T] "
    "[--rounds N | --find 3%] [--budget T] [--fail-if 'p99 > 1.05x']... [--strict] [--processes N] [--no-pin] "
    "[--seed N] [--json] [--html FILE]"
)
SWITCHES = ("--strict", "--json", "--no-pin", "--credentials", "--unsafe")
VALUES = (
    *("--app", "--path", "-X", "-H", "-d", "-c", "--rate", "--time", "--warmup", "--rounds", "--find", "--budget"),
    *("--fail-if", "--seed", "--processes", "-r", "--host", "--html"),
)


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        given = Words("compare", argv, SWITCHES, VALUES, USAGE)
        words = given.left
        if len(words) != 2:
            raise SettingError(f"compare: give two sides, not {len(words)}; {USAGE}")
        if given.has("--rounds") and given.has("--find"):
            raise SettingError("compare: --rounds says how many, --find has it found out; give one of them")
        self.a, self.b = words
        self.app = given.last("--app")
        self.strict, self.json, self.pin = given.has("--strict"), given.has("--json"), not given.has("--no-pin")
        self.rounds = given.whole("--rounds", ROUNDS, 1, ROUNDS_MAX)
        self.html = given.last("--html")
        self.find = _share(given.last("--find")) if given.has("--find") else 0.0
        self.budget_s = given.duration("--budget", 0.0)
        self.seed = given.whole("--seed", 1, 0, 2**31)
        self.gates = [read_gate(text) for text in given.all("--fail-if")]
        requests = requests_of(given, Place("localhost", 80), paths_of(given))
        self.notes = requests.notes
        self.load = _load(given, requests)
        self._check()

    def _check(self) -> None:
        """Gates on what cannot be measured are told before the first round, not after the last one."""
        for gate in self.gates:
            if gate.figure == "rate" and self.load.mode == OPEN:
                raise SettingError(f"--fail-if {gate.text!r}: with --rate the rate is given, not measured")


def _load(given: Words, requests: Requests) -> Load:
    warmup_s = given.duration("--warmup", WARMUP_S)
    return Load(
        requests.shots,
        OPEN if given.has("--rate") else CLOSED,
        float(given.whole("--rate", 0, 1, 10**7)) if given.has("--rate") else 0.0,
        given.whole("-c", CONNECTIONS, 1, 20_000),
        given.duration("--time", SECONDS) + warmup_s,
        given.whole("--processes", 1, 1, 64),
        warmup_s=warmup_s,
    )


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0.001 <= share <= 1:
        raise SettingError(f"--find {text}: give the smallest difference that matters, as 3%")
    return share


def run(argv: list[str]) -> int:
    """Compares; returns the exit code. Raises SettingError where something given makes no sense."""
    options = Options(argv)
    tell(options.notes)
    ours = os.sched_getaffinity(0)
    theirs, mine = split_cores(options.load.processes) if options.pin else ([], [])
    with Sides(options.app) as sides, crew.Spares() as spares:
        duel = Duel(sides.read(options.a), sides.read(options.b), options.load, spares.fire, theirs)
        try:
            if mine:
                os.sched_setaffinity(0, mine)
            _play(duel, options)
        finally:
            os.sched_setaffinity(0, ours)
    outcome = duel.outcome(options.gates, options.seed)
    conditions = _conditions(options.load, theirs, mine)
    if options.json:
        print(json.dumps(as_json(outcome, conditions), indent=2))
    else:
        for line in lines_of(outcome, _in_words(options.load, theirs, mine)):
            print(line)
    if options.html:
        from vivace.lab.compare_page import comparison_page

        page = comparison_page(outcome, _in_words(options.load, theirs, mine), f"vivace {__version__}")
        save(options.html, page, "--html")
    failing = (FAILED, UNDECIDED) if options.strict else (FAILED,)
    if any(became in failing for _, became in outcome.gates):
        return EXIT_GATE
    return EXIT_OK if outcome.sound else EXIT_FAILED


def _play(duel: Duel, options: Options) -> None:
    """Rounds until there are enough; Ctrl-C ends them, and what is whole is judged."""
    on_terminal = sys.stderr.isatty()
    began_s = time.monotonic()

    def on_run(number: int, planned: int, side: str) -> None:
        if on_terminal:
            done = number - 1
            left_s = (time.monotonic() - began_s) / done * (planned - done) if done else 0.0
            left = f", {left_s / 60:.0f} min left" if left_s > 90 else f", {left_s:.0f} s left" if done else ""
            print(f"\r\x1b[Kround {number} of {planned}: {side}{left}", end="", file=sys.stderr, flush=True)

    figures = [gate.figure for gate in options.gates if gate.relative]
    rounds = ROUNDS_LEAST if options.find else options.rounds
    try:
        play(
            duel,
            rounds=rounds,
            find=options.find,
            budget_s=options.budget_s,
            figures=figures,
            seed=options.seed,
            on_run=on_run,
        )
    except KeyboardInterrupt:
        if not duel.rounds:
            raise
    finally:
        if on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _conditions(load: Load, theirs: list[int], mine: list[int]) -> dict[str, Any]:
    return {
        "mode": load.mode,
        "rate": load.rate or None,
        "connections": load.connections,
        "seconds": load.seconds - (load.warmup_s or 0.0),
        "warmup_s": load.warmup_s,
        "requests": [f"{shot.method} {shot.target}" for shot in load.shots],
        "server_cores": theirs or None,
        "loader_cores": mine or None,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _in_words(load: Load, theirs: list[int], mine: list[int]) -> str:
    asked = ", ".join(f"{shot.method} {shot.target}" for shot in load.shots[:3]) + (
        ", ..." if len(load.shots) > 3 else ""
    )
    law = (
        f"{load.rate:,.0f} requests a second, latency from the intended send"
        if load.mode == OPEN
        else "each sends again when it is answered, latency from the send"
    )
    cores = f"; processors {_list(theirs)} for the server, {_list(mine)} for the load" if theirs else ""
    return (
        f"{asked}; {load.connections} connections: {law}; runs of {load.seconds - (load.warmup_s or 0.0):g} s after "
        f"{load.warmup_s:g} s{cores}"
    )


def _list(cores: list[int]) -> str:
    return str(cores[0]) if len(cores) == 1 else f"{cores[0]} to {cores[-1]}"
