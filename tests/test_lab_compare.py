"""lab/compare.py, lab/gates.py, lab/compare_text.py: which runs are made, and what is said of them."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, ClassVar

import pytest

from vivace.errors import SettingError
from vivace.lab import compare
from vivace.lab.compare import Duel, judged, needed, play, series, split_cores, value_of
from vivace.lab.compare_text import as_json, lines_of, quantity
from vivace.lab.gates import FAILED, HOLDS, UNDECIDED, read_gate
from vivace.lab.plan import Load, Shot
from vivace.lab.result import Loader, Result, Server, Slice
from vivace.lab.server import Command
from vivace.lab.stats import Estimate, narrow
from vivace.observe.histogram import bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

    from vivace.lab.plan import Place

LABELS = {"A": "one", "B": "two"}
DRAW = random.Random(1)


def a_result(rate: float = 1000.0, noise: float = 0.002, **changes: Any) -> Result:
    """Of two seconds. Latency and CPU follow from the rate."""
    rate *= math.exp(DRAW.gauss(0, noise))
    answers = int(rate * 2)
    latency = {bucket_of(10 / rate): answers - answers // 50, bucket_of(30 / rate): answers // 50}
    total = Slice(answers=answers, latency=latency, statuses={"2xx": answers}, slowest_s=1.0, total_s=20.0)
    server = Server(1, 1, 1.0, 1e6 / rate, 2**20 * 50, 2**20 * 50)
    fields: dict[str, Any] = {"url": "", "mode": "closed", "seconds": 2.0, "connections": 10, "server": server}
    return Result(**{**fields, "total": total, **changes})


def some_rounds(count: int, a: float, b: float, **changes: Any) -> list[compare.Runs]:
    return [
        {"A": (a_result(a), a_result(a)), "B": (a_result(b, **changes), a_result(b, **changes))} for _ in range(count)
    ]


def outcome_of(rounds: list[compare.Runs], *gates: str) -> compare.Outcome:
    return judged(LABELS, rounds, ["ABBA"] * len(rounds), [read_gate(gate) for gate in gates])


# Judging.


def test_every_figure_has_its_verdict_and_its_control() -> None:
    rows = {row.figure.name: row for row in outcome_of(some_rounds(10, 1000, 800)).rows}
    assert list(rows) == ["rate", "cpu", "p50", "p99", "memory"]
    assert rows["rate"].verdict == "B answers 20% fewer a second"
    assert rows["cpu"].verdict == "B uses 25% more CPU"
    assert rows["p50"].verdict == "B takes 25% longer"
    assert rows["memory"].verdict == "no difference shown"
    for name in ("rate", "cpu"):
        control = rows[name].comparison.control
        assert control.low < 1 < control.high


def test_equals_differ_in_nothing() -> None:
    outcome = outcome_of(some_rounds(12, 1000, 1000))
    assert [row.differs for row in outcome.rows] == [False] * 5
    assert outcome.sound
    assert outcome.notes == []


def test_a_server_that_fails_is_not_compared() -> None:
    broken = Slice(answers=1000, latency={100: 1000}, statuses={"2xx": 900, "5xx": 100}, errors={"reset": 7})
    outcome = outcome_of(some_rounds(10, 1000, 2000, total=broken), "rate < 0.5x", "errors > 5%")
    assert not outcome.sound
    assert outcome.notes == ["10.6% of the requests to B failed: 5xx 2000, reset 140"]
    assert {row.verdict for row in outcome.rows} == {"not comparable"}
    assert [became for _, became in outcome.gates] == [UNDECIDED, FAILED]


def test_servers_that_answer_differently_are_not_compared() -> None:
    missing = Slice(answers=4000, latency={100: 4000}, statuses={"4xx": 4000})
    outcome = outcome_of(some_rounds(10, 1000, 2000, total=missing))
    assert not outcome.sound
    assert "100% of the answers of A are 2xx, and 0% of those of B" in outcome.notes[0]


def test_nothing_is_said_of_the_server_where_the_loader_is_the_bottleneck() -> None:
    outcome = outcome_of(some_rounds(10, 1000, 1200, loader=Loader(bottleneck="it is busy")))
    verdicts = {row.figure.name: row.verdict for row in outcome.rows}
    assert verdicts["rate"] == verdicts["p99"] == "the loader is the bottleneck"
    assert verdicts["cpu"] == "B uses 17% less CPU"
    assert outcome.sound
    assert "20 of 20 runs of B: it is busy" in outcome.notes[0]


def test_a_rate_that_was_given_is_no_figure() -> None:
    assert value_of("rate", a_result(mode="open")) == 0
    rounds = [{side: (a_result(mode="open", server=None),) * 2 for side in ("A", "B")} for _ in range(3)]
    assert list(series(rounds)) == ["p50", "p99"]


def test_the_rounds_for_a_difference_are_the_most_that_a_figure_asks_for() -> None:
    rounds = some_rounds(10, 1000, 1000, noise=0.05)
    assert needed(rounds, 0.01) == needed(rounds, 0.01, ["rate"]) > 50
    assert needed(rounds, 0.01, ["memory", "cpu"]) >= needed(rounds, 0.01, ["memory"]) == 8


# Gates.


@pytest.mark.parametrize(
    ("text", "low", "high", "became"),
    [
        ("p99 > 1.05x", 1.06, 1.1, FAILED),
        ("p99 > 1.05x", 1.0, 1.1, UNDECIDED),
        ("p99 > 1.05x", 0.9, 1.05, HOLDS),
        ("rate<0.97x", 0.9, 0.96, FAILED),
        ("rate < 0.97x", 0.9, 1.0, UNDECIDED),
        ("rate < 0.97x", 0.97, 1.0, HOLDS),
    ],
)
def test_a_gate_goes_by_the_whole_interval(text: str, low: float, high: float, became: str) -> None:
    assert read_gate(text).judge_ratio(Estimate((low + high) / 2, low, high)) == became


@pytest.mark.parametrize(
    ("text", "limit"), [("p99 > 50ms", 0.05), ("cpu > 1ms", 1000), ("memory > 1GiB", 2**30), ("errors > 0.1%", 0.001)]
)
def test_a_gate_on_b_alone(text: str, limit: float) -> None:
    gate = read_gate(text)
    assert gate.limit == pytest.approx(limit)
    assert (gate.judge_value(limit * 1.1), gate.judge_value(limit * 0.9)) == (FAILED, HOLDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give a condition"),
        ("p98 > 1x", "about one of rate, cpu"),
        ("p99 = 1x", "give a condition"),
        ("p99 > 50", "p99 has us or ms or s, or x"),
        ("errors > 2x", "errors have no ratio"),
        ("rate < 10ms", "rate has no unit, or x"),
    ],
)
def test_what_is_no_gate(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_gate(text)


def test_gates_of_an_outcome() -> None:
    gates = ("rate < 0.9x", "rate < 0.7x", "p50 > 5ms", "p50 > 50ms", "errors > 0")
    outcome = outcome_of(some_rounds(10, 1000, 800), *gates)
    assert [became for _, became in outcome.gates] == [FAILED, HOLDS, FAILED, HOLDS, HOLDS]


def test_a_gate_on_what_was_not_measured_is_undecided() -> None:
    rounds = [{side: (a_result(server=None),) * 2 for side in ("A", "B")} for _ in range(3)]
    assert outcome_of(rounds, "cpu > 1.1x").gates[0][1] == UNDECIDED


# Running.


class Fake:
    """In place of a server: what is started and what has ended."""

    log: ClassVar[list[str]] = []
    alive = True

    def __init__(self, command: Command, target: str, cores: Iterable[int]) -> None:
        self.address, self.pid, self.command = ("127.0.0.1", 1), 7, command
        self.log.append(f"+{command.label}")
        assert target == "/there"
        assert list(cores) == [3]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.log.append(f"-{self.command.label}")

    def running(self) -> bool:
        return self.alive

    def last_words(self) -> str:
        return "oh"


@pytest.fixture
def duel(monkeypatch: pytest.MonkeyPatch) -> Duel:
    monkeypatch.setattr(compare, "start", lambda command, target, cores: Fake(command, target, cores))
    monkeypatch.setattr(Fake, "log", [])

    def fire(load: Load, place: Place, pid: int) -> Result:
        assert (place.port, pid) == (1, 7)
        return a_result()

    load = Load([Shot("POST", "/here"), Shot("GET", "/there")])
    return Duel(Command("a", []), Command("b", []), load, fire, [3])


def test_each_run_has_a_server_of_its_own_and_only_one_at_a_time(duel: Duel) -> None:
    duel.run("BAAB")
    assert Fake.log == ["+b", "-b", "+a", "-a", "+a", "-a", "+b", "-b"]
    assert duel.orders == ["BAAB"]
    assert {side: len(runs) for side, runs in duel.rounds[0].items()} == {"A": 2, "B": 2}


def test_as_many_rounds_as_were_asked_for(duel: Duel) -> None:
    heard: list[tuple[int, int, str]] = []
    play(duel, rounds=4, on_run=lambda number, planned, side: heard.append((number, planned, side)))
    assert len(duel.rounds) == 4
    assert sorted(duel.orders) == ["ABBA", "ABBA", "BAAB", "BAAB"]
    assert [(number, planned) for number, planned, _ in heard] == [(at, 4) for at in (1, 2, 3, 4) for _ in range(4)]


def test_as_many_rounds_as_a_difference_needs(duel: Duel) -> None:
    play(duel, rounds=8, find=0.004)
    assert len(duel.rounds) > 8
    assert len(duel.rounds) >= needed(duel.rounds, 0.004)
    measured = series(duel.rounds)
    assert narrow(next(iter(measured.values())), 0.004, len(measured))


def test_no_round_begins_after_the_budget(duel: Duel, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(compare.time, "monotonic", lambda: next(clock))
    play(duel, rounds=100, budget_s=25)
    assert len(duel.rounds) == 3


def test_a_server_that_ends_under_the_load_is_told(duel: Duel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "alive", False)
    with pytest.raises(SettingError, match="a: ended under the load; its last words:\noh"):
        duel.run("ABBA")
    assert Fake.log == ["+a", "-a"]


def test_cores_are_divided_where_there_are_enough() -> None:
    theirs, mine = split_cores(1)
    assert len(mine) in (0, 1)
    assert not set(theirs) & set(mine)
    assert split_cores(100_000) == ([], [])


# Telling.


def test_the_report() -> None:
    outcome = outcome_of(some_rounds(10, 1000, 800), "rate < 0.9x", "p99 > 9x")
    lines = lines_of(outcome, "conditions")
    text = "\n".join(lines)
    assert lines[:3] == ["A  one", "B  two", "conditions"]
    assert "B answers 20% fewer a second" in text
    assert "50.0 MiB" in text
    assert "no difference shown; " in text
    assert "FAILED     fail if rate < 0.9x" in lines
    assert "holds      fail if p99 > 9x" in lines
    assert "10 rounds. In brackets: 99% intervals" in text


def test_the_report_of_too_few_rounds() -> None:
    text = "\n".join(lines_of(outcome_of(some_rounds(2, 1000, 800)), ""))
    assert "too few rounds" in text
    assert "inf" not in text


def test_json_holds_all_of_it_and_no_infinity() -> None:
    for count in (2, 10):
        outcome = outcome_of(some_rounds(count, 1000, 800), "rate < 0.9x")
        found = json.loads(json.dumps(as_json(outcome, {"c": 1}), allow_nan=False))
        assert found["figures"]["rate"]["A"] == pytest.approx(1000, rel=0.02)
        assert (found["figures"]["rate"]["change"]["low"] is None) is (count == 2)
        assert len(found["rounds"]) == count
        assert found["rounds"][0]["A"][0]["rate"] == pytest.approx(1000, rel=0.02)
    assert found["gates"] == [{"condition": "rate < 0.9x", "became": "failed"}]


def test_quantities_as_a_person_reads_them() -> None:
    values = [(2**20, "bytes"), (0.0012, "s"), (2.5, "s"), (12.34, "us"), (123.4, "us"), (12345.6, "")]
    shown = [quantity(value, unit) for value, unit in values]
    assert shown == ["1.00 MiB", "1.20 ms", "2.50 s", "12.3 us", "123 us", "12,346"]
