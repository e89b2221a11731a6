"""worker.notify: datagrams as sd_notify(3) describes them, to a real socket."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from vivace.worker import notify
from vivace.worker.notify import VARIABLES, Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """A service manager: what it hears at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hears(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@vivace-test-{os.getpid()}")
    with manager.socket:
        yield manager


@pytest.fixture
def notifier(manager: Manager) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.address})


def test_what_is_said(manager: Manager, notifier: Notifier) -> None:
    assert notifier.ready()
    assert manager.hears() == ["READY=1"]
    assert notifier.ready("serves app:app")
    assert manager.hears() == ["READY=1", "STATUS=serves app:app"]
    assert notifier.stopping()
    assert manager.hears() == ["STOPPING=1"]
    assert notifier.watchdog()
    assert manager.hears() == ["WATCHDOG=1"]


def test_reloading_says_when(manager: Manager, notifier: Notifier) -> None:
    """Type=notify-reload compares it with the time of its own signal, on this clock."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.reloading()
    first, second = manager.hears()
    assert first == "RELOADING=1"
    name, _, stamp = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(stamp) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_one_line(manager: Manager, notifier: Notifier) -> None:
    """A line end would begin another assignment."""
    notifier.ready("bad\nMAINPID=1\r\n  text\tGrüße")
    assert manager.hears() == ["READY=1", "STATUS=bad MAINPID=1 text Grüße"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_nobody_asked(environ: dict[str, str]) -> None:
    notifier = Notifier({**environ, "WATCHDOG_USEC": "1000000"})
    assert not notifier.ready("status")
    assert notifier.watchdog_s == 0


@pytest.mark.parametrize("address", ["/nowhere/notify", "/" + "x" * 200, "@gone", "/nul\0byte"])
def test_nobody_listens(address: str) -> None:
    assert not Notifier({"NOTIFY_SOCKET": address}).ready()


def fill(filler: socket.socket) -> None:
    while True:
        filler.send(b"x")


def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: Manager, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SEND_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(manager.socket.getsockname())
        with pytest.raises(BlockingIOError):
            fill(filler)
    started = time.monotonic()
    assert not notifier.watchdog()
    assert 0.09 < time.monotonic() - started < 5


def test_no_descriptor_is_left(manager: Manager, notifier: Notifier) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        notifier.ready()
        manager.hears()
    assert len(os.listdir("/proc/self/fd")) == before


def test_children_are_not_told(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    notifier = Notifier.take(environ)
    assert environ == {"PATH": "/bin"}
    assert set(notifier.variables) == set(VARIABLES)
    assert Notifier(notifier.variables).ready(), "a successor"
    assert manager.hears() == ["READY=1"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_PID": str(os.getpid())}, 0.0),
        ({}, 0.0),
    ],
)
def test_watchdog(variables: dict[str, str], expected: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/notify", **variables}).watchdog_s == expected
