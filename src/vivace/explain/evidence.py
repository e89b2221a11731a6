"""What the doctor examines: measurements of one stretch of time of one server, as plain data. Pure.

    figures    what happened in that time (`observe.comparison.between`): rates, parts of response times, percentiles
    snapshot   how it ended (`observe.snapshot.take`), with what threads in requests did (its "waits")
    machine    {"cores", "busy_cores" (of all processes), "idle_cores", "queue_max", "drops", "overflows"}
    load       {"clients", "think_s", "mode", "result" (summary)} where the doctor made the load; else None
    profile    samples of stacks: {"from_s", "to_s", "looks", "cost_s", "frames": [[function, file, line]],
               "stacks": [[frame numbers, outermost first]], "samples": [[route, state, stack number, seconds]]}
    sources    {file: {"line": {"text", "loop", "with"}}} of lines that stand in the profile, where files can be read
    calls      {route: {"database": calls, "http client": calls}} of one request, counted where the doctor may
    memory, gc, facts, settings    what the workers say of them

Rules: all of it can be written as JSON, and read again. A part that is not there is None, and `missing` says why: what
was not measured is never taken for what was found to be good.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plain = dict[str, Any]

VERSION = 1
PARTS = ("load", "profile", "sources", "calls", "memory", "gc", "facts", "settings")


@dataclass(slots=True)
class Evidence:
    """All that was measured."""

    figures: Plain
    snapshot: Plain
    machine: Plain
    load: Plain | None = None
    profile: Plain | None = None
    sources: Plain = field(default_factory=dict)
    calls: Plain | None = None
    memory: Plain | None = None
    gc: Plain | None = None
    facts: Plain | None = None
    settings: Plain | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Part -> why it is not there."""

    def to_json(self) -> Plain:
        return {"version": VERSION, **asdict(self)}


def from_json(found: Plain) -> Evidence:
    """What `to_json` made, after a trip through JSON. Raises ValueError."""
    if found.get("version") != VERSION:
        raise ValueError(f"not the evidence of vivace doctor, version {VERSION}")
    try:
        return Evidence(**{key: value for key, value in found.items() if key != "version"})
    except TypeError as error:
        raise ValueError(f"not the evidence of vivace doctor: {error}") from None
