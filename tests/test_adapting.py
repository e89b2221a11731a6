"""Adaptive settings in a real server: what the controller decides is put in force, said, and shown."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from vivace.admin.samples import adaptive_samples
from vivace.cli.top_view import _adaptive
from vivace.config.load import from_keywords
from vivace.embed import background
from vivace.errors import SettingError
from vivace.observe import own
from vivace.observe.layout import S_ADAPTIVE
from vivace.observe.section import Section
from vivace.observe.snapshot import take
from vivace.schedule import adaptive, standing
from vivace.worker import adapting
from wire import TIMEOUT_S, fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator


CALL_S = 0.02


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that takes seconds takes a part of one."""
    monkeypatch.setattr(adapting, "PERIOD_S", 0.05)
    for name, value in (
        ("STANDING_S", 0.1),
        ("WINDOW_S", 0.15),
        ("WINDOW_ANSWERS", 20),
        ("SETTLE_S", 0.05),
        ("SETTLE_CALLS", 1.0),
    ):
        monkeypatch.setattr(adaptive, name, value)
    monkeypatch.setattr(standing, "INTERVAL_S", 0.3)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    time.sleep(CALL_S)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Users:
    """Clients that ask again when they are answered, on a thread each, while the block runs."""

    def __init__(self, address: Any, count: int) -> None:
        self._ending = threading.Event()
        self._address = address
        self.statuses: list[bytes] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _ask(self) -> None:
        with socket.create_connection(self._address, TIMEOUT_S) as sock:
            while not self._ending.is_set():
                sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                answer = sock.recv(65536)
                self.statuses.append(answer[9:12])


@contextmanager
def adapted(**settings: Any) -> Iterator[tuple[Any, list[str]]]:
    """A server of `app` that adapts, and what it says."""
    said: list[str] = []
    with background(app, adaptive=True, workers=0, **settings) as server:
        inner = server.server
        inner.console.others.append(lambda level, text, facts: said.append(text))
        yield inner, said


def address_of(server: Any) -> tuple[str, int]:
    host, _, port = server.addresses[0].removeprefix("http://").rpartition(":")
    return host, int(port)


def test_threads_follow_those_who_wait_and_it_is_said_and_shown() -> None:
    with adapted(threads=4) as (server, said), Users(address_of(server), 16) as users:
        until(lambda: server.plan.threads > 4 and any("is kept" in text for text in said), what="more threads")
        assert server.loop.pool.total > 5
        [kept] = [text for text in said if "is kept" in text][:1]
        assert kept.startswith("adaptive: threads 4 -> 8 is kept: +")
        snapshot = take(own.current())
        [worker] = [row for row in snapshot["workers"] if row["adaptive"]]
        assert worker["threads_max"] >= 8
        assert worker["trials"]["kept"] >= 1
        assert "is kept" in worker["adaptive"]["news"]
        assert worker["adaptive"]["switch_interval_s"] == pytest.approx(0.0002)
        assert worker["adaptive"]["wait_limit_s"] == pytest.approx(59.0)
        samples = {(name, labels): value for name, _, labels, value in adaptive_samples(snapshot)}
        assert samples["vivace_adaptive_trials", (("result", "kept"),)] >= 1
        assert samples["vivace_worker_wait_limit_seconds", (("worker", str(worker["place"])),)] == 59.0
        assert _adaptive(worker)[0] == f"#{worker['place']} adapts: {worker['threads_max']} threads"
    assert set(users.statuses) == {b"200"}


def test_where_nobody_waits_all_stays_as_it_is() -> None:
    interval_s = sys.getswitchinterval()
    with adapted(threads=8) as (server, said), Users(address_of(server), 3) as users:
        until(lambda: len(users.statuses) > 60, what="answers")
        assert server.plan.threads == 8
        # It is shorter for the moment in which the profiler looks.
        until(lambda: sys.getswitchinterval() == pytest.approx(0.0002, abs=1e-6), what="the interval")
        assert not [text for text in said if "adaptive" in text]
    assert sys.getswitchinterval() == interval_s


def test_a_queue_that_grows_is_cut() -> None:
    """Requests come faster than two threads can answer, whoever waits: a connection each."""
    with adapted(threads=2, adaptive_threads_max=2, adaptive_wait=0.2) as (server, said):
        address = address_of(server)
        conns, statuses = [], []
        assert fetch(server.addresses[0]).status == 200
        after = 0
        while after < 20:
            conns.append(socket.create_connection(address, TIMEOUT_S))
            conns[-1].sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            after += any("a queue stands" in text for text in said)
            assert len(conns) < 2000
            time.sleep(CALL_S / 10)  # five times as many as two threads answer
        assert server.loop.admission.limit_s == pytest.approx(0.2)
        for conn in conns:
            with conn:
                statuses.append(conn.recv(65536)[9:12])
        assert set(statuses) == {b"200", b"503"}
        # Something happens, so that the loop turns, and nobody waits.
        until(
            lambda: fetch(server.addresses[0]).status == 200 and server.loop.admission.limit_s > 1.0,
            what="the limit is its own again",
        )


def test_another_worker_in_the_same_place_begins_anew() -> None:
    section = Section.private()
    section.words[S_ADAPTIVE] = 1
    section.tell_adapted("threads 4 -> 8 is kept" + "é" * 300)
    assert section.adapted.startswith("threads 4 -> 8 is kept")
    section.clear()
    assert section.adapted == ""
    assert section.words[S_ADAPTIVE] == 0


def test_it_needs_what_is_measured() -> None:
    with pytest.raises(SettingError, match=r"adaptive: .* leave out --no-metrics"):
        from_keywords(adaptive=True, metrics=False)
