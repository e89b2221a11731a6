"""Judges a load's record against its targets. Pure: figures in, words out.

The median decides between met and missed. Where the 95% interval of a ratio reaches over the bound, the words
say that the rounds do not settle it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .loads import BEST_PEER, Load, Target
from .metrics import METRICS, written
from .servers import short
from .stats import Ratio, median, paired_ratio

SUBJECT = "vivace"
CONTROL = "control"
LOADER_FULL = 0.90  # of its core
SERVER_ROOM = 0.05  # less busy than the loader by this

Rounds = Sequence[Mapping[str, Mapping[str, Any]]]  # round -> server -> figures


@dataclass(frozen=True)
class Verdict:
    words: str
    met: bool | None  # None: it could not be judged


def column(rounds: Rounds, server: str, metric: str) -> list[float | None]:
    """One figure of one server, round by round, None where it has none."""
    return [figures.get(server, {}).get(metric) for figures in rounds]


def figure(rounds: Rounds, server: str, metric: str) -> float | None:
    return median(column(rounds, server, metric))


def ratio(rounds: Rounds, metric: str, server: str) -> Ratio | None:
    """vivace's figure over the server's, paired by round."""
    return paired_ratio(column(rounds, SUBJECT, metric), column(rounds, server, metric))


def loader_bound(rounds: Rounds, server: str) -> bool:
    """The loader's core was full and the server's was not: the rate is the loader's, compare CPU per request."""
    loader, served = (figure(rounds, server, key) for key in ("loader_core", "server_core"))
    return loader is not None and served is not None and loader >= LOADER_FULL and served < loader - SERVER_ROOM


def servers_in(rounds: Rounds) -> list[str]:
    """Names in the order of their first appearance."""
    return list(dict.fromkeys(name for figures in rounds for name in figures))


def verdicts(load: Load, rounds: Rounds) -> list[Verdict]:
    return [_verdict(target, rounds) for target in load.targets]


def _verdict(target: Target, rounds: Rounds) -> Verdict:
    metric = METRICS[target.metric]
    if figure(rounds, SUBJECT, target.metric) is None:
        return Verdict(f"{metric.words}: vivace was not measured", None)
    if target.than is None:
        return _absolute(target, rounds)
    peer = _best_peer(rounds, target.metric) if target.than == BEST_PEER else target.than
    if peer is None or figure(rounds, peer, target.metric) is None:
        return Verdict(f"{metric.words} against {short(peer or BEST_PEER)}: it was not measured", None)
    if target.metric == "rate" and (loader_bound(rounds, SUBJECT) or loader_bound(rounds, peer)):
        by_cpu = Target("cpu_us", 1 / target.bound, peer)
        return _relative(by_cpu, peer, rounds, " (by CPU per request, the rate is the loader's)")
    return _relative(target, peer, rounds, "")


def _absolute(target: Target, rounds: Rounds) -> Verdict:
    metric = METRICS[target.metric]
    value = figure(rounds, SUBJECT, target.metric)
    assert value is not None
    # Compared as printed: a residue of 0.001 calls is none.
    met = _within(round(value, metric.digits + 1), target)
    text = f"{metric.words} {written(target.metric, value)} {metric.unit}".strip()
    return Verdict(f"{text}, {_bound(target)}: {_word(met)}", met)


def _relative(target: Target, peer: str, rounds: Rounds, remark: str) -> Verdict:
    found = ratio(rounds, target.metric, peer)
    if found is None:
        return Verdict(f"{METRICS[target.metric].words} against {short(peer)}: no figures to compare", None)
    met = _within(found.median, target)
    text = f"{METRICS[target.metric].words} {found.median:.2f} of {short(peer)}'s"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:.2f}, {found.high:.2f}]"
        if found.low <= target.bound <= found.high:
            remark += ", within the noise of the rounds"
    return Verdict(f"{text}, {_bound(target)}: {_word(met)}{remark}", met)


def _within(value: float, target: Target) -> bool:
    return value >= target.bound if target.least else value <= target.bound


def _bound(target: Target) -> str:
    return f"{'at least' if target.least else 'at most'} {target.bound:g}"


def _word(met: bool) -> str:
    return "met" if met else "MISSED"


def _best_peer(rounds: Rounds, metric: str) -> str | None:
    """The peer with the best median, vivace and its control apart."""
    sign = 1 if METRICS[metric].more_is_better else -1
    known = {name: figure(rounds, name, metric) for name in servers_in(rounds) if name not in (SUBJECT, CONTROL)}
    rated = {name: sign * value for name, value in known.items() if value is not None}
    return max(rated, key=lambda name: rated[name]) if rated else None
