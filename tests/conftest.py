"""Fixtures that several files share: servers with one thread and with eight, bare and under `wsgiref.validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest

import vivace

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[..., vivace.background]


@pytest.fixture(params=[1, 8], ids=["1 thread", "8 threads"])
def serve_bare(request: pytest.FixtureRequest) -> Serve:
    """(app, **settings) -> a server to be used by `with`."""
    return lambda app, **settings: vivace.background(app, **{"threads": request.param, **settings})


@pytest.fixture(params=["bare", "validate"])
def serve(request: pytest.FixtureRequest, serve_bare: Serve) -> Serve:
    """The same, for applications that are valid."""
    if request.param == "bare":
        return serve_bare
    return lambda app, **settings: serve_bare(validator(app), **settings)
