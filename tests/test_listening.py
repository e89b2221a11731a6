"""Where a server listens: ports, Unix sockets, descriptors that were handed over; and what it says of it."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT, app_of
from command import Command
from vivace.errors import SettingError
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with an application."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def show_names(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    names = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")
    return [json.dumps([environ[name] for name in names]).encode()]


# Ports.


def test_port_0_is_told(project: Path) -> None:
    with Command("app:app", "--bind", "127.0.0.1:0", cwd=project) as command:
        port = int(command.url.removeprefix("http://127.0.0.1:"))
        assert port > 0
        assert fetch(f"http://127.0.0.1:{port}").body == b"fine"


def test_busy_port(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        bind = f"127.0.0.1:{busy.getsockname()[1]}"
        with Command("app:app", "--bind", bind, cwd=project) as command:
            assert command.wait() == 1
    assert "another program listens there" in command.log
    assert "Traceback" not in command.log


def test_every_bad_address_is_told(project: Path) -> None:
    binds = ["127.0.0.1:99999", "nowhere.invalid:80", "unix:", "fd://x"]
    arguments = [argument for bind in binds for argument in ("--bind", bind)]
    with Command("app:app", *arguments, cwd=project) as command:
        assert command.wait() in (1, 2)
    assert "Traceback" not in command.log
    assert "99999" in command.log


def test_several_addresses(serve: Serve, tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/socket"
    with serve(show_names, bind=["127.0.0.1:0", path, "127.0.0.1:0"]) as server:
        assert len(set(server.server.addresses)) == 3
        shown = [json.loads(fetch(url).body) for url in server.server.addresses]
    assert [names[0] for names in shown] == ["127.0.0.1", "localhost", "127.0.0.1"]
    for url, names in zip(server.server.addresses, shown, strict=True):
        assert url.startswith("unix:") or url.endswith(":" + names[1])


def test_ipv6(serve_bare: Serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serve_bare(show_names, bind="[::1]:0") as server:
        port = int(server.url.removeprefix("http://[::1]:"))
        with socket.create_connection(("::1", port)) as client:
            client.sendall(request("/", "Connection: close"))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            own_port = client.getsockname()[1]
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == ["::1", str(port), "::1", str(own_port)]


# Unix sockets.


def test_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serve(show_names, bind=f"unix:{path}") as server:
        assert server.url == f"unix:{path}"
        with Client(server) as client:
            for _ in range(3):
                assert json.loads(client.send(request()).read_response().body) == ["localhost", "80", "", ""]
    assert not path.exists()


def test_unix_socket_mode(serve_bare: Serve, tmp_path: Path) -> None:
    for mode in (0o600, 0o660, 0o666):
        path = tmp_path / f"socket{mode:o}"
        with serve_bare(app_of([b"x"]), bind=f"unix:{path}", unix_mode=mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode


def test_unix_socket_owner(serve_bare: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serve_bare(app_of([b"x"]), bind=f"unix:{path}", unix_owner=f"{os.getuid()}:{os.getgid()}"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
    with pytest.raises(SettingError, match="no_such_user"):
        serve_bare(app_of([b"x"]), bind=f"unix:{path}", unix_owner="no_such_user")
    assert not path.exists()


def test_stale_socket_file_is_replaced(serve_bare: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serve_bare(app_of([b"x"]), bind=f"unix:{path}") as server:
        assert fetch(server).body == b"x"
    assert not path.exists()


def test_socket_file_in_use_is_left_alone(serve_bare: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serve_bare(app_of([b"x"]), bind=f"unix:{path}") as server:
        with pytest.raises(SettingError, match="another server listens there"):
            serve_bare(app_of([b"y"]), bind=f"unix:{path}")
        assert fetch(server).body == b"x"


def test_file_that_is_no_socket_is_left_alone(serve_bare: Serve, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    with pytest.raises(SettingError, match="is no socket"):
        serve_bare(app_of([b"x"]), bind=f"unix:{path}")
    assert path.read_text() == "content"


def test_socket_file_of_a_successor_is_left_alone(serve_bare: Serve, tmp_path: Path) -> None:
    """A server that stops removes the file only if it is still its own."""
    path = tmp_path / "socket"
    with serve_bare(app_of([b"x"]), bind=f"unix:{path}"):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
    assert path.exists()


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="abstract names are Linux's")
def test_abstract_unix_socket(serve: Serve) -> None:
    name = f"unix:@vivace-test-{os.getpid()}"
    with serve(show_names, bind=name) as server:
        assert server.url == name
        assert fetch(server).status == 200


def test_unix_socket_of_the_command(project: Path) -> None:
    path = project / "socket"
    with Command("app:app", "--bind", f"unix:{path}", cwd=project) as command:
        assert fetch(command.url).body == b"fine"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        command.send_signal()
        assert command.wait() == 0
    assert not path.exists()


# Descriptors.


def test_descriptor_of_the_parent(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with Command("app:app", "--bind", f"fd://{fd}", cwd=project, pass_fds=[fd]) as command:
            assert command.url == f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert fetch(command.url).body == b"fine"
            command.send_signal()
            assert command.wait() == 0
        # The parent's socket is open as before: another server can take over.
        with Command("app:app", "--bind", f"fd://{fd}", cwd=project, pass_fds=[fd]) as command:
            assert fetch(command.url).body == b"fine"


def test_descriptor_that_is_none(project: Path) -> None:
    for bind, reason in (("fd://99", "cannot be used"), ("fd://0", "no socket")):
        with Command("app:app", "--bind", bind, cwd=project, stdin=-3) as command:
            assert command.wait() == 1
        assert reason in command.log
        assert "Traceback" not in command.log


def test_descriptor_stays_open_in_its_process(serve_bare: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            with serve_bare(app_of([b"x"]), bind=f"fd://{listener.fileno()}") as server:
                assert fetch(server).body == b"x"
            os.fstat(listener.fileno())


def as_systemd(fds: list[int], pid: int = 0) -> list[str]:
    """What to put in front of a command so that it gets `fds` as systemd passes them to process `pid` (0: itself)."""
    script = f"""
import fcntl, os, sys
held = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in {fds}]
for number, fd in enumerate(held, 3):
    os.dup2(fd, number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_FDS="{len(fds)}", LISTEN_PID=str({pid} or os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""
    return [sys.executable, "-c", script]


def test_sockets_of_systemd(project: Path) -> None:
    """LISTEN_FDS and LISTEN_PID, as sd_listen_fds(3) describes them: from descriptor 3 on."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        fds = [one.fileno(), two.fileno()]
        with Command("app:app", cwd=project, prefix=as_systemd(fds), pass_fds=fds) as command:
            ports = [sock.getsockname()[1] for sock in (one, two)]
            urls = until(lambda: len(command.urls) == 2 and command.urls)
            assert urls == [f"http://127.0.0.1:{port}" for port in ports]
            assert [fetch(url).body for url in urls] == [b"fine", b"fine"]
            command.send_signal()
            assert command.wait() == 0


def test_sockets_of_systemd_for_another_process(project: Path) -> None:
    """LISTEN_PID of somebody else: they are not ours, and --bind goes first in any case."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        arguments = ("app:app", "--bind", "127.0.0.1:0")
        prefix = as_systemd([one.fileno()], pid=1)
        with Command(*arguments, cwd=project, prefix=prefix, pass_fds=[one.fileno()]) as command:
            assert command.url != f"http://127.0.0.1:{one.getsockname()[1]}"
            assert fetch(command.url).body == b"fine"
