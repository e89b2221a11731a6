"""net.poller: one contract, held by every poller that this system has."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from vivace.net.poller import AWAY, EVENTS_MAX, KINDS, READ, WRITE, make_poller
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vivace.net.poller import Poller

PRESENT = [kind for kind in KINDS if kind != "auto" and hasattr(select, kind)]


@pytest.fixture(params=PRESENT)
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made = make_poller(request.param)
    yield made
    if made.wake_fd >= 0:
        made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(watched, peer), both without blocking."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.setblocking(False)
    with ours, peer:
        yield ours, peer


Pair = tuple[socket.socket, socket.socket]


def ready(poller: Poller, timeout_s: float = 0.0) -> set[int]:
    """The descriptors reported by one `wait`, wake-ups taken back and left out."""
    found = {fd for fd, _ in poller.wait(timeout_s, EVENTS_MAX)}
    if poller.wake_fd in found:
        poller.on_wake()
    return found - {poller.wake_fd}


def settled(poller: Poller) -> set[int]:
    """What is reported now, after wake-ups that only announced a change."""
    return ready(poller) | ready(poller)


def fill(sock: socket.socket) -> None:
    """Sends until the kernel takes no more."""
    with suppress(BlockingIOError):
        while sock.send(bytes(65536)):
            pass


class Waiter:
    """A thread in `wait(-1)` until a descriptor other than the wake-up's, or `stop`, is reported."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.found: set[int] = set()
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.found and not self.stopping:
            self.found = ready(self.poller, -1)

    def joined(self) -> set[int]:
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive(), "wait did not return"
        return self.found

    def stop(self) -> set[int]:
        self.stopping = True
        self.poller.wake()
        return self.joined()


# Modes.


