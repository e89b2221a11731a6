"""Work that is done again for the same result: what a cache would have answered. Pure.

Whether clients of a load that was made up ask for the same as real ones do, nobody knows. So what is seen under a load
with a few targets is a note, and is serious only with more of them, or where real clients were seen.
"""

from __future__ import annotations

from vivace.explain.finding import FAIR, HIGH, MINOR, NOTE, SERIOUS, Finding
from vivace.explain.gain import cached
from vivace.explain.spots import WAITING
from vivace.lab.words import percent, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.case import Case

HITS_MIN = 0.3
STALE_MAX = 0.02
"""Of the hits: answered with bytes that the application would not have sent."""
LOOKED_MIN = 20
TARGETS_MIN = 5
WORTH_S = 0.002
"""Of the application's time for a request: what takes less is cheap enough to be done again."""
WEIGHT_MIN = 0.2
HIT_S = 40e-6
"""Processor time of a request that the cache answers."""


def rule(case: Case) -> list[Finding]:
    facts = case.evidence.facts
    if facts is None:
        return []
    found = [_of_route(case, name, row) for name, row in facts["routes"].items()]
    return [finding for finding in found if finding is not None]


def _of_route(case: Case, name: str, row: dict[str, Any]) -> Finding | None:
    repeats = row["repeats"]
    # Of the requests that came to the application: what a cache answers already is none of these.
    share = min(case.of_its_route(name), row["requests"] / max(1e-9, _seconds(case) * case.rate)) if case.rate else 0.0
    if repeats["looked"] < LOOKED_MIN or not share or row["app_s"] / max(1, row["requests"]) < WORTH_S:
        return None
    private = bool(repeats["cookies"] or repeats["authorization"] or repeats["set_cookie"])
    lasts, hits, stale = _best(repeats["private" if private else "shared"], repeats["looked"])
    if hits < HITS_MIN:
        return None
    asked = min(1.0, repeats["looked"] / max(1e-9, repeats["share"]) / max(1, row["requests"]))
    rates = (hits * asked * 0.9, hits * asked, min(1.0, hits * asked * 1.05))
    gain = cached(case.flow, share, rates, HIT_S, _part(case, name))
    forbidden = sum(repeats["refused"].values()) > 0.5 * row["requests"]
    synthetic = case.evidence.load is not None and repeats["targets"] < TARGETS_MIN
    weight = gain.weight
    kept = _is_kept(case, row)
    severity = MINOR if forbidden or private or kept else SERIOUS
    if weight < WEIGHT_MIN or synthetic:
        severity = NOTE
    rule_text = f"{_pattern(name)} {lasts}s{' cookies' if repeats['cookies'] else ''}"
    return Finding(
        "cacheable",
        f"{name} makes the same response again and again: a cache of {lasts} s would answer {percent(hits)}",
        severity,
        [
            f"{repeats['looked']} requests for {repeats['targets']} targets were compared: {repeats['same']} got the "
            f"very bytes of the one before, {repeats['changed']} others",
            f"kept for {lasts} s, {percent(hits)} would have been hits, {percent(stale)} of them out of date",
            f"the application takes {span(row['app_s'] / max(1, row['requests']))} for each",
            *_hindrances(row, forbidden, private),
            *(["it is kept for as long as it says itself already; that could be longer"] if kept else []),
            *(["the load asks for so few targets that real clients may repeat themselves less"] if synthetic else []),
        ],
        "Let the server keep it" + (" for each client apart" if private else "") + ": a rule for its path, or "
        "Cache-Control: max-age in the response. Requests that come at once for the same are then answered by one call "
        "of the application.",
        route=name,
        code=f'cache = true\ncache_rule = ["{rule_text}"]    # vivace.toml',
        options=("--cache", "--cache-rule", rule_text),
        gain=gain,
        confidence=FAIR if synthetic or private else HIGH,
        weight=weight,
    )


def _seconds(case: Case) -> float:
    """How long was looked at the requests."""
    return float((case.evidence.facts or {}).get("seconds") or case.figures["seconds"])


def _part(case: Case, name: str) -> float | None:
    """Of what all routes compute and wait, that of this one; None: nobody looked."""
    states = ("running", *WAITING)
    everything = case.sampled_s(*states)
    return case.sampled_s(*states, route=name) / everything if everything else None


def _is_kept(case: Case, row: dict[str, Any]) -> bool:
    """Whether a cache of vivace's keeps it, for as long as the responses say."""
    settings = ((case.evidence.settings or {}).get("vivace") or {}).get("settings", {})
    return bool(settings.get("cache")) and row["repeats"]["fresh"] > 0.5 * row["requests"]


def _best(by_length: dict[str, list[float]], looked: int) -> tuple[int, float, float]:
    """(seconds to keep, hit rate, part of the hits that is out of date): the longest that is seldom wrong."""
    best = (1, 0.0, 0.0)
    for seconds in (1, 10, 60):
        row = by_length.get(str(seconds))
        if row is None:
            continue
        hits, wrong = row[0] / looked, row[1] / row[0] if row[0] else 0.0
        if wrong <= STALE_MAX and hits > best[1]:
            best = (seconds, hits, wrong)
    return best


def _hindrances(row: dict[str, Any], forbidden: bool, private: bool) -> list[str]:
    repeats = row["repeats"]
    found = []
    if forbidden:
        words = ", ".join(word for word, count in repeats["refused"].items() if count)
        found.append(f"the responses say that they may not be kept ({words}): take that out where it is not meant")
    if private:
        told = [f"{repeats[key]} {text}" for key, text in _PRIVATE.items() if repeats[key]]
        found.append(f"{', '.join(told)}, of {row['requests']} requests: what is one client's must not be another's")
    return found


_PRIVATE = {"cookies": "with cookies", "authorization": "with credentials", "set_cookie": "answers that set a cookie"}


def _pattern(route: str) -> str:
    """The path of a route as cache rules write it: what varies is a star."""
    path = route.partition(" ")[2] or "/"
    parts = ["*" if "{" in part or "<" in part or ":" in part else part for part in path.split("/")]
    if "*" in parts:
        parts = parts[: parts.index("*") + 1]
    return "/".join(parts)
