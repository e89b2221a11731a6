"""`vivace tune APP`: finds by experiment which settings pay for an application and a load, and writes a vivace.toml.

What is tried stands in `lab.tune_knobs`, how it is decided in `lab.tune`. Words behind `--` are settings that are given
to every server and left alone: `vivace tune app:app -- --workers 4`.

Exit codes: 0; 1 if the application does not answer as it is; 2 if something given makes no sense.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time

from vivace.cli.main import EXIT_OK, tell
from vivace.cli.words import Words, paths_of, requests_of
from vivace.config.load import load as load_settings
from vivace.config.settings import ROWS
from vivace.errors import SettingError
from vivace.lab import crew
from vivace.lab.goals import read_goal
from vivace.lab.plan import Load, Place
from vivace.lab.tune import Tuner
from vivace.lab.tune_knobs import KNOBS, Situation, candidates
from vivace.lab.tune_run import Bench, latency_of, somaxconn
from vivace.lab.tune_text import as_json, as_toml, lines_of, profile_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.tune_model import Profile
    from vivace.lab.tune_worth import Outcome

BUDGET_S, SECONDS, WARMUP_S = 300.0, 1.0, 0.3
CONNECTIONS = 32
FILE = "vivace.toml"
USAGE = (
    "vivace tune APP [--goal 'p99<50ms'] [--budget 5m] [-o vivace.toml] [--path TARGET]... [-X METHOD] "
    "[-H 'Name: value']... [-d DATA|@FILE] [-r FILE [--host NAME] [--credentials] [--unsafe]] [-c N] [--rate R] "
    "[--stale 1s] [--only KNOB,...] [--time T] [--warmup T] [--processes N] [--seed N] [--json] [-- SETTINGS...]"
)
SWITCHES = ("--json", "--quiet", "--credentials", "--unsafe")
VALUES = (
    *("--goal", "--budget", "-o", "--path", "-X", "-H", "-d", "-r", "--requests", "--host", "-c", "--rate"),
    *("--stale", "--only", "--time", "--warmup", "--processes", "--seed"),
)


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        end = argv.index("--") if "--" in argv else len(argv)
        given = Words("tune", argv[:end], SWITCHES, VALUES, USAGE, 1)
        self.app = given.left[0] if given.left else ""
        self.words = argv[end + 1 :]
        self.json, self.quiet = given.has("--json"), given.has("--quiet")
        self.budget_s = given.duration("--budget", BUDGET_S)
        self.stale_s = given.duration("--stale", 0.0)
        self.seed = given.whole("--seed", 1, 0, 2**31)
        self.rate = float(given.whole("--rate", 0, 1, 10**7)) if given.has("--rate") else 0.0
        self.goals = [read_goal(text) for text in given.all("--goal")]
        self.only = [name.strip().replace("-", " ") for name in given.last("--only").split(",") if name.strip()]
        self.file = _file(given.last("-o"))
        requests = requests_of(given, Place("localhost", 80), paths_of(given))
        self.notes = requests.notes
        warmup_s = given.duration("--warmup", WARMUP_S)
        self.load = Load(
            requests.shots,
            connections=given.whole("-c", CONNECTIONS, 1, 20_000),
            seconds=given.duration("--time", SECONDS) + warmup_s,
            processes=given.whole("--processes", 1, 1, 64),
            warmup_s=warmup_s,
        )
        self._check()

    def _check(self) -> None:
        if unknown := [name for name in self.only if name not in KNOBS]:
            raise SettingError(f"--only {unknown[0]}: give some of {', '.join(KNOBS)}")
        if self.goals and latency_of(self.goals) is None:
            raise SettingError("--goal: give one of a latency, as p99<50ms; errors are never taken for a gain")


def _file(given: str) -> str:
    """Where the settings are written. One that nobody named is not written over. Raises SettingError."""
    if not given and os.path.exists(FILE):
        raise SettingError(f"there is a {FILE} already; say where to write with -o FILE (-o {FILE} replaces it)")
    folder = os.path.dirname(os.path.abspath(given or FILE))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise SettingError(f"-o {given or FILE}: nothing can be written in {folder}")
    return given or FILE


def run(argv: list[str]) -> int:
    """Tunes; returns the exit code. Raises SettingError where something given makes no sense or does not start."""
    options = Options(argv)
    settings = load_settings([*([options.app] if options.app else []), *options.words], os.environ, os.getcwd())
    tell([*settings.notes, *options.notes])
    progress = _Progress(options.budget_s, quiet=options.quiet)
    with crew.Spares() as spares:
        bench = Bench(options.app, options.words, options.load, spares.fire, goals=options.goals, rate=options.rate)
        try:
            profile, outcome = _searched(options, bench, settings, progress)
        finally:
            progress.end()
    conditions = _conditions(options, bench, outcome)
    if options.json:
        print(json.dumps(as_json(outcome, profile, conditions), indent=2))
    else:
        print("\n".join(lines_of(outcome)))
    with open(options.file, "w", encoding="utf-8") as file:
        file.write(as_toml(outcome, settings, conditions))
    if not options.json:
        print(f"{options.file} is written.")
    return EXIT_OK


def _searched(options: Options, bench: Bench, settings: Any, progress: _Progress) -> tuple[Profile, Outcome]:
    """What the look at the application said, which is printed at once, and what the search found."""
    began_s = time.monotonic()
    profile = bench.look(progress)
    progress.end()
    if not options.json:
        print("\n".join([*profile_lines(profile), _law(bench), ""]), flush=True)
    base = {name: getattr(settings, name) for name in ROWS}
    fixed = (
        frozenset(load_settings(["none", *options.words], {}, os.devnull)._origins) if options.words else frozenset()
    )

    def candidates_of(chosen: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
        found, left = candidates(Situation(profile, base | chosen, options.stale_s, somaxconn(), fixed))
        if options.only:
            left |= {one.knob: "not asked for" for one in found if one.knob not in options.only}
        return [one for one in found if not options.only or one.knob in options.only], left

    left_s = options.budget_s - (time.monotonic() - began_s)
    return profile, Tuner(bench.take, candidates_of, bench.objective, left_s, seed=options.seed, tell=progress).run()


class _Progress:
    """A line on a terminal that says what runs and how much time is left."""

    def __init__(self, budget_s: float, *, quiet: bool) -> None:
        self._shown = sys.stderr.isatty() and not quiet
        self._ends_s = time.monotonic() + budget_s

    def __call__(self, text: str) -> None:
        if self._shown:
            left_s = max(0.0, self._ends_s - time.monotonic())
            print(f"\r\x1b[K{text} (at most {left_s:.0f} s left)", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _law(bench: Bench) -> str:
    if bench.rate:
        goal = ", ".join(goal.text for goal in bench.goals)
        return (
            f"What is to be better: {bench.objective.title}{f' (goal: {goal})' if goal else ''}, at {bench.rate:,.0f} "
            "requests a second."
        )
    return f"What is to be better: {bench.objective.title}, with {bench.load.connections} connections in closed loop."


def _conditions(options: Options, bench: Bench, outcome: Outcome) -> str:
    load = bench.load
    law = f"{bench.rate:,.0f} requests a second" if bench.rate else f"{load.connections} connections in closed loop"
    return (
        f"vivace tune {options.app}: {outcome.runs} runs of {load.seconds - (load.warmup_s or 0):g} s in "
        f"{outcome.seconds:.0f} s, {law}, {len(os.sched_getaffinity(0))} processors, "
        f"{platform.python_implementation()} {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
