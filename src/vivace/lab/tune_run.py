"""What a tuning measures with: a server that is started with some settings, loaded, and looked at.

`Bench.take` makes one run and returns a `tune.Sample`; `Bench.look` finds out what `tune_model.Profile` holds.

Rules: each run has a server that was started for it, with the words of the command line behind whatever the user's own
files and variables say, and it is loaded when all of its workers serve. Nobody is kept to a processor: a server of two
workers on a machine of two processors would otherwise have one. The loader's part is told instead.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from http.client import HTTPConnection, HTTPException

from vivace.config import kinds
from vivace.config.settings import ROWS
from vivace.errors import SettingError
from vivace.lab import usl
from vivace.lab.plan import CLOSED, OPEN, Place
from vivace.lab.processes import shared_fairly, tree
from vivace.lab.server import from_application, start
from vivace.lab.tune_model import Answer, Profile, RouteCost
from vivace.lab.tune_worth import Objective, Sample
from vivace.observe.layout import S_STATE, SERVING
from vivace.observe.page import page_of
from vivace.observe.processors import processors
from vivace.observe.snapshot import between, take
from vivace.observe.threads import Sampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from vivace.lab.goals import Goal
    from vivace.lab.plan import Load
    from vivace.lab.result import Result
    from vivace.lab.server import Running

    Fire = Callable[[Load, Place, int], Result]

RATE = Objective("rate", "requests a second", 1)
CPU = Objective("cpu", "CPU per request", -1)
P99 = Objective("p99", "p99", -1)
OPEN_CONNECTIONS = 100
"""The most that are used at once in open loop."""
OPEN_SHARE = 0.7
"""Of the closed loop's rate: what an open loop sends a second where no rate was given."""
ALONE_S, LEVEL_S, LOOK_WARMUP_S = 1.3, 0.5, 0.2
"""A worker counts into its page once a second: one of its ticks is in the first."""
LOOKS_HZ = 200.0
WAITING = ("lock", "sleep", "io", "disk", "child", "other")
"""Of `observe.threads.CAUSES`: what lets others run meanwhile."""
READY_S = 10.0
ANSWERS_MAX = 16
ANSWER_S = 10.0
SOMAXCONN = 4096
"""Linux's default since 5.4, where it cannot be read."""
TAKES_CODED = ("Accept-Encoding", "gzip")


class Bench:
    """One application under one load. `words`: settings that are given to every server, as on the command line."""

    def __init__(
        self,
        app: str,
        words: Sequence[str],
        load: Load,
        fire: Fire,
        *,
        goals: Sequence[Goal] = (),
        rate: float = 0.0,
        folder: str = "",
    ) -> None:
        """`load`: in closed loop. With goals, or a `rate`, the runs are in open loop; 0: `look` finds out the rate."""
        self.load = load
        self.rate = rate
        self.goals = list(goals)
        self.objective = RATE
        self._app, self._words, self._folder = app, list(words), folder
        self._fire = fire

    def _start(self, values: dict[str, Any]) -> Running:
        command = from_application(self._app, [*self._words, *words_of(values)], self._folder)
        return start(command, next((shot.target for shot in self.load.shots if shot.method == "GET"), "/"))

    def take(self, values: dict[str, Any]) -> Sample:
        """One run with these changes. Raises SettingError if the server does not serve."""
        load = self.load
        if values.get("compress"):
            load = replace(load, shots=[_coded(shot) for shot in load.shots])
        with self._start(values) as running:
            wait_workers(running.pid)
            result = self._fire(load, Place(*running.address), running.pid)
            memory = shared_fairly(tree(running.pid))
            if not running.running():
                raise SettingError(f"ended under the load; its last words: {running.last_words()[-200:]}")
        if not result.total.answers:
            raise SettingError(f"gave no answer under the load: {dict(result.total.errors)}")
        return sample_of(result, memory, self.goals)

    def look(self, tell: Callable[[str], None] = lambda text: None) -> Profile:
        """What can be seen without a change; decides what the objective is, and the rate of an open loop."""
        tell("a look at the application: one request at a time")
        with self._start({}) as running:
            wait_workers(running.pid)
            place = Place(*running.address)
            answers = [_ask(running.address, shot.target, shot.headers) for shot in asked(self.load)]
            page = page_of(running.pid)
            before = take(page) if page is not None else None
            sampler = Sampler(page, LOOKS_HZ) if page is not None else None
            if sampler is not None:
                sampler.begin()
            try:
                alone = self._closed(1, place, running.pid, ALONE_S)
                after = take(page, sampler) if page is not None else None
            finally:
                if sampler is not None:
                    sampler.end()
            results = {1: alone}
            for count in levels(self.load.connections):
                tell(f"a look at the application: {count} at a time")
                results[count] = self._closed(count, place, running.pid, LEVEL_S)
            last = take(page) if page is not None else None
            if page is not None:
                page.close()
        profile = profile_of(results, answers, before, after, last)
        profile.processors = processors()
        profile.gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        profile.request_bytes = max(len(shot.body) for shot in self.load.shots)
        self._decide(profile)
        return profile

    def _decide(self, profile: Profile) -> None:
        """What is to be better, and by which law it is asked for."""
        latency = latency_of(self.goals)
        if latency is not None or self.rate:
            self.rate = self.rate or max(1.0, round(OPEN_SHARE * profile.rate))
            connections = max(self.load.connections, OPEN_CONNECTIONS)
            self.load = replace(self.load, mode=OPEN, rate=self.rate, connections=connections)
            self.objective = P99 if latency is None else Objective("goal", latency.figure, -1)
        elif profile.bottleneck:
            self.objective = CPU

    def _closed(self, count: int, place: Place, pid: int, seconds: float) -> Result:
        load = self.load
        processes = min(load.processes, count)
        return self._fire(
            replace(
                load,
                mode=CLOSED,
                rate=0.0,
                connections=count,
                processes=processes,
                seconds=seconds + LOOK_WARMUP_S,
                warmup_s=LOOK_WARMUP_S,
            ),
            place,
            pid,
        )


