"""What a thread waits for: each kind of wait made for real, in this process and in a child."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from vivace.observe import descriptors, waits
from vivace.observe.descriptors import describe
from vivace.observe.waits import Process, Wait, names_of, wait_of
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

PID = os.getpid()
LONG_S = 30.0

if not os.path.exists("/proc/self/task") or not waits._names:
    pytest.skip("this system does not tell", allow_module_level=True)


@contextmanager
def thread_in(work: Callable[[], Any], end: Callable[[], Any]) -> Iterator[threading.Thread]:
    """A thread that does `work`, which `end` ends."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        end()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def settled(thread: threading.Thread, kind: str, text: str = "") -> Wait:
    """What the thread waits for, once it is there."""
    assert thread.native_id is not None
    seen = [wait_of(PID, thread.native_id)]

    def there() -> bool:
        seen.append(wait_of(PID, thread.native_id or 0))
        return seen[-1].kind == kind and text in seen[-1].text

    try:
        until(there)
    except AssertionError:
        raise AssertionError(f"not {kind}, but {seen[-1]!r}") from None
    return seen[-1]


# Kinds of waits.


def test_sleep() -> None:
    naps = threading.Event()

    def work() -> None:
        while not naps.is_set():
            time.sleep(0.05)

    with thread_in(work, naps.set) as thread:
        wait = settled(thread, waits.SLEEP)
    assert wait.text == "sleeping"
    assert wait.call in ("clock_nanosleep", "nanosleep")


def test_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    with thread_in(lock.acquire, lock.release) as thread:
        wait = settled(thread, waits.LOCK)
    assert (wait.text, wait.call) == ("waiting for a lock", "futex")


def test_lock_with_a_time_limit() -> None:
    lock = threading.Lock()
    lock.acquire()
    with thread_in(lambda: lock.acquire(timeout=LONG_S), lock.release) as thread:
        settled(thread, waits.LOCK)


