"""observe.repeats: what caches of several times to live would have answered; a plain model says the same."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vivace.observe.repeats import NAMES, TTLS, Repeats, Views


class Model:
    """A cache that keeps each thing for `ttl_s`, as plainly as it can be written."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.held: dict[Any, tuple[int, float]] = {}
        self.counts = [0, 0, 0.0]

    def ask(self, key: Any, made: int, seconds: float, now: float) -> None:
        if key in self.held and now < self.held[key][1] + self.ttl_s:
            self.counts[0] += 1
            self.counts[1] += self.held[key][0] != made
            self.counts[2] += seconds
        else:
            self.held[key] = made, now


REQUEST = st.tuples(
    st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.0, 0.25, 1.0, 7.0, 30.0])
)


@given(st.lists(REQUEST, max_size=60))
def test_it_counts_what_caches_would_have_done(requests: list[tuple[int, int, int, float]]) -> None:
    repeats, views = Repeats(), Views()
    shared = [Model(ttl_s) for ttl_s in (*TTLS, 1e9)]
    private = [Model(ttl_s) for ttl_s in (*TTLS, 1e9)]
    now, last, mine, same, yours = 0.0, dict[int, int](), dict[Any, int](), 0, 0
    for target, owner, digest, pause_s in requests:
        now += pause_s
        again = repeats.note(views, target, owner, owner, digest, 0.5, now)
        assert again == (mine.get((target, owner)) == digest)
        same += last.get(target) == digest
        yours += mine.get((target, owner)) == digest
        last[target] = mine[target, owner] = digest
        for model in shared:
            model.ask(target, digest, 0.5, now)
        for model in private:
            model.ask((target, owner), digest, 0.5, now)
    told = views.told(1e9)
    assert told["shared"] == {name: model.counts for name, model in zip(NAMES, shared, strict=True)}
    assert told["private"] == {name: model.counts for name, model in zip(NAMES, private, strict=True)}
    assert (told["same"], told["same_private"], told["looked"]) == (same, yours, len(requests))
    assert told["same"] + told["changed"] == len(requests) - told["targets"]


def test_what_is_unchanged_is_as_before() -> None:
    repeats, views = Repeats(), Views()
    repeats.note(views, 1, 0, 0, None, 0.0, 0.0)  # nothing was seen of it
    assert not repeats.note(views, 1, 0, 0, 7, 0.0, 1.0)
    repeats.note(views, 1, 0, 0, None, 0.0, 2.5)
    assert repeats.note(views, 1, 0, 0, 7, 0.0, 2.6)
    assert (views.same, views.changed) == (2, 0)


def test_a_time_to_live_beyond_the_window_is_not_told() -> None:
    assert list(Views().told(15.0)["shared"]) == ["1", "10", "all"]
    assert list(Views().told(0.5)["private"]) == ["all"]


def test_many_targets_are_sampled_and_stand_for_all() -> None:
    repeats, views = Repeats(targets_max=64, owners_max=128), Views()
    looked = 0
    for turn in range(4):
        for target in range(2000):
            spread = random.Random(target).getrandbits(60)
            if repeats.follows(spread):
                looked += 1
                repeats.note(views, spread, target, target, target if target % 2 else turn, 0.0, float(turn))
    assert len(repeats._shared) <= 64
    assert len(repeats._private) <= 128
    assert repeats.share < 1 / 16
    assert views.looked == looked
    later = views.same + views.changed
    assert later > 100
    assert 0.25 < views.same / later < 0.75, "half of the targets answer the same again"


def test_owners_beyond_the_bound_count_as_first() -> None:
    repeats, views = Repeats(owners_max=4), Views()
    for _ in range(2):
        for owner in range(10):
            repeats.note(views, 1, owner, owner, 7, 0.0, 0.0)
    assert views.same == 19
    assert views.same_private == 4
