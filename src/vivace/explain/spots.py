"""Where in the application the time goes: the samples of the profile, by the line of the application's own code that
answers for them, by what is done there, and by whether it computes or waits. Pure.

Rules: seconds are those of all requests together, as the profile weighs them. A line stands for what it calls in
libraries, too; a library that calls the application back does not hide it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vivace.explain.finding import Where
from vivace.explain.frames import is_template, kind_of, own_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vivace.explain.frames import Frame

RUNNING, GIL, LOCK = "running", "gil", "lock"
WAITING = ("sleep", "io", "disk", "child", "threads", "other")
LINES_MAX = 5
CALLEES_MAX = 5
TEMPLATE_LOOP = "django/template/defaulttags.py"


@dataclass(slots=True)
class Spot:
    """One function of the application, for one route and one thing that it does there."""

    route: str
    kind: str
    """Of `frames.KINDS`; "": its own code."""
    file: str
    function: str
    lines: dict[int, float] = field(default_factory=dict)
    """Line -> seconds."""
    states: dict[str, float] = field(default_factory=dict)
    """State -> seconds."""
    callees: dict[str, float] = field(default_factory=dict)
    """What it calls, `function, file:line` of the library's innermost frame -> seconds."""
    callers: dict[tuple[str, str, int], float] = field(default_factory=dict)
    """The application's frames around it -> seconds."""
    iterated: float = 0.0
    """Seconds in what a `for` asks for once, to go through it: `__iter__` of a query's result."""
    template_loop: float = 0.0
    """Seconds of it within a loop of a Django template, which has no frame that names the file."""

    @property
    def seconds(self) -> float:
        return sum(self.states.values())

    @property
    def line(self) -> int:
        """The one that takes most of it."""
        return max(self.lines, key=lambda line: self.lines[line], default=0)

    @property
    def state(self) -> str:
        return max(self.states, key=lambda state: self.states[state], default="")

    def in_states(self, *states: str) -> float:
        return sum(self.states.get(state, 0.0) for state in states)

    def most_called(self) -> list[str]:
        return sorted(self.callees, key=lambda name: -self.callees[name])[:CALLEES_MAX]

    def most_lines(self) -> list[tuple[int, float]]:
        return sorted(self.lines.items(), key=lambda row: -row[1])[:LINES_MAX]


def samples_of(profile: dict[str, Any], route: str = "") -> Iterator[tuple[str, str, list[Frame], float]]:
    """(route, state, stack with the outermost frame first, seconds) of each row; of one route, or "" of all."""
    frames = [(function, file, line) for function, file, line in profile["frames"]]
    stacks = profile["stacks"]
    for name, state, stack, seconds in profile["samples"]:
        if not route or name == route:
            yield name, state, [frames[number] for number in stacks[stack]], seconds


def spots_of(evidence_profile: dict[str, Any], sources: dict[str, Any], route: str = "") -> list[Spot]:
    """The spots, the dearest first. Computing and waiting at one place are two."""
    found: dict[tuple[str, str, str, str, bool], Spot] = {}
    for name, state, stack, seconds in samples_of(evidence_profile, route):
        own = own_frame(stack)
        if own < 0:
            continue
        function, file, line = stack[own]
        kind = kind_of(stack, own, text_of(sources, file, line))
        key = (name, kind, file, function, state in WAITING or state == LOCK)
        spot = found.get(key)
        if spot is None:
            spot = found[key] = Spot(name, kind, file, function)
        _add(spot, stack, own, state, seconds)
    return sorted(found.values(), key=lambda spot: -spot.seconds)


def _add(spot: Spot, stack: list[Frame], own: int, state: str, seconds: float) -> None:
    line = stack[own][2]
    spot.lines[line] = spot.lines.get(line, 0.0) + seconds
    spot.states[state] = spot.states.get(state, 0.0) + seconds
    if own + 1 < len(stack):
        function, file, at = stack[-1]
        callee = f"{function}, {short(file)}:{at}"
        spot.callees[callee] = spot.callees.get(callee, 0.0) + seconds
        if stack[own + 1][0].endswith(".__iter__"):
            spot.iterated += seconds
    if any(
        function.rpartition(".")[2] == "render" and file.endswith(TEMPLATE_LOOP)
        for function, file, _ in stack[own + 1 :]
    ):
        spot.template_loop += seconds
    for frame in stack[:own]:
        if own_frame([frame]) == 0 and frame[:2] != stack[own][:2]:
            spot.callers[frame] = spot.callers.get(frame, 0.0) + seconds


def text_of(sources: dict[str, Any], file: str, line: int) -> str:
    """The line of code, "" where it is not known."""
    return str(sources.get(file, {}).get(str(line), {}).get("text", ""))


def loop_of(sources: dict[str, Any], file: str, line: int, which: str = "loop") -> int:
    """The line at which the innermost loop around `line` begins, 0: there is none, or nobody knows. `which`:
    "outer" for loops that are no comprehensions."""
    return int(sources.get(file, {}).get(str(line), {}).get(which, 0))


def where_of(spot: Spot, sources: dict[str, Any]) -> Where:
    """Its dearest line."""
    return Where(spot.file, spot.line, spot.function, text_of(sources, spot.file, spot.line).strip())


def loop_around(spot: Spot, sources: dict[str, Any]) -> Where | None:
    """The innermost loop of the application in which the spot is called: its own, or one of its callers'.

    A template's loop is not seen; its caller is the template.
    """
    # What a comprehension goes through is asked for once, though it stands on the line of what is repeated.
    line = loop_of(sources, spot.file, spot.line, "outer" if spot.iterated > spot.seconds / 2 else "loop")
    if line:
        return Where(spot.file, line, spot.function, text_of(sources, spot.file, line).strip())
    half = spot.seconds / 2
    if spot.template_loop > half:
        return where_of(spot, sources)
    for (function, file, at), seconds in reversed(spot.callers.items()):
        line = loop_of(sources, file, at)
        if line and seconds > half:
            return Where(file, line, function, text_of(sources, file, line).strip())
        if is_template(file) and seconds > half:
            return Where(file, at, function)
    return None


def short(file: str) -> str:
    """The last two parts of a path."""
    return "/".join(file.split("/")[-2:])
