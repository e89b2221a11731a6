"""lab/tune.py, tune_knobs.py, tune_model.py, tune_text.py, usl.py: what is tried, what is taken, what is written.

The servers are made up: `Machine` answers with the rate that its effects say, and with noise, on a clock of its own.
"""

from __future__ import annotations

import math
import random
import tomllib
from typing import TYPE_CHECKING

import pytest

from vivace.config.load import from_keywords, load
from vivace.config.settings import ROWS
from vivace.errors import SettingError
from vivace.lab import stats, usl
from vivace.lab.plan import Load, Shot
from vivace.lab.tune import LOOKS, Tuner
from vivace.lab.tune_knobs import BYTES, CPU, KNOBS, MEMORY, Candidate, Situation, candidates
from vivace.lab.tune_model import Answer, Profile
from vivace.lab.tune_run import RATE, levels, words_of
from vivace.lab.tune_text import as_json, as_toml, lines_of, profile_lines
from vivace.lab.tune_worth import Objective, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from vivace.lab.tune_worth import Outcome

RUN_S = 1.5
WORKERS = Candidate("workers", {"workers": "2"}, "two", 1.9, deep=True)
THREADS = Candidate("threads", {"threads": 1}, "one", 1.0, CPU)
PRELOAD = Candidate("preload", {"preload": True}, "shared", 1.0, MEMORY)
GC = Candidate("collections", {"gc_threshold": 100_000}, "fewer", 1.1, CPU)
SWITCH = Candidate("switch interval", {"switch_interval_s": 0.005}, "longer", 1.0, CPU)
ALL = [WORKERS, GC, THREADS, SWITCH]


class Machine:
    """`effects`: (row, value) -> factor of the rate; `others`: figure -> the same of that figure."""

    def __init__(
        self,
        effects: dict[tuple[str, Any], float],
        noise: float = 0.02,
        seed: int = 1,
        others: dict[str, dict[tuple[str, Any], float]] | None = None,
    ) -> None:
        self.effects, self.others = effects, others or {}
        self.noise = noise
        self.draw = random.Random(seed)
        self.now_s = 0.0
        self.runs: list[dict[str, Any]] = []

    def clock(self) -> float:
        return self.now_s

    def take(self, values: dict[str, Any]) -> Sample:
        self.now_s += RUN_S
        self.runs.append(values)
        figures = {"rate": 1000.0, "cpu": 900.0, "memory": 5e7, "bytes": 4000.0}
        for name, effects in {"rate": self.effects, **self.others}.items():
            for change in values.items():
                figures[name] *= effects.get(change, 1.0)
        noisy = {name: value * math.exp(self.draw.gauss(0, self.noise)) for name, value in figures.items()}
        return Sample(noisy, {"2xx": 1.0})


def tuned(machine: Machine, found: list[Candidate], budget_s: float = 600.0, **options: Any) -> Outcome:
    def candidates_of(chosen: dict[str, Any]) -> tuple[list[Candidate], dict[str, str]]:
        return [one for one in found if not one.changes.keys() & chosen.keys()], {"backlog": "it is long"}

    options = {"objective": RATE, "seed": 1} | options
    return Tuner(machine.take, candidates_of, budget_s=budget_s, clock=machine.clock, **options).run()


def worth(outcome: Outcome, knob: str) -> Any:
    return next(one for one in outcome.worths if one.candidate.knob == knob)


# Searching.


def test_what_pays_is_taken_and_nothing_else() -> None:
    machine = Machine({("workers", "2"): 1.8, ("gc_threshold", 100_000): 1.15, ("threads", 1): 0.7})
    outcome = tuned(machine, ALL)
    assert outcome.chosen == {"workers": "2", "gc_threshold": 100_000}
    assert (
        worth(outcome, "workers").comparisons["rate"].change.low
        < 1.8
        < worth(outcome, "workers").comparisons["rate"].change.high
    )
    assert worth(outcome, "threads").why_not == "it lost in the screening"
    assert outcome.total is not None
    assert outcome.total.change.ratio == pytest.approx(1.8 * 1.15, rel=0.05)
    assert outcome.tuned["rate"] / outcome.base["rate"] == pytest.approx(1.8 * 1.15, rel=0.05)
    assert [one.adopted for one in outcome.worths][:2] == [True, True], "the most promising first"


def test_where_nothing_pays_nothing_is_taken() -> None:
    """At most one of twenty searches, by the level; here 30 are made."""
    taken = sum(bool(tuned(Machine({}, 0.05, seed), ALL, 300.0, seed=seed).chosen) for seed in range(30))
    assert taken <= 2


