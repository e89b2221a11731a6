"""cache.levels: what was purged is found on no level, whenever it came and whoever has heard of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from vivace.cache.control import Control
from vivace.cache.entry import Entry, VaryRecord
from vivace.cache.levels import Levels
from vivace.cache.memory import Memory
from vivace.cache.shared import Shared

KEY = "GET http://a.test/news"


class Machine:
    """Two workers, as far as their caches go."""

    def __init__(self) -> None:
        self.control, self.shared = Control.create(), Shared.create(1 << 20)
        self.workers = [self.worker(), self.worker()]

    def worker(self) -> Levels:
        # One process can be one worker of a Control: each has its own view of the same file.
        return Levels(Memory(1 << 20, 1 << 18), self.shared, Control.attach(self.control.fd))


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.control.close()
    machine.shared.close()


def entry(key: str = KEY, **more: object) -> Entry:
    now = time.time()
    return Entry(key, "200 OK", [], b"news", stored_s=now, lifetime_s=600.0, tags=("t",), **more)  # type: ignore[arg-type]


def found(levels: Levels, key: str = KEY) -> bool:
    return levels.look(key) is not None


def test_what_one_keeps_the_other_finds_until_it_is_purged(machine: Machine) -> None:
    one, other = machine.workers
    one.put(KEY, entry(), time.time(), 600)
    assert found(other)
    machine.control.purge("tag", "t")
    assert other.purged_elsewhere
    for levels in machine.workers:
        levels.read_purges()
        assert not levels.purged_elsewhere
        assert not found(levels)
    late = machine.worker()
    late.begin()
    assert not found(late), "a worker that has just been started does not find it either"


@pytest.mark.parametrize("kind", ["all", "tag", "path", "key"])
@pytest.mark.parametrize("soft", [False, True])
def test_what_was_being_made_during_a_purge_reaches_nobody_as_fresh(machine: Machine, kind: str, soft: bool) -> None:
    one, other = machine.workers
    began = time.time()
    machine.control.purge(kind, {"all": "", "tag": "t", "path": "/news", "key": KEY}[kind], soft=soft)
    made = entry()  # its head comes after the purge, and this worker's leader has not read that
    assert one.purged_elsewhere
    one.put(KEY, made, began, 600)
    for levels in machine.workers:
        levels.read_purges()
    assert not found(other)
    left = one.look(KEY)
    assert left is None or (soft and type(left) is Entry and left.fresh_until_s <= time.time())


def test_what_is_made_after_a_purge_is_kept(machine: Machine) -> None:
    one, other = machine.workers
    machine.control.purge("all")
    one.put(KEY, entry(), time.time(), 600)
    assert found(one)
    assert found(other)
    for levels in machine.workers:
        levels.read_purges()
    assert found(other)


def test_purging_a_key_takes_what_varies_under_it(machine: Machine) -> None:
    one, other = machine.workers
    record = VaryRecord(KEY, ["accept"], 1, time.time())
    for levels in machine.workers:
        levels.put(KEY, record, time.time(), 600)
        levels.put(f"{KEY}\n{record.mark}\ntext/html", entry(f"{KEY}\n{record.mark}\ntext/html"), time.time(), 600)
    one.purge("key", KEY)
    other.read_purges()
    assert not found(one)
    assert not found(other), "nor what the workers share: nothing leads to the variants"


def test_a_soft_purge_leaves_what_is_stale(machine: Machine) -> None:
    one, other = machine.workers
    one.put(KEY, entry(), time.time(), 600)
    machine.control.purge("path", "/n*", soft=True)
    for levels in (one, other):
        levels.read_purges()
        left = levels.look(KEY)
        assert type(left) is Entry
        assert left.fresh_until_s <= time.time()


def test_another_coding_of_what_was_purged_is_not_shared_again(machine: Machine) -> None:
    one, other = machine.workers
    kept = entry()
    one.put(KEY, kept, time.time(), 600)
    machine.control.purge("all")
    kept.coded["gzip"] = b"x"
    one.grown(kept)
    one.read_purges()
    other.read_purges()
    assert not found(one)
    assert not found(other)


def test_what_is_purged_while_it_is_taken_over_from_the_others_does_not_stay(machine: Machine) -> None:
    one, other = machine.workers
    one.put(KEY, entry(), time.time(), 600)
    put = other.memory.put

    def put_late(key: str, value: object, size: int) -> bool:
        other.purge("key", KEY)  # by another thread, at the worst moment
        return put(key, value, size)

    other.memory.put = put_late  # type: ignore[method-assign]
    other.look(KEY)
    other.memory.put = put  # type: ignore[method-assign]
    assert not found(other)


def test_what_another_worker_has_renewed_goes_before_what_is_stale_here(machine: Machine) -> None:
    one, other = machine.workers
    now = time.time()
    old = Entry(KEY, "200 OK", [], b"old", stored_s=now - 10, lifetime_s=5.0)
    one.put(KEY, old, now - 10, 600)
    other.look(KEY)
    one.put(KEY, entry(), now, 600)
    renewed = other.look(KEY)
    assert isinstance(renewed, Entry)
    assert renewed.body == b"news"


def test_a_coding_that_comes_late_does_not_bring_back_what_was_replaced(machine: Machine) -> None:
    one, other = machine.workers
    old, new = entry(), entry()
    new.body = b"newer"
    for each in (old, new):
        one.put(KEY, each, time.time(), 600)
    old.coded["gzip"] = b"x" * 1000
    before = one.memory.bytes
    one.grown(old)
    assert one.memory.bytes == before
    shared = other.look(KEY)
    assert isinstance(shared, Entry)
    assert shared.body == b"newer"


def test_a_renewed_entry_has_the_codings_of_the_one_before_it(machine: Machine) -> None:
    one, other = machine.workers
    old, new = entry(), entry()
    new.coded = old.coded
    for each in (old, new):
        one.put(KEY, each, time.time(), 600)
    old.coded["gzip"] = b"x" * 1000
    before = one.memory.bytes
    one.grown(old)
    assert one.memory.bytes >= before + 1000
    shared = other.look(KEY)
    assert isinstance(shared, Entry)
    assert shared.coded == {"gzip": b"x" * 1000}
