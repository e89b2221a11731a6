"""THE table of what the doctor looks for: a row each. `vivace doctor`, --fail-on and docs/doctor.md come from it. Pure.

`needs` are the parts of the evidence without which it cannot be seen; without those of `better` it is seen less well.
`quiet` says what was seen instead, where it was not found.
"""

from __future__ import annotations

from dataclasses import dataclass

from vivace.lab.words import number, percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from vivace.explain.case import Case


def _code(case: Case) -> str:
    return "no line takes a good part of the time in that way"


def _none(case: Case) -> str:
    return "next to none"


def _busiest(case: Case) -> str:
    return f"the busiest worker computes {percent(case.busiest)} of the time; {case.idle_cores:.1f} cores are idle"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row."""

    id: str
    about: str
    needs: tuple[str, ...] = ()
    quiet: Callable[[Case], str] = _code


KINDS: Final[dict[str, Kind]] = {
    row.id: row
    for row in (
        Kind("cpu", "code that computes for long", ("profile",)),
        Kind("import", "modules imported while it serves", ("profile",)),
        Kind("template", "templates compiled for each request", ("profile",)),
        Kind("rendering", "templates that take long to render", ("profile",)),
        Kind("regex", "regular expressions compiled for each request, or that try too many ways", ("profile",)),
        Kind("serialisation", "data turned into text and back", ("profile",)),
        Kind("copying", "objects copied as a whole", ("profile",)),
        Kind("logging", "log records on the path of a request", ("profile",)),
        Kind("exceptions", "tracebacks written out", ("profile",)),
        Kind("queries", "the database asked in a loop (N+1)", ("profile",)),
        Kind("database", "slow queries", ("profile",)),
        Kind("upstream", "calls of other services", ("profile",)),
        Kind("series", "waits one after the other that could be at once", ("profile",)),
        Kind("io", "waits for input and output", ("profile",)),
        Kind("sleep", "sleep in requests", ("profile",)),
        Kind("disk", "waits for the disk", ("profile",)),
        Kind("child", "other programs run in requests", ("profile",)),
        Kind("pool", "a pool of connections that is exhausted", ("profile",)),
        Kind(
            "lock",
            "threads that wait for locks",
            (),
            lambda case: f"{percent(case.wait_share('lock'))} of the threads' time",
        ),
        Kind(
            "gil",
            "threads that wait for the GIL",
            (),
            lambda case: f"{percent(case.wait_share('gil'))} of the threads' time",
        ),
        Kind("background", "work in the workers beside the requests", (), _busiest),
        Kind("cores", "processors that are short", (), _busiest),
        Kind(
            "threads",
            "too few threads",
            (),
            lambda case: f"{case.in_request:.1f} of {case.threads_max * case.workers} threads are in requests",
        ),
        Kind("workers", "too few workers", (), _busiest),
        Kind(
            "bursts",
            "requests that come in bursts",
            (),
            lambda case: f"requests wait {span(case.figures['queued_s'])} for their turn",
        ),
        Kind(
            "accept queue",
            "connections turned away",
            (),
            lambda case: f"at most {case.evidence.machine.get('queue_max', 0)} waited to be accepted",
        ),
        Kind(
            "failures",
            "answers of 5xx",
            (),
            lambda case: f"{number(case.figures['error_rate'])} a second",
        ),
        Kind(
            "leak",
            "memory that grows with the requests",
            ("memory",),
            lambda case: (case.evidence.memory or {}).get("reason") or "it does not grow with them",
        ),
        Kind(
            "gc",
            "pauses of the garbage collector",
            (),
            lambda case: (
                percent(max((row["collecting"] or 0.0 for row in case.figures["workers"]), default=0.0))
                + " of a worker's time"
            ),
        ),
        Kind(
            "keep-alive",
            "a connection for each request",
            (),
            lambda case: f"{number(case.figures['accept_rate'])} connections a second for {number(case.rate)} requests",
        ),
        Kind("tiny writes", "responses in tiny pieces", ("facts",), _none),
        Kind("uncompressed", "text sent uncompressed", ("facts",), _none),
        Kind("conditional", "responses sent in full to clients that have them", ("facts",), _none),
        Kind("slow readers", "clients that read slowly", ("facts",), _none),
        Kind("no length", "bodies of unknown length", ("facts",), _none),
        Kind(
            "cacheable",
            "work done again for the same response",
            ("facts",),
            lambda case: "few responses were the same, or they were cheap to make",
        ),
        Kind("debug", "debug mode", ("settings",), lambda case: "it is off"),
        Kind("reload", "reloading of code and templates", ("settings",), lambda case: "it is off"),
        Kind("development", "tools of development in front", ("settings",), lambda case: "there is none"),
        Kind("connections", "database connections made for each request", ("settings",), lambda case: "none is known"),
    )
}


def markdown() -> str:
    """The table of docs/doctor.md."""
    rows = [f"| `{row.id}` | {row.about} | {', '.join(row.needs) or 'figures'} |" for row in KINDS.values()]
    return "\n".join(["| id | what it is | seen in |", "|---|---|---|", *rows]) + "\n"
