"""A tuning as text for a person, as a settings file with its reasons, and as what JSON can say. Pure.

Rules: every figure that was measured stands with its interval, or says of how few runs it is. What was not tried, and
what was tried and not shown, is said as well: a settings file is not copied to another machine without it.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from vivace.config import kinds
from vivace.config.settings import ROWS
from vivace.lab.compare import FIGURES
from vivace.lab.compare_text import quantity
from vivace.lab.tune_knobs import BYTES, Candidate
from vivace.lab.words import percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.lab.stats import Comparison
    from vivace.lab.tune_model import Profile
    from vivace.lab.tune_worth import Outcome, Worth

COLUMNS = "  {:<28} {:>9}   {:<26} {}"
NOT_WRITTEN = ("app", "app_dir", "config", "bind")
ROUTES_MAX = 8
TITLES = {"rate": "requests a second", "cpu": "CPU per request", "memory": "memory", "bytes": "bytes per answer"}


def profile_lines(profile: Profile) -> list[str]:
    """What was seen before anything was tried, and what follows from it."""
    lines = [
        f"A request computes for {_time(profile.cpu_s)} and waits for {_time(profile.wait_s)}; the load computes for "
        f"{_time(profile.loader_s)} of it beside; {profile.processors} processor{'s' * (profile.processors != 1)}."
    ]
    lines.append(
        "In flight and answered a second: " + ", ".join(f"{count}: {rate:,.0f}" for count, rate in profile.levels)
    )
    if profile.usl is not None:
        curve = profile.usl
        turns = "" if math.isinf(curve.best) else f"; it turns at {curve.best:,.0f} in flight"
        lines.append(
            f"Universal Scalability Law: {curve.one:,.0f} a second alone, sigma {curve.sigma:.3f}, kappa "
            f"{curve.kappa:.5f}{turns}; off by {curve.error:.0%}."
        )
    if profile.waits:
        lines.append(f"Threads that keep a processor busy: {profile.threads_wanted} (1 + wait / CPU).")
    lines += [
        f"  {route.name:<30} {route.share:>4.0%} of the requests, {_time(route.mean_s)} each: "
        f"{_time(route.cpu_s)} CPU, {_time(route.blocked_s)} waiting"
        for route in profile.routes[:ROUTES_MAX]
    ]
    if profile.bottleneck:
        lines.append(f"THE LOADER IS THE BOTTLENECK: {profile.bottleneck}")
        lines.append("No setting can show more requests a second here, so what is compared is CPU per request.")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def lines_of(outcome: Outcome) -> list[str]:
    """The report."""
    lines = [COLUMNS.format("", "predicted", f"measured, {outcome.objective.title}", "").rstrip()]
    lines += [_row(worth, outcome) for worth in outcome.worths]
    if outcome.left:
        lines += ["", "Not tried:"]
        lines += [f"  {knob}: {why}" for knob, why in outcome.left.items()]
    lines += ["", *_whole(outcome)]
    return lines


def _row(worth: Worth, outcome: Outcome) -> str:
    return COLUMNS.format(
        worth.candidate.label, f"{worth.candidate.predicted:.2f}x", _measured(worth, outcome), said(worth, outcome)
    ).rstrip()


def _measured(worth: Worth, outcome: Outcome) -> str:
    found = worth.comparisons.get(outcome.objective.figure)
    if found is not None:
        return ratio(found)
    if not worth.runs:
        return ""
    return f"{worth.others.get(outcome.objective.figure, 1.0):.2f}x in {worth.runs} run{'s' * (worth.runs != 1)}"


def ratio(found: Comparison) -> str:
    """With its interval, if it has one."""
    change = found.change
    return f"{change.ratio:.2f}x" + (
        f" [{change.low:.2f}, {change.high:.2f}]" if math.isfinite(change.high) else " (too few rounds)"
    )


def said(worth: Worth, outcome: Outcome) -> str:
    """What became of a change, in words."""
    found = worth.comparisons.get(outcome.objective.figure)
    if worth.adopted:
        also = worth.comparisons.get(worth.figure) if worth.figure != outcome.objective.figure else None
        return f"TAKEN for its {TITLES[worth.figure]}: {ratio(also)}" if also is not None else "TAKEN"
    if worth.why_not == BYTES:
        bytes_ratio = worth.others.get("bytes", 1.0)
        return f"not taken: {percent(1 - bytes_ratio)} fewer bytes; what that is worth, your network says"
    if found is not None and math.isfinite(worth.smallest):
        return f"{worth.why_not} in {found.rounds} rounds; {percent(worth.smallest)} would be found"
    return worth.why_not


def _whole(outcome: Outcome) -> list[str]:
    title = outcome.objective.title
    lines = []
    if not outcome.chosen:
        lines.append("No setting was shown to be worth changing.")
    else:
        label = Candidate("", outcome.chosen, "").label
        lines.append(f"Chosen: {label}.")
        if outcome.total is not None:
            lines.append(f"In all, {title}: {ratio(outcome.total)} of what it was.")
        else:
            lines.append("In all: no time was left to compare all of it with the settings as they were.")
        for name in outcome.base:
            if name in outcome.tuned and name in TITLES:
                unit = FIGURES[name].unit if name in FIGURES else ""
                before, after = (quantity(means[name], unit) for means in (outcome.base, outcome.tuned))
                lines.append(f"  {TITLES[name]}: {before} before, {after} after (means of all runs)")
    if outcome.objective.figure == "goal" and outcome.base:
        before, after = (quantity(means["goal"], "s") for means in (outcome.base, outcome.tuned))
        lines.append(f"  {title}: {before} before, {after} after (means of all runs)")
    lines.append(f"{outcome.runs} runs in {outcome.seconds:.0f} s.")
    if outcome.bottlenecks:
        lines.append(
            f"In {outcome.bottlenecks} of them the loader was the bottleneck: there may be more to gain than could be "
            "seen. Load from another machine, or compare CPU per request."
        )
    if outcome.interrupted:
        lines.append("It was interrupted: what had been shown until then stands.")
    return lines


def as_toml(outcome: Outcome, settings: Settings, conditions: str) -> str:
    """A settings file: what was given before, and what was found, each with its reason."""
    lines = ["# " + conditions]
    if outcome.total is not None and outcome.chosen:
        lines.append(f"# In all, {outcome.objective.title}: {ratio(outcome.total)} of what it was before.")
    lines.append(
        "# In brackets: intervals so wide that of twenty searches where nothing pays at most one takes anything."
    )
    given = [
        (name, row)
        for name, row in ROWS.items()
        if settings.origin(name) != "default"
        and row.in_files
        and not row.secret
        and name not in (*NOT_WRITTEN, *outcome.chosen)
        and not settings.origin(name).startswith("VIVACE_")
    ]
    for name, row in given:
        lines += ["", f"# as it was, by {settings.origin(name)}"]
        lines.append(f"{row.public} = {kinds.to_toml(row, getattr(settings, name))}")
    for worth in outcome.worths:
        if worth.adopted:
            lines += ["", f"# {_reason(worth, outcome)}"]
            lines += [
                f"{ROWS[name].public} = {kinds.to_toml(ROWS[name], value)}"
                for name, value in worth.candidate.changes.items()
            ]
    tried = [worth for worth in outcome.worths if not worth.adopted]
    if tried or outcome.left:
        lines += ["", "# Not changed:"]
    for worth in tried:
        measured = _measured(worth, outcome)
        lines.append(f"#   {worth.candidate.label}: {said(worth, outcome)}" + (f" ({measured})" if measured else ""))
    lines += [f"#   {knob}: {why}" for knob, why in outcome.left.items()]
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n"


def _reason(worth: Worth, outcome: Outcome) -> str:
    found = worth.comparisons[worth.figure]
    title = TITLES.get(worth.figure, outcome.objective.title)
    text = f"{title}: {ratio(found)} in {found.rounds} rounds"
    if worth.figure != outcome.objective.figure:
        text += f"; {outcome.objective.title}: {ratio(worth.comparisons[outcome.objective.figure])}"
    return f"{text}; {worth.candidate.why}"


def as_json(outcome: Outcome, profile: Profile, conditions: str) -> dict[str, Any]:
    """Everything. An interval that is infinitely wide is None."""
    found = {
        "conditions": conditions,
        "objective": outcome.objective.title,
        "chosen": {ROWS[name].public: value for name, value in outcome.chosen.items()},
        "tried": [
            {
                "knob": worth.candidate.knob,
                "changes": {ROWS[name].public: value for name, value in worth.candidate.changes.items()},
                "why": worth.candidate.why,
                "predicted": worth.candidate.predicted,
                "screened": worth.others or None,
                "screening_runs": worth.runs,
                "compared": {name: asdict(one) for name, one in worth.comparisons.items()},
                "taken": worth.adopted,
                "taken_for": worth.figure or None,
                "why_not": worth.why_not or None,
            }
            for worth in outcome.worths
        ],
        "not_tried": outcome.left,
        "total": asdict(outcome.total) if outcome.total is not None else None,
        "before": outcome.base,
        "after": outcome.tuned,
        "runs": outcome.runs,
        "seconds": outcome.seconds,
        "loader_limited_runs": outcome.bottlenecks,
        "interrupted": outcome.interrupted,
        "profile": asdict(profile),
    }
    finite: dict[str, Any] = _finite(found)
    return finite


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
