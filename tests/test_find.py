"""supervisor/find.py: a number that is a port and a process at once."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from command import program
from vivace.errors import SettingError
from vivace.observe.layout import H_PID
from vivace.supervisor.find import find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 50
PROGRAM = """
import socket, sys
from vivace.observe.page import Page

page = Page.create(1) if sys.argv[1] == "server" else None
if len(sys.argv) > 2:
    listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
    print(listening.getsockname()[1], flush=True)
else:
    print(0, flush=True)
sys.stdin.read()
"""


@contextmanager
def other(kind: str, *port: str) -> Iterator[tuple[int, int]]:
    """(its number, its port) of a process that is a "server", as far as it can be seen from outside, or a "stranger",
    and may listen at a port. (The process of these tests may be a server by what was tested in it before.)"""
    with program(PROGRAM, kind, *port) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


@contextmanager
def server_with_the_number_of_a_free_port() -> Iterator[int]:
    with ExitStack() as stack:
        for _ in range(TRIES):
            pid, _ = stack.enter_context(other("server"))
            try:
                socket.create_server(("127.0.0.1", pid)).close()
            except (OSError, OverflowError):  # taken, not allowed, or no port
                continue
            yield pid
            return
    pytest.skip("no process has a number that is a free port")


def test_a_stranger_at_the_port_does_not_hide_the_process() -> None:
    with server_with_the_number_of_a_free_port() as pid:
        with other("stranger", str(pid)):
            assert find_server(str(pid)).words[H_PID] == pid
            with pytest.raises(SettingError, match=rf"who listens at port {pid} is no vivace server"):
                find_server(f"127.0.0.1:{pid}")
        assert find_server(str(pid)).words[H_PID] == pid


def test_a_number_that_means_two_servers_is_refused() -> None:
    with server_with_the_number_of_a_free_port() as pid, other("server", str(pid)) as (second, _):
        said = f"{pid} is the port of one server .process {second}. and the process of another"
        with pytest.raises(SettingError, match=said):
            find_server(str(pid))
        assert find_server(f":{pid}").words[H_PID] == second


def test_a_number_that_is_neither() -> None:
    with other("stranger", "0") as (_, port):
        if not os.path.exists(f"/proc/{port}"):
            with pytest.raises(SettingError, match="who listens at port"):
                find_server(str(port))
    with pytest.raises(SettingError, match="there is no process 99999999"):
        find_server("99999999")