def test_in_a_minute_of_a_bad_machine_what_doubles_is_found_and_nothing_else() -> None:
    """Runs that differ by a quarter, some of them by a half: forty of them are enough for another worker."""

    class Bad(Machine):
        slow = 0.0

        def take(self, values: dict[str, Any]) -> Sample:
            self.slow = 0.7 * self.slow + self.draw.gauss(0, 0.15)
            spoilt = 0.5 if self.draw.random() < 0.06 else 1.0
            factor = math.exp(self.slow + self.draw.gauss(0, 0.08)) * spoilt
            found = super().take(values)
            return Sample(found.figures | {"rate": found.figures["rate"] * factor}, found.statuses)

    machines = [Bad({("workers", "2"): 1.8}, 0.0, seed) for seed in range(40)]
    chosen = [tuned(machine, ALL, 60.0, seed=seed).chosen for seed, machine in enumerate(machines)]
    assert sum(one == {"workers": "2"} for one in chosen) >= 28
    assert sum(bool(one.keys() - {"workers"}) for one in chosen) <= 2
    assert sum(bool(tuned(Bad({}, 0.0, seed), ALL, 150.0, seed=seed).chosen) for seed in range(40)) <= 2


def test_a_gain_is_found_in_noise_that_is_as_large() -> None:
    found = sum(
        "gc_threshold" in tuned(Machine({("gc_threshold", 100_000): 1.1}, 0.04, seed), ALL, seed=seed).chosen
        for seed in range(10)
    )
    assert found >= 8


def test_less_than_two_percent_is_no_gain() -> None:
    machine = Machine({("gc_threshold", 100_000): 1.012}, 0.0005)
    outcome = tuned(machine, [GC])
    assert outcome.chosen == {}
    assert worth(outcome, "collections").comparisons["rate"].differs, "though it is one"


def test_the_best_of_a_knob_is_in_the_duel() -> None:
    some = [Candidate("workers", {"workers": str(count)}, "", deep=True) for count in (2, 4, 8)]
    machine = Machine({("workers", "2"): 1.5, ("workers", "4"): 2.5, ("workers", "8"): 2.0})
    outcome = tuned(machine, some)
    assert outcome.chosen == {"workers": "4"}
    assert {one.why_not for one in outcome.worths} == {"", "workers 4 did better in the screening"}


def test_memory_pays_where_the_goal_does_not_suffer() -> None:
    saves = {"memory": {("preload", True): 0.6}}
    outcome = tuned(Machine({}, 0.02, others=saves), [PRELOAD])
    assert outcome.chosen == {"preload": True}
    assert worth(outcome, "preload").figure == "memory"
    outcome = tuned(Machine({("preload", True): 0.8}, 0.02, others=saves), [PRELOAD])
    assert outcome.chosen == {}, "memory is not bought with a fifth of the rate"


def test_less_is_better_where_the_goal_is_a_latency() -> None:
    machine = Machine({}, others={"cpu": {("threads", 1): 0.7, ("workers", "2"): 1.4}})
    outcome = tuned(machine, [THREADS, WORKERS], objective=Objective("cpu", "CPU per request", -1))
    assert outcome.chosen == {"threads": 1}


def test_fewer_bytes_are_told_and_not_taken() -> None:
    compress = Candidate("compression", {"compress": True}, "text", also=BYTES)
    outcome = tuned(Machine({}, others={"bytes": {("compress", True): 0.2}}), [compress])
    assert outcome.chosen == {}
    [line] = [line for line in lines_of(outcome) if "compress" in line]
    assert "fewer bytes; what that is worth, your network says" in line
    assert "0.99x" in line or "1.0" in line


def test_after_a_deep_change_the_others_are_looked_at_again() -> None:
    def candidates_of(chosen: dict[str, Any]) -> tuple[list[Candidate], dict[str, str]]:
        return ([PRELOAD], {"workers": "all of them"}) if chosen else ([WORKERS], {"preload": "one worker"})

    machine = Machine({("workers", "2"): 1.8}, others={"memory": {("preload", True): 0.6}})
    outcome = Tuner(machine.take, candidates_of, RATE, 600.0, clock=machine.clock).run()
    assert outcome.chosen == {"workers": "2", "preload": True}
    assert all(run.get("workers") == "2" for run in machine.runs if "preload" in run)
    assert outcome.left == {}, "what was taken was tried"


