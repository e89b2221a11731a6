"""The examination: all rules on one case, and what they found in order, with what was ruled out. Pure."""

from __future__ import annotations

from dataclasses import replace

from vivace.explain.case import Case
from vivace.explain.finding import MINOR, NOTE, SERIOUS, Report
from vivace.explain.rules import code, contention, garbage, queueing, repeats, surroundings, wire
from vivace.explain.table import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.explain.evidence import Evidence
    from vivace.explain.finding import Finding

RULES = (code.rule, contention.rule, queueing.rule, garbage.rule, wire.rule, repeats.rule, surroundings.rule)
HOLDERS = ("lock", "pool", "gc")
"""Findings whose other lines are explained by them."""
REQUESTS_MIN = 20
"""Fewer say nothing."""


def examine(evidence: Evidence) -> Report:
    """What is wrong, the most important first; what was ruled out; what could not be looked for."""
    case = Case(evidence)
    if case.figures["count"] < REQUESTS_MIN:
        why = f"{case.figures['count']:.0f} requests were answered meanwhile; it takes {REQUESTS_MIN} to tell"
        return Report([], [], [(one, why) for one in KINDS])
    found = [finding for rule in RULES for finding in rule(case)]
    found = sorted(_weighed(found), key=lambda finding: finding.order)
    found = _explained(found)
    there = {finding.id for finding in found if finding.severity != NOTE}
    unseen = [
        (row.id, why) for row in KINDS.values() if row.id not in there and (why := _why_unseen(evidence, row.needs))
    ]
    dark = {one for one, _ in unseen}
    ruled_out = [(row.id, row.quiet(case)) for row in KINDS.values() if row.id not in there and row.id not in dark]
    return Report(found, ruled_out, unseen)


def _why_unseen(evidence: Evidence, needs: tuple[str, ...]) -> str:
    for part in needs:
        if getattr(evidence, part) is None:
            return evidence.missing.get(part, "it was not asked for")
    return ""


def _weighed(found: list[Finding]) -> list[Finding]:
    """What a cache would hide is not serious where it can be cured: one line takes half of that route's time."""
    ill = {
        finding.route for finding in found if finding.where and finding.severity == SERIOUS and finding.weight >= 0.5
    }
    return [
        replace(finding, severity=MINOR)
        if finding.id == "cacheable" and finding.severity == SERIOUS and finding.route in ill
        else finding
        for finding in found
    ]


def _explained(found: list[Finding]) -> list[Finding]:
    """Without those that another one explains (the place where a route waits, and the series or the lock
    it is part of), and each but once: logging is seen in the stacks and in the records."""
    series = {finding.route for finding in found if finding.id == "series"}
    held = {line for finding in found if finding.id in HOLDERS for line in finding.also}
    single = ("io", "upstream")
    kept: dict[tuple[str, str], Finding] = {}
    for finding in found:
        if finding.id in single and finding.route in series:
            continue
        if finding.where is not None and finding.where.at in held and finding.id not in HOLDERS:
            continue
        first = kept.setdefault((finding.id, finding.route if finding.id == "logging" else finding.title), finding)
        if first is not finding:
            first.evidence.extend(line for line in finding.evidence if line not in first.evidence)
    return list(kept.values())
