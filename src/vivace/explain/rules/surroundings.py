"""What surrounds the application: debug modes, leftovers of development, chatty logs, connections made anew. Pure."""

from __future__ import annotations

from vivace.explain.finding import FAIR, HIGH, MINOR, NOTE, SERIOUS, Finding, Where
from vivace.explain.gain import saving
from vivace.explain.spots import short
from vivace.lab.words import number, percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.case import Case

DEBUG = ("debug", "debugger", "queries")
RELOAD = ("reload", "templates")
RECORD_S = 24e-6
"""Processor time of a log record of the standard library, a formatted line to a file: 24 us at best (CPython 3.11)."""
RECORDS_MIN = 3.0
"""For each request, from which logging is looked at."""
DEBUG_WEIGHT, DEVELOPMENT_WEIGHT = 0.4, 0.3
"""Their danger is no matter of time."""


def rule(case: Case) -> list[Finding]:
    return [*_development(case), *_logging(case), *_connections(case)]


def _development(case: Case) -> list[Finding]:
    settings = case.evidence.settings
    if settings is None:
        return []
    found = []
    for one in ("debug", "reload", "development"):
        rows = [row for row in settings["development"] if _kind_of(row["id"]) == one]
        if rows:
            found.append(_left_over(one, rows, settings))
    return found


def _kind_of(name: str) -> str:
    return "debug" if name in DEBUG else "reload" if name in RELOAD else "development"


def _left_over(one: str, rows: list[dict[str, Any]], settings: dict[str, Any]) -> Finding:
    titles = {
        "debug": "debug mode is on",
        "reload": "files are watched for changes",
        "development": "tools of development are in front of the application",
    }
    advices = {
        "debug": "Switch it off where others can reach it: it shows code and values to whoever causes an error, keeps "
        "every query in memory, and takes time with each request.",
        "reload": "Leave that to development: it looks at files while requests wait, or starts workers anew.",
        "development": "Leave them out in production: each takes time with every request.",
    }
    application = settings["application"]
    chain = " > ".join(application.get("chain", []))
    return Finding(
        one,
        f"{titles[one]}: {rows[0]['what']}",
        MINOR if one == "reload" else SERIOUS,
        [*(f"{row['what']} ({row['where']})" for row in rows), *([f"the application is {chain}"] if chain else [])],
        advices[one],
        where=Where(application["file"], 1) if application.get("file") else None,
        code="\n".join(row["change"] for row in rows),
        confidence=HIGH,
        weight=DEBUG_WEIGHT if one == "debug" else DEVELOPMENT_WEIGHT,
    )


def _logging(case: Case) -> list[Finding]:
    facts = case.evidence.facts
    if facts is None or not facts["requests"]:
        return []
    per_request = facts["logging"]["records"] / facts["requests"]
    if per_request < RECORDS_MIN:
        return []
    cost_s = max(per_request * RECORD_S, sum(case.cpu_of(spot) for spot in case.spots if spot.kind == "logging"))
    part = cost_s / max(case.flow.cpu_s + case.flow.wait_s, 1e-9)
    lines = facts["logging"]["lines"]
    where = Where(lines[0][0], lines[0][1]) if lines else None
    settings = case.evidence.settings or {}
    loud = [f"{logger or 'root'} is on {level}" for logger, level in settings.get("logging", {}).get("loud", [])[:3]]
    return [
        Finding(
            "logging",
            f"{number(per_request)} log records a request",
            SERIOUS if part >= 0.2 else MINOR if part >= 0.05 else NOTE,
            [
                f"about {span(cost_s)} of each request, {percent(part)} of what it takes",
                *(
                    f"{level} of {logger or 'root'}, {count / facts['requests']:.1f} a request, at {short(file)}:{line}"
                    for file, line, logger, level, count, _ in lines[:3]
                ),
                *loud,
            ],
            "Raise the level, or take log calls out of loops. What is written only while something is looked for can "
            "be on DEBUG.",
            route=lines[0][5] if lines and len(facts["routes"]) > 1 else next(iter(facts["routes"]), ""),
            where=where,
            code="logging.getLogger().setLevel(logging.WARNING)",
            gain=saving(case.flow, (0.6, 0.95, 1.0), cpu_s=cost_s),
            confidence=HIGH,
        )
    ]


def _connections(case: Case) -> list[Finding]:
    """Django without persistent connections to a database that is elsewhere."""
    databases = (case.evidence.settings or {}).get("database", {})
    rows = [
        (name, row)
        for name, row in databases.items()
        if row.get("conn_max_age") == 0 and "sqlite" not in row.get("engine", "")
    ]
    if not rows:
        return []
    name, row = rows[0]
    return [
        Finding(
            "connections",
            "a connection to the database is made for each request",
            MINOR,
            [f"CONN_MAX_AGE of {name!r} is 0 ({row['engine']})"],
            "Keep connections: CONN_MAX_AGE, or a pool.",
            code="DATABASES = {'default': {..., 'CONN_MAX_AGE': 60}}",
            confidence=FAIR,
            weight=0.05,
        )
    ]
