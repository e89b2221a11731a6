"""What a person reads of an examination, as lines of text. Pure."""

from __future__ import annotations

import textwrap

from vivace.explain.case import Case
from vivace.explain.gain import told
from vivace.explain.table import KINDS
from vivace.lab.words import number, percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.explain.evidence import Evidence
    from vivace.explain.finding import Finding, Report

WIDTH = 100
INDENT = "   "
HOLDERS = ("lock", "pool", "gc")
"""Whose other lines stand in the evidence."""
CROWDED_CORES = 0.4


def lines(report: Report, evidence: Evidence, width: int = WIDTH) -> list[str]:
    """The whole report."""
    found = [*head(evidence), ""]
    if not report.findings:
        found.append("Nothing was found.")
    for place, finding in enumerate(report.findings, 1):
        found += [*_finding(place, finding, width), ""]
    if report.ruled_out:
        found.append("Looked for, and not there:")
        for one, text in report.ruled_out:
            found += _folded(f"{KINDS[one].about}: {text}", "   - ", "     ", width)
    if report.unseen:
        whys: dict[str, list[str]] = {}
        for one, why in report.unseen:
            whys.setdefault(why, []).append(KINDS[one].about)
        found += ["", "Not looked at:"]
        for why, abouts in whys.items():
            found += _folded(f"{', '.join(abouts)} ({why})", "   - ", "     ", width)
    return found


def head(evidence: Evidence) -> list[str]:
    """What was looked at, and how it went: rates first."""
    figures, machine = evidence.figures, evidence.machine
    workers = len(evidence.snapshot["workers"])
    p50, p99 = figures["p50_s"] or 0.0, figures["p99_s"] or 0.0
    found = [
        f"{number(figures['rate'])} requests/s for {span(figures['seconds'])}: mean {span(figures['mean_s'])}, "
        f"p50 {span(p50)}, p99 {span(p99)}; {workers} worker{'s' * (workers != 1)}, {machine['cores']} cores",
    ]
    shares = figures["shares"]
    parts = [
        f"{percent(shares[part])} {text}"
        for part, text in (
            ("queued", "waiting for their turn"),
            ("body", "waiting for bodies"),
            ("cpu", "computing"),
            ("blocked", "waiting"),
            ("send", "being sent"),
        )
        if shares.get(part, 0.0) >= 0.005
    ]
    if parts:
        found.append(f"of the response time: {', '.join(parts)}")
    if evidence.load is not None and evidence.load.get("bottleneck"):
        found.append(f"the loader was the bottleneck: {evidence.load['bottleneck']}")
    others = Case(evidence).others_cores
    if others > CROWDED_CORES:
        found.append(f"{others:.1f} of {machine['cores']} cores were busy with other things: figures are less sure")
    return found


def _finding(place: int, finding: Finding, width: int) -> list[str]:
    found = _folded(f"{finding.severity.upper()}: {finding.title}", f"{place}. ", INDENT, width)
    if finding.where is not None:
        found.append(f"{INDENT}{finding.where}")
        if finding.where.text:
            found.append(f"{INDENT}    {finding.where.text}")
    for line in finding.evidence:
        found += _folded(line, f"{INDENT}- ", f"{INDENT}  ", width)
    if finding.id not in HOLDERS:
        found += [f"{INDENT}  called at {line}" for line in finding.also]
    found += _folded(f"Try: {finding.advice}", INDENT, INDENT, width)
    found += [f"{INDENT}    {line}" for line in finding.code.splitlines()]
    if finding.gain is not None:
        found += _folded(f"Gain: {told(finding.gain)}{checked(finding)}", INDENT, INDENT, width)
    return found


def checked(finding: Finding) -> str:
    """What it was when it was tried, and how the estimate did; "" if it was not."""
    gain = finding.gain
    if gain is None or not gain.measured:
        return ""
    off = gain.likely / gain.measured - 1.0
    return f"; tried: {gain.measured:.2f} times, so the estimate was {abs(off):.0%} {'above' if off > 0 else 'below'}"


def _folded(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    ) or [first]