def test_a_descriptor_is_reported_until_it_is_read(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    poller.add(ours.fileno(), READ)
    assert settled(poller) == set()
    peer.send(b"data")
    for _ in range(3):
        assert settled(poller) == {ours.fileno()}
    ours.recv(2)
    assert settled(poller) == {ours.fileno()}, "a part was read, the rest must be reported"
    ours.recv(2)
    assert settled(poller) == set()


def test_the_end_is_reported_to_a_reader_until_it_is_removed(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    poller.add(ours.fileno(), READ)
    peer.close()
    for _ in range(3):
        assert settled(poller) == {ours.fileno()}
    poller.remove(ours.fileno())
    assert settled(poller) == set()


def test_a_writer_is_reported_while_there_is_room(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    poller.add(ours.fileno(), WRITE)
    for _ in range(2):
        assert settled(poller) == {ours.fileno()}
    fill(ours)
    assert settled(poller) == set()
    while select.select([peer], (), (), 0)[0]:
        peer.recv(1 << 20)
    assert settled(poller) == {ours.fileno()}


def test_a_writer_is_not_told_of_data(poller: Poller, pair: Pair) -> None:
    """READ and WRITE exclude each other: what a draining connection receives must not wake the loop."""
    ours, peer = pair
    fill(ours)
    poller.add(ours.fileno(), WRITE)
    peer.send(b"data")
    assert settled(poller) == set()


@pytest.mark.parametrize("added", [READ, WRITE, AWAY])
def test_away_hides_data(poller: Poller, pair: Pair, added: int) -> None:
    ours, peer = pair
    poller.add(ours.fileno(), added)
    if added != AWAY:
        poller.change(ours.fileno(), AWAY)
    peer.send(b"data")
    assert settled(poller) == set()
    poller.change(ours.fileno(), READ)
    assert settled(poller) == {ours.fileno()}


@pytest.mark.parametrize("leave", [socket.socket.close, lambda peer: peer.shutdown(socket.SHUT_WR)])
def test_away_tells_of_a_hang_up_at_most_once(
    poller: Poller, pair: Pair, leave: Callable[[socket.socket], None]
) -> None:
    """Else a loop whose threads are all busy would spin on the clients that have left."""
    ours, peer = pair
    poller.add(ours.fileno(), AWAY)
    ready(poller)
    leave(peer)
    reports = sum(bool(ready(poller)) for _ in range(5))
    assert reports <= 1
    poller.change(ours.fileno(), READ)
    assert settled(poller) == {ours.fileno()}, "the end must not be lost"
    poller.change(ours.fileno(), AWAY)
    ready(poller)
    assert sum(bool(ready(poller)) for _ in range(5)) <= 1, "AWAY a second time"


def test_modes_change_to_and_fro(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    fd = ours.fileno()
    poller.add(fd, READ)
    peer.send(b"data")
    expected = {READ: {fd}, WRITE: {fd}, AWAY: set()}
    for mode in (WRITE, READ, AWAY, WRITE, AWAY, READ):
        poller.change(fd, mode)
        assert settled(poller) == expected[mode]


# Removal.


def test_removing_what_is_not_watched_is_an_os_error_at_worst(poller: Poller, pair: Pair) -> None:
    with suppress(OSError):
        poller.remove(pair[0].fileno())
    poller.add(pair[0].fileno(), READ)
    pair[1].send(b"data")
    assert settled(poller) == {pair[0].fileno()}


def test_a_descriptor_closed_without_removal_does_not_disturb_the_others(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    gone, other = socket.socketpair()
    with gone, other:
        poller.add(gone.fileno(), READ)
        poller.add(ours.fileno(), READ)
        gone.close()
        peer.send(b"data")
        assert until(lambda: ready(poller, 0.1)) == {ours.fileno()}


def test_a_descriptor_number_that_is_used_again_is_a_new_one(poller: Poller, pair: Pair) -> None:
    """Closing and accepting in one batch gives the same number to another connection."""
    ours, peer = pair
    fd = ours.fileno()
    poller.add(fd, AWAY)
    poller.remove(fd)
    other, other_peer = socket.socketpair()
    with other, other_peer:
        os.dup2(other.fileno(), fd)
        poller.add(fd, READ)
        peer.close()
        assert settled(poller) == set()
        other_peer.send(b"data")
        assert settled(poller) == {fd}


# Many.


@pytest.fixture
def readable() -> Iterator[set[int]]:
    """Fifty descriptors with one byte to read."""
    pairs = [socket.socketpair() for _ in range(50)]
    for _, peer in pairs:
        peer.send(b"x")
    yield {ours.fileno() for ours, _ in pairs}
    for sock in sum(pairs, ()):
        sock.close()


def test_all_of_many_are_reported(poller: Poller, readable: set[int]) -> None:
    for fd in readable:
        poller.add(fd, READ)
    assert settled(poller) == readable


def test_a_small_batch_delays_and_loses_nothing(poller: Poller, readable: set[int]) -> None:
    for fd in readable:
        poller.add(fd, READ)
    seen: set[int] = set()
    for _ in range(100):
        for fd, _ in poller.wait(0, 3):
            if fd == poller.wake_fd:
                poller.on_wake()
            else:
                seen.add(fd)
                os.read(fd, 10)
    assert seen == readable


def test_a_descriptor_too_high_for_the_poller_does_not_disturb_the_others(poller: Poller, pair: Pair) -> None:
    """`select` stops at FD_SETSIZE, 1024: such a descriptor is refused when it is added, or it is served."""
    ours, peer = pair
    high = 1500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= high:
        pytest.skip("too few descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, high + 1), hard))
    far, far_peer = socket.socketpair()
    try:
        os.dup2(far.fileno(), high)
        poller.add(ours.fileno(), READ)
        expected = {ours.fileno()}
        try:
            poller.add(high, READ)
        except (OSError, ValueError):
            pass
        else:
            expected.add(high)
        peer.send(b"data")
        far_peer.send(b"data")
        assert settled(poller) == expected
    finally:
        os.close(high)
        far.close()
        far_peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Other threads.


def test_wake_ends_a_wait(poller: Poller) -> None:
    assert Waiter(poller).stop() == set()


def test_wake_before_the_wait_is_not_lost_and_many_count_once(poller: Poller) -> None:
    for _ in range(70_000):  # more than the pipe behind it holds
        poller.wake()
    assert {fd for fd, _ in poller.wait(-1, EVENTS_MAX)} == {poller.wake_fd}
    poller.on_wake()
    assert poller.wait(0, EVENTS_MAX) == []
    poller.on_wake()
    poller.wake()
    assert {fd for fd, _ in poller.wait(-1, EVENTS_MAX)} == {poller.wake_fd}


def test_wake_by_a_signal_handler(poller: Poller) -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: poller.wake())
    try:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        assert {fd for fd, _ in poller.wait(TIMEOUT_S, EVENTS_MAX)} == {poller.wake_fd}
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_wake_after_close_reaches_nobody(poller: Poller) -> None:
    """The numbers of its descriptors belong to somebody else by then."""
    poller.close()
    pipes = [os.pipe() for _ in range(10)]
    counters = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(5)] if hasattr(os, "eventfd") else []
    try:
        poller.wake()
        watched = [reader for reader, _ in pipes] + counters
        assert select.select(watched, (), (), 0)[0] == []
    finally:
        for fd in [*sum(pipes, ()), *counters]:
            os.close(fd)


def test_added_while_another_thread_waits(poller: Poller, pair: Pair) -> None:
    waiter = Waiter(poller)
    pair[1].send(b"data")
    poller.add(pair[0].fileno(), READ)
    assert waiter.joined() == {pair[0].fileno()}


def test_changed_while_another_thread_waits(poller: Poller, pair: Pair) -> None:
    """How a pooled thread gives a connection back to the loop."""
    ours, peer = pair
    poller.add(ours.fileno(), AWAY)
    peer.send(b"data")
    waiter = Waiter(poller)
    poller.change(ours.fileno(), READ)
    assert waiter.joined() == {ours.fileno()}


def test_removed_while_another_thread_waits(poller: Poller, pair: Pair) -> None:
    ours, peer = pair
    poller.add(ours.fileno(), READ)
    waiter = Waiter(poller)
    poller.remove(ours.fileno())
    assert waiter.stop() == set()
    peer.send(b"data")
    assert settled(poller) == set()


def test_handed_to_and_fro_between_two_threads(poller: Poller, pair: Pair) -> None:
    """A leader that reads and goes AWAY, and a thread that answers and gives back: 500 times, none is lost."""
    ours, peer = pair
    fd = ours.fileno()
    turn = threading.Semaphore(0)
    poller.add(fd, READ)

    def give_back() -> None:
        for _ in range(500):
            turn.acquire()
            ours.send(b"answer")
            poller.change(fd, READ)

    other = threading.Thread(target=give_back, daemon=True)
    other.start()
    for number in range(500):
        peer.send(b"request")
        assert until(lambda: ready(poller, TIMEOUT_S)) == {fd}, number
        assert ours.recv(100) == b"request"
        poller.change(fd, AWAY)
        turn.release()
        peer.setblocking(True)
        assert peer.recv(100) == b"answer"
    other.join(TIMEOUT_S)
    assert not other.is_alive()


# Choice.


def test_auto_takes_the_best() -> None:
    auto, named = make_poller(), make_poller(PRESENT[0])
    assert type(auto) is type(named)
    auto.close()
    named.close()


def test_an_unknown_poller() -> None:
    with pytest.raises(ValueError, match="'fast' is none of auto, epoll, kqueue, select"):
        make_poller("fast")


def test_a_poller_that_the_system_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    monkeypatch.delattr(select, "kqueue", raising=False)
    for kind in ("epoll", "kqueue"):
        with pytest.raises(ValueError, match=f"this system has no {kind}; poller = auto"):
            make_poller(kind)
    auto = make_poller()
    assert type(auto).__name__ == "SelectPoller"
    auto.close()
