"""Where the time of a running server goes: what its workers' profilers tell, asked, merged, and as text.

A profile is what `observe.profiles` describes. Its states are "running" (on a core, or ready for one), "gil" (another
thread computes), "lock", "sleep", "io", "disk", "child" and "other".
"""

from __future__ import annotations

import os

from vivace.errors import SettingError
from vivace.observe.desk import ask
from vivace.observe.profiles import chosen, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from vivace.observe.page import Page

    Profile = dict[str, Any]
    Place = tuple[str, str, int]
    Rows = list[tuple[float, float, Place, dict[str, float]]]

RUNNING = "running"
WAITING = ("gil", "lock", "sleep", "io", "disk", "child", "other")
STATES = (RUNNING, *WAITING)
WORDS = {
    "running": "running",
    "gil": "waiting for the GIL",
    "lock": "waiting for a lock",
    "sleep": "sleeping",
    "io": "waiting for I/O",
    "disk": "waiting for a disk",
    "child": "waiting for a child process",
    "other": "waiting",
}
ANSWER_S = 5.0
ROWS_MAX = 12
PATH_PARTS = 3
"""So many parts of a file's name tell it apart, as a rule."""


# Asking.


def ask_profile(page: Page, since_s: float, *, hz: float = 0.0, for_s: float = 0.0) -> tuple[Profile, list[int]]:
    """What the workers have sampled since then (Unix time), and the processes that did not answer. With `hz` they look
    so often for `for_s` from now on. Raises SettingError if none of them has a profiler."""
    answers = ask(page, {"ask": "profile", "since_s": since_s, "hz": hz, "for_s": for_s}, ANSWER_S)
    told = [answer for answer in answers.values() if answer is not None and "samples" in answer]
    silent = [pid for pid, answer in answers.items() if answer is None]
    if not told:
        if silent:
            raise SettingError(f"profile: no worker answered within {ANSWER_S:g} s; is the machine overloaded?")
        raise SettingError("profile: this server has no profiler; leave out --no-profile and --no-metrics there")
    return merged(told), silent


# What is in it.


def selected(profile: Profile, route: str = "") -> Profile:
    """The part of the routes whose name has `route` in it; all for "". Raises SettingError if there is none."""
    if not route:
        return profile
    found = chosen(profile, lambda name, state: route == name)
    found = found if found["samples"] else chosen(profile, lambda name, state: route in name)
    if not found["samples"]:
        names = ", ".join(sorted({sample[0] for sample in profile["samples"]})) or "none"
        raise SettingError(f"profile: no sample of a route {route!r}; those that were seen: {names}")
    return found


def seconds(profile: Profile, wanted: Callable[[str, str], bool] = lambda route, state: True) -> float:
    """Of the samples of which `wanted(route, state)` holds."""
    return float(sum(sample[3] for sample in profile["samples"] if wanted(sample[0], sample[1])))


def by_route(profile: Profile) -> dict[str, dict[str, float]]:
    """Route -> {state: seconds}, the longest first."""
    found: dict[str, dict[str, float]] = {}
    for route, state, _, weight in profile["samples"]:
        states = found.setdefault(route, {})
        states[state] = states.get(state, 0.0) + weight
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))


def stacks_of(profile: Profile, wanted: Callable[[str, str], bool]) -> Iterator[tuple[str, str, list[Place], float]]:
    """(route, state, places, outermost first, seconds) of each sample that is wanted."""
    places = [(function, file, line) for function, file, line in profile["frames"]]
    for route, state, stack, weight in profile["samples"]:
        if wanted(route, state):
            yield route, state, [places[frame] for frame in profile["stacks"][stack]], weight


def functions(profile: Profile, wanted: Callable[[str, str], bool], *, lines: bool = False) -> Rows:
    """(own seconds, seconds with what it called, (function, file, line), {state: own seconds}), the most own first.

    By function, whose line is the one that was seen most; with `lines` by line.
    """
    own: dict[Place, dict[str, float]] = {}
    total: dict[Place, float] = {}
    seen: dict[Place, dict[int, float]] = {}
    for _, state, places, weight in stacks_of(profile, wanted):
        keys = [place if lines else (place[0], place[1], 0) for place in places]
        for key, place in zip(keys, places, strict=True):
            seen.setdefault(key, {}).setdefault(place[2], 0.0)
        for key in dict.fromkeys(keys):
            total[key] = total.get(key, 0.0) + weight
        states = own.setdefault(keys[-1], {})
        states[state] = states.get(state, 0.0) + weight
        seen[keys[-1]][places[-1][2]] += weight
    rows = [
        (
            sum(own.get(key, {}).values()),
            weight,
            (key[0], key[1], max(seen[key], key=lambda line: seen[key][line])),
            own.get(key, {}),
        )
        for key, weight in total.items()
    ]
    return sorted(rows, key=lambda row: (-row[0], -row[1]))


# As text.


def text(profile: Profile, columns: int = 100) -> str:
    """What a terminal shows: each route by state, and where the application ran and waited most."""
    length_s = max(profile["to_s"] - profile["from_s"], 1e-9)
    total_s = seconds(profile)
    cost = profile["cost_s"] / length_s / max(1, profile["workers"])
    lines = [
        f"{length_s:.1f} s, {profile['looks']} looks at {_count(profile['workers'], 'worker')}; "
        f"looking took {cost:.2%} of a core of each"
    ]
    if not total_s:
        return "\n".join([*lines, "no request was seen in the application's code"])
    lines += ["", *_routes(profile, length_s, columns)]
    lines += _table("CPU", profile, lambda route, state: state == RUNNING, total_s, columns)
    lines += _table("Waiting", profile, lambda route, state: state != RUNNING, total_s, columns)
    return "\n".join(lines)


def _routes(profile: Profile, length_s: float, columns: int) -> list[str]:
    routes = by_route(profile)
    states = [state for state in STATES if any(state in found for found in routes.values())]
    lines = ["in flight  " + "".join(f"{state:>8}" for state in states) + "  route"]
    for route, found in list(routes.items())[:ROWS_MAX]:
        total_s = sum(found.values())
        shares = "".join(
            f"{found.get(state, 0.0) / total_s:>8.0%}" if state in found else f"{'':8}" for state in states
        )
        lines.append(f"{total_s / length_s:>9.3f}  {shares}  {route}"[:columns])
    return [*lines, *_more(len(routes), "routes")]


def _table(title: str, profile: Profile, wanted: Callable[[str, str], bool], all_s: float, columns: int) -> list[str]:
    total_s = seconds(profile, wanted)
    if not total_s:
        return []
    rows = [row for row in functions(profile, wanted, lines=title != "CPU") if row[0]]
    lines = ["", f"{title}: {total_s / all_s:.1%} of {all_s:.3g} s", "   own  with callees"]
    for own, total, (function, file, line), states in rows[:ROWS_MAX]:
        state = "" if title == "CPU" else f"  {WORDS[max(states, key=lambda name: states[name])]}"
        lines.append(f"{own / all_s:>6.1%}  {total / all_s:>12.1%}  {function}  {short(file)}:{line}{state}"[:columns])
    return [*lines, *_more(len(rows), "places")]


def _more(count: int, what: str) -> list[str]:
    return [f"... and {count - ROWS_MAX} more {what}"] if count > ROWS_MAX else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def short(file: str) -> str:
    """The end of a file's name, below site-packages or the directory of the caller."""
    name = file.rpartition("/site-packages/")[2]
    here = os.getcwd() + os.sep
    name = name.removeprefix(here)
    return name if not name.startswith("/") else "/".join(name.split("/")[-PATH_PARTS:])
