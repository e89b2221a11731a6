"""connection.sharing: connections that go from one worker to another."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_supervisor import APP, Served
from vivace.connection.sharing import SLACK, Siblings, make_inboxes, receive, send
from vivace.observe.layout import DRAINING, S_COMING, S_CONNECTIONS, S_STATE, SERVING
from vivace.observe.page import Page
from vivace.supervisor.find import find_server
from wire import TIMEOUT_S, until


@pytest.fixture
def trio() -> Iterator[tuple[Page, list[Siblings]]]:
    """Three workers that serve, in one process."""
    page, inboxes = Page.create(4), make_inboxes(4)
    for place in range(3):
        page.section(place).words[S_STATE] = SERVING
    siblings = [Siblings(page, place, inboxes) for place in range(3)]
    for each in siblings:
        each.look()
    yield page, siblings
    for pair in inboxes:
        for each in pair:
            each.close()
    page.close()


def connections(page: Page, *counts: int) -> None:
    for place, count in enumerate(counts):
        page.section(place).words[S_CONNECTIONS] = count


def fetched(siblings: Siblings) -> list[str]:
    found: list[str] = []

    def take(fd: int, listener: str) -> None:
        os.close(fd)
        found.append(listener)

    siblings.fetch(take)
    return found


@pytest.mark.parametrize(
    ("counts", "goes"),
    [((0, 0, 0), None), ((1, 0, 0), None), ((SLACK, 0, 1), 1), ((9, 7, 8), 1), ((9, 8, 8), None), ((99, 95, 90), None)],
)
def test_new_connection_goes_where_rather_fewer_are(
    trio: tuple[Page, list[Siblings]], counts: tuple[int, ...], goes: int | None
) -> None:
    page, (own, *others) = trio
    connections(page, *counts)
    left, right = socket.socketpair()
    assert own.relieve(counts[0], left.fileno(), "http://a:1") is (goes is not None)
    assert [fetched(other) for other in others] == [["http://a:1"] if place == goes else [] for place in (1, 2)]
    left.close()
    right.close()


def test_what_is_on_its_way_counts(trio: tuple[Page, list[Siblings]]) -> None:
    page, (own, *others) = trio
    connections(page, 4, 0, 0)
    left, right = socket.socketpair()
    given = [own.relieve(4, left.fileno(), "x") for _ in range(8)]
    assert given == [True] * 6 + [False] * 2, "until both have two on their way"
    assert [len(fetched(other)) for other in others] == [3, 3]
    assert page.section(1).words[S_COMING] == 0
    left.close()
    right.close()


def test_who_drains_gets_nothing(trio: tuple[Page, list[Siblings]]) -> None:
    page, (own, *others) = trio
    connections(page, 50, 0, 20)
    page.section(1).words[S_STATE] = DRAINING
    left, right = socket.socketpair()
    assert own.relieve(50, left.fileno(), "x")
    assert own.lightest() == 2
    assert [len(fetched(other)) for other in others] == [0, 1]
    page.section(2).words[S_STATE] = DRAINING
    assert own.lightest() is None
    left.close()
    right.close()


def test_who_starts_beside_it_is_seen_at_once() -> None:
    page, inboxes = Page.create(2), make_inboxes(2)
    own, other = (Siblings(page, place, inboxes) for place in range(2))
    own.look()
    connections(page, 5, 0)
    left, right = socket.socketpair()
    assert not own.relieve(5, left.fileno(), "x")
    page.section(1).words[S_STATE] = SERVING
    assert own.relieve(5, left.fileno(), "x"), "no second has passed"
    assert fetched(other) == ["x"]
    for each in (left, right, *inboxes[0], *inboxes[1]):
        each.close()
    page.close()


def test_full_inbox_is_no_loss() -> None:
    [(inbox, outbox)] = make_inboxes(1)
    left, right = socket.socketpair()
    sent = 0
    while send(outbox, left.fileno(), b"x"):
        sent += 1
        assert sent < 100_000
    count = 0
    while (gift := receive(inbox)) is not None:
        os.close(gift[0])
        count += 1
    assert count == sent > 5
    for each in (left, right, inbox, outbox):
        each.close()


def test_burst_of_connections_is_shared_evenly(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Served(tmp_path, "-w2") as server:
        server.said("worker .* serves", 2)
        page = find_server(str(server.port))
        for _ in range(3):
            clients = [socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) for _ in range(40)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            pids = Counter(client.recv(4096).split(b"\r\n\r\n")[1].split()[0] for client in clients)
            assert len(pids) == 2
            assert min(pids.values()) >= 10, pids
            for client in clients:
                client.close()
            # Who has not noticed yet that they are gone would be spared in the next burst.
            until(lambda: not any(page.section(place).words[S_CONNECTIONS] for place in range(page.sections)))
        page.close()


def test_idle_connection_survives_the_reload(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Served(tmp_path, "-w2") as server:
        server.said("worker .* serves", 2)
        clients = [socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) for _ in range(10)]
        ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

        def version(client: socket.socket) -> bytes:
            client.sendall(ask)
            return client.recv(4096).split(b"\r\n\r\n")[1].split()[1]

        assert {version(client) for client in clients} == {b"1"}
        server.write("VERSION = 1", "VERSION = 2")
        server.ctl("reload")
        server.said("goes: a newer generation", 2)
        assert {version(client) for client in clients} == {b"2"}, "the same connections, the new code"
        for client in clients:
            client.close()
