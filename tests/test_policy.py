"""schedule.policy: what one sample, many samples and a burst do to a route's lane. No clock, no thread."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.schedule import policy as rules
from vivace.schedule.policy import Policy, concurrency, overdue
from vivace.schedule.route import HEAVY, INLINE, POOL, Route

US, MS = 1e-6, 1e-3
TICK_S = 2 * MS


def learning(**changes) -> Policy:
    return Policy(**{"tick_s": TICK_S, "gil": True, "cores": 1, **changes})


def feed(policy: Policy, route: Route, wall_s: float, cpu_s: float, times: int = 1, at_once: float = 1) -> None:
    """As the runner does: the CPU time is read only for a watched route, a quick call of another is not told."""
    for _ in range(times):
        if route.watch:
            policy.observe(route, wall_s, cpu_s, at_once)
        elif wall_s > policy.quick_s:
            policy.suspect(route, wall_s)


def known_quick(policy: Policy) -> Route:
    route = policy.new_route("GET /")
    feed(policy, route, 50 * US, 50 * US, 100)
    assert (route.lane, route.watch) == (INLINE, False)
    return route


# What calls cost decides


def test_nobody_knows_a_new_route():
    route = learning().new_route("GET /")
    assert (route.name, route.lane, route.watch, route.allowance_s, route.samples) == ("GET /", INLINE, True, TICK_S, 0)


@pytest.mark.parametrize(
    ("wall_s", "cpu_s", "lane", "away"),
    [
        (100 * US, 100 * US, INLINE, 0.0),
        (250 * US, 100 * US, INLINE, 0.0),  # blocks for less than a hand-off is worth
        (1 * MS, 1 * MS, HEAVY, 0.0),
        (4.6 * MS, 4 * MS, HEAVY, 0.0),  # blocks, but for little of its time
        (20 * MS, 0.05 * MS, POOL, None),
        (50 * MS, 50 * MS, HEAVY, 1.0),
        (10 * MS, 5 * MS, HEAVY, 1 / 3),  # computes and blocks: 1 + 2 * (5 / 5) of them at once
        (4 * MS, 0.8 * MS, HEAVY, 1 / 9),
    ],
)
def test_the_first_call_is_believed(wall_s, cpu_s, lane, away):
    policy = learning()
    route = policy.new_route("GET /")
    policy.observe(route, wall_s, cpu_s, 1)
    assert route.lane == lane
    if away is not None:
        assert route.away == pytest.approx(away)
    assert route.watch


def test_without_a_gil_whatever_is_slow_goes_to_the_pool():
    policy = learning(gil=False)
    for wall_s, cpu_s in [(1 * MS, 1 * MS), (50 * MS, 50 * MS), (20 * MS, 0.0), (10 * MS, 5 * MS)]:
        route = policy.new_route("GET /")
        policy.observe(route, wall_s, cpu_s, 8)
        assert route.lane == POOL


@pytest.mark.parametrize(("lanes", "lane"), [("pool", POOL), ("inline", INLINE)])
def test_fixed_lanes_learn_nothing(lanes, lane):
    policy = learning(lanes=lanes)
    route = policy.new_route("GET /")
    policy.observe(route, 1.0, 1.0, 1)
    policy.suspect(route, 1.0)
    policy.overtaken(route, 1.0, None)
    assert (route.lane, route.watch, route.allowance_s, route.samples) == (lane, False, math.inf, 0)
    assert policy.quick_s == math.inf


def test_unknown_lanes_are_refused():
    with pytest.raises(ValueError, match="learn, pool or inline"):
        learning(lanes="fast")


def test_a_quick_route_is_soon_not_watched():
    policy = learning()
    route = policy.new_route("GET /")
    for _ in range(rules.NEW_SAMPLES):
        assert route.watch
        policy.observe(route, 50 * US, 50 * US, 1)
    assert not route.watch


def test_a_heavy_call_may_take_a_multiple_of_its_mean():
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 3 * MS, 3 * MS, 10)
    assert route.allowance_s == pytest.approx(TICK_S + 4 * 3 * MS)


# Noise and change


@pytest.mark.parametrize(("wall_s", "cpu_s"), [(50 * MS, 0.05 * MS), (50 * MS, 50 * MS), (1.0, 0.0)])
def test_one_outlier_does_not_move_a_quick_route(wall_s, cpu_s):
    policy = learning()
    route = known_quick(policy)
    for _ in range(20):
        feed(policy, route, wall_s, cpu_s)
        assert route.lane == INLINE
        assert route.watch
        feed(policy, route, 50 * US, 50 * US, rules.FORGET_SAMPLES)
        assert not route.watch


def test_a_quick_route_that_becomes_slow_leaves_within_four_calls():
    for wall_s, cpu_s, level in [(20 * MS, 0.05 * MS, 2), (1.5 * MS, 1.5 * MS, 1), (50 * MS, 50 * MS, 2)]:
        policy = learning()
        route = known_quick(policy)
        feed(policy, route, wall_s, cpu_s, 4)
        assert route.level == level


def test_a_route_comes_back_and_each_time_later():
    policy = learning()
    route = policy.new_route("GET /")
    for needed in [16, 64, 256, 1024, 1024]:
        feed(policy, route, 20 * MS, 0.05 * MS, 4)
        feed(policy, route, 50 * US, 50 * US, needed - 1)
        assert route.level == 2
        feed(policy, route, 50 * US, 50 * US)
        assert route.lane == INLINE
        feed(policy, route, 50 * US, 50 * US, 2000)
        assert not route.watch


def test_a_blocked_route_that_computes_now_becomes_heavy():
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 20 * MS, 0.05 * MS, 10)
    feed(policy, route, 1 * MS, 1 * MS, rules.CLEAN_SAMPLES)
    assert (route.lane, route.away) == (HEAVY, 0.0)


@pytest.mark.parametrize("miss", [0.5, 0.1, 0.03, 0.01])
def test_a_route_with_two_faces_comes_to_rest(miss):
    policy = learning()
    route = policy.new_route("GET /")
    rng = Random(7)
    moves = 0
    inline_misses = 0
    for _ in range(20_000):
        before = route.level
        missed = rng.random() < miss
        inline_misses += missed and before == 0
        feed(policy, route, 20 * MS if missed else 50 * US, 50 * US)
        moves += before != route.level
    assert moves <= 14
    assert inline_misses <= 20


# Waiting for the GIL


@pytest.mark.parametrize("at_once", [2, 3, 8, 64])
def test_waiting_for_the_gil_is_not_blocking(at_once):
    policy = learning()
    route = policy.new_route("GET /")
    for _ in range(50):
        policy.observe(route, 1 * MS * at_once, 1 * MS, at_once)
        assert route.lane == HEAVY
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 50 * MS, 50 * MS)
    feed(policy, route, 50 * MS * at_once, 50 * MS, 50, at_once)
    assert int(1 / route.away) <= max(1, at_once // 2)  # fewer than there were


@settings(deadline=None)
@given(cpu_s=st.floats(0.1 * MS, 1.0), start=st.integers(1, 64))
def test_calls_that_only_compute_end_up_alone(cpu_s, start):
    """Whatever is believed at first: as many as are let in make each other wait, and then fewer are let in."""
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, max(cpu_s * (1 + (start - 1) / rules.SLACK), 6 * MS), cpu_s)
    for _ in range(1500):
        at_once = max(1, int(1 / max(route.away, rules.SHARE_MIN)))
        policy.observe(route, cpu_s * at_once, cpu_s, at_once)
        if not route.away:
            return  # so short that it came back inline
    assert int(1 / route.away) <= (1 if cpu_s > rules.HEAVY_S else 6)


def test_pages_that_compute_and_block_keep_the_gil_busy():
    """0.8 ms of CPU, 3.2 blocked; n at once wait a little for each other: it settles at enough of them."""
    policy = learning()
    route = policy.new_route("GET /")
    for _ in range(500):
        at_once = int(1 / route.away) if route.away else 1
        waited_s = 0.8 * MS * 0.25 * (at_once - 1)
        policy.observe(route, 4 * MS + waited_s, 0.8 * MS, at_once)
    assert 4 <= int(1 / route.away) <= 8


def test_sleepers_among_themselves_stay_in_the_pool():
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 20 * MS, 0.05 * MS, 100, 64)
    assert route.lane == POOL


def test_trials_find_calls_that_release_the_gil():
    policy = learning(cores=8)
    freeing, holding = policy.new_route("GET /hash"), policy.new_route("GET /json")
    for _ in range(40):
        policy.observe(freeing, 50 * MS, 50 * MS, 1 if freeing.away > 0.5 else 2)
        together = 1 if holding.away > 0.5 else 2
        policy.observe(holding, 50 * MS * together, 50 * MS, together)
    assert freeing.frees
    assert freeing.away == pytest.approx(1 / 8)
    assert not holding.frees
    assert holding.away > 0.5
    feed(policy, freeing, 150 * MS, 50 * MS, 10, 8)  # it was a mistake, or the cores are taken
    assert not freeing.frees


def test_no_trial_with_one_core():
    policy = learning(cores=1)
    route = policy.new_route("GET /hash")
    for _ in range(200):
        policy.observe(route, 50 * MS, 50 * MS, 2)
        assert route.away > 0.5


# Overtaken


@pytest.mark.parametrize(
    ("cpu_s", "lane", "away"), [(None, POOL, 0.0), (0.05 * MS, POOL, 0.0063), (2 * MS, HEAVY, 1.0), (0.0, POOL, 0.0)]
)
def test_an_unknown_route_moves_before_its_first_call_ends(cpu_s, lane, away):
    policy = learning()
    route = policy.new_route("GET /")
    policy.overtaken(route, 2 * MS, cpu_s)
    assert route.lane == lane
    assert route.away == pytest.approx(away, abs=0.001)
    policy.observe(route, 20 * MS, 0.05 * MS, 1)
    assert (route.lane, route.overtakes, route.samples) == (POOL, 0, 1)


def test_a_known_route_moves_when_the_second_call_is_overtaken():
    policy = learning()
    route = known_quick(policy)
    policy.overtaken(route, 2 * MS, 0.0)
    assert (route.lane, route.watch) == (INLINE, True)
    policy.overtaken(route, 2 * MS, 0.0)
    assert route.lane == POOL


def test_while_others_compute_it_takes_more_to_move_a_known_route():
    """It may have waited for a GIL whose owner had no core, and that nothing tells."""
    policy = learning()
    route = known_quick(policy)
    for _ in range(4):
        policy.overtaken(route, 4 * MS, 0.05 * MS, crowded=True)
        assert route.lane == INLINE
    policy.observe(route, 50 * US, 50 * US, 1)
    for _ in range(3):
        policy.observe(route, 20 * MS, 0.05 * MS, 2)
        assert route.lane == INLINE
    feed(policy, route, 20 * MS, 0.05 * MS, 4, 2)
    assert route.level == 2


def test_concurrency_is_what_the_others_computed_and_no_more_than_may():
    assert concurrency(10 * MS, 0.0, 3) == 1.0
    assert concurrency(10 * MS, 5 * MS, 3) == 1.5
    assert concurrency(10 * MS, 90 * MS, 3) == 4.0
    assert concurrency(10 * MS, 90 * MS, math.inf) == 10.0
    assert concurrency(0.0, 90 * MS, math.inf) == 1.0
    assert concurrency(10 * MS, -1 * US, 3) == 1.0  # the clocks are not read at once


def test_an_overtaken_call_counts_once():
    policy = learning()
    route = known_quick(policy)
    policy.overtaken(route, 12 * MS, 12 * MS)
    policy.observe(route, 12 * MS, 12 * MS, 1)
    assert (route.lane, route.overtakes) == (INLINE, 0)


# Newcomers


def test_newcomers_start_where_most_belonged():
    policy = learning()
    for _ in range(4):
        policy.observe(policy.new_route("GET /"), 20 * MS, 0.05 * MS, 1)
    route = policy.new_route("GET /")
    assert (route.lane, route.samples) == (POOL, 0)
    policy.observe(route, 50 * US, 50 * US, 1)
    assert route.lane == INLINE  # and at once, if it does not belong there
    for _ in range(4):
        policy.observe(policy.new_route("GET /"), 50 * US, 50 * US, 1)
    assert policy.new_route("GET /").lane == INLINE


def test_newcomers_that_compute_wait_for_their_turn():
    policy = learning()
    for _ in range(8):
        policy.observe(policy.new_route("GET /"), 50 * MS, 50 * MS, 1)
    route = policy.new_route("GET /")
    assert route.lane == HEAVY
    assert route.away > 0.5
    assert route.allowance_s >= 50 * MS


# Order and deadline


@given(
    cost_s=st.floats(0.0, 10.0),
    arrived_s=st.floats(0.0, 1e6),
    other_cost_s=st.floats(0.0, 10.0),
    later_s=st.floats(0.001, 100.0),
)
def test_no_stream_of_cheap_calls_starves_a_heavy_one(cost_s, arrived_s, other_cost_s, later_s):
    """Invariant: whatever arrives more than AGEING times a call's cost after it stands behind it."""
    policy = learning()
    route, other = policy.new_route("GET /a"), policy.new_route("GET /b")
    route.cpu_s, other.cpu_s = cost_s, other_cost_s
    mine = policy.heavy_key(route, arrived_s)
    assert policy.heavy_key(other, arrived_s + rules.AGEING * cost_s + later_s) > mine


