"""`vivace tune` on six applications, against the best of an exhaustive grid: does it find it, and in what time?

    python -m benchmarks.tuning [--apps cpu,tiny] [--minutes 15] [--report-only]

For each application: `vivace tune` with a budget, as a user would call it; then every cell of a grid, once each; then
the best cells again, so that it is not the luckiest one that is taken for the best; then that best one, what `tune`
chose, and the settings as they were, in mirrored rounds. Six take 15 minutes at most (`--minutes`): what would not end
in time is left out and the table says so.

Results are kept after each application (docs/tuning.json), so an interruption loses one at most; a later call with
--apps adds to them. The table stands in docs/tune.md, between two marks, and is written anew each time.

The grid runs each cell once, and has four of the settings that `tune` tries. The table has two more times, computed
from the time of a run: of this grid with each cell run as often as a duel runs both sides, which is the precision that
`tune` has for what it takes; and of the grid of everything that `tune` tried, with the same precision.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from vivace.config.settings import names
from vivace.errors import SettingError
from vivace.lab import crew
from vivace.lab.plan import Load, Shot
from vivace.lab.stats import Round, compare_halves
from vivace.lab.tune import LOOKS
from vivace.lab.tune_knobs import Candidate
from vivace.lab.tune_run import CPU, RATE, Bench

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "benchmarks" / "apps"
KEPT = ROOT / "docs" / "tuning.json"
PAGE = ROOT / "docs" / "tune.md"
BEGIN, END = "<!-- table of benchmarks/tuning.py -->", "<!-- end of the table -->"

SECONDS, WARMUP_S = 0.4, 0.15
TUNE_SHARE = 0.48
"""Of an application's time; the grid, its best cells and the rounds at the end have the rest."""
AGAIN, AGAIN_RUNS = 4, 2
ROUNDS = 6

LOADS: dict[str, tuple[int, list[Shot]]] = {
    "cpu": (32, [Shot()]),
    "blocking": (128, [Shot()]),
    "mixed": (32, [Shot(target="/", weight=6), Shot(target="/cpu", weight=2), Shot(target="/wait", weight=2)]),
    "cacheable": (32, [Shot(target=f"/{number}") for number in range(4)]),
    "hungry": (32, [Shot()]),
    "tiny": (32, [Shot()]),
}
WORKERS = ("1", "2")
THREADS = (1, 64, 128)
SWITCHES_S = (0.0002, 0.005)
THRESHOLDS = (0, 100_000)


def grid(app: str) -> list[dict[str, Any]]:
    """Every cell: settings by the names of their rows. In that of `cacheable` the cache has the place of the switch."""
    third: list[tuple[str, Any]] = (
        [("cache", False), ("cache", True)]
        if app == "cacheable"
        else [("switch_interval_s", interval_s) for interval_s in SWITCHES_S]
    )
    return [
        {"workers": workers, "threads": threads, name: value, "gc_threshold": threshold}
        for workers, threads, (name, value), threshold in itertools.product(WORKERS, THREADS, third, THRESHOLDS)
    ]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measured(app: str, seconds: float, spares: crew.Spares) -> dict[str, Any]:
    """One application: what the table says of it."""
    ends_s = time.monotonic() + seconds
    connections, shots = LOADS[app]
    tune = tuned(app, connections, shots, seconds * TUNE_SHARE)
    say(f"{app}: tune chose {label(tune['chosen']) or 'nothing'} in {tune['seconds']:.0f} s")
    load = Load(shots, connections=connections, seconds=SECONDS + WARMUP_S, warmup_s=WARMUP_S)
    bench = Bench(f"tuned:{app}", [], load, spares.fire, folder=str(APPS))
    objective = RATE if tune["objective"] == RATE.title else CPU
    taken: dict[int, list[float]] = {}
    cells = grid(app)
    began_s = time.monotonic()

    def value(values: dict[str, Any]) -> float:
        try:
            return bench.take(values).figures[objective.figure] ** objective.better
        except SettingError as error:
            say(f"{app}: {label(values)}: {error}")
            return 1e-9

    for at, cell in enumerate(cells):
        if time.monotonic() > ends_s:
            break
        taken[at] = [value(cell)]
    grid_s = time.monotonic() - began_s
    run_s = grid_s / len(taken)
    combinations = _combinations(tune["tried"])
    good = sorted(taken, key=lambda at: -taken[at][0])[:AGAIN]
    for _ in range(AGAIN_RUNS):
        for at in good:
            if time.monotonic() < ends_s:
                taken[at].append(value(cells[at]))
    # The first run of each made it one of the best: it has had its luck, and does not count where there are others.
    best = max(good, key=lambda at: _mean(taken[at][1:] or taken[at]))
    say(f"{app}: best of {len(taken)} cells: {label(cells[best])}")
    found = against({"best": cells[best], "tuned": tune["chosen"], "untouched": {}}, value, ends_s)
    return {
        "chosen": label(tune["chosen"]) or "nothing",
        "tune_s": tune["seconds"],
        "tune_runs": tune["runs"],
        "objective": objective.title,
        "best": label(cells[best]),
        "cells": len(taken),
        "cells_in_all": len(cells),
        "grid_s": grid_s,
        "grid_precise_s": run_s * len(cells) * 2 * LOOKS[0],
        "combinations": combinations,
        "combinations_precise_s": run_s * combinations * 2 * LOOKS[0],
        "ratios": found,
        "bottlenecks": tune["loader_limited_runs"],
    }


