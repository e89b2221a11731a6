"""net.listen: every form of an address, and every failure to listen and what is said. Files: test_unix_sockets.py."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command import Command
from listeners import answers, opened, problem, quiet_port
from vivace.errors import SettingError
from vivace.net.listen import adopt, close_listener, parse_address, systemd_listeners
from wire import fetch

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not (socket.has_ipv6 and has_ipv6()), reason="this machine has no IPv6")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


# The forms of an address.


@pytest.mark.parametrize(
    ("text", "kind", "host", "port"),
    [
        ("127.0.0.1:8000", "tcp", "127.0.0.1", 8000),
        ("localhost:80", "tcp", "localhost", 80),
        ("example.org:65535", "tcp", "example.org", 65535),
        ("0.0.0.0:0", "tcp", "0.0.0.0", 0),
        (":8000", "tcp", "", 8000),
        ("8000", "tcp", "127.0.0.1", 8000),
        ("localhost", "tcp", "localhost", 8000),
        ("[::1]:8000", "tcp", "::1", 8000),
        ("[::]:0", "tcp", "::", 0),
        ("[fe80::1%eth0]:80", "tcp", "fe80::1%eth0", 80),
        ("unix:/run/app.sock", "unix", "/run/app.sock", 0),
        ("unix:///run/app.sock", "unix", "/run/app.sock", 0),
        ("unix:app.sock", "unix", "app.sock", 0),
        ("unix:/run/a:b.sock", "unix", "/run/a:b.sock", 0),
        ("unix:@app", "unix", "@app", 0),
        ("fd://3", "fd", "", 3),
    ],
)
def test_address(text: str, kind: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert (address.kind, address.host, address.port, address.text) == (kind, host, port, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unix:", "names no file; write unix:/path/to/socket"),
        ("unix://", "names no file; write unix:/path/to/socket"),
        ("unix:@", "names no file; write unix:/path/to/socket"),
        ("fd://", "'' is no descriptor number; write fd://3"),
        ("fd://x", "'x' is no descriptor number; write fd://3"),
        ("fd://-1", "'-1' is no descriptor number; write fd://3"),
        ("[::1:8000", "the bracket is not closed; write [::1]:8000"),
        ("::1:8000", "write an IPv6 address in brackets, such as [::1]:8000"),
        ("fe80::1", "write an IPv6 address in brackets, such as [::1]:8000"),
        ("http://localhost:8000", "write host:port"),
        ("localhost:", "'' is no port; write host:port with a port from 0 to 65535"),
        ("localhost:http", "'http' is no port; write host:port with a port from 0 to 65535"),
        ("localhost:-1", "'-1' is no port; write host:port with a port from 0 to 65535"),
        ("localhost:8000/", "write host:port"),
        ("/run/app.sock", "is a path; write unix:/run/app.sock for a Unix socket"),
        ("./app.sock", "is a path; write unix:./app.sock for a Unix socket"),
        ("", "names no address; write host:port"),
        ("localhost:65536", "'65536' is no port; write host:port with a port from 0 to 65535"),
        ("localhost:" + "9" * 5000, "is no port; write host:port with a port from 0 to 65535"),
    ],
)
def test_malformed_address(text: str, said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)) as raised:
        parse_address(text)
    assert str(raised.value).startswith(f"bind {text!r}")


def test_an_ipv6_address_without_a_port_takes_the_usual_one() -> None:
    """As `localhost` does; at least it must not be told that its bracket is open."""
    address = parse_address("[::1]")
    assert (address.kind, address.host, address.port) == ("tcp", "::1", 8000)


# TCP.


def test_port_0_takes_a_free_port_and_tells_it() -> None:
    with opened("127.0.0.1:0") as listener:
        port = listener.socket.getsockname()[1]
        assert (listener.text, listener.server_name) == (f"http://127.0.0.1:{port}", "127.0.0.1")
        assert (listener.server_port, listener.owned, listener.path) == (str(port), True, "")
        assert answers(socket.AF_INET, ("127.0.0.1", port))
        assert not listener.socket.getblocking()
        assert not listener.socket.get_inheritable()
        assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert listener.socket.fileno() < 0


@needs_ipv6
def test_ipv6() -> None:
    with opened("[::1]:0") as listener:
        port = listener.socket.getsockname()[1]
        assert listener.text == f"http://[::1]:{port}"
        assert listener.server_name == "::1"
        assert answers(socket.AF_INET6, ("::1", port))


@needs_ipv6
def test_an_ipv6_wildcard_by_name_is_ipv6_alone() -> None:
    """`[::]` and `0.0.0.0` may stand side by side on one port."""
    port = quiet_port()
    with opened(f"[::]:{port}"):
        assert answers(socket.AF_INET6, ("::1", port))
        assert not answers(socket.AF_INET, ("127.0.0.1", port))
        with opened(f"0.0.0.0:{port}"):
            assert answers(socket.AF_INET, ("127.0.0.1", port))


@needs_ipv6
def test_no_host_is_every_interface() -> None:
    with opened(":0") as listener:
        port = listener.socket.getsockname()[1]
        assert answers(socket.AF_INET, ("127.0.0.1", port))
        assert answers(socket.AF_INET6, ("::1", port))


def test_no_host_on_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoIPv6(socket.socket):
        def __init__(self, family: int = -1, *arguments: Any, **keywords: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *arguments, **keywords)

    monkeypatch.setattr(socket, "socket", NoIPv6)
    with opened(":0") as listener:
        monkeypatch.undo()
        assert answers(socket.AF_INET, ("127.0.0.1", listener.socket.getsockname()[1]))


def test_restarted_at_once_on_the_same_port() -> None:
    """Connections of the former server in TIME_WAIT do not keep the port (SO_REUSEADDR)."""
    port = quiet_port()
    with opened(f"127.0.0.1:{port}") as listener, socket.create_connection(("127.0.0.1", port)):
        accepted, _ = listener.socket.accept()
        accepted.close()
    with opened(f"127.0.0.1:{port}"):
        assert answers(socket.AF_INET, ("127.0.0.1", port))


@pytest.mark.parametrize("wanted", ["127.0.0.1", "0.0.0.0", ""])
def test_a_busy_port(wanted: str) -> None:
    with opened("127.0.0.1:0") as listener:
        text = f"{wanted}:{listener.server_port}"
        assert problem(text) == (
            f"bind {text!r}: another program listens there; stop it, or choose another port (port 0 takes a free one)"
        )


class Failing(socket.socket):
    """A socket that cannot be bound."""

    code = 0

    def bind(self, address: Any, /) -> None:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "not permitted; ports below 1024 and some folders need more rights, choose another one"),
        (errno.EPERM, "not permitted; choose another address, or start with the rights it needs"),
        (errno.EADDRNOTAVAIL, "no interface of this machine has that address; 127.0.0.1 and 0.0.0.0 always work"),
        (errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
    ],
)
def test_what_the_system_refuses(code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Failing)
    monkeypatch.setattr(Failing, "code", code)
    assert problem("127.0.0.1:80") == f"bind '127.0.0.1:80': {said}"


@needs_linux
@needs_root
def test_a_privileged_port_in_earnest() -> None:
    """As nobody, in a process of its own."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 80:
            pytest.skip("every port is open to everyone here")
    code = "import encodings.idna, os, vivace.net.listen as listen\nos.setuid(65534)\n" + (
        "listen.open_listener(listen.parse_address('127.0.0.1:80'), backlog=1)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "SettingError: bind '127.0.0.1:80': not permitted; ports below 1024" in run.stderr


def test_an_address_of_no_interface() -> None:
    """TEST-NET-1 of RFC 5737 is nobody's."""
    assert "no interface of this machine has that address" in problem("192.0.2.1:0")


def test_a_host_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **keywords: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = problem("no.such.host:80")
    assert said.startswith("bind 'no.such.host:80': no address for host 'no.such.host' (")
    assert "(Name or service not known); give an address of this machine" in said


def test_a_host_that_is_no_name() -> None:
    """A label over 63 characters cannot even be asked for."""
    text = "x" * 64 + ".example:80"
    assert problem(text).startswith(f"bind {text!r}: no address for host ")


# Sockets that were opened by somebody else.


@pytest.mark.parametrize("listening", [True, False])
def test_descriptor_of_the_parent(listening: bool) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        if listening:
            given.listen()
        fd = os.dup(given.fileno())
        os.set_inheritable(fd, True)
        with opened(f"fd://{fd}") as listener:
            port = given.getsockname()[1]
            assert (listener.text, listener.owned) == (f"http://127.0.0.1:{port}", False)
            assert not os.get_inheritable(fd)
            assert answers(socket.AF_INET, ("127.0.0.1", port))
        assert listener.socket.fileno() == -1, "the server's own copy is closed"
        os.fstat(fd)  # and this one is not: it is not the server's
        os.close(fd)


def test_unix_descriptor_of_the_parent_keeps_its_file(tmp_path: Path) -> None:
    path = f"{tmp_path}/app.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        with opened(f"fd://{os.dup(given.fileno())}") as listener:
            assert (listener.text, listener.server_name) == (f"unix:{path}", "localhost")
            assert answers(socket.AF_UNIX, path)
        listener.socket.close()
    assert os.path.exists(path)


def test_a_descriptor_that_is_no_socket() -> None:
    reader, writer = os.pipe()
    assert problem(f"fd://{reader}") == f"bind 'fd://{reader}': descriptor {reader} is no socket"
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_is_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert problem(f"fd://{reader}") == (
        f"bind 'fd://{reader}': descriptor {reader} cannot be used ({os.strerror(errno.EBADF)}); "
        "it must be a socket left open by the parent"
    )


def test_a_descriptor_that_cannot_be_one() -> None:
    assert "is no descriptor number; write fd://3" in problem("fd://99999999999999999999")


def test_a_socket_that_cannot_listen() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as given:
        given.bind(("127.0.0.1", 0))
        fd = os.dup(given.fileno())
        assert f"descriptor {fd} cannot listen" in problem(f"fd://{fd}")
        try:
            os.close(fd)
        except OSError:
            pass  # whoever refused it may have closed it


def test_adopted_sockets_are_not_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        listener = adopt(given)
        assert not given.getblocking()
        close_listener(listener)
        assert answers(socket.AF_INET, given.getsockname())


# systemd.


def test_no_sockets_of_systemd() -> None:
    assert systemd_listeners({}, backlog=1) == []
    assert systemd_listeners({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1)}, backlog=1) == []
    assert systemd_listeners({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}, backlog=1) == []


def test_sockets_of_systemd_that_cannot_be_counted() -> None:
    with pytest.raises(SettingError, match="LISTEN_FDS is 'many', which is no number: start the service through"):
        systemd_listeners({"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())}, backlog=1)
    with pytest.raises(SettingError, match="LISTEN_FDS is ''"):
        systemd_listeners({"LISTEN_PID": str(os.getpid())}, backlog=1)


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@needs_linux
@pytest.mark.parametrize("named", [False, True])
def test_a_unix_socket_of_systemd_keeps_its_file(tmp_path: Path, named: bool) -> None:
    """And an address by name comes before those that were handed over."""
    path = f"{tmp_path}/systemd.sock"
    arguments = ("--bind", "unix:own.sock") if named else ()
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        prefix = [sys.executable, "-c", ACTIVATE, str(given.fileno())]
        with Command("vivace.demo:app", *arguments, cwd=tmp_path, prefix=prefix, pass_fds=[given.fileno()]) as command:
            assert command.urls == ["unix:own.sock" if named else f"unix:{path}"]
            assert fetch(f"unix:{tmp_path}/own.sock" if named else f"unix:{path}").status == 200
            command.send_signal()
            assert command.wait() == 0
    assert os.listdir(tmp_path) == ["systemd.sock"]
