"""cache.memory: never above its bound, never a wrong value; what is in use stays, what is asked for once goes."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vivace.cache.memory import LEFT_BYTES, OVERHEAD_BYTES, ROUNDS_MAX, Memory

KB = 1024


def weighed(memory: Memory) -> int:
    """What it should count, added up."""
    left = sum(node.weight == LEFT_BYTES for queue in (memory._small, memory._main) for node in queue)
    return sum(row[2] for row in memory.items()) + left * LEFT_BYTES + len(memory._ghosts) * 8


class Against(RuleBasedStateMachine):
    """Beside a dict that forgets nothing: what the memory has must be what the dict has."""

    keys = st.integers(0, 40).map(lambda number: f"GET http://a/{number}")
    sizes = st.integers(0, 9 * KB)

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(32 * KB, 8 * KB)
        self.model: dict[str, object] = {}
        self.asked = 0

    @rule(key=keys, size=sizes)
    def put(self, key: str, size: int) -> None:
        value = object()
        assert self.memory.put(key, value, size) == (size <= 8 * KB)
        if size <= 8 * KB:
            self.model[key] = value
            assert self.memory.get(key) is value
            self.asked += 1
        else:
            self.model.pop(key, None)

    @rule(key=keys)
    def get(self, key: str) -> None:
        found = self.memory.get(key)
        self.asked += 1
        assert found is None or found is self.model[key]

    @rule(key=keys)
    def pop(self, key: str) -> None:
        expected = self.model.pop(key, None)
        assert self.memory.pop(key) in (expected, None)

    @rule(key=keys, size=st.integers(0, 40 * KB))
    def resize(self, key: str, size: int) -> None:
        had = self.kept()
        done = self.memory.resize(key, size)
        assert done or key not in had or key not in self.kept() or size > 20 * KB

    def kept(self) -> set[str]:
        return {row[0] for row in self.memory.items()}

    @rule()
    def clear(self) -> None:
        self.memory.clear()
        self.model.clear()
        assert (self.memory.count, self.memory.bytes) == (0, len(self.memory._ghosts) * 8)

    @invariant()
    def never_above_the_bound(self) -> None:
        assert self.memory.bytes <= self.memory.bytes_max

    @invariant()
    def counts_right(self) -> None:
        memory = self.memory
        assert memory.bytes == weighed(memory)
        assert memory._small_bytes == sum(node.weight for node in memory._small)
        assert memory.count == len(memory.items()) == len(memory._small) + len(memory._main) - memory._left
        assert memory.hits + memory.misses == self.asked
        for key, value, *_ in memory.items():
            assert self.model[key] is value


TestAgainst = Against.TestCase
TestAgainst.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def fill(memory: Memory, name: str, count: int, size: int = 200) -> None:
    for number in range(count):
        memory.put(f"/{name}/{number}", f"{name} {number}", size)


def test_what_is_in_use_survives_a_scan() -> None:
    memory = Memory(256 * KB, 64 * KB)
    fill(memory, "hot", 100)
    for number in range(100):
        memory.get(f"/hot/{number}")
    for number in range(20_000):
        memory.put(f"/scan/{number}", number, 200)
        memory.get(f"/hot/{number % 100}")
    assert sum(memory.get(f"/hot/{number}") is not None for number in range(100)) >= 100 - 100 // ROUNDS_MAX
    assert memory.evictions > 19_000


def test_what_is_in_use_no_longer_goes() -> None:
    memory = Memory(64 * KB, 16 * KB)
    fill(memory, "old", 50)
    for number in range(50):
        memory.get(f"/old/{number}")
    for number in range(3000):
        memory.put(f"/new/{number % 500}", number, 200)
        memory.get(f"/new/{number % 500}")
    assert sum(memory.get(f"/old/{number}") is not None for number in range(50)) == 0


class Numbered(str):
    """Its hash is its number: no two have one place among the ghosts, which the hashes of strings may have."""

    __slots__ = ()

    def __hash__(self) -> int:
        return int(self) << 32 | int(self)


def test_a_ghost_that_comes_back_goes_to_the_main_queue() -> None:
    memory = Memory(64 * KB, 16 * KB)
    count = 0
    while not memory.evictions:
        memory.put(Numbered(count), "first", 200)
        count += 1
    assert memory.evictions < len(memory._ghosts)
    first, never_seen = Numbered(0), Numbered(count)
    memory.put(first, "again", 200)
    assert not memory._nodes[first].is_small
    memory.put(never_seen, "new", 200)
    assert memory._nodes[never_seen].is_small


def test_a_ghost_is_forgotten_when_more_has_gone_than_the_main_queue_holds() -> None:
    memory = Memory(64 * KB, 16 * KB)
    memory.put("/first", 1, 200)
    fill(memory, "a", 1000)
    memory.put("/first", 2, 200)
    assert memory._nodes["/first"].is_small


def test_it_knows_hits_misses_and_who_had_them() -> None:
    memory = Memory(64 * KB, 16 * KB)
    memory.put("/a", 1, 100)
    for _ in range(3):
        memory.get("/a")
    memory.get("/b")
    assert (memory.hits, memory.misses, memory.count, memory.evictions) == (3, 1, 1, 0)
    assert memory.items() == [("/a", 1, 100 + 2 + OVERHEAD_BYTES, 3)]
    memory.put("/a", 2, 50)
    assert memory.items() == [("/a", 2, 50 + 2 + OVERHEAD_BYTES, 3)]
    memory.pop("/a")
    assert memory.hits == 3, "of those that are gone, too"


def test_a_value_that_is_too_large_replaces_nothing_by_itself() -> None:
    memory = Memory(64 * KB, 16 * KB)
    memory.put("/a", "old", 100)
    assert not memory.put("/a", "new", 16 * KB + 1)
    assert memory.get("/a") is None, "the old one is not right any more"


def test_nothing_larger_than_all_of_it_is_taken() -> None:
    memory = Memory(8 * KB, 100 * KB)
    assert not memory.put("/a", "a", 8 * KB)
    assert memory.put("/a", "a", 4 * KB)
    assert not memory.resize("/a", 8 * KB)
    assert memory.get("/a") == "a"


def test_removed_ones_do_not_pile_up_in_the_queues() -> None:
    memory = Memory(64 * KB, 16 * KB)
    for number in range(10_000):
        memory.put(f"/{number}", number, 10)
        memory.pop(f"/{number}")
    assert len(memory._small) + len(memory._main) < 20
    assert memory.bytes == weighed(memory)


def test_a_put_stays_short_even_if_everything_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(1024 * KB, 64 * KB)
    fill(memory, "hot", 3000)
    for row in memory.items():
        for _ in range(4):
            memory.get(row[0])
    evict, steps = memory._evict, []
    monkeypatch.setattr(memory, "_evict", lambda must: steps.append(must) or evict(must))
    for number in range(100):
        steps.clear()
        assert memory.put(f"/new/{number}", 1, 200)
        assert len(steps) <= ROUNDS_MAX + 8


@pytest.mark.parametrize("threads", [4])
def test_threads_change_it_at_once(threads: int) -> None:
    memory = Memory(256 * KB, 64 * KB)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(4000):
            key = f"/{rng.randrange(300)}"
            what = rng.random()
            if what < 0.4:
                memory.put(key, key, rng.randrange(4000))
            elif what < 0.5:
                memory.pop(key)
            elif what < 0.55:
                memory.resize(key, rng.randrange(4000))
            elif memory.get(key) not in (key, None) or memory.bytes > memory.bytes_max:
                wrong.append(key)

    crowd = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert not wrong
    assert memory.bytes == weighed(memory)
    assert all(key == value for key, value, *_ in memory.items())
