"""Does the doctor find what is wrong? It looks at each application of examples/patients, which is ill in a known way,
and at its cured twin; then the twin's gain is measured beside what the doctor had expected. Writes docs/patients.md.

    python -m benchmarks.patients                          # all, with the gains: half an hour
    python -m benchmarks.patients quadratic leak           # these; prints the table and writes nothing
    python -m benchmarks.patients --no-gains --scale 0.5

Each patient is loaded as the manifest says, by the doctor itself and by the comparison alike. Gains are those of
mirrored rounds (`vivace compare`). Needs flask, django and jinja2.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "patients"
PAGE = ROOT / "docs" / "patients.md"
MARK = "# ILL: "
DOCTOR_LIMIT_S = 180.0

FIGURES = {"requests/s": "rate", "response time": "p50"}
"""What a gain is of -> the figure of a comparison. That memory grows no more, no short comparison shows."""


@dataclass(frozen=True)
class Patient:
    """A row of the manifest."""

    name: str
    on: str
    illness: list[str]
    cured: str
    urls: list[str]
    clients: int
    place: str
    seconds: float = 10.0
    settings: dict[str, str] = field(default_factory=dict)
    cure: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.py"

    @property
    def marked(self) -> list[int]:
        """The lines at which the illness is."""
        return [number for number, line in enumerate(self.file.read_text().splitlines(), 1) if MARK in line]

    def environ(self, cured: bool) -> dict[str, str]:
        return {**self.settings, **(self.cure if cured else {})}

    def module(self, cured: bool) -> str:
        return self.cured if cured else self.name

    def requests(self) -> dict[str, Any]:
        """A request file."""
        return {"defaults": {"headers": self.headers}, "requests": [{"path": url} for url in self.urls]}


def patients() -> list[Patient]:
    """The manifest."""
    return [Patient(**row) for row in tomllib.loads((FOLDER / "manifest.toml").read_text())["patient"]]


def environ(patient: Patient, cured: bool) -> dict[str, str]:
    """Of a command that is to run this tree's vivace, if none is installed."""
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, **patient.environ(cured)}


def examine(patient: Patient, cured: bool, scale: float = 1.0) -> dict[str, Any]:
    """What `vivace doctor` says, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests.json"
        requests.write_text(json.dumps(patient.requests()))
        words = ["doctor", f"{patient.module(cured)}:app", "--requests", str(requests), "--json"]
        words += ["-c", str(patient.clients), "--seconds", f"{patient.seconds * scale:g}"]
        done = subprocess.run(
            [sys.executable, "-m", "vivace", *words],
            cwd=FOLDER,
            env=environ(patient, cured),
            capture_output=True,
            text=True,
            timeout=DOCTOR_LIMIT_S,
        )
    if not done.stdout.startswith("{"):
        raise SystemExit(f"vivace {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout))


@dataclass
class Verdict:
    """What the doctor made of one patient."""

    patient: Patient
    findings: list[dict[str, Any]]
    """Of the ill one, the first first."""
    healthy: list[dict[str, Any]] | None = None
    """Of the cured one; None: it was not examined."""
    measured: dict[str, float] = field(default_factory=dict)
    """Figure -> ratio, cured by ill."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.patient.name,
            "ill": self.findings,
            "cured": self.healthy,
            "measured": self.measured,
            "off": self.off,
        }

    @property
    def ours(self) -> list[dict[str, Any]]:
        """The findings that should be there: as many as there are illnesses, from the first."""
        wanted = self.patient.illness
        return [one for one in self.findings[: len(wanted)] if one["id"] in wanted]

    @property
    def first(self) -> bool:
        return {one["id"] for one in self.ours} == set(self.patient.illness)

    @property
    def placed(self) -> bool:
        """Whether each is where it was planted."""
        if not self.patient.place:
            return True
        if self.patient.place == "route":
            return all(one["route"] for one in self.ours)
        lines = self.patient.marked
        places = [one["where"] for one in self.ours]
        return all(
            place and Path(place["file"]).name == self.patient.file.name and place["line"] in lines for place in places
        )

    @property
    def sound(self) -> list[str]:
        """What is serious about the cured one."""
        return [one["id"] for one in self.healthy or () if one["severity"] == "serious"]

    @property
    def gain(self) -> dict[str, Any] | None:
        """What was expected of the cure, where there is one cure and an expectation."""
        found = self.ours[0]["gain"] if len(self.ours) == 1 == len(self.patient.illness) else None
        return found if found and found["what"] in FIGURES else None

    @property
    def off(self) -> float | None:
        """The expected ratio by the measured one, less 1."""
        gain = self.gain
        ratio = self.measured.get(FIGURES[gain["what"]]) if gain else None
        return gain["likely"] / ratio - 1 if gain and ratio else None


def measure(patient: Patient, rounds: int) -> dict[str, float]:
    """The figures of the cured one by those of the ill one: medians of the mirrored rounds."""
    sys.path.insert(0, str(ROOT / "src"))
    from vivace.lab import crew
    from vivace.lab.compare import Duel, play
    from vivace.lab.compare import series as series_of
    from vivace.lab.plan import Load, Shot
    from vivace.lab.server import Command, from_preset

    def side(cured: bool) -> Command:
        command = from_preset("vivace", f"{patient.module(cured)}:app", folder=str(FOLDER))
        command.environ |= patient.environ(cured)
        return command

    shots = [Shot(target=url, headers=list(patient.headers.items())) for url in patient.urls]
    load = Load(shots, connections=patient.clients, seconds=2.5, warmup_s=0.5)
    with crew.Spares() as spares:
        duel = Duel(side(False), side(True), load, spares.fire)
        play(duel, rounds=rounds)
    return {
        name: statistics.median(statistics.mean(one.b) / statistics.mean(one.a) for one in pairs)
        for name, pairs in series_of(duel.rounds).items()
    }