def test_what_all_else_depends_on_comes_before_all_else_is_screened() -> None:
    """If the model expects a lot of it; else it is one of the others."""
    machine = Machine({("workers", "2"): 1.8, ("gc_threshold", 100_000): 1.2})
    assert tuned(machine, ALL).chosen == {"workers": "2", "gc_threshold": 100_000}
    before = next(at for at, run in enumerate(machine.runs) if "gc_threshold" in run)
    assert all(run in ({}, {"workers": "2"}) for run in machine.runs[:before])
    assert before >= 4 * LOOKS[0], "it was taken before that"
    assert all(run.get("workers") for run in machine.runs if "gc_threshold" in run)

    machine = Machine({("workers", "2"): 0.9, ("gc_threshold", 100_000): 1.2})
    outcome = tuned(machine, ALL)
    assert outcome.chosen == {"gc_threshold": 100_000}
    assert worth(outcome, "workers").why_not == "no gain shown"

    little = Candidate("workers", {"workers": "2"}, "two", 1.1, deep=True)
    machine = Machine({("workers", "2"): 1.8})
    tuned(machine, [little, GC])
    assert machine.runs[1:3] == [GC.changes, little.changes] or machine.runs[1:3] == [little.changes, GC.changes]


@pytest.mark.parametrize("budget_s", [8.0, 30.0, 60.0, 120.0, 300.0])
def test_the_budget_is_kept(budget_s: float) -> None:
    machine = Machine({("workers", "2"): 1.8})
    outcome = tuned(machine, ALL, budget_s)
    assert outcome.seconds == machine.now_s <= budget_s + RUN_S
    assert outcome.runs == len(machine.runs)
    if budget_s < 30:
        assert worth(outcome, "workers").why_not == "no time was left to show it"
        assert outcome.chosen == {}
    else:
        assert outcome.chosen == {"workers": "2"}
    assert {one.candidate.knob for one in outcome.worths} == {one.knob for one in ALL}, "each is accounted for"


def test_what_was_shown_before_an_interruption_stands() -> None:
    class Interrupted(Machine):
        def take(self, values: dict[str, Any]) -> Sample:
            if values.get("gc_threshold") and values.get("workers") and len(self.runs) > 24:
                raise KeyboardInterrupt
            return super().take(values)

    outcome = tuned(Interrupted({("workers", "2"): 1.8, ("gc_threshold", 100_000): 1.2}), ALL)
    assert outcome.interrupted
    assert outcome.chosen == {"workers": "2"}
    assert "It was interrupted" in lines_of(outcome)[-1]


class Broken(Machine):
    """With `preload` it does not start, with `gc_threshold` it fails, with `threads` it answers otherwise."""

    def take(self, values: dict[str, Any]) -> Sample:
        sample = super().take(values)
        if "preload" in values:
            raise SettingError("app:app: stopped at once; its last words:\nTraceback")
        if "gc_threshold" in values:
            return Sample(sample.figures, {"2xx": 0.5, "5xx": 0.5}, 0.5)
        if "threads" in values:
            return Sample(sample.figures, {"4xx": 1.0})
        return sample


def test_what_fails_is_not_taken_however_quick_it_is() -> None:
    changes = {("preload", True): 9.0, ("gc_threshold", 100_000): 9.0, ("threads", 1): 9.0}
    outcome = tuned(Broken(changes), [PRELOAD, GC, THREADS])
    assert outcome.chosen == {}
    assert worth(outcome, "preload").why_not == "app:app: stopped at once; its last words:"
    assert worth(outcome, "collections").why_not == "50.0% of the requests failed"
    assert worth(outcome, "threads").why_not == "it answers otherwise: 0% are 2xx, 100% before"


def test_settings_that_fail_as_they_are_are_no_result() -> None:
    def take(values: dict[str, Any]) -> Sample:
        raise SettingError("does not start")

    with pytest.raises(SettingError, match="does not start"):
        Tuner(take, lambda chosen: (ALL, {}), RATE, 60.0).run()


def test_looks_are_at_whole_numbers_of_rounds() -> None:
    assert list(LOOKS) == sorted(set(LOOKS))
    assert 2 * LOOKS[0] >= stats.ROUNDS_LEAST, "with fewer the spread itself is a guess"


def test_what_is_near_goes_on_and_what_is_not_waits() -> None:
    """At 3% noise a gain of 40% takes one look. One of 12% takes more, but not before the one of 40% had its own."""
    machine = Machine({("gc_threshold", 100_000): 1.12, ("threads", 1): 1.4}, 0.03)
    outcome = tuned(machine, ALL)
    assert outcome.chosen == {"threads": 1, "gc_threshold": 100_000}
    assert worth(outcome, "threads").comparisons["rate"].rounds == LOOKS[0]
    assert worth(outcome, "collections").comparisons["rate"].rounds in LOOKS
    assert all(len(one.rounds.get("rate", ())) in (0, *LOOKS) for one in outcome.worths), "judged at looks only"


