"""supervisor.policy: which workers to start and drain, without a process."""

from __future__ import annotations

import pytest

from vivace.supervisor.policy import (
    BACKOFF_MAX_S,
    DOWN_AFTER_S,
    DRAINING,
    SERVING,
    UP_AFTER_S,
    YOUNG_S,
    Roster,
    Scaler,
)


class Stage:
    """Acts out what a roster says, with workers that start at once unless told otherwise."""

    def __init__(self, target: int) -> None:
        self.roster = Roster(target)
        self.now_s = 0.0
        self.said: list[str] = []
        self.least_serving = 10**6

    def step(self) -> bool:
        """Does one step; False: there was none."""
        step = self.roster.next_step(self.now_s)
        if step.kind == "start":
            number = next(place for place in range(1000) if place not in self.roster.members)
            self.roster.started(number, self.now_s)
        elif step.member is not None:
            self.roster.drains(step.member.number, self.now_s)
        else:
            return False
        self.said.append(step.kind)
        return True

    def run(self) -> None:
        """Until nothing is left to do: workers become ready one after the other, drained ones end."""
        for _ in range(1000):
            while self.step():
                pass
            self.now_s += 0.1
            booting = [member.number for member in self.roster.members.values() if member.state == "booting"]
            draining = [member.number for member in self.roster.members.values() if member.state == DRAINING]
            if booting:
                self.roster.serves(booting[0], self.now_s)
            elif draining:
                self.roster.died(draining[0], self.now_s)
            else:
                return
            self.least_serving = min(self.least_serving, self.serving)
        raise AssertionError("it never comes to rest")

    @property
    def serving(self) -> int:
        return sum(member.state == SERVING for member in self.roster.members.values())

    @property
    def generations(self) -> list[int]:
        return sorted(member.generation for member in self.roster.live)


def settled(target: int) -> Stage:
    stage = Stage(target)
    stage.run()
    stage.said.clear()
    stage.least_serving = 10**6
    return stage


@pytest.mark.parametrize("target", [1, 2, 5, 16])
def test_starts_as_many_as_wanted(target: int) -> None:
    stage = settled(target)
    assert stage.serving == target == len(stage.roster.members)