# The table.

HEAD = (
    "| patient | on | planted | said first | at | gain expected (range) | measured | off by | CPU/request | cured |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def row(verdict: Verdict) -> str:
    patient, gain, off = verdict.patient, verdict.gain, verdict.off
    said = [one["id"] for one in verdict.findings[: len(patient.illness)]]
    named = ", ".join(said) or "nothing"
    places = ", ".join(sorted({place_of(one) for one in verdict.findings[: len(patient.illness)]}))
    expected = f"{gain['likely']:.2f}x {gain['what']} ({gain['low']:.2f} to {gain['high']:.2f})" if gain else ""
    measured = f"{verdict.measured[FIGURES[gain['what']]]:.2f}x" if gain and verdict.measured else ""
    cpu = f"{verdict.measured['cpu']:.2f}x" if gain and verdict.measured.get("cpu") else ""
    healthy = "" if verdict.healthy is None else ", ".join(verdict.sound) or "nothing serious"
    return (
        f"| [{patient.name}](../examples/patients/{patient.name}.py) | {patient.on} | {', '.join(patient.illness)} "
        f"| {named if verdict.first else f'**{named}**'} | {places if verdict.placed else f'**{places}**'} "
        f"| {expected} | {measured} | {'' if off is None else f'{off:+.0%}'} | {cpu} "
        f"| {f'**{healthy}**' if verdict.sound else healthy} |"
    )


def place_of(finding: dict[str, Any]) -> str:
    where = finding["where"]
    return f"{Path(where['file']).name}:{where['line']}" if where else finding["route"] or "the server"


def summary(verdicts: Sequence[Verdict]) -> str:
    """In a sentence."""
    count = len(verdicts)
    placed = sum(verdict.first and verdict.placed for verdict in verdicts)
    examined = [verdict for verdict in verdicts if verdict.healthy is not None]
    said = (
        f"Of {count} patients the doctor named what was planted first in {sum(verdict.first for verdict in verdicts)}, "
        f"and at the right place in {placed}. Of {len(examined)} cured ones it called nothing serious in "
        f"{sum(not verdict.sound for verdict in examined)}."
    )
    offs = [abs(verdict.off) for verdict in verdicts if verdict.off is not None]
    if offs:
        within = sum(off <= 0.25 for off in offs)
        said += f" Of {len(offs)} gains that were measured {within} were within 25% of what it had expected."
    return said


def write(verdicts: Sequence[Verdict], conditions: str) -> None:
    """Replaces the part of the page between its two marks. `conditions`: in a line; "": those that stand there."""
    text = PAGE.read_text()
    told = re.search(r"(?m)^.*; CPython .*$", text)
    conditions = conditions or (told[0] if told else "")
    table = "\n".join([summary(verdicts), "", conditions, "", *HEAD, *map(row, verdicts)])
    found = re.sub(
        r"(?s)(<!-- begin -->\n).*(<!-- end -->)", lambda mark: f"{mark[1]}\n{table}\n\n{mark[2]}", text, count=1
    )
    PAGE.write_text(found)


def kept(files: Sequence[Path]) -> list[Verdict]:
    """The verdicts of files that `--json` wrote."""
    rows = {row["name"]: row for file in files for row in json.loads(file.read_text())}
    return [
        Verdict(patient, rows[patient.name]["ill"], rows[patient.name]["cured"], rows[patient.name]["measured"])
        for patient in patients()
        if patient.name in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patients")
    parser.add_argument("names", nargs="*", help="of patients; all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds that the doctor looks")
    parser.add_argument("--rounds", type=int, default=3, help="of the measured gain")
    parser.add_argument("--no-gains", action="store_true")
    parser.add_argument("--no-healthy", action="store_true")
    parser.add_argument("--json", type=Path, help="write the reports there, too")
    parser.add_argument(
        "--report-only", type=Path, nargs="+", help="write the page from such files; later ones replace"
    )
    options = parser.parse_args()
    if options.report_only:
        write(kept(options.report_only), "")
        return
    chosen = [patient for patient in patients() if not options.names or patient.name in options.names]
    verdicts: list[Verdict] = []
    loads = [os.getloadavg()[0]]
    print(*HEAD, sep="\n", flush=True)
    for patient in chosen:
        verdict = Verdict(patient, examine(patient, False, options.scale)["findings"])
        if not options.no_healthy:
            verdict.healthy = examine(patient, True, options.scale)["findings"]
        if not options.no_gains and verdict.gain:
            verdict.measured = measure(patient, options.rounds)
        verdicts.append(verdict)
        loads.append(os.getloadavg()[0])
        print(row(verdict), flush=True)
        if options.json:
            options.json.write_text(json.dumps([one.to_json() for one in verdicts], indent=1))
    print(summary(verdicts))
    if not options.names:
        cores = len(os.sched_getaffinity(0))
        write(
            verdicts,
            f"{10 * options.scale:g} or {15 * options.scale:g} s of load for the doctor; rounds of 4 runs of 2 s for a "
            f"gain: {options.rounds}; CPython {'.'.join(map(str, sys.version_info[:3]))}, {cores} cores, load average "
            f"{min(loads):.1f} to {max(loads):.1f}.",
        )


if __name__ == "__main__":
    main()