def test_the_cheaper_of_two_comes_first():
    policy = learning()
    cheap, dear = policy.new_route("GET /a"), policy.new_route("GET /b")
    cheap.cpu_s, dear.cpu_s = 1 * MS, 50 * MS
    assert policy.heavy_key(cheap, 10.3) < policy.heavy_key(dear, 10.0) < policy.heavy_key(cheap, 10.5)


def test_overdue():
    assert not overdue(10.0, 10.1, 0.1000001)
    assert overdue(10.0, 10.2, 0.1)
    assert not overdue(10.0, 1e9, 0.0)  # 0: no deadline
    assert not overdue(10.0, 9.0, 0.1)  # a clock of another kind may be ahead


# Whatever comes

seconds = st.floats(0.0, 100.0)
samples = st.tuples(st.just("observe"), seconds, st.one_of(st.none(), seconds), st.floats(1, 200))
overtakes = st.tuples(st.just("overtaken"), seconds, st.one_of(st.none(), seconds), st.booleans())


@settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.one_of(samples, overtakes)), max_size=60),
    gil=st.booleans(),
    cores=st.integers(1, 64),
)
def test_lanes_are_from_the_closed_set(events, gil, cores):
    """Invariant, for any measurements in any order (even CPU time above wall time):

    a lane is one of three; HEAVY exists only with a GIL; what is booked lies within 0 and 1, and is above 0 for
    whatever must leave the loop's thread; every number stays finite; limits stay positive; a slow route is watched.
    """
    policy = learning(gil=gil, cores=cores)
    routes = [policy.new_route(f"GET /{number}") for number in range(3)]
    for number, (kind, wall_s, cpu_s, at_once) in events:
        route = routes[number]
        if kind == "observe" and cpu_s is None:
            policy.suspect(route, wall_s)
        elif kind == "observe":
            policy.observe(route, wall_s, cpu_s, at_once)
        else:
            policy.overtaken(route, wall_s, cpu_s, bool(at_once))
        for route in [*routes, policy.new_route("GET /new")]:
            assert route.lane in (INLINE, POOL, HEAVY)
            assert gil or route.lane != HEAVY
            assert 0.0 <= route.away <= 1.0
            assert route.level in (0, 1, 2)
            assert (route.level == 0) == (route.lane == INLINE)
            assert (route.level == 2) == (route.lane == POOL or route.away > 0.0)
            assert route.watch or route.lane == INLINE
            assert 0.0 < route.allowance_s < math.inf
            assert all(map(math.isfinite, (route.wall_s, route.cpu_s, route.blocked_s, route.strikes)))
            assert 0.0 <= policy.newcomers_slow <= 1.0
            assert "GET" in repr(route)


