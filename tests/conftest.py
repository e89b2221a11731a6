"""Fixtures that several files share: servers with one thread and with eight, bare and under `wsgiref.validate`."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import hypothesis
import pytest

import vivace
from vivace.worker.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[..., vivace.background]

# A shared machine may be slow at any moment: that is no failure of a property.
hypothesis.settings.register_profile("vivace", deadline=None)
hypothesis.settings.load_profile("vivace")


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


@pytest.fixture(params=["bare", "validate"])
def serve(request: pytest.FixtureRequest, serve_bare: Serve) -> Serve:
    """The same, for applications that are valid."""
    if request.param == "bare":
        return serve_bare
    return lambda app, **settings: serve_bare(validator(app), **settings)
