"""`python -m benchmarks.trials [names] [--seconds S] [--quick] [--out docs/trials.md]`: runs trials, writes the page.

The only module here that reads arguments and knows all trials. A run replaces the records of the trials it ran.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import servers, store
from ..processes import raise_descriptor_limit
from . import (
    comparing,
    exhaustion,
    loading,
    measures,
    mixed_load,
    overload,
    page,
    remembering,
    slow_clients,
    watching,
    workers,
)
from .trial import Result, Setup

TRIALS: dict[str, Callable[[Setup], Result]] = {
    "overload": overload.run,
    "slow-clients": slow_clients.run,
    "exhaustion": exhaustion.run,
    "replacing": workers.replacing,
    "killing": workers.killing,
    "two-workers": workers.pair,
    "measures": measures.run,
    "watching": watching.run,
    "remembering": remembering.run,
    "loading": loading.run,
    "comparing": comparing.run,
    "mixed-load": mixed_load.run,
}
DOCS = servers.HERE.parent / "docs"
SECONDS, QUICK_SECONDS = 60.0, 8.0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description="Overload and hostile clients.")
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(TRIALS)} (all)")
    parser.add_argument("--seconds", type=float, help="of each part; mixed-load takes 120 times as long (60)")
    parser.add_argument("--quick", action="store_true", help="parts of 8 s, a tenth of the clients: does it all work?")
    parser.add_argument("--out", default=str(DOCS / "trials.md"), help="the page; its numbers go beside it, as .json")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in TRIALS:
            parser.error(f"there is no trial {name}; there are {', '.join(TRIALS)}")
    options.names = options.names or list(TRIALS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def command(options: argparse.Namespace) -> str:
    """The command without paths, to repeat the run."""
    words = ["python -m benchmarks.trials", *options.names, f"--seconds {options.seconds:g}"]
    return " ".join([*words, "--quick"] if options.quick else words)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    raise_descriptor_limit()
    out = Path(options.out)
    numbers = out.with_suffix(".json")
    records: dict[str, Any] = json.loads(numbers.read_text()) if numbers.exists() else {}
    setup = Setup(options.seconds, options.quick, say)
    missed = 0
    for name in options.names:
        result = TRIALS[name](setup)
        for target in result.targets:
            say(f"{'met   ' if target.met else 'MISSED'} {target.words}: {target.found}")
            missed += not target.met
        records[name] = {
            **asdict(result),
            "date": datetime.date.today().isoformat(),
            "command": command(options),
            "machine": store.machine(),
            "versions": store.versions(),
        }
        records = {known: records[known] for known in TRIALS if known in records}
        numbers.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
        out.write_text(page.page(records))
    return 1 if missed else 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
