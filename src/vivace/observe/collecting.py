"""What collections of garbage cost this process, and what other settings would do: answers to the question "gc".

{"ask": "gc"} tells; {"ask": "gc", "try": "freeze"} or {"try": "thresholds", "to": [a, b, c]} with "for_s" measures so
long as it is, makes the change, measures as long again and puts it back.

Rules: `gc.freeze` cannot be put back where something was frozen before, as it is in every worker once the application
is loaded: thawing would thaw that, too. Then it stays, and the answer says so: what was frozen is freed as ever when
nobody refers to it, only cycles among it are not found any more. Must not know: who asks. Imported only when somebody
does.

Threads: one at a time, any.
"""

from __future__ import annotations

import gc
import os
import time

from vivace.observe import heap, uncollected
from vivace.observe.processes import resident_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.observe.collector import CollectorWatch
    from vivace.observe.section import Section

    Told = dict[str, Any]

TRY_S = 5.0
TRY_S_MAX = 120.0
TOLD_MAX = 20


def answer(question: Told, watch: CollectorWatch, section: Section, requests: Callable[[], list[int]]) -> Told:
    """The topic "gc". `requests`: those of this worker so far, of each route by its number."""
    change = question.get("try")
    if change is None:
        return told(watch, section, requests)
    if change not in ("freeze", "thresholds"):
        return {"error": f"try is 'freeze' or 'thresholds', not {change!r}"}
    to = question.get("to")
    if change == "thresholds" and not (isinstance(to, list) and len(to) == 3 and all(type(each) is int for each in to)):
        return {"error": f"to has to be three whole numbers, not {to!r}"}
    for_s = min(TRY_S_MAX, max(0.1, float(question.get("for_s", TRY_S))))
    return attempt(watch, requests, to if change == "thresholds" else None, for_s)


def told(watch: CollectorWatch, section: Section, requests: Callable[[], list[int]]) -> Told:
    """How it is set, and what was counted since the worker began: times are None where they are not known.

    * "generations": [{"count", "total_s", "longest_s"}] of the three.
    * "places": [[file, line, function, generation, route, asked for, count, seconds in all, longest]] of those that
      took long enough to be noted, "pauses": [[Unix time, generation, seconds, route]] the last of them.
    * "objects": how many the collector visits; "frozen": how many it does not.
    """
    objects = heap.count()  # takes long: what belongs together is read at one time after it
    at_s, served = time.time(), requests()
    counts, totals_ns, longest_ns = watch.counts(), watch.totals_ns[:], watch.longest_ns[:]
    places, pauses = {line: numbers[:] for line, numbers in watch.places.copy().items()}, list(watch.pauses)
    generations = [
        {
            "count": count,
            "total_s": total / 1e9 if watch.timed else None,
            "longest_s": longest / 1e9 if watch.timed else None,
        }
        for count, total, longest in zip(counts, totals_ns, longest_ns, strict=True)
    ]
    return {
        "at_s": at_s,
        "timed": watch.timed,
        "enabled": uncollected.is_on(),
        "thresholds": list(gc.get_threshold()),
        "frozen": gc.get_freeze_count(),
        "objects": objects,
        "requests": sum(served),
        "routes": {name: count for number, count in enumerate(served) if count and (name := section.route(number))},
        "generations": generations,
        "places": [
            [file, line, name, generation, section.route(route), asked, *numbers]
            for (file, line, name, generation, route, asked), numbers in places.items()
        ],
        "pauses": [[at, generation, took_s, section.route(route)] for at, generation, took_s, route in pauses],
    }


def attempt(watch: CollectorWatch, requests: Callable[[], list[int]], to: list[int] | None, for_s: float) -> Told:
    """Measures for `for_s` without and with a change: thresholds of `to`, None: freezing what there is."""
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    before = _measured(watch, requests, for_s)
    note = ""
    try:
        if to is None:
            gc.collect()  # so that no garbage is frozen
            gc.freeze()
        else:
            gc.set_threshold(*to)
        after = _measured(watch, requests, for_s)
    finally:
        if to is not None:
            gc.set_threshold(*thresholds)
        elif not frozen:
            gc.unfreeze()
        else:
            note = f"{frozen} objects were frozen before, so what was frozen now stays so in this worker"
    return {
        "what": "freeze" if to is None else "thresholds",
        "to": to,
        "before": before,
        "after": after,
        "put_back": not note,
        "note": note,
    }


def _measured(watch: CollectorWatch, requests: Callable[[], list[int]], for_s: float) -> Told:
    """What goes on for `for_s`. Shares and times are None where collections are not timed."""
    counts, totals_ns, served = watch.counts(), sum(watch.totals_ns), sum(requests())
    began, began_cpu, began_wall = time.monotonic(), time.process_time(), time.time()
    time.sleep(for_s)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - began_cpu
    number = sum(requests()) - served
    total_s = (sum(watch.totals_ns) - totals_ns) / 1e9 if watch.timed else None
    longest = [took_s for at, _, took_s, _ in list(watch.pauses) if at >= began_wall]
    return {
        "seconds": seconds,
        "requests": number,
        "collections": [now - then for now, then in zip(watch.counts(), counts, strict=True)],
        "total_s": total_s,
        "share": total_s / seconds if total_s is not None else None,
        "longest_s": max(longest, default=0.0) if watch.timed else None,
        "s_per_request": total_s / number if total_s is not None and number else None,
        "cpu_ms_per_request": cpu_s * 1e3 / number if number else None,
        "rss_bytes": resident_bytes(os.getpid()),
    }