# What is tried.


def a_profile(**changes: Any) -> Profile:
    profile = Profile(0.002, 0.0, 5e-5, 32, 4, rate=500.0)
    for name, value in changes.items():
        setattr(profile, name, value)
    return profile


def tried(profile: Profile, fixed: frozenset[str] = frozenset(), stale_s: float = 0.0, **values: Any) -> Any:
    settings = from_keywords(**values)
    base = {name: getattr(settings, name) for name in ROWS}
    found, left = candidates(Situation(profile, base, stale_s, 4096, fixed))
    assert {one.knob for one in found} | left.keys() == KNOBS.keys()
    assert not {one.knob for one in found} & left.keys()
    return {name: [one for one in found if one.knob == name] for name in KNOBS}, left


def test_a_computing_application_tries_workers_first() -> None:
    found, left = tried(a_profile())
    assert [one.changes["workers"] for one in found["workers"]] == ["4", "3", "2"], "what is predicted to be best"
    assert found["workers"][0].predicted == pytest.approx(4 * 2000 / 2050, rel=0.01)
    assert [one.changes for one in found["threads"]] == [{"threads": 1}]
    assert left["preload"] == "with one worker there is nobody to share memory with"
    assert left["collections"] == "collections of garbage take 0.0% of the processor time"


def test_a_waiting_application_tries_threads() -> None:
    profile = a_profile(cpu_s=0.0002, wait_s=0.02, connections=200)
    assert profile.waits
    assert profile.threads_wanted == 101
    found, _ = tried(profile, threads=8)
    assert [one.changes["threads"] for one in found["threads"]] == [101, 200]
    assert found["threads"][0].predicted == pytest.approx(101 / 8, rel=0.01)
    _, left = tried(a_profile(cpu_s=0.0002, wait_s=0.02, connections=8), threads=64)
    assert left["threads"] == "by the model it would lose" or "as many threads" in left["threads"]


def an_answer(**fields: str) -> Answer:
    return Answer("/a?b=1", 200, {name.replace("_", "-"): value for name, value in fields.items()}, 5000)


def test_a_cache_is_tried_where_http_allows_it() -> None:
    kept = an_answer(cache_control="public, max-age=60")
    found, _ = tried(a_profile(answers=[kept]))
    [candidate] = found["cache"]
    assert candidate.changes == {"cache": True}
    assert candidate.predicted > 10
    for fields in ({"cache_control": "private, max-age=60"}, {"cache_control": "no-store"}, {}):
        found, left = tried(a_profile(answers=[an_answer(**fields)]))
        assert left["cache"].startswith("no answer says that it may be kept")
    found, _ = tried(a_profile(answers=[an_answer()]), stale_s=1.0)
    assert found["cache"][0].changes == {"cache": True, "cache_rule": ("/a 1s",)}
    _, left = tried(a_profile(answers=[an_answer(cache_control="no-store")]), stale_s=1.0)
    assert left["cache"] == "all answers say that they are not to be kept"
    _, left = tried(a_profile(answers=[an_answer(set_cookie="a=b", cache_control="max-age=9")]), stale_s=1.0)
    assert left["cache"] == "no GET was answered 200 without a cookie"


def test_what_only_larger_things_can_change() -> None:
    _, left = tried(a_profile())
    assert "32 connections fit" in left["backlog"]
    assert "no body in this load" in left["buffers"]
    found, _ = tried(
        a_profile(
            connections=5000,
            request_bytes=3_000_000,
            answers=[Answer("/", 200, {"content-type": "text/csv"}, 2**21 + 1)],
        ),
        workers=2,
    )
    assert [one.changes for one in found["backlog"]] == [{"backlog": 4096}]
    assert [one.changes for one in found["buffers"]] == [
        {"response_buffer_bytes": 2**22},
        {"body_memory_bytes": 2**22},
    ]
    assert found["compression"][0].also == BYTES
    assert found["preload"][0].also == MEMORY


def test_what_was_given_is_left_alone() -> None:
    found, left = tried(a_profile(), frozenset({"workers"}), workers=1)
    assert left["workers"] == "it was given"
    assert found["workers"] == []


def test_every_candidate_is_a_value_that_the_settings_take() -> None:
    profile = a_profile(wait_s=0.05, connections=5000, collecting=0.2, closes=True, request_bytes=9_000_000)
    profile.answers = [Answer("/", 200, {"content-type": "text/plain"}, 9_000_000)]
    found, left = tried(profile, stale_s=1.5, workers=2, threads=3)
    assert left == {}
    for one in [one for some in found.values() for one in some]:
        settings = load(words_of(one.changes), {}, "/nowhere")
        assert {name: getattr(settings, name) for name in one.changes} == one.changes


