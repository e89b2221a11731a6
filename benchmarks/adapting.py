"""Fixed defaults against --adaptive: a table of loads, both servers alive at once, loaded in turn.

    python -m benchmarks.adapting [load ...] [--json FILE] [--page docs/adaptive.md] [--report-only]

Both servers start anew for each load. The adaptive one is loaded for SETTLE_S first, so that it finds what it finds;
the fixed one for a while. Then come rounds of four runs in a mirrored order, and the ratio of adaptive to fixed with
its interval beside the control, as `vivace compare` has them (`vivace.lab.stats`). Adapting goes on meanwhile.

Takes nine minutes on an otherwise idle machine, and ten at most: what does not fit any more is left for another run.
What is measured is written after each load, so that an interrupted run loses one load; a run replaces the loads that
it measured, and leaves the others.

A load has streams, each with its own clients; closed ones ask again when they are answered, and give answers a second.
One with a rate comes whatever happens, and gives answers a second that came within PATIENCE_S: who waits longer
has gone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vivace.lab.crew import run
from vivace.lab.plan import OPEN, Load, Shot, read_url
from vivace.lab.server import Command, Running, start
from vivace.lab.stats import Comparison, Round, compare
from vivace.observe.histogram import middle_s

FOLDER = Path(__file__).parent / "apps"
SOURCE = Path(__file__).parent.parent / "src"
RECORDS = Path(__file__).parent.parent / "docs" / "adaptive.json"
PAGE = Path(__file__).parent.parent / "docs" / "adaptive.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

FIXED, ADAPTIVE = "fixed", "adaptive"
LIMIT_S = 600.0
SETTLE_S = 14.0
SETTLE_FIXED_S = 2.0
SECONDS = 1.5
WARMUP_S = 0.3
ROUNDS = 5
OVERHEAD_S = 0.8  # of a run: processes start, connections are made, what is in flight drains
START_S = 1.5
OTHERS_S = 0.5
PATIENCE_S = 2.0
BURST, BURST_EVERY_S = 300, 2.5


class Stream:
    """Clients of one path: so many that wait for answers, or `rate` requests a second; `bursts`: BURST at once."""

    def __init__(self, path: str, clients: int = 0, *, rate: float = 0.0, bursts: bool = False) -> None:
        self.path, self.clients, self.rate, self.bursts = path, clients, rate, bursts

    @property
    def open(self) -> bool:
        return bool(self.rate or self.bursts)

    def load(self, seconds: float, warmup_s: float, seed: int) -> Load:
        shots = [Shot(target=self.path)]
        if self.bursts:
            due = [(0.5 + burst * BURST_EVERY_S, 0) for burst in range(int(seconds / BURST_EVERY_S))]
            times = [at for at in due for _ in range(BURST)]
            return Load(shots, OPEN, connections=1000, seconds=seconds, at_times=times, timeout_s=20.0)
        if self.rate:
            return Load(shots, OPEN, self.rate, 3000, seconds, timeout_s=20.0, warmup_s=0.0, seed=seed)
        return Load(shots, connections=self.clients, seconds=seconds, warmup_s=warmup_s, seed=seed)

    def __str__(self) -> str:
        if self.bursts:
            return f"`{self.path}`, {BURST} at once every {BURST_EVERY_S:g} s"
        return f"`{self.path}`, {self.rate:g}/s" if self.rate else f"`{self.path}`, {self.clients} clients"


class Row:
    """One load. `expected`: what there is to find."""

    def __init__(
        self,
        expected: str,
        *streams: Stream,
        seconds: float = SECONDS,
        rounds: int = ROUNDS,
        settle_s: float = SETTLE_S,
    ) -> None:
        self.expected, self.streams = expected, streams
        self.seconds, self.rounds, self.settle_s = seconds, rounds, settle_s

    @property
    def takes_s(self) -> float:
        """About."""
        fixed_s = SETTLE_FIXED_S * (self.settle_s > 0)
        drain_s = PATIENCE_S if any(stream.open for stream in self.streams) else 0.0
        return OTHERS_S + START_S + self.settle_s + fixed_s + 4 * self.rounds * (self.seconds + OVERHEAD_S + drain_s)


ROWS = {
    "quick": Row("nothing: nobody waits", Stream("/", 16)),
    "wait": Row("more threads", Stream("/wait", 200)),
    "overload": Row("a short wait limit", Stream("/gated", rate=600.0), seconds=10.0, rounds=1, settle_s=0.0),
    "computing": Row("a shorter switch interval", Stream("/cpu", 4), Stream("/", 8)),
    "thrash": Row("fewer threads", Stream("/thrash", 128), settle_s=22.0),
    "gated": Row("nothing: more threads wait for the same eight connections", Stream("/gated", 128)),
    "sleep": Row("nothing: 64 threads are enough", Stream("/sleep", 32), Stream("/", 8)),
    "bursts": Row("nothing: a burst is let in", Stream("/gated", bursts=True), seconds=5.0, rounds=1, settle_s=0.0),
    "pages": Row("nothing much: who computes loses what the others gain", Stream("/page", 16), Stream("/", 8)),
}


def command(side: str) -> Command:
    """A server of the application, with its defaults, or adaptive as well."""
    options = ["--adaptive"] if side == ADAPTIVE else []
    argv = [sys.executable, "-m", "vivace", "adapting:app", "--bind", "{host}:{port}", *options]
    return Command(side, argv, str(FOLDER), {"PYTHONPATH": str(SOURCE)})


def load_it(row: Row, server: Running, seconds: float, warmup_s: float, seed: int = 1) -> list[float]:
    """Answers a second of each stream, all at once; of an open one those that came in time."""
    place, pid = read_url(server.url)[0], server.pid
    with ThreadPoolExecutor(len(row.streams)) as crews:
        results = list(crews.map(lambda stream: run(stream.load(seconds, warmup_s, seed), place, pid=pid), row.streams))
    found = []
    for stream, result in zip(row.streams, results, strict=True):
        total = result.total
        answers = float(total.answers - result.drained)
        if stream.open:
            in_time = sum(count for bucket, count in total.latency.items() if middle_s(bucket) <= PATIENCE_S)
            answers = float(in_time - total.statuses.get("5xx", 0))
        found.append(max(answers, 1.0) / result.seconds)
    return found


def others() -> float:
    """Processors that other work uses at the moment."""

    def idle_s() -> float:
        fields = Path("/proc/stat").read_text(encoding="ascii").split()
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")

    before_s, began_s = idle_s(), time.monotonic()
    time.sleep(OTHERS_S)
    return max(0.0, (os.cpu_count() or 1) - (idle_s() - before_s) / (time.monotonic() - began_s))


def measure(row: Row, say: Callable[[str], None]) -> dict[str, Any]:
    """One load: what each run gave, round by round, and what the adaptive server said."""
    rounds: list[dict[str, list[list[float]]]] = []
    used = others()
    with start(command(FIXED)) as fixed, start(command(ADAPTIVE)) as adaptive:
        servers = {FIXED: fixed, ADAPTIVE: adaptive}
        if row.settle_s:
            load_it(row, servers[FIXED], SETTLE_FIXED_S, 0.0)
            load_it(row, servers[ADAPTIVE], row.settle_s, 0.0)
        for number in range(row.rounds):
            order = (FIXED, ADAPTIVE, ADAPTIVE, FIXED) if number % 2 == 0 else (ADAPTIVE, FIXED, FIXED, ADAPTIVE)
            found: dict[str, list[list[float]]] = {FIXED: [], ADAPTIVE: []}
            for side in order:
                found[side].append(load_it(row, servers[side], row.seconds, min(WARMUP_S, row.seconds / 4), number + 1))
            rounds.append(found)
            say(".")
        words = adaptive.last_words()
    news = [line.partition("adaptive: ")[2] for line in words.splitlines() if "adaptive: " in line]
    date = time.strftime("%Y-%m-%d")
    return {"rounds": rounds, "news": news, "cores": os.cpu_count(), "others": used, "date": date}


def comparisons(record: dict[str, Any]) -> list[Comparison]:
    """Adaptive by fixed, of each stream."""
    streams = range(len(record["rounds"][0][FIXED][0]))
    found = []
    for stream in streams:
        pairs = [
            Round(*(tuple(one[stream] for one in each[side]) for side in (FIXED, ADAPTIVE)))
            for each in record["rounds"]
        ]
        found.append(compare(pairs))
    return found


def middle(record: dict[str, Any], side: str, stream: int) -> float:
    """The median of a side's runs."""
    values = sorted(one[stream] for each in record["rounds"] for one in each[side])
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def table(records: dict[str, Any]) -> str:
    """Markdown: a row for each stream."""
    lines = [
        "| load | fixed, answers/s | adaptive | adaptive by fixed | control | verdict | there is to find; was found |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        record = records.get(name)
        if record is None:
            continue
        for at, (stream, found) in enumerate(zip(row.streams, comparisons(record), strict=True)):
            change, control = found.change, found.control
            alone = len(record["rounds"]) < row.rounds or row.rounds < 5
            interval = "" if alone else f" [{change.low:.2f}, {change.high:.2f}]"
            noise = "" if alone else f" [{control.low:.2f}, {control.high:.2f}]"
            better = "better" if change.ratio > 1 else "WORSE"
            verdict = ("no interval" if alone else "no difference shown") if not found.differs else better
            rates = " | ".join(f"{middle(record, side, at):,.0f}" for side in (FIXED, ADAPTIVE))
            said = "; ".join(record["news"][:4]) or "nothing"
            told = f"{row.expected}; {said}" if at == 0 else ""
            ratios = f"{change.ratio:.2f}{interval} | {control.ratio:.2f}{noise}"
            lines.append(f"| {stream} | {rates} | {ratios} | {verdict} | {told} |")
    dates = sorted({record["date"] for record in records.values()})
    cores = sorted({record["cores"] for record in records.values()})
    used = [record["others"] for record in records.values()]
    about = (
        f"\nMeasured on {', '.join(dates)} with {', '.join(map(str, cores))} processors for servers and loader; before "
        f"each load other work used {min(used):.1f} to {max(used):.1f} of them.\n"
        if used
        else ""
    )
    return "\n".join(lines) + "\n" + about


def publish(page: Path, records: dict[str, Any]) -> None:
    """Puts the table into the page, between its marks."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}{table(records)}{END}{tail}", encoding="utf-8")


def kept(path: Path) -> dict[str, Any]:
    """What was measured before, as far as it is of loads that there still are."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: record for name, record in found.items() if name in ROWS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", help=f"all, or some of {', '.join(ROWS)}")
    parser.add_argument("--json", type=Path, default=RECORDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--report-only", action="store_true", help="the table again, from what was measured before")
    arguments = parser.parse_args()
    unknown = set(arguments.loads) - set(ROWS)
    if unknown:
        parser.error(f"no such load: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    records = kept(arguments.json)
    began_s = time.monotonic()
    for name in [] if arguments.report_only else arguments.loads or ROWS:
        left_s = LIMIT_S - (time.monotonic() - began_s)
        if ROWS[name].takes_s > left_s:
            print(f"{name}: left out, {left_s:.0f} s are left of {LIMIT_S:.0f}", flush=True)
            continue
        at_s = time.monotonic()
        print(f"{name}, about {ROWS[name].takes_s:.0f} s ", end="", flush=True)
        records[name] = measure(ROWS[name], lambda text: print(text, end="", flush=True))
        arguments.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        publish(arguments.page, records)
        ratios = ", ".join(
            f"{stream.path} {found.change.ratio:.2f}"
            for stream, found in zip(ROWS[name].streams, comparisons(records[name]), strict=True)
        )
        print(f" {time.monotonic() - at_s:.0f} s: {ratios}", flush=True)
    publish(arguments.page, records)
    sys.stdout.write(table(records))


if __name__ == "__main__":
    main()
