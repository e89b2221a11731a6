"""`python -m benchmarks`: measures, stores the numbers, writes the page and the picture.

The only module here that reads arguments and knows all the others.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from pathlib import Path
from typing import Any

from . import loads, picture, report, run, servers, store
from .processes import raise_descriptor_limit

DOCS = servers.HERE.parent / "docs"


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    page = Path(options.out)
    numbers = Path(options.json) if options.json else page.with_suffix(".json")
    if not options.report_only:
        measure(options, numbers)
    records = store.read(numbers)
    drawing = page.with_suffix(".svg")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(report.page(records, numbers.name, drawing.name))
    drawing.write_text(picture.picture(records))
    run.say(f"wrote {page.name}, {drawing.name} from {numbers.name}")
    return 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compares vivace with its peers.")
    parser.add_argument("--loads", help=f"some of: {','.join(load.name for load in loads.LOADS)}")
    parser.add_argument("--servers", help=f"some of: {','.join(server.name for server in servers.SERVERS)}")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each load that does not fix its own (9)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measuring, whole seconds (2)")
    parser.add_argument("--out", default=str(DOCS / "benchmarks.md"), help="the page; the picture goes beside it")
    parser.add_argument("--json", help="the raw numbers (beside the page)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s: does it all work?")
    parser.add_argument("--report-only", action="store_true", help="write page and picture from the stored numbers")
    parser.add_argument("--seed", type=int, default=1, help="of the order of servers (1)")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 2, 1
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    try:
        options.chosen_loads = loads.named(options.loads.split(",")) if options.loads else list(loads.LOADS)
        options.chosen_servers = servers.named(options.servers.split(",")) if options.servers else list(servers.SERVERS)
    except KeyError as error:
        parser.error(f"there is no load or server {error}; --help lists them")
    return options


def measure(options: argparse.Namespace, numbers: Path) -> None:
    """Measures the chosen loads and stores each record as soon as it is complete."""
    plan = run.Plan(options.seconds, options.rounds, options.quick, options.seed)
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="vivace-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx reads the file as another user
        bench = run.Bench(folder, plan, run.say)
        conditions = {
            "date": datetime.date.today().isoformat(),
            "command": command(options),
            "seconds": options.seconds,
            "loops_per_ms": bench.loops,
            "machine": store.machine(),
            "versions": store.versions(),
        }
        for load in options.chosen_loads:
            record: dict[str, Any] = {**conditions, **bench.load(load, options.chosen_servers)}
            store.write(numbers, store.merged(store.read(numbers), {load.name: record}))


def command(options: argparse.Namespace) -> str:
    """The command without paths, to repeat the run."""
    words = ["python -m benchmarks"]
    words += [f"--loads {options.loads}"] if options.loads else []
    words += [f"--servers {options.servers}"] if options.servers else []
    words += ["--quick"] if options.quick else [f"--rounds {options.rounds} --seconds {options.seconds}"]
    return " ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