# The models.


@pytest.mark.parametrize(("sigma", "kappa"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.002), (0.05, 0.001)])
def test_the_law_is_found_again(sigma: float, kappa: float) -> None:
    truth = usl.Usl(100.0, sigma, kappa, 0.0)
    found = usl.fit([(count, truth.at(count)) for count in (1, 2, 4, 8, 16, 32, 64)])
    assert found is not None
    assert (found.one, found.sigma, found.kappa) == pytest.approx((100.0, sigma, kappa), abs=1e-6)
    assert found.best == pytest.approx(truth.best)


def test_the_law_of_little() -> None:
    assert usl.fit([]) is None
    one = usl.fit([(1, 50.0)])
    assert one is not None
    assert (one.one, one.sigma, one.kappa) == (50.0, 0.0, 0.0)
    saturated = usl.fit([(1, 100.0), (4, 101.0), (16, 99.0)])
    assert saturated is not None
    assert saturated.ceiling == pytest.approx(100, rel=0.05)


def test_bounds() -> None:
    waits = a_profile(cpu_s=0.001, wait_s=0.009, connections=32, processors=4, loader_s=0.0)
    assert waits.bound(1, 1) == pytest.approx(100)
    assert waits.bound(1, 8) == pytest.approx(800)
    assert waits.bound(1, 64) == pytest.approx(1000), "one worker computes on one processor"
    assert waits.bound(4, 64) == pytest.approx(3200), "there are no more requests in flight"
    assert a_profile(gil=False, connections=32, loader_s=0.0).bound(1, 64) == pytest.approx(2000)


def test_levels() -> None:
    assert (levels(32), levels(3), levels(1)) == ([4, 16, 32], [2, 3], [])


# What is written.


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    machine = Machine({("workers", "2"): 1.8, ("threads", 1): 0.99}, others={"memory": {("preload", True): 0.6}})
    return tuned(machine, [*ALL, PRELOAD])


def test_the_settings_file_can_be_read_and_says_why(outcome: Outcome, tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("threads = 12\n[limits]\nfields_max = 50\n")
    settings = load(["app:app", "--keepalive-timeout", "2m"], {"VIVACE_TICK": "5ms"}, tmp_path)
    text = as_toml(outcome, settings, "made up")
    (tmp_path / "vivace.toml").write_text(text)
    assert tomllib.loads(text) == {
        "workers": "2",
        "preload": True,
        "threads": 12,
        "fields_max": 50,
        "keepalive_timeout": "120s" if "120s" in text else tomllib.loads(text)["keepalive_timeout"],
    }
    assert load([], {}, tmp_path).workers == "2"
    above = text.partition('workers = "2"')[0].splitlines()[-1]
    assert above.startswith("# requests a second: 1.")
    assert above.endswith("; two")
    assert "#   backlog: it is long" in text
    assert "#   threads 1:" in text


def test_the_report(outcome: Outcome) -> None:
    text = "\n".join(lines_of(outcome))
    assert "TAKEN for its memory: 0.6" in text
    assert "Not tried:\n  backlog: it is long" in text
    assert "Chosen: workers 2, preload on." in text
    profile = a_profile(levels=[(1, 400.0), (4, 500.0)], bottleneck="its process ran 99% of the time")
    profile.usl = usl.fit(profile.levels)
    assert "THE LOADER IS THE BOTTLENECK" in "\n".join(profile_lines(profile))


def test_json_has_no_infinities(outcome: Outcome) -> None:
    import json

    found = as_json(outcome, a_profile(), "made up")
    assert json.loads(json.dumps(found, allow_nan=False))["chosen"] == {"workers": "2", "preload": True}


def test_a_load_keeps_its_shots() -> None:
    from vivace.lab.tune_run import _coded, asked

    load_ = Load([Shot(target="/a"), Shot(target="/a"), Shot("POST", "/b"), Shot(target="/c", weight=0)])
    assert [shot.target for shot in asked(load_)] == ["/a"]
    assert _coded(Shot()).headers == [("Accept-Encoding", "gzip")]
    own = Shot(headers=[("accept-encoding", "br")])
    assert _coded(own) is own


def test_callable_types() -> None:
    knobs: dict[str, Callable[[Situation], Any]] = dict(KNOBS)
    assert all(knob.__doc__ for knob in knobs.values())
