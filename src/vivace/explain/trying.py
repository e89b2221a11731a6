"""Tries the changes that are settings of the server: starts the application with and without one, under the same load.

So an estimate meets what it estimated. Rules: as many loads with the change as without, in mirrored order (A B B A), so
that what drifts meets both; each has a server of its own, which has ended when its load is over.
"""

from __future__ import annotations

from dataclasses import replace

from vivace.errors import SettingError
from vivace.explain.finding import RATE, Report
from vivace.lab import crew
from vivace.lab.plan import Place
from vivace.lab.server import from_preset, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.explain.finding import Finding
    from vivace.explain.subject import Subject

TRIES_MAX = 4
WARMUP_S = 1.0
ORDER = (False, True, True, False)
"""With the change?"""


def try_out(report: Report, subject: Subject, seconds: float, tell: Callable[[str], None]) -> Report:
    """The report with what was measured in the gains of those findings whose change is a setting, and which gain
    requests a second: the first TRIES_MAX of them."""
    findings, tried = [], 0
    for finding in report.findings:
        gain = finding.gain
        if gain is not None and finding.options and gain.what == RATE and tried < TRIES_MAX:
            tried += 1
            tell(f"trying {' '.join(finding.options)}")
            finding = _tried(finding, subject, seconds)
        findings.append(finding)
    return Report(findings, report.ruled_out, report.unseen)


def _tried(finding: Finding, subject: Subject, seconds: float) -> Finding:
    assert finding.gain is not None
    rates: dict[bool, list[float]] = {False: [], True: []}
    try:
        for changed in ORDER:
            rates[changed].append(_rate(subject, finding.options if changed else (), seconds))
    except SettingError as error:
        return replace(finding, evidence=[*finding.evidence, f"it could not be tried: {error}"])
    before, after = sum(rates[False]), sum(rates[True])
    if not before:
        return finding
    return replace(finding, gain=replace(finding.gain, measured=after / before))


def _rate(subject: Subject, more: tuple[str, ...], seconds: float) -> float:
    """Requests a second of the application, started with `more` options. Raises SettingError."""
    command = from_preset("vivace", subject.app, [*subject.options, *more])
    with start(command, subject.target) as running:
        load = subject.load(WARMUP_S + seconds, WARMUP_S)
        return crew.run(load, Place(*running.address), pid=running.pid).rate
