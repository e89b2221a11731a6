"""THE table of knobs: what is tried of each setting, given what was seen of the application, or why it is not. Pure.

A knob is a function of a `Situation` that returns candidates, or a sentence that says why there is nothing to try. A
candidate changes one setting, or a few that make sense together only.

Rules: nothing here is a decision; what is worth a line in a settings file is found by trying. A candidate never changes
what clients are told without their consent: a cache keeps what HTTP allows, and rules that make answers older than the
application said are tried only where the user said how old they may be. Settings that the user fixed are left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.lab.tune_model import Answer, Profile

CPU, MEMORY, BYTES = "cpu", "memory", "bytes"
THREADS_MAX = 512
SWITCH_INTERVALS_S = (0.001, 0.005)
GC_THRESHOLDS = (10_000, 100_000)
COLLECTING_LEAST = 0.005
"""Share of the processor time below which fewer collections cannot be shown to pay."""
LOSES = 0.9
"""What the model predicts to be worse than that is not tried: it is an upper bound."""
TEXT = ("text/", "application/json", "application/javascript", "application/xml", "image/svg+xml")
PATHS_MAX = 8
"""Of cache rules that are tried."""


@dataclass(frozen=True)
class Candidate:
    """Something to try. `changes` are values by the names of rows."""

    knob: str
    changes: dict[str, Any]
    why: str
    """What it does, for the settings file."""
    predicted: float = 1.0
    """Ratio of rates, by the model."""
    also: str = ""
    """What it may be worth besides the goal: CPU, MEMORY or "". BYTES: what it would be worth is told, not chosen."""
    deep: bool = False
    """It changes what the others are worth: they are looked at again after it."""

    @property
    def label(self) -> str:
        """As a person reads it."""
        return ", ".join(f"{name.removesuffix('_s')} {_shown(value)}" for name, value in self.changes.items())


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value * 1000:g} ms"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass
class Situation:
    """What a knob may look at. `values`: the settings as they are now, by the names of rows."""

    profile: Profile
    values: dict[str, Any]
    stale_s: float = 0.0
    """How old an answer may be at most that says nothing of its age; 0: nobody allowed any."""
    somaxconn: int = 4096
    fixed: frozenset[str] = field(default_factory=frozenset)
    """Rows that the user gave on the command line."""

    @property
    def workers(self) -> int:
        return worker_count(str(self.values["workers"]), self.profile.processors)

    @property
    def threads(self) -> int:
        return int(self.values["threads"])

    def gain(self, workers: int = 0, threads: int = 0, cpu_scale: float = 1.0, hits: float = 0.0) -> float:
        """The model's ratio to what is now."""
        kept = kept_share(self.profile) if self.values["cache"] else 0.0
        now = self.profile.bound(self.workers, self.threads, hits=kept)
        then = self.profile.bound(workers or self.workers, threads or self.threads, cpu_scale, hits or kept)
        return then / now if now else 1.0


def worker_count(text: str, processors: int) -> int:
    """How many a value of the setting begins with; 0, which serves in the process itself, counts as one."""
    first = text.partition(":")[0]
    return max(1, processors if first == "auto" else int(first))