def test_suspicion_that_finds_nothing_is_slower_to_return() -> None:
    policy = Policy(tick_s=0.004, gil=True)
    route = policy.new_route("GET /")
    for _ in range(10):
        policy.observe(route, 0.0001, 0.0001, 1.0)
    assert not route.watch
    slow_until_watched = []
    for _ in range(4):
        slow = 0
        while not route.watch:
            policy.suspect(route, 0.0005)
            slow += 1
        slow_until_watched.append(slow)
        while route.watch:
            policy.observe(route, 0.0001, 0.0001, 1.0)
    assert slow_until_watched == [1, 2, 4, 8]
    # Beyond doubt: nothing is ignored.
    policy.suspect(route, 0.004)
    assert route.watch


def test_a_cold_first_call_does_not_hold_a_route_in_the_heavy_lane() -> None:
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 4 * MS, 4 * MS)
    assert route.lane == HEAVY
    feed(policy, route, 0.3 * MS, 0.3 * MS, rules.CLEAN_SAMPLES)
    assert route.lane == INLINE
    feed(policy, route, 2 * MS, 2 * MS, 4)
    assert route.lane == HEAVY
    feed(policy, route, 0.6 * MS, 0.6 * MS, 100 * rules.CLEAN_SAMPLES)
    assert route.lane == HEAVY  # it has shown its other face, and this one is near it


