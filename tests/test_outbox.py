"""connection.outbox: answers of one turn leave together, but none waits for what may last, and none is lost."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

import vivace
from vivace.connection.connection import CLOSED
from vivace.connection.outbox import HOLD_S, Outbox
from vivace.errors import PeerGone
from wire import TIMEOUT_S, Client, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CALL_S = 0.00005
"""A call long enough for its answer to wait for others."""


class Site:
    """An application, what its calls saw, and its clients."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.barrier = threading.Event()
        self.stands = threading.Event()
        self.clients: list[Client] = []
        self.call_s = CALL_S
        self.arrived: list[int] = []
        """For each call of /call: how many clients had an answer that they have not read."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        body = environ["QUERY_STRING"].encode() or b"-"
        if path == "/call":
            self.arrived.append(len(select.select([one.socket for one in self.clients], [], [], 0)[0]))
            ends = time.perf_counter() + self.call_s
            while time.perf_counter() < ends:
                pass
        elif path == "/gate":
            self.gate.wait(TIMEOUT_S)
        elif path == "/barrier":
            self.stands.set()
            self.barrier.wait(TIMEOUT_S)
        elif path == "/both":
            self.gate.wait(0.03)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return Slow(self.gate, body) if path in {"/close", "/both"} else [body]

    def connect(self, server: Any, number: int) -> None:
        self.leave()
        self.clients = [Client(server) for _ in range(number)]

    def leave(self) -> None:
        for client in self.clients:
            client.socket.close()

    def ask(self, *paths: str) -> None:
        """One request of each client."""
        for client, path in zip(self.clients, paths, strict=True):
            client.send(request(path))

    @contextmanager
    def held_up(self, server: Any) -> Iterator[None]:
        """The loop of a server that is `ours`: what is asked for meanwhile is all there when it goes on."""
        self.barrier.clear()
        self.stands.clear()
        with Client(server) as holder:
            holder.send(request("/barrier"))
            assert self.stands.wait(TIMEOUT_S)
            yield
            self.barrier.set()
            assert holder.read_response().status == 200

    def together(self, server: Any, *paths: str) -> None:
        """As `ask`, for one turn of the loop of a server that is `ours`."""
        with self.held_up(server):
            self.ask(*paths)


def ours(site: Site, threads: int = 4) -> Any:
    """A server whose loop runs every call, for up to a second."""
    return vivace.background(site, threads=threads, lanes="inline", tick=1.0, log_level="critical")


class Slow:
    """A body that lasts after its last block, until the gate opens."""

    def __init__(self, gate: threading.Event, block: bytes) -> None:
        self._blocks = iter([block])
        self._gate = gate

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        self._gate.wait(TIMEOUT_S)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.gate.set()
    site.barrier.set()
    site.leave()


def answers(site: Site) -> list[bytes]:
    return [client.read_response().body for client in site.clients]


def test_nobody_is_answered_before_the_last_call_of_a_turn(site: Site) -> None:
    """On a busy machine a turn may take longer than answers wait; an answer sent at once would be seen by each next
    call."""
    with ours(site) as server:
        site.connect(server, 4)

        def waited() -> bool:
            site.arrived.clear()
            site.together(server, *["/call"] * 4)
            until(lambda: len(site.arrived) == 4)
            assert answers(site) == [b"-"] * 4
            return site.arrived == [0] * 4

        until(waited)


def test_an_answer_does_not_wait_for_long(site: Site) -> None:
    site.call_s = HOLD_S / 2
    with ours(site) as server:
        site.connect(server, 8)
        site.together(server, *["/call"] * 8)
        until(lambda: len(site.arrived) == 8)
        assert site.arrived[-1] > 0
        answers(site)


def test_short_calls_are_answered_at_once(site: Site) -> None:
    site.call_s = 0.0
    with ours(site) as server:
        site.connect(server, 4)

        def at_once() -> bool:
            site.together(server, *["/call"] * 4)  # the turn after the barrier's waits, for that took long
            answers(site)
            site.arrived.clear()
            site.ask(*["/other"] * 4)
            answers(site)
            site.ask(*["/call"] * 4)
            until(lambda: len(site.arrived) == 4)
            answers(site)
            return any(site.arrived)

        until(at_once)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize(("path", "answered"), [("/gate", False), ("/close", True), ("/both", True)])
def test_a_call_that_lasts_keeps_no_answer_back(site: Site, path: str, place: int, answered: bool) -> None:
    """It is known as a quick one, so it is run while others wait. What lasts after its last block does not keep its own
    answer back either."""
    paths = ["/call"] * 6
    paths[place] = path
    for _ in range(5):
        with vivace.background(site, threads=4, log_level="critical") as server:
            site.connect(server, 6)
            for _ in range(5):
                site.gate.set()
                site.ask(*paths)
                answers(site)
                site.ask(*["/call"] * 6)
                answers(site)
            site.gate = threading.Event()
            site.ask(*paths)
            for client in site.clients:
                if answered or client is not site.clients[place]:
                    assert client.read_response().status == 200
            site.gate.set()
            if not answered:
                assert site.clients[place].read_response().status == 200


def test_where_nobody_can_overtake_a_call_no_answer_waits_for_one(site: Site) -> None:
    with ours(site, threads=1) as server:
        site.connect(server, 3)
        for _ in range(5):
            site.gate = threading.Event()
            site.together(server, "/call", "/call", "/close")
            assert answers(site) == [b"-"] * 3
            site.gate.set()


def test_who_asks_for_the_end_gets_its_answer_and_the_end(site: Site) -> None:
    with ours(site) as server:
        for _ in range(5):
            site.connect(server, 4)
            with site.held_up(server):
                for place, client in enumerate(site.clients):
                    client.send(request(f"/call?{place}", *["Connection: close"] * (place % 2)))
            assert answers(site) == [b"0", b"1", b"2", b"3"]
            assert all(client.rest() == (b"", "closed") for client in site.clients[1::2])


def test_a_client_that_leaves_takes_no_answer_of_others_with_it(site: Site) -> None:
    with ours(site) as server:
        for _ in range(10):
            site.connect(server, 5)
            with site.held_up(server):
                site.ask(*[f"/call?{place}" for place in range(5)])
                site.clients.pop(2).reset()
            assert answers(site) == [b"0", b"1", b"3", b"4"]


# Without a server.


class Peer:
    """A connection whose other end is at hand, as far as an outbox knows connections."""

    def __init__(self) -> None:
        self.socket, self.other = socket.socketpair()
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.state = 0
        self.answered = 0.0
        self.close_reason = ""
        self.kept: list[bytes] = []

    def send(self, data: bytes) -> int:
        try:
            return self.socket.send(data)
        except OSError as error:
            raise PeerGone from error

    def keep(self, data: memoryview) -> None:
        self.kept.append(bytes(data))


class Server:
    """What is left to be sent, and who was closed."""

    def __init__(self) -> None:
        self.left: list[tuple[Any, bytes]] = []
        self.closed: list[Any] = []

    def finish(self, conn: Any, answer: bytes, keep: bool, *, leading: bool) -> None:
        assert keep
        assert leading
        self.left.append((conn, answer))

    def close(self, conn: Any, reason: str) -> None:
        assert reason == "client_gone"
        self.closed.append(conn)


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        found = [Peer() for _ in range(3)]
        for peer in found:
            stack.enter_context(peer.socket)
            stack.enter_context(peer.other)
        yield found


def sent(peers: list[Peer], calling: Peer | None = None, data: bytes = b"answer") -> Server:
    server, outbox = Server(), Outbox()
    outbox.extend((peer, data) for peer in peers)  # type: ignore[misc]
    outbox.send_all(server, calling)  # type: ignore[arg-type]
    assert not outbox
    return server


def test_each_gets_its_own(peers: list[Peer]) -> None:
    server = sent(peers)
    assert [peer.other.recv(100) for peer in peers] == [b"answer"] * 3
    assert all(peer.answered for peer in peers)
    assert not server.left
    assert not server.closed


def test_what_the_peer_does_not_take_is_finished_later(peers: list[Peer]) -> None:
    large = b"x" * (8 << 20)
    server = sent(peers[:1], data=large)
    [(conn, rest)] = server.left
    assert conn is peers[0]
    assert 0 < len(rest) < len(large)


def test_a_peer_that_is_gone_is_closed(peers: list[Peer]) -> None:
    peers[1].other.close()
    assert sent(peers).closed == [peers[1]]
    assert peers[2].other.recv(100) == b"answer"


def test_nothing_is_written_to_a_connection_that_was_closed_meanwhile(peers: list[Peer]) -> None:
    peers[1].state = CLOSED
    sent(peers)
    assert select.select([peer.other for peer in peers], [], [], 0)[0] == [peers[0].other, peers[2].other]


def test_what_is_left_of_a_call_that_goes_on_stays_with_its_connection(peers: list[Peer]) -> None:
    large = b"x" * (8 << 20)
    server = sent(peers[:1], peers[0], large)
    assert not server.left
    [rest] = peers[0].kept
    assert 0 < len(rest) < len(large)


def test_a_call_that_goes_on_hears_that_its_client_has_gone(peers: list[Peer]) -> None:
    def refuse(data: bytes) -> int:
        raise PeerGone

    peers[0].send = refuse  # type: ignore[method-assign]
    server = sent(peers[:1], peers[0])
    assert (peers[0].close_reason, server.closed) == ("client_gone", [])


def test_looks_are_taken_when_all_are_out(peers: list[Peer]) -> None:
    outbox, seen = Outbox(), []
    outbox.append((peers[0], b"answer"))  # type: ignore[arg-type]
    outbox.looks.append((lambda *what: seen.append((peers[0].other.recv(100), what)), (1, 2)))
    outbox.send_all(Server())  # type: ignore[arg-type]
    assert seen == [(b"answer", (1, 2))]
    assert not outbox.looks
