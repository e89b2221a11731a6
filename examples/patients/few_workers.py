"""A report that takes its time to compute, in several places and none of it in vain; one worker for two cores."""

from __future__ import annotations

import math
import random
import time

DICE = random.Random(7)
DAYS = [[DICE.gauss(20.0, 6.0) for _ in range(96)] for _ in range(12)]


def smooth(day: list[float], width: int = 6) -> list[float]:
    return [sum(day[at : at + width]) / width for at in range(len(day) - width)]


def spectrum(day: list[float]) -> list[float]:
    tones = range(1, 5)
    return [abs(sum(value * math.cos(tone * at / 15.3) for at, value in enumerate(day))) for tone in tones]


def ranks(day: list[float]) -> list[int]:
    order = sorted(range(len(day)), key=lambda at: day[at])
    found = [0] * len(day)
    for rank, at in enumerate(order):
        found[at] = rank
    return found


def likeness(left: list[int], right: list[int]) -> float:
    return 1.0 - sum((a - b) ** 2 for a, b in zip(left, right, strict=True)) / 147_440


def bars(day: list[float]) -> str:
    return "".join(" .:-=+*#"[max(0, min(7, int(value / 5)))] for value in day)


def app(environ, start_response):
    shift = int(environ.get("QUERY_STRING") or 0)
    days = [day[shift:] + day[:shift] for day in DAYS]
    ranked = [ranks(day) for day in days]
    lines = [f"at {time.time_ns()}"]
    for number, day in enumerate(days):
        tones = " ".join(f"{tone:.0f}" for tone in spectrum(day))
        alike = " ".join(f"{likeness(ranked[number], other):.2f}" for other in ranked)
        lines.append(f"{bars(smooth(day))} {tones} {alike}")
    body = "\n".join(lines).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
