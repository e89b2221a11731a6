"""worker.caching: what a server's cache takes of the process, and gives back."""

from __future__ import annotations

import gc
import os
from collections import Counter
from typing import Any

import pytest

from vivace import background
from vivace.cache.application import ground
from vivace.errors import SettingError
from wire import Client, fetch, until


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Cache-Control", "max-age=60")])
    return [b"x"]


def descriptors() -> Counter[str]:
    gc.collect()  # what maps a file holds it
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":[")[0])
        except OSError:
            pass  # the one that looks
    return Counter(found)


@pytest.mark.parametrize("runs", [True, False])
def test_a_server_that_has_ended_leaves_nothing(runs: bool) -> None:
    background(app).stop()  # what the first server of a process makes stays
    before = descriptors()
    server = background(app, cache=True)
    if runs:
        with server, Client(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            client.read_response()
    else:
        server.stop()
    del server
    until(lambda: not descriptors() - before)  # its threads have ended, too


def test_nor_does_one_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise SettingError("planted")

    monkeypatch.setattr("vivace.worker.server.make_tls", fail)
    before = descriptors()
    for _ in range(2):
        with pytest.raises(SettingError):
            background(app, cache=True)
    assert not descriptors() - before
    assert ground.purge is None


def test_of_two_in_one_process_the_first_that_ends_takes_nothing_from_the_other() -> None:
    first = background(app, cache=True).start()
    with background(app, cache=True) as second:
        memory = second.server.loop.cache
        assert memory is not None
        assert ground.memory is memory.levels.memory
        first.stop()
        assert ground.memory is memory.levels.memory
        assert fetch(second).body == b"x"
    assert ground.memory is not memory.levels.memory
    assert ground.purge is None