def test_computing() -> None:
    """It has the GIL or wants it; which one, changes from look to look."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(1000))

    with thread_in(work, over.set) as thread:
        assert thread.native_id is not None
        seen = [wait_of(PID, thread.native_id).kind for _ in range(50)]
    assert set(seen) <= {waits.RUNNING, waits.GIL}


TWO_RUN = """
import os, sys, threading, time
def work():
    while True:
        sum(range(1000))
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
print(*(thread.native_id for thread in threads), flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_the_gil_of_another_process() -> None:
    """Three threads compute: two of three looks find one that waits for the GIL, and none a lock."""
    child = subprocess.Popen([sys.executable, "-c", TWO_RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        threads = [int(word) for word in child.stdout.readline().split()]
        process = Process(child.pid)
        seen: list[str] = []

        def enough() -> bool:
            seen.extend(process.wait_of(thread).kind for thread in threads)
            return len(seen) >= 150

        until(enough)
        assert set(seen) <= {waits.RUNNING, waits.GIL}
        if getattr(sys, "_is_gil_enabled", lambda: True)():
            assert seen.count(waits.GIL) > len(seen) / 4
    finally:
        child.stdin.close()
        child.wait(TIMEOUT_S)
        child.stdout.close()
    assert wait_of(child.pid, threads[0]).kind in (waits.GONE, waits.UNKNOWN)


# Descriptors.


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


def test_receiving_names_the_peer() -> None:
    ours, peer = tcp_pair()
    with ours, peer:
        host, port = ours.getpeername()
        with thread_in(lambda: ours.recv(1), lambda: peer.send(b"x")) as thread:
            wait = settled(thread, waits.IO)
        own = "{}:{}".format(*ours.getsockname())
        assert wait.text == f"reading from fd {ours.fileno()}, TCP socket {own} to {host}:{port} (recvfrom)"
        assert wait.fd == ours.fileno()


def test_a_socket_with_a_time_limit_is_polled() -> None:
    ours, peer = tcp_pair()
    with ours, peer:
        ours.settimeout(LONG_S)
        with thread_in(lambda: ours.recv(1), lambda: peer.send(b"x")) as thread:
            wait = settled(thread, waits.POLL)
        assert f"fd {ours.fileno()}, TCP socket" in wait.text
        assert f"to 127.0.0.1:{ours.getpeername()[1]}" in wait.text
        assert "for at most " in wait.text
        assert wait.fd == ours.fileno()


def test_sending_to_a_peer_that_does_not_read() -> None:
    ours, peer = tcp_pair()
    with ours, peer, thread_in(lambda: send_until_error(ours), lambda: ours.shutdown(socket.SHUT_RDWR)) as thread:
        wait = settled(thread, waits.IO, "writing to")
        assert "TCP socket" in wait.text


def send_until_error(sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(b"x" * 1_000_000)
    except OSError:
        pass


def test_accepting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def work() -> None:
            listener.accept()[0].close()

        with thread_in(work, lambda: socket.create_connection(address).close()) as thread:
            wait = settled(thread, waits.IO)
    assert wait.text.startswith("accepting at")
    assert f"TCP socket listening at 127.0.0.1:{address[1]}" in wait.text


def test_a_pipe() -> None:
    reader, writer = os.pipe()
    with thread_in(lambda: os.read(reader, 1), lambda: os.write(writer, b"x")) as thread:
        wait = settled(thread, waits.IO)
    assert wait.text == f"reading from fd {reader}, a pipe (read)"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("kind", ["poll", "select", "epoll"])
def test_polling_names_what_is_polled(kind: str) -> None:
    ours, peer = socket.socketpair()
    other, silent = socket.socketpair()
    with ours, peer, other, silent, select.epoll() as epoll:
        poll = select.poll()
        for sock in (ours, other):
            poll.register(sock, select.POLLIN)
            epoll.register(sock, select.EPOLLIN)
        work: dict[str, Callable[[], object]] = {
            "poll": lambda: poll.poll(int(LONG_S * 1000)),
            "select": lambda: select.select([ours, other], [], [], LONG_S),
            "epoll": lambda: epoll.poll(LONG_S),
        }
        with thread_in(work[kind], lambda: peer.send(b"x")) as thread:
            wait = settled(thread, waits.POLL)
        assert f"fd {ours.fileno()}, Unix socket" in wait.text
        assert f"fd {other.fileno()}, Unix socket" in wait.text
        assert kind in wait.call
        if kind != "select":
            assert "for at most 30 s" in wait.text


def test_many_that_are_polled_are_counted() -> None:
    pairs = [socket.socketpair() for _ in range(9)]
    poll = select.poll()
    for ours, _ in pairs:
        poll.register(ours, select.POLLIN)
    with thread_in(lambda: poll.poll(), lambda: pairs[0][1].send(b"x")) as thread:
        wait = settled(thread, waits.POLL)
    assert " and 5 more, without a time limit" in wait.text
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_child_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    with thread_in(child.wait, child.stdin.close) as thread:
        assert settled(thread, waits.CHILD).text == "waiting for a child process to end"


def test_file_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with thread_in(lambda: fcntl.flock(second, fcntl.LOCK_EX), lambda: fcntl.flock(first, fcntl.LOCK_UN)) as thread:
            wait = settled(thread, waits.DISK)
        assert wait.text == f"waiting for the lock on fd {second.fileno()}, file {path} (flock)"


def test_another_process_names_its_sockets() -> None:
    """Its descriptors are looked up in the tables of the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); s.recv(1)"
        child = subprocess.Popen([sys.executable, "-c", code])
        peer, address = listener.accept()
        with peer:
            wait = until(lambda: (found := wait_of(child.pid, child.pid)).kind == waits.IO and found)
            assert f"TCP socket 127.0.0.1:{address[1]} to 127.0.0.1:{port} (recvfrom)" in wait.text
        child.wait(TIMEOUT_S)


# What descriptors are called.


def test_descriptors() -> None:
    with tempfile.NamedTemporaryFile() as file, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert describe(PID, file.fileno()) == f"fd {file.fileno()}, file {file.name}"
        udp.connect(("127.0.0.1", 9))
        assert describe(PID, udp.fileno()).endswith("to 127.0.0.1:9")
        assert "UDP socket" in describe(PID, udp.fileno())
    with select.epoll() as epoll:
        assert describe(PID, epoll.fileno()) == f"fd {epoll.fileno()}, an epoll instance"
    with open("/dev/null") as null:
        assert describe(PID, null.fileno()) == f"fd {null.fileno()}, /dev/null"
    assert describe(PID, 1 << 20) == f"fd {1 << 20}"


def test_unix_sockets_with_a_name(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)
        assert describe(PID, client.fileno()) == f"fd {client.fileno()}, Unix socket {path}"
        assert describe(PID, listener.fileno()) == f"fd {listener.fileno()}, Unix socket {path}"


@pytest.mark.skipif(sys.byteorder != "little", reason="written for this order")
def test_addresses_in_the_kernel_s_tables() -> None:
    assert descriptors.decoded("0100007F:1F90") == "127.0.0.1:8080"
    assert descriptors.decoded("00000000000000000000000001000000:0050") == "[::1]:80"
    assert descriptors._in_words("TCP", "0100007F:1F90", "0500000A:1538", "02") == (
        "TCP socket, connecting to 10.0.0.5:5432"
    )


# Where the system does not tell.


def test_numbers_of_both_architectures() -> None:
    assert names_of("x86_64")[202] == names_of("aarch64")[98] == "futex"
    assert names_of("x86_64")[45] == names_of("aarch64")[207] == "recvfrom"
    assert names_of("riscv64") == {}
    for machine in ("x86_64", "aarch64"):
        names = names_of(machine)
        assert len(set(names.values())) == len(names)


def test_a_machine_whose_numbers_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_names", {})
    lock = threading.Lock()
    lock.acquire()
    with thread_in(lock.acquire, lock.release) as thread:
        assert settled(thread, waits.OTHER).text.startswith("in system call ")


@pytest.mark.parametrize("hidden", [("syscall",), ("syscall", "stat"), ("maps",), ("mem",), ("syscall", "wchan")])
def test_what_is_hidden_is_left_out(monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...]) -> None:
    read = waits._read

    def partly(path: str) -> str:
        if path.rpartition("/")[2] in hidden:
            raise PermissionError(13, "hidden", path)
        return read(path)

    monkeypatch.setattr(waits, "_read", partly)
    lock = threading.Lock()
    lock.acquire()
    with thread_in(lock.acquire, lock.release) as thread:
        wait = settled(
            thread, waits.LOCK if "syscall" not in hidden else waits.GONE if "stat" in hidden else waits.UNKNOWN
        )
    assert wait.text


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(path: str) -> str:
        raise FileNotFoundError(2, "no /proc", path)

    monkeypatch.setattr(waits, "_read", nothing)
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    wait = wait_of(PID, threading.get_native_id())
    assert (wait.kind, wait.fd, wait.call) == (waits.UNKNOWN, -1, "")


@pytest.mark.parametrize(
    "text", ["", "running\n", "-1 0x7ffe 0x7f00\n", "nonsense\n", "7\n", "0 zz\n", "999 0x0 0x0\n"]
)
def test_whatever_the_kernel_writes(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    read = waits._read
    monkeypatch.setattr(waits, "_read", lambda path: text if path.endswith("syscall") else read(path))
    assert wait_of(PID, threading.get_native_id()).text


def test_a_thread_that_is_gone() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    until(lambda: wait_of(PID, thread.native_id or 0).kind == waits.GONE)
