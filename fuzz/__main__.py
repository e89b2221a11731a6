"""`python -m fuzz`: see README.md."""

from __future__ import annotations

import argparse
import sys

from . import seeds


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    if options.engine == "guided":
        from . import guided

        return guided.run_all(options.seconds, options.keep)
    if options.engine == "hypothesis":
        from . import properties

        return properties.run(options.cases or 10_000)
    from .generated import Run

    run = Run(options.seed)
    run.go(options.cases, options.seconds if not options.cases else 0.0, say)
    if options.keep:
        seeds.save([*seeds.load(), *(("stream", data) for data in run.fresh)])
    return 1 if run.broken else 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzzes the way from bytes to requests.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--cases", type=int, default=0, help="how many instead")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same streams (0)")
    parser.add_argument("--engine", choices=("grammar", "guided", "hypothesis"), default="grammar", help="(grammar)")
    parser.add_argument("--keep", action="store_true", help="write what behaved in a new way to fuzz/seeds.txt")
    return parser.parse_args(argv)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