def latency_of(goals: Sequence[Goal]) -> Goal | None:
    """The goal that is to be improved: the first of a latency."""
    return next((goal for goal in goals if goal.figure != "errors"), None)


def words_of(values: dict[str, Any]) -> list[str]:
    """Values by the names of rows, as words of the command line."""
    words = []
    for name, value in values.items():
        row = ROWS[name]
        if row.kind == "bool":
            words.append(row.option if value else "--no-" + row.option[2:])
        elif row.kind == "list":
            words += [word for item in value for word in (row.option, item)]
        else:
            words += [row.option, kinds.show(row, value)]
    return words


def levels(connections: int) -> list[int]:
    """How many requests in flight are tried besides one."""
    return sorted({4, max(2, connections // 2), connections} - {1} - set(range(connections + 1, 5)))


def wait_workers(pid: int, limit_s: float = READY_S) -> None:
    """Until every worker that the server has begun serves, which is later than its first answer."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        page = page_of(pid)
        if page is None:
            return
        states = [page.section(place).words[S_STATE] for place in range(page.sections)]
        page.close()
        if all(state == SERVING for state in states if state):
            return
        time.sleep(0.005)


def asked(load: Load) -> list[Any]:
    """The shots that are asked once for their answers: each GET, at most so many."""
    found = {shot.target: shot for shot in load.shots if shot.method == "GET" and shot.weight}
    return list(found.values())[:ANSWERS_MAX]


def _ask(address: tuple[str, int], target: str, fields: list[tuple[str, str]]) -> Answer:
    connection = HTTPConnection(*address, timeout=ANSWER_S)
    try:
        connection.request("GET", target, headers=dict(fields))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(target, response.status, found, len(response.read()))
    except (OSError, HTTPException):
        return Answer(target, 0, {}, 0)
    finally:
        connection.close()


def _coded(shot: Any) -> Any:
    """As a browser asks."""
    if any(name.lower() == "accept-encoding" for name, _ in shot.headers):
        return shot
    return replace(shot, headers=[*shot.headers, TAKES_CODED])


def sample_of(result: Result, memory: int, goals: Sequence[Goal] = ()) -> Sample:
    """The figures of a run. `memory`: of all processes, in bytes; 0: not known."""
    total = result.total
    figures = {
        "rate": 0.0 if result.mode == OPEN else result.rate,
        "cpu": result.server.cpu_us_per_request if result.server else 0.0,
        "memory": float(memory),
        "bytes": total.received / total.answers,
        "p99": result.percentiles((0.99,))[0],
    }
    latency = latency_of(goals)
    if latency is not None:
        figures["goal"] = latency.value(result)
    statuses = {key: count / total.answers for key, count in total.statuses.items()}
    known = {name: value for name, value in figures.items() if value > 0}
    return Sample(known, statuses, result.failed_share, result.loader.bottleneck)


def profile_of(
    results: dict[int, Result],
    answers: list[Answer],
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    last: dict[str, Any] | None,
) -> Profile:
    """From loads by the number in flight, and the page before the first, after it, and at the end."""
    answered = sum(result.total.answers for result in results.values()) or 1
    cpu_s = sum(result.server.cpu_s for result in results.values() if result.server)
    loaded_s = sum(result.loader.cpu_share * result.seconds for result in results.values())
    points = [(count, result.rate) for count, result in results.items()]
    most = results[max(results)]
    profile = Profile(cpu_s / answered, 0.0, loaded_s / answered, max(results), rate=most.rate)
    profile.levels, profile.usl = points, usl.fit([(float(count), rate) for count, rate in points])
    profile.answers = answers
    profile.closes = any("close" in answer.fields.get("connection", "") for answer in answers)
    profile.bottleneck = most.loader.bottleneck
    if before is None or after is None or last is None:
        profile.wait_s = max(0.0, results[1].mean_s - profile.cpu_s - profile.loader_s)
        profile.objects = False
        return profile
    rows = between(before, after)["routes"]
    calls = sum(row["count"] for row in rows.values())
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["time_share"]):
        mean_s, shares, waits = row["mean_s"], row["shares"], row["waits"]
        # By the clocks, a thread that could run and has no processor waits as well; by the looks at it, it does not.
        waiting = shares["blocked"] if waits is None else sum(waits["causes"].get(cause, 0.0) for cause in WAITING)
        share = row["count"] / calls
        profile.routes.append(RouteCost(name, share, mean_s, mean_s * shares["cpu"], mean_s * waiting))
    profile.wait_s = sum(route.share * route.blocked_s for route in profile.routes)
    collected_s = sum(last["totals"]["collecting_s"]) - sum(before["totals"]["collecting_s"])
    profile.collecting = min(1.0, max(0.0, collected_s) / cpu_s) if cpu_s else 0.0
    return profile


def somaxconn() -> int:
    """The longest queue of connections that the kernel allows."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return int(file.read())
    except (OSError, ValueError):
        return SOMAXCONN
