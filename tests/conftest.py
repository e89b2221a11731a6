"""Fixtures that several files share: servers with one thread and with eight, bare and under `wsgiref.validate`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import hypothesis
import pytest

import vivace
from timed import LIMIT_S
from vivace.worker.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from certs import Authority

    Serve = Callable[..., vivace.background]

# A shared machine may be slow at any moment: that is no failure of a property.
hypothesis.settings.register_profile("vivace", deadline=None)
hypothesis.settings.load_profile("vivace")


# Tests start programs by the hundred: without files of bytecode each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Started in the background of a script, the tests and all that they start would ignore SIGINT (POSIX sh, "&").
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one more than there are processors, as tests wait for sockets and processes a third of their time."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What passed only when it was asked again is told with what it said first: it may be a race in the server."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"asked again: {report.nodeid}")
        terminalreporter.line(report.longreprtext)


@pytest.fixture
def no_fault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test where vivace logged a fault of its own, whatever the clients saw of it."""
    faults: list[BaseException] = []
    log = Console.on_error

    def on_error(console: Console, error: BaseException) -> None:
        faults.append(error)
        log(console, error)

    monkeypatch.setattr(Console, "on_error", on_error)
    yield
    # Pooled threads may still be on their way out after a server has stopped.
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and any(thread.name.startswith("vivace-") for thread in threading.enumerate()):
        time.sleep(0.001)
    assert faults == []


@pytest.fixture(params=[1, 8], ids=["1 thread", "8 threads"])
def serve_bare(request: pytest.FixtureRequest, no_fault: None) -> Serve:
    """(app, **settings) -> a server to be used by `with`."""
    return lambda app, **settings: vivace.background(app, **{"threads": request.param, **settings})


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates for tests of TLS."""
    from certs import Authority  # only where it is needed: the core of the tests does without cryptography

    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(params=["bare", "validate"])
def serve(request: pytest.FixtureRequest, serve_bare: Serve) -> Serve:
    """The same, for applications that are valid."""
    if request.param == "bare":
        return serve_bare
    return lambda app, **settings: serve_bare(validator(app), **settings)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the server says on its console."""
    said: list[str] = []
    monkeypatch.setattr(Console, "say", lambda console, level, message, **facts: said.append(f"{level}: {message}"))
    return said


@pytest.fixture(params=[1, 2, 8], ids=["1 thread", "2 threads", "8 threads"])
def serve_timed(request: pytest.FixtureRequest) -> Serve:
    return lambda app, **settings: vivace.background(
        app, **{"threads": request.param, "request_timeout": LIMIT_S, **settings}
    )


@pytest.fixture
def serve_pooled() -> Serve:
    return lambda app, **settings: vivace.background(app, **{"threads": 4, "request_timeout": LIMIT_S, **settings})


@pytest.fixture(autouse=True)
def _nothing_in_the_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """hypothesis times collections by a callback, which swallows what request_timeout raises in that moment."""
    if not request.module.__name__.startswith("test_request_timeout"):
        yield
        return
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks
