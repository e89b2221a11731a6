"""A profile (`profile`) in the formats of other tools: collapsed stacks, speedscope's JSON, pprof.

* collapsed: one line a stack, `route;outermost;...;innermost;[state] microseconds` (Brendan Gregg's FlameGraph).
* speedscope: https://www.speedscope.app/file-format-schema.json, CPU and waiting apart, and each route of its own.
* pprof: profile.proto of github.com/google/pprof, gzipped, with values for CPU and wall time and labels for the
  route and the state.

Pure.
"""

from __future__ import annotations

from vivace.explain.profile import RUNNING, by_route, stacks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.explain.profile import Place, Profile

    Wanted = Callable[[str, str], bool]

ROUTES_MAX = 50
"""So many have pages of their own in speedscope."""


def everything(route: str, state: str) -> bool:
    """For whoever wants all samples."""
    return True


# Collapsed stacks.


def collapsed(profile: Profile) -> str:
    """Whole microseconds; what is less is left out."""
    sums: dict[str, int] = {}
    for route, state, places, seconds in stacks_of(profile, everything):
        names = [route or "(no route)", *map(label, places), f"[{state}]"]
        line = ";".join(name.replace(";", ":").replace("\n", " ") for name in names)
        sums[line] = sums.get(line, 0) + round(seconds * 1e6)
    return "".join(f"{line} {weight}\n" for line, weight in sorted(sums.items()) if weight)


def label(place: Place) -> str:
    """A frame as one word or two."""
    function, file, line = place
    return f"{function} ({file}:{line})" if file else function


# speedscope.


def speedscope(profile: Profile, name: str) -> str:
    """One JSON document of several profiles, that of all CPU time first."""
    import json

    frames: dict[Place, int] = {}
    pages = [
        _page("CPU", profile, lambda route, state: state == RUNNING, frames),
        _page("waiting", profile, lambda route, state: state != RUNNING, frames),
    ]
    routes = list(by_route(profile))[:ROUTES_MAX]
    if len(routes) > 1:
        for one in routes:
            pages.append(_page(f"{one}: CPU", profile, _of(one, running=True), frames))
            pages.append(_page(f"{one}: waiting", profile, _of(one, running=False), frames))
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "name": name,
            "exporter": "vivace",
            "activeProfileIndex": 0,
            "shared": {
                "frames": [
                    {"name": function, "file": file, "line": line} if file else {"name": function}
                    for function, file, line in frames
                ]
            },
            "profiles": [page for page in pages if page["samples"] or page["name"] == "CPU"],
        }
    )


def _of(name: str, *, running: bool) -> Wanted:
    return lambda route, state: route == name and (state == RUNNING) is running


def _page(name: str, profile: Profile, wanted: Wanted, frames: dict[Place, int]) -> dict[str, Any]:
    samples, weights = [], []
    for _, state, places, seconds in stacks_of(profile, wanted):
        stack = [frames.setdefault(place, len(frames)) for place in places]
        if state != RUNNING:
            stack.append(frames.setdefault((f"[{state}]", "", 0), len(frames)))
        samples.append(stack)
        weights.append(seconds)
    return {
        "type": "sampled",
        "name": name,
        "unit": "seconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }


# pprof.


class _Strings:
    """The string table: its first entry is ""."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": 0}

    def __call__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def pprof(profile: Profile) -> bytes:
    """A gzipped message Profile. Values of a sample: CPU time, wall time, both in nanoseconds."""
    import gzip

    strings = _Strings()
    functions: dict[tuple[str, str], int] = {}
    locations: dict[Place, int] = {}
    samples = []
    for route, state, places, seconds in stacks_of(profile, everything):
        numbers = [locations.setdefault(place, len(locations) + 1) for place in reversed(places)]
        for function, file, _ in places:
            functions.setdefault((function, file), len(functions) + 1)
        ns = round(seconds * 1e9)
        labels = [("route", route or "(no route)"), ("state", state)]
        samples.append(
            _packed(1, numbers)
            + _packed(2, [ns if state == RUNNING else 0, ns])
            + b"".join(_message(3, _number(1, strings(key)) + _number(2, strings(value))) for key, value in labels)
        )
    types = [_number(1, strings(name)) + _number(2, strings("nanoseconds")) for name in ("cpu", "wall")]
    length_s = max(0.0, profile["to_s"] - profile["from_s"])
    period_ns = round(length_s / max(1, profile["looks"]) * max(1, profile["workers"]) * 1e9)
    parts = [
        *(_message(1, one) for one in types),
        *(_message(2, one) for one in samples),
        *(
            _message(4, _number(1, number) + _message(4, _number(1, functions[place[:2]]) + _number(2, place[2])))
            for place, number in locations.items()
        ),
        *(
            _message(
                5,
                _number(1, number) + _number(2, strings(name)) + _number(3, strings(name)) + _number(4, strings(file)),
            )
            for (name, file), number in functions.items()
        ),
        _number(9, round(profile["from_s"] * 1e9)),
        _number(10, round(length_s * 1e9)),
        _message(11, types[1]),
        _number(12, period_ns),
        _number(14, strings("wall")),
    ]
    parts += [_message(6, text.encode("utf-8", "replace")) for text in strings.numbers]
    return gzip.compress(b"".join(parts), mtime=0)


# Protocol buffers: protobuf.dev/programming-guides/encoding.


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _message(field, b"".join(map(_varint, values)))