def test_at_the_start_one_comes_first() -> None:
    stage = Stage(4)
    assert stage.step()
    assert not stage.step()
    stage.roster.serves(0, 0.0)
    assert [stage.step() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("target", [1, 2, 5, 16])
def test_reload_replaces_everybody_and_never_serves_with_fewer(target: int) -> None:
    stage = settled(target)
    stage.roster.reload()
    assert stage.roster.reloading
    stage.run()
    assert stage.generations == [2] * target
    assert stage.least_serving >= target
    assert not stage.roster.reloading


@pytest.mark.parametrize(("target", "most"), [(1, 2), (2, 3), (8, 10)])
def test_reload_keeps_to_its_surge(target: int, most: int) -> None:
    stage = settled(target)
    stage.roster.reload()
    seen = 0
    for _ in range(200):
        while stage.step():
            seen = max(seen, len(stage.roster.live))
        for member in list(stage.roster.members.values()):
            if member.state == "booting":
                stage.roster.serves(member.number, stage.now_s)
                break
    assert seen == most


def test_reload_in_the_middle_of_a_reload() -> None:
    stage = settled(3)
    stage.roster.reload()
    stage.step()
    stage.roster.reload()
    stage.run()
    assert stage.generations == [3, 3, 3]
    assert stage.least_serving >= 3


def test_generation_that_cannot_start_is_given_up() -> None:
    stage = settled(2)
    stage.roster.reload()
    assert stage.step()
    new = next(member.number for member in stage.roster.members.values() if member.generation == 2)
    stage.roster.died(new, stage.now_s)
    assert stage.roster.give_up()
    stage.run()
    assert stage.generations == [1, 1]
    stage.roster.reload()
    stage.run()
    assert stage.generations == [3, 3], "the number of the failed generation is not used again"


def test_generation_of_which_one_serves_is_not_given_up() -> None:
    stage = settled(2)
    stage.roster.reload()
    stage.step()
    new = next(member.number for member in stage.roster.members.values() if member.generation == 2)
    stage.roster.serves(new, stage.now_s)
    assert not stage.roster.give_up()


def test_nothing_to_go_back_to() -> None:
    stage = Stage(2)
    stage.step()
    stage.roster.died(0, 0.0)
    assert not stage.roster.give_up()


def test_worker_that_asks_is_replaced_first_and_goes_then() -> None:
    stage = settled(2)
    stage.roster.members[0].leaving = "it is old"
    assert stage.step()
    assert stage.said == ["start"]
    assert not stage.step()
    new = max(stage.roster.members)
    stage.roster.serves(new, stage.now_s)
    step = stage.roster.next_step(stage.now_s)
    assert (step.kind, step.member, step.reason) == ("drain", stage.roster.members[0], "it is old")


def test_scaling_up_and_down() -> None:
    stage = settled(2)
    stage.roster.target = 4
    stage.run()
    assert stage.serving == 4
    stage.roster.target = 1
    stage.run()
    assert stage.serving == 1
    assert stage.said.count("drain") == 3


def test_worker_that_dies_is_replaced_at_once() -> None:
    stage = settled(2)
    stage.now_s += 100
    assert not stage.roster.died(0, stage.now_s)
    assert stage.step()
    assert stage.said == ["start"]


def test_crash_loop_backs_off_and_forgets() -> None:
    stage = settled(1)
    waits = []
    number = 0
    for _ in range(12):
        stage.roster.died(number, stage.now_s)
        waits.append(round(stage.roster.wait_s(stage.now_s) or 0.0, 6))
        stage.now_s += waits[-1]
        assert stage.step()
        number = max(stage.roster.members)
    assert waits[0] == 0.0, "the first time at once"
    assert waits[1:] == sorted(waits[1:])
    assert waits[2] > waits[1] > 0
    assert waits[-1] == BACKOFF_MAX_S
    stage.roster.serves(number, stage.now_s)
    stage.now_s += YOUNG_S
    assert not stage.roster.died(number, stage.now_s)
    assert stage.roster.crashes == 0
    assert stage.step(), "one that has served long enough is replaced at once again"


def test_drained_worker_that_ends_is_no_crash() -> None:
    stage = settled(1)
    stage.roster.drains(0, 0.0)
    assert not stage.roster.died(0, 0.0)
    assert stage.roster.crashes == 0


# --- scaling ----------------------------------------------------------------------------------------------


def fed(scaler: Scaler, target: int, busy: float, seconds: float, start_s: float = 0.0) -> int:
    """The target after so long at the same load of each worker."""
    now = start_s
    while now <= start_s + seconds:
        target = scaler.target(now, target, [busy] * target)
        now += 1.0
    return target


def test_busy_workers_get_help_one_at_a_time_up_to_the_most() -> None:
    scaler = Scaler(1, 4)
    assert fed(scaler, 1, 1.0, UP_AFTER_S) == 2
    assert fed(scaler, 2, 1.0, 100, 100) == 4


def test_a_short_peak_changes_nothing() -> None:
    scaler = Scaler(1, 4)
    assert scaler.target(0.0, 1, [1.0]) == 1
    assert scaler.target(1.0, 1, [0.1]) == 1
    assert scaler.target(2.0, 1, [1.0]) == 1
    assert scaler.target(3.0, 1, [1.0]) == 1


def test_idle_workers_go_late_and_not_below_the_least() -> None:
    scaler = Scaler(2, 8)
    assert fed(scaler, 8, 0.01, DOWN_AFTER_S - 2) == 8
    assert fed(scaler, 8, 0.01, 10 * DOWN_AFTER_S, 1000) == 2


def test_load_that_fewer_could_not_carry_keeps_them() -> None:
    assert fed(Scaler(1, 4), 2, 0.4, 10 * DOWN_AFTER_S) == 2


def test_nobody_is_judged_while_one_still_starts() -> None:
    scaler = Scaler(1, 4)
    for second in range(20):
        assert scaler.target(float(second), 3, [1.0, 1.0]) == 3


def test_fixed_number_stays() -> None:
    assert fed(Scaler(3, 3), 3, 1.0, 100) == 3
