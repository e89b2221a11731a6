"""An examination as one HTML file that needs nothing else: to be mailed, or attached to an issue.

Rules: it has no script. Whatever came from elsewhere (routes, code, paths) is text.

Pure but for reading its own style.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from vivace.explain.finding import RATE
from vivace.explain.gain import told
from vivace.explain.report_text import checked, head
from vivace.explain.table import KINDS
from vivace.lab.document import document
from vivace.lab.words import number, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.explain.evidence import Evidence
    from vivace.explain.finding import Finding, Gain, Report

STYLE = Path(__file__).parent / "files" / "doctor.css"

BODY = """<h1>{title}</h1>
<p class="muted">{subtitle}</p>
<main>
{figures}
{findings}
{ruled_out}
{unseen}
</main>
<footer>{footer}</footer>"""


def page(report: Report, evidence: Evidence, title: str, made: str = "") -> str:
    """The document. `made`: by what, and when."""
    serious = len(report.serious)
    found = f"{serious} serious of {len(report.findings)} findings" if report.findings else "nothing was found"
    body = BODY.format(
        title=escape(title),
        subtitle=escape(f"{found}; " + "; ".join(head(evidence)[1:])),
        figures=_figures(evidence),
        findings="\n".join(_finding(place, finding) for place, finding in enumerate(report.findings, 1)),
        ruled_out=_list("Looked for, and not there", [f"{KINDS[one].about}: {text}" for one, text in report.ruled_out]),
        unseen=_list("Not looked at", [f"{KINDS[one].about} ({why})" for one, why in report.unseen]),
        footer=escape(made),
    )
    return document(title, STYLE.read_text("utf-8"), body)


def _figures(evidence: Evidence) -> str:
    figures = evidence.figures
    shown = (
        ("Requests/s", number(figures["rate"])),
        ("Mean response", span(figures["mean_s"])),
        ("p50", span(figures["p50_s"] or 0.0)),
        ("p99", span(figures["p99_s"] or 0.0)),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown)
    return f'<dl class="figures" aria-label="Figures">{cells}</dl>'


def _finding(place: int, finding: Finding) -> str:
    parts = [
        f'<section class="card {finding.severity}" aria-label="Finding {place}">',
        f'<p class="mark">{finding.severity}</p>',
        f"<h2>{place}. {escape(finding.title)}</h2>",
    ]
    if finding.where is not None:
        parts.append(f'<p class="where"><code>{escape(str(finding.where))}</code></p>')
        if finding.where.text:
            parts.append(f"<pre>{escape(finding.where.text)}</pre>")
    rows = "".join(f"<li>{escape(line)}</li>" for line in finding.evidence)
    parts.append(f'<ul class="evidence">{rows}</ul>')
    parts.append(f"<p><b>Try:</b> {escape(finding.advice)}</p>")
    if finding.code:
        parts.append(f"<pre>{escape(finding.code)}</pre>")
    if finding.gain is not None:
        words = escape(told(finding.gain) + checked(finding))
        parts.append(f'<p class="gain"><b>Gain:</b> {_bar(finding.gain)}<span>{words}</span></p>')
    parts.append("</section>")
    return "\n".join(parts)


def _bar(gain: Gain) -> str:
    """The part of the whole that would be saved: the range, and what is likely."""
    ends = [
        1.0 - 1.0 / max(ratio, 1.0) if gain.what == RATE else 1.0 - min(ratio, 1.0) for ratio in (gain.low, gain.high)
    ]
    low, high = sorted(180.0 * min(1.0, max(0.0, end)) for end in ends)
    likely = 180.0 * min(1.0, gain.weight)
    return (
        '<svg viewBox="0 0 180 10" aria-hidden="true"><rect class="all" width="180" height="10" rx="5"/>'
        f'<rect class="range" x="{low:.1f}" width="{max(2.0, high - low):.1f}" height="10" rx="5"/>'
        f'<rect class="likely" width="{likely:.1f}" height="10" rx="5"/></svg>'
    )


def _list(title: str, rows: list[str]) -> str:
    if not rows:
        return ""
    items = "".join(f"<li>{escape(row)}</li>" for row in rows)
    return f'<section class="card"><h2>{title}</h2><ul class="list muted">{items}</ul></section>'
