"""cache.shared: what one worker puts another gets, whole or not at all, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.cache import shared as shared_module
from vivace.cache.claims import SETS, WAYS
from vivace.cache.exclusion import Exclusion
from vivace.cache.shared import H_FOUND_DEAD, H_HEAD, H_RENEWED, H_TAIL, H_WRITING, Shared
from wire import until

KB = 1024
RING = 64 * KB


@pytest.fixture
def shared() -> Iterator[Shared]:
    shared = Shared.create(RING)
    yield shared
    shared.close()


def forked(work: Callable[[], object]) -> int:
    """A process that does `work` and ends with 0 if that returned what is true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """How it ended: 0, a code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# One process.


def test_what_is_put_is_got_until_it_expires(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared.get("/a") is None
    assert shared.put("/a", b"one", 10)
    assert shared.get("/a") == b"one"
    assert shared.put("/a", b"two", 10)
    assert shared.put("/ä", b"", 20)
    assert shared.get("/a") == b"two"
    now = shared_module.monotonic()
    monkeypatch.setattr(shared_module, "monotonic", lambda: now + 15)
    assert shared.get("/a") is None
    assert shared.get("/ä") == b""
    shared.remove("/ä")
    shared.remove("/never")
    assert shared.get("/ä") is None
    assert (shared.hits, shared.misses) == (3, 3)


def test_what_is_too_long_is_not_put(shared: Shared) -> None:
    assert not shared.put("/a", bytes(RING // 8), 10)
    assert shared.put("/a", bytes(RING // 8 - 100), 10)
    assert shared.get("/a") == bytes(RING // 8 - 100)


def test_clearing_forgets_everything_and_leaves_it_usable(shared: Shared) -> None:
    for number in range(300):
        shared.put(f"/{number}", b"x" * 500, 10)
    assert shared.stats()["entries"] > 50
    assert shared.clear()
    assert shared.stats()["entries"] == shared.stats()["bytes"] == 0
    assert all(shared.get(f"/{number}") is None for number in range(300))
    assert shared.put("/a", b"a", 10)
    assert shared.get("/a") == b"a"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, RING // 8 - 80), st.booleans()), max_size=120))
def test_a_model_that_forgets_nothing_agrees(steps: list[tuple[int, int, bool]]) -> None:
    shared = Shared.create(RING)
    model: dict[str, bytes] = {}
    for number, size, remove in steps:
        key = f"/{number}"
        if remove:
            shared.remove(key)
            model.pop(key, None)
        else:
            model[key] = bytes([number]) * size
            assert shared.put(key, model[key], 100)
            assert shared.get(key) == model[key], "the newest is always there"
        for other, value in model.items():
            assert shared.get(other) in (None, value)
        assert 0 <= shared.stats()["bytes"] <= RING
    shared.close()


def test_the_ring_keeps_the_newest_and_those_that_are_read(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "marked", lambda key: 1 if key == "/hot" else 2 + int(key[1:]))  # spread evenly
    shared.put("/hot", b"hot", 100)
    for number in range(1000):
        shared.put(f"/{number}", b"x" * 400, 100)
        if number % 50 == 0:
            assert shared.get("/hot") == b"hot"
    assert shared._words[H_RENEWED] > 3
    newest = [number for number in range(1000) if shared.get(f"/{number}") is not None]
    assert 50 < len(newest) < RING / 400
    assert newest[-1] == 999
    assert newest[0] > 800


def test_what_has_expired_or_is_not_read_is_not_written_anew(shared: Shared) -> None:
    shared.put("/short", b"short", 0.0)
    shared.put("/unread", b"unread", 100)
    for number in range(300):
        shared.put(f"/{number}", b"x" * 400, 100)
    assert shared._words[H_RENEWED] == 0
    assert shared.get("/unread") is None


def test_a_full_set_of_the_index_gives_up_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared.create(RING)
    monkeypatch.setattr(shared_module, "marked", lambda key: 5 + int(key[1:]) * shared._buckets)
    for number in range(20):
        shared.put(f"/{number}", b"%d" % number, 100)
    assert [number for number in range(20) if shared.get(f"/{number}") is not None] == list(range(13, 20))
    shared.put("/20", b"20", 100)
    assert shared.get("/13") is None, "all were read, so the oldest goes"
    shared.put("/21", b"21", 100)
    shared.put("/22", b"22", 100)
    assert shared.get("/20") is None, "the one that nobody has read goes first"
    shared.close()


def test_another_key_with_the_same_hash_is_a_miss(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "marked", lambda key: 7)
    shared.put("/a", b"a", 100)
    assert shared.get("/b") is None
    assert shared.get("/a") == b"a"


def test_a_record_that_is_written_over_while_it_is_copied_is_a_miss(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.put("/a", b"a" * 2000, 100)
    checked = shared_module.checked

    def laps(data: bytes) -> int:
        monkeypatch.setattr(shared_module, "checked", checked)
        for number in range(60):
            shared.put(f"/{number}", b"b" * 2000, 100)
        return checked(data)

    monkeypatch.setattr(shared_module, "checked", laps)
    assert shared.get("/a") is None
    assert shared.torn == 1


@pytest.mark.parametrize("at", range(0, 120, 7))
def test_a_byte_that_is_not_right_is_a_miss(shared: Shared, at: int) -> None:
    shared.put("/a", b"a" * 100, 100)
    place = shared._arena + shared._words[H_TAIL] % RING + at
    shared._map[place] ^= 0x40
    assert shared.get("/a") is None
    assert shared.put("/b", b"b", 100)
    assert shared.get("/b") == b"b"


def test_a_ring_that_somebody_has_scribbled_over_starts_over(shared: Shared) -> None:
    for number in range(200):
        shared.put(f"/{number}", b"x" * 400, 100)
    shared._map[shared._arena :] = os.urandom(RING)
    for number in range(200, 400):
        assert shared.put(f"/{number}", b"x" * 400, 100)
        assert shared.get(f"/{number}") == b"x" * 400


def test_it_is_attached_only_by_who_hashes_alike(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Shared.attach(os.dup(shared.fd))
    shared.put("/a", b"a", 100)
    assert other.get("/a") == b"a"
    other.close()
    monkeypatch.setattr(shared_module, "marked", lambda key: 1)
    with pytest.raises(ValueError, match="other processes"):
        Shared.attach(shared.fd)
    empty = os.memfd_create("empty")
    with pytest.raises(ValueError, match="no shared memory"):
        Shared.attach(empty)
    os.close(empty)


# Several processes.


def test_what_one_process_puts_another_gets(shared: Shared) -> None:
    assert ended(forked(lambda: shared.put("/a", b"from a child", 100))) == 0
    assert shared.get("/a") == b"from a child"


def value_of(key: str, version: int) -> bytes:
    """A value that tells whether it is whole, of any length up to 6 KB."""
    text = f"{key}={version};".encode()
    return text * (1 + version * 37 % (6 * KB // len(text)))


def is_whole(key: str, value: bytes) -> bool:
    text = value[: value.index(b";") + 1]
    return text.startswith(key.encode() + b"=") and value == value_of(key, int(text[len(key) + 1 : -1]))


def scramble(shared: Shared, seed: int, rounds: int) -> bool:
    """Puts and gets at random; whether everything that it got was whole."""
    rng = random.Random(seed)
    for _ in range(rounds):
        key = f"/{rng.randrange(40)}"
        if rng.random() < 0.5:
            shared.put(key, value_of(key, rng.randrange(10_000)), 100)
        elif (value := shared.get(key)) is not None and not is_whole(key, value):
            return False
    return True


def test_processes_that_put_and_get_at_once_never_get_what_is_not_whole(shared: Shared) -> None:
    pids = [forked(lambda seed=seed: scramble(shared, seed, 3000)) for seed in range(4)]
    assert [ended(pid) for pid in pids] == [0] * 4
    assert shared.stats()["puts"] > 4000


def test_workers_killed_at_any_moment_leave_it_usable(shared: Shared) -> None:
    rng = random.Random(7)
    for round_ in range(25):
        pids = [forked(lambda seed=seed: scramble(shared, seed, 10**9)) for seed in (round_, round_ + 1000)]
        puts = shared.stats()["puts"]
        until(lambda puts=puts: shared.stats()["puts"] > puts + rng.randrange(1, 60))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert [ended(pid) for pid in pids] == [-signal.SIGKILL] * 2
        assert shared.put("/a", b"after", 100)
        assert shared.get("/a") == b"after"
    assert scramble(shared, 1, 2000)


class Deadly:
    """Words of the shared memory; kills the process instead of the `last`-th store."""

    def __init__(self, words: memoryview, last: int) -> None:
        self.words, self.left = words, last

    def __getitem__(self, place: Any) -> Any:
        return self.words[place]

    def __setitem__(self, place: int, value: int) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.words[place] = value

    def __len__(self) -> int:
        return len(self.words)


@pytest.mark.parametrize("full", [False, True])
def test_whichever_store_is_the_last_of_a_killed_writer(shared: Shared, full: bool) -> None:
    for number in range(500 if full else 5):
        shared.put(f"/{number}", b"x" * 400, 100)
    shared.put("/known", b"known", 100)
    found_dead = 0
    for last in range(100):

        def dies(last: int = last) -> bool:
            shared._words = Deadly(shared._words, last)  # type: ignore[assignment]
            return shared.put(f"/new/{last}", b"new" * 1000, 100)

        code = ended(forked(dies))
        assert shared.get(f"/new/{last}") in (None, b"new" * 1000)
        found_dead += bool(shared._words[H_WRITING])
        assert shared.put("/after", b"after %d" % last, 100)
        assert shared.get("/after") == b"after %d" % last
        assert shared.get("/known") == b"known"
        assert shared._words[H_WRITING] == 0
        assert shared._words[H_HEAD] - shared._words[H_TAIL] <= RING
        if code == 0:
            break
    else:
        raise AssertionError("it was killed each time")
    assert last >= 8
    assert shared._words[H_FOUND_DEAD] == found_dead > 3


def test_a_process_that_is_stopped_in_its_turn_is_not_waited_for(shared: Shared) -> None:
    def stops() -> bool:
        shared._turn.enter(1)
        shared._claims._turn.enter(1)
        os.kill(os.getpid(), signal.SIGSTOP)
        return True

    shared.put("/a", b"a", 100)
    pid = forked(stops)
    os.waitpid(pid, os.WUNTRACED)
    began = time.monotonic()
    assert not shared.put("/b", b"b", 100)
    assert not shared.clear()
    assert shared.claim("/b", 10), "a second call does less harm than waiting"
    shared.release("/b")
    assert time.monotonic() - began < 1
    assert shared.get("/a") == b"a", "who reads takes no turn"
    assert shared.busy == 1
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    assert shared.put("/b", b"b", 100)


def test_a_lost_descriptor_costs_the_cache_and_nothing_else() -> None:
    shared = Shared.create(RING)
    shared.put("/a", b"a", 100)
    shared.close()
    shared.close()
    assert not shared.put("/b", b"b", 100)
    assert shared.claim("/b", 10)
    assert shared.get("/a") == b"a"


def test_an_exclusion_keeps_threads_apart_too() -> None:
    fd = os.memfd_create("turns")
    turn, other = Exclusion(fd, 0), Exclusion(fd, 1)
    assert turn.enter(1)
    assert not turn.enter(0.001)
    assert other.enter(0.001), "another byte is another turn"
    turn.leave()
    assert turn.enter(0.001)
    os.close(fd)
    turn.leave()


# Claims.


def test_one_process_makes_what_others_wait_for(shared: Shared) -> None:
    assert shared.claim("/a", 10)
    assert not shared.claim("/a", 10)
    assert ended(forked(lambda: not shared.claim("/a", 10) and shared.claimed("/a"))) == 0
    assert ended(forked(lambda: shared.release("/a") or shared.claimed("/a"))) == 0, "only who has it can let go"
    assert shared.claim("/b", 10)
    shared.release("/a")
    assert not shared.claimed("/a")
    assert shared.claimed("/b")
    assert shared.claim("/a", 10)


def test_a_claim_lapses_with_its_time_and_with_its_process(shared: Shared) -> None:
    assert shared.claim("/a", 0.0)
    assert not shared.claimed("/a")
    assert shared.claim("/a", 10)
    assert ended(forked(lambda: shared.claim("/b", 1000))) == 0
    assert not shared.claimed("/b")
    assert shared.claim("/b", 10)


def test_nobody_waits_for_what_could_not_be_kept(shared: Shared) -> None:
    assert shared.claim("/a", 10)
    shared.release("/a", pass_s=100)
    assert not shared.claimed("/a")
    assert shared.claim("/a", 10)
    assert shared.claim("/a", 10)
    shared.claim("/b", 10)
    shared.release("/b", pass_s=0.000001)
    until(lambda: shared.claim("/b", 10) and not shared.claim("/b", 10))


def test_where_there_is_no_place_for_a_claim_everybody_may(shared: Shared) -> None:
    many = SETS * WAYS * 4
    assert all(shared.claim(f"/{number}", 100) for number in range(many))
    held = [number for number in range(many) if shared.claimed(f"/{number}")]
    assert SETS * WAYS // 2 < len(held) <= SETS * WAYS
    for number in range(many):
        shared.release(f"/{number}")
    assert not any(shared.claimed(f"/{number}") for number in range(many))


def test_of_many_that_claim_at_once_one_gets_it(shared: Shared) -> None:
    ready, go = os.pipe()

    def claims() -> bool:
        os.close(go)
        os.read(ready, 1)  # until the parent closes it
        got = shared.claim("/a", 100)
        time.sleep(0.2 if got else 0)  # who has it must live while the others ask
        return got

    pids = [forked(claims) for _ in range(6)]
    os.close(ready)
    os.close(go)
    assert sorted(ended(pid) for pid in pids) == [0, 2, 2, 2, 2, 2]
