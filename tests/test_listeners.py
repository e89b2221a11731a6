"""What waits at listening sockets, against connections that a test has made wait."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from vivace.observe import listeners as module
from vivace.observe.listeners import Listeners, listeners, overflows_of
from wire import until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PID = os.getpid()
BACKLOG = 3

if not os.path.exists("/proc/self/net/tcp"):
    pytest.skip("this system does not tell", allow_module_level=True)


def row_of(address: str, pid: int = PID) -> dict[str, Any]:
    found = [row for row in listeners(pid) if row["address"] == address]
    assert len(found) == 1, f"{address}: {found}"
    return found[0]


def written(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_connections_that_wait_are_counted(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server((host, 0), family=family, backlog=BACKLOG))
        except OSError:
            pytest.skip("there is no IPv6 here")
        address = written(listener)
        for waiting in range(BACKLOG):
            row = row_of(address)
            assert (row["queue"], row["backlog"], row["drops"]) == (waiting, BACKLOG, 0)
            stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        for left in range(BACKLOG - 1, -1, -1):
            listener.accept()[0].close()
            assert row_of(address)["queue"] == left


def test_a_full_queue_turns_away_and_says_so() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        before = row_of(written(listener))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        after = until(lambda: (row := row_of(written(listener)))["drops"] >= 2 and row)
        assert after["queue"] == 2, "one more than the backlog: the kernel compares with >"
        assert after["overflows"] - before["overflows"] >= 2


def test_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "listener")
    name = f"vivace-{PID}"
    with ExitStack() as stack:
        for address, shown in ((path, path), (f"\0{name}", f"@{name}")):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(7)
            for waiting in range(3):
                row = row_of(f"unix:{shown}")
                assert (row["queue"], row["backlog"]) == (waiting, 7)
                assert row["drops"] is row["overflows"] is None
                stack.enter_context(socket.socket(socket.AF_UNIX)).connect(address)


def test_only_those_of_the_process() -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0), backlog=9); "
    code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    address = f"127.0.0.1:{int(child.stdout.readline())}"
    with socket.create_server(("127.0.0.1", 0)) as ours:
        assert [row["address"] for row in listeners(child.pid)] == [address]
        assert row_of(address, child.pid)["backlog"] == 9
        assert address not in [row["address"] for row in listeners(PID)]
        assert row_of(written(ours))
    child.communicate()
    assert listeners(child.pid) == [], "it has gone"


def test_one_that_looks_often_sees_new_sockets() -> None:
    watched = Listeners(PID)
    first = watched.look()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert written(listener) in [row["address"] for row in watched.look()]
    assert watched.look() == first


def test_without_netlink_the_tables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(request: bytes) -> Any:
        raise PermissionError

    monkeypatch.setattr(module, "_dump", refused)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        with socket.create_connection(listener.getsockname()):
            row = until(lambda: row_of(written(listener)))
        assert (row["queue"], row["backlog"], row["drops"]) == (1, None, None)


def test_many_sockets_take_several_messages() -> None:
    with ExitStack() as stack:
        made = {written(stack.enter_context(socket.create_server(("127.0.0.1", 0)))) for _ in range(300)}
        assert made <= {row["address"] for row in listeners(PID)}


def test_a_network_that_cannot_be_read() -> None:
    assert overflows_of(2**22 + 1) is None
    assert listeners(2**22 + 1) == []