def workers(now: Situation) -> list[Candidate] | str:
    """A process for each processor, and what lies between."""
    most = now.profile.processors
    if most == 1:
        return "this machine has one processor"
    counts = sorted({2, most // 2, (3 * most + 3) // 4, most} - {now.workers, 0, 1})
    return [
        Candidate(
            "workers",
            {"workers": str(count)},
            f"{count} processes, so that as many requests compute at once",
            now.gain(workers=count),
            deep=True,
        )
        for count in counts
        if count > 1
    ] or "there is a worker for each processor"


def threads(now: Situation) -> list[Candidate] | str:
    """1 + wait / CPU, twice that, and one for each connection, which is as many as are ever used; a single one where
    nothing waits.
    """
    profile, each = now.profile, math.ceil(now.profile.connections / now.workers)
    if not profile.waits:
        if now.threads == 1:
            return "nothing waits, and there is one thread"
        why = "nothing in the application waits: one thread, without a monitor and hand-offs"
        return [Candidate("threads", {"threads": 1}, why, now.gain(threads=1), CPU, deep=True)]
    wanted = profile.threads_wanted
    counts = {min(count, each, THREADS_MAX) for count in (wanted, 2 * wanted, each)} - {1}
    if now.threads >= each:  # more than there are requests is never used, so as many as there are is no change
        counts = {count for count in counts if count < each}
    tried = sorted(counts - {now.threads})
    return [
        Candidate(
            "threads",
            {"threads": count},
            f"a request waits for {profile.wait_s * 1e3:.3g} ms and computes for {profile.cpu_s * 1e3:.3g} ms",
            now.gain(threads=count),
            MEMORY if count < now.threads else "",
            deep=True,
        )
        for count in tried
    ] or "there are as many threads as connections in this load"


def preload(now: Situation) -> list[Candidate] | str:
    """Worth memory, if anything."""
    if now.values["preload"]:
        return "it is on"
    if now.workers < 2:
        return "with one worker there is nobody to share memory with"
    why = "the application is imported once, and its memory shared by the workers"
    return [Candidate("preload", {"preload": True}, why, also=MEMORY)]


def sockets(now: Situation) -> list[Candidate] | str:
    """A listening socket of its own for each worker."""
    if now.values["reuse_port"]:
        return "it is on"
    if now.workers < 2:
        return "one worker has the socket to itself"
    if not now.profile.closes:
        return "connections stay open in this load: who accepts them does not matter"
    return [Candidate("sockets", {"reuse_port": True}, "each worker accepts from a queue of its own")]


def switch_interval(now: Situation) -> list[Candidate] | str:
    """Longer ones are fewer switches where several threads compute."""
    if not now.profile.gil:
        return "there is no global lock to switch"
    if now.threads == 1:
        return "one thread has nobody to switch to"
    if not now.profile.waits and now.profile.cpu_s < 0.0005:
        return "requests are quick and run on the loop's own thread: nobody waits for the global lock"
    return [
        Candidate(
            "switch interval",
            {"switch_interval_s": interval_s},
            f"threads that compute give the global lock up every {interval_s * 1e3:g} ms",
            also=CPU,
        )
        for interval_s in SWITCH_INTERVALS_S
        if interval_s != now.values["switch_interval_s"]
    ]


def collections(now: Situation) -> list[Candidate] | str:
    """Fewer collections of garbage. The time that they take is a bound for what that can be worth."""
    share = now.profile.collecting
    if now.profile.objects and share < COLLECTING_LEAST:
        return f"collections of garbage take {share:.1%} of the processor time"
    if now.values["gc_threshold"] >= GC_THRESHOLDS[-1]:
        return f"the threshold is {now.values['gc_threshold']} already"
    return [
        Candidate(
            "collections",
            {"gc_threshold": threshold},
            f"collections of garbage took {share:.1%} of the processor time",
            now.gain(cpu_scale=1 - share * (1 - 1_000 / threshold)),
            CPU,
        )
        for threshold in GC_THRESHOLDS
        if threshold != now.values["gc_threshold"]
    ]


def cache(now: Situation) -> list[Candidate] | str:
    """What HTTP allows to be kept; rules only for as long as the user permits."""
    if now.values["cache"]:
        return "it is on"
    good = [answer for answer in now.profile.answers if _is_for_all(answer)]
    if not good:
        return "no GET was answered 200 without a cookie"
    if share := kept_share(now.profile):
        why = f"{share:.0%} of the kinds of requests may be kept, as their answers say"
        return [Candidate("cache", {"cache": True}, why, now.gain(hits=share), deep=True)]
    if not now.stale_s:
        return (
            "no answer says that it may be kept (Cache-Control); --stale 1s would try a rule for those that say nothing"
        )
    silent = [one for one in good if not one.fields.get("cache-control")][:PATHS_MAX]
    if not silent:
        return "all answers say that they are not to be kept"
    paths = sorted({answer.target.partition("?")[0] for answer in silent})
    rules = tuple(f"{path} {now.stale_s:g}s" for path in paths)
    why = f"answers that say nothing may be {now.stale_s:g} s old, as was allowed"
    hits = len(silent) / len(now.profile.answers)
    return [Candidate("cache", {"cache": True, "cache_rule": rules}, why, now.gain(hits=hits), deep=True)]


def kept_share(profile: Profile) -> float:
    """Of the answers that were looked at, how many say that they may be kept."""
    kept = [answer for answer in profile.answers if _is_for_all(answer) and _may_be_kept(answer.fields)]
    return len(kept) / len(profile.answers) if kept else 0.0


def _is_for_all(answer: Answer) -> bool:
    return answer.status == 200 and "set-cookie" not in answer.fields


def _may_be_kept(fields: dict[str, str]) -> bool:
    """Whether an answer says so itself (RFC 9111 section 3), roughly: the cache decides for good."""
    control = fields.get("cache-control", "").lower()
    if any(word in control for word in ("no-store", "private", "no-cache")):
        return False
    return "max-age=" in control.replace("max-age=0", "") or "s-maxage=" in control or "expires" in fields


def compression(now: Situation) -> list[Candidate] | str:
    """Tried with clients that take it. What it costs is measured; what fewer bytes are worth is up to the network."""
    if now.values["compress"]:
        return "it is on"
    text = [
        answer
        for answer in now.profile.answers
        if answer.fields.get("content-type", "").startswith(TEXT)
        and answer.body_bytes >= now.values["compress_bytes_min"]
        and "content-encoding" not in answer.fields
    ]
    if not text:
        return "no text of more than a kilobyte is sent uncompressed"
    why = "text is compressed for clients that take it"
    return [Candidate("compression", {"compress": True}, why, also=BYTES)]


def buffers(now: Situation) -> list[Candidate] | str:
    """Only what is larger than they are is affected by them."""
    found = []
    largest = max((answer.body_bytes for answer in now.profile.answers), default=0)
    if largest > now.values["response_buffer_bytes"]:
        size = 1 << (largest - 1).bit_length()
        why = f"whole responses of {largest:,} bytes fit in, and no thread waits for their clients"
        found.append(Candidate("buffers", {"response_buffer_bytes": size}, why))
    if now.profile.request_bytes > now.values["body_memory_bytes"]:
        size = 1 << (now.profile.request_bytes - 1).bit_length()
        why = f"request bodies of {now.profile.request_bytes:,} bytes stay in memory"
        found.append(Candidate("buffers", {"body_memory_bytes": size}, why))
    return found or "no body in this load is larger than the buffers"


def backlog(now: Situation) -> list[Candidate] | str:
    """Only a burst of connections that is longer than the queue is affected by it."""
    limit = min(now.values["backlog"], now.somaxconn)
    if now.profile.connections <= limit:
        return f"{now.profile.connections} connections fit into the queue of {limit}"
    if limit >= now.somaxconn:
        return f"the kernel allows no more than {now.somaxconn} (net.core.somaxconn)"
    return [Candidate("backlog", {"backlog": now.somaxconn}, "as many connections may wait as the kernel allows")]


KNOBS: dict[str, Callable[[Situation], list[Candidate] | str]] = {
    "workers": workers,
    "threads": threads,
    "cache": cache,
    "collections": collections,
    "switch interval": switch_interval,
    "sockets": sockets,
    "preload": preload,
    "compression": compression,
    "buffers": buffers,
    "backlog": backlog,
}


def candidates(now: Situation) -> tuple[list[Candidate], dict[str, str]]:
    """What to try, the most promising by the model first; and for the other knobs why there is nothing to try."""
    found: list[Candidate] = []
    left: dict[str, str] = {}
    for name, knob in KNOBS.items():
        tried = knob(now)
        if not isinstance(tried, str):
            free = [one for one in tried if not now.fixed & one.changes.keys()]
            tried = free or ("it was given" if tried else "it is as it would be tried")
        if isinstance(tried, str):
            left[name] = tried
        elif better := [one for one in tried if one.predicted > LOSES]:
            found += better
        else:
            left[name] = "by the model it would lose"
    return sorted(found, key=lambda one: -one.predicted), left