def test_a_framework_s_hello_on_a_slow_machine_comes_back_from_the_heavy_lane_each_time() -> None:
    """0.33 ms, now and then a spell of three times that: the lane would cost a sixth of such a call for ever."""
    policy = learning()
    route = policy.new_route("GET /")
    feed(policy, route, 5 * MS, 5 * MS)
    for _ in range(20):
        feed(policy, route, 0.33 * MS, 0.33 * MS, rules.CLEAN_SAMPLES_HEAVY)
        assert route.lane == INLINE
        feed(policy, route, 1.0 * MS, 1.0 * MS, 8)
        assert route.lane == HEAVY


def test_of_two_faces_far_apart_the_slow_one_counts_off_the_loop() -> None:
    """There a mistake is a stall, so the margin is wider than in the heavy lane."""
    policy = learning()
    route = policy.new_route("GET /")
    for lane in (INLINE, POOL, POOL):
        feed(policy, route, 20 * MS, 0.001 * MS, 4)
        assert route.lane == POOL
        feed(policy, route, 0.45 * MS, 0.001 * MS, rules.CLEAN_SAMPLES_MAX * 2)
        assert route.lane == lane


def test_a_neighbours_noise_does_not_hold_a_route_in_the_heavy_lane() -> None:
    """On a shared machine one call in some hundreds takes ten times its time, and its CPU clock says so, too."""
    policy, random = learning(), Random(1)
    route = policy.new_route("GET /")
    heavy = 0
    for _ in range(20_000):
        cost_s = 3 * MS if random.random() < 1 / 250 else random.uniform(150, 400) * US
        feed(policy, route, cost_s, cost_s)
        heavy += route.lane == HEAVY
    assert heavy < 20_000 / 2
