"""The wait limit that follows the queue: bursts pass, a queue that stands and grows does not."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from vivace.schedule.standing import INTERVAL_S, PAUSE_S, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIXED_S, WAIT_S, STEP_S = 59.0, 1.0, 0.25


def limits(
    standing: Standing, waits: Iterable[float], *, call_s: float = 0.1, rate: float = 100.0, refused: int = 0,
    clock: Iterator[int] | None = None,
) -> list[float]:  # fmt: skip
    clock = clock or count(400)
    return [standing.look(next(clock) * STEP_S, wait_s, call_s, rate, refused) for wait_s in waits]


def growing(looks: int = 20, by: float = 0.2) -> list[float]:
    return [by * look for look in range(looks)]


def test_a_queue_that_grows_shortens_the_limit() -> None:
    standing = Standing(FIXED_S, WAIT_S)
    found = limits(standing, growing())
    assert found[0] == FIXED_S
    assert found[-1] == WAIT_S
    assert standing.short
    first = found.index(WAIT_S)
    assert growing()[first] >= WAIT_S + 0.2 * INTERVAL_S / STEP_S, "it has stood for an interval"


def test_a_burst_is_let_in() -> None:
    burst = [0.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0] + [0.0] * 5
    assert set(limits(Standing(FIXED_S, WAIT_S), burst * 5)) == {FIXED_S}


def test_clients_that_wait_for_answers_are_all_served() -> None:
    """A queue that stands as long as they do, and does not grow."""
    assert set(limits(Standing(FIXED_S, WAIT_S), [1.5, 1.6, 1.55] * 20)) == {FIXED_S}


def test_what_calls_take_lengthens_the_target() -> None:
    """A person who asks for a report of 10 s waits longer than one who asks for a page."""
    assert set(limits(Standing(FIXED_S, WAIT_S), growing(), call_s=10.0)) == {FIXED_S}
    assert limits(Standing(FIXED_S, WAIT_S), growing(40, 1.0), call_s=5.0)[-1] == 10.0


def test_the_target_is_no_longer_than_the_servers_own_limit() -> None:
    assert set(limits(Standing(0.5, WAIT_S), growing())) == {0.5}


def test_when_the_queue_is_gone_nobody_is_refused() -> None:
    standing, clock = Standing(FIXED_S, WAIT_S), count(400)
    limits(standing, growing(), clock=clock)
    assert set(limits(standing, [0.9] * 20, clock=clock)) == {WAIT_S}, "it still stands, as long as the limit lets it"
    assert limits(standing, [0.0] * 12, clock=clock)[-1] == FIXED_S
    assert not standing.short


def test_a_limit_that_costs_answers_is_taken_back_for_a_while() -> None:
    standing, clock = Standing(FIXED_S, WAIT_S), count(400)
    limits(standing, growing(), clock=clock, rate=100.0)
    found = limits(standing, [0.8] * 40, clock=clock, rate=60.0, refused=5)
    assert found[0] == WAIT_S
    assert found[-1] == FIXED_S
    assert set(limits(standing, growing(60), clock=clock)) == {FIXED_S}, "not again at once"
    later = count(next(clock) + int(PAUSE_S / STEP_S))
    assert limits(standing, growing(), clock=later)[-1] == WAIT_S


def test_a_limit_under_which_as_much_is_answered_stays() -> None:
    standing, clock = Standing(FIXED_S, WAIT_S), count(400)
    limits(standing, growing(), clock=clock, rate=100.0)
    assert set(limits(standing, [0.8] * 80, clock=clock, rate=97.0, refused=5)) == {WAIT_S}


def test_after_a_gap_nothing_is_known() -> None:
    standing = Standing(FIXED_S, WAIT_S)
    limits(standing, [2.0] * 4, clock=count(400))
    assert set(limits(standing, [3.0] * 6, clock=count(4000))) == {FIXED_S}