def tuned(app: str, connections: int, shots: list[Shot], budget_s: float) -> dict[str, Any]:
    """What the command finds, as its JSON has it; settings by the names of their rows."""
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests.json"
        requests.write_text(json.dumps({"requests": [{"path": one.target, "weight": one.weight} for one in shots]}))
        words = [sys.executable, "-m", "vivace", "tune", f"tuned:{app}", "--json", "-r", str(requests)]
        words += ["-c", str(connections), "--budget", f"{budget_s:.0f}s", "--time", f"{SECONDS}s"]
        words += ["--warmup", f"{WARMUP_S}s", "-o", str(Path(folder) / "vivace.toml")]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(words, cwd=APPS, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SettingError(f"{app}: vivace tune ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        found: dict[str, Any] = json.loads(done.stdout)
    rows = names()
    found["chosen"] = {rows[name].name: value for name, value in found["chosen"].items()}
    return found


def against(rows: dict[str, dict[str, Any]], value: Any, ends_s: float) -> dict[str, dict[str, float] | None]:
    """Each of `rows` but the first by the first, in rounds of which each half mirrors the other: ratio and interval;
    None where no time was left.
    """
    rounds: list[dict[str, list[float]]] = []
    draw = random.Random(1)
    round_s = 0.0
    while len(rounds) < ROUNDS and time.monotonic() + round_s < ends_s:
        began_s = time.monotonic()
        order = draw.sample(list(rows), len(rows))
        found: dict[str, list[float]] = {name: [] for name in rows}
        for name in (*order, *reversed(order)):
            found[name].append(value(rows[name]))
        rounds.append(found)
        round_s = time.monotonic() - began_s
    best, *others = rows
    ratios: dict[str, dict[str, float] | None] = dict.fromkeys(others)
    for name in others if rounds else ():
        some = [Round((one[best][0], one[best][1]), (one[name][0], one[name][1])) for one in rounds]
        change = compare_halves(some)[0].change
        ratios[name] = {"ratio": change.ratio, "low": change.low, "high": change.high, "rounds": len(rounds)}
    return ratios


def _combinations(tried: list[dict[str, Any]]) -> int:
    """How many cells a grid of all that was tried has: for each knob its values, and none of them."""
    counts = Counter(one["knob"] for one in tried)
    return math.prod(1 + count for count in counts.values())


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def label(values: dict[str, Any]) -> str:
    """Settings as a person reads them."""
    return Candidate("", values, "").label


def table(kept: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| application | `tune` chose | in | best of the grid | grid, once each (as precise) | grid of all that `tune` "
        "tried, as precise | `tune` by the best | untouched by the best |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for app in LOADS:
        row = kept["apps"].get(app)
        if row is None:
            continue
        cells = f"{row['cells']} of {row['cells_in_all']} cells: " if row["cells"] < row["cells_in_all"] else ""
        lines.append(
            f"| {app} ({row['objective']}) | {row['chosen']} | {row['tune_s']:.0f} s, {row['tune_runs']} runs | {cells}"
            f"{row['best']} | {row['grid_s']:.0f} s ({row['grid_precise_s']:.0f} s) | "
            f"{_whole(row)} | "
            f"{_ratio(row['ratios']['tuned'])} | {_ratio(row['ratios']['untouched'])} |"
        )
    lines += ["", f"{kept['conditions']}"]
    return "\n".join(lines)


def _whole(row: dict[str, Any]) -> str:
    share = row["tune_s"] / row["combinations_precise_s"]
    return f"{row['combinations']:,} settings, {row['combinations_precise_s']:,.0f} s; `tune` took {share:.1%} of that"


def _ratio(found: dict[str, float] | None) -> str:
    if found is None:
        return "no time"
    if not math.isfinite(found["high"]):
        return f"{found['ratio']:.2f}x ({found['rounds']:.0f} rounds)"
    return f"{found['ratio']:.2f}x [{found['low']:.2f}, {found['high']:.2f}]"


def write(kept: dict[str, Any]) -> None:
    """The results, and the table in the page."""
    KEPT.write_text(json.dumps(_finite(kept), indent=1) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(kept)}\n\n{END}{after}", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return 1e9 if isinstance(value, float) and math.isinf(value) else value


def main(argv: list[str]) -> int:
    """Measures; returns the exit code."""
    options = dict(zip(argv[::2], argv[1::2], strict=False))
    apps = options.get("--apps", ",".join(LOADS)).split(",")
    if unknown := [app for app in apps if app not in LOADS]:
        print(f"no such application: {unknown[0]}; there are {', '.join(LOADS)}", file=sys.stderr)
        return 2
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"apps": {}}
    if "--report-only" not in argv:
        seconds = float(options.get("--minutes", "15")) * 58 / len(apps)
        load = os.getloadavg()[0]
        kept["conditions"] = (
            f"{time.strftime('%Y-%m-%d')}, CPython {platform.python_version()}, {os.cpu_count()} processors, the load "
            f"on the same ones; load average at the begin {load:.1f}."
        )
        try:
            with crew.Spares() as spares:
                for app in apps:
                    kept["apps"][app] = measured(app, seconds, spares)
                    write(kept)
        except KeyboardInterrupt:
            print("interrupted; what is whole is kept", file=sys.stderr)
    if kept["apps"]:
        write(kept)
        print(table(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
