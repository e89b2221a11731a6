"""Descriptors, threads, disk and memory run out, one after the other: it is said, and it ends when there is some again.

Invariant: what was accepted is served, or is refused with a status; nothing hangs, and the server outlives it.
"""

from __future__ import annotations

import os
import resource
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from apps import TEXT
from command import Command
from vivace.connection import loop, reading, serving
from vivace.connection.exhaustion import NO_MEMORY
from vivace.errors import SettingError
from vivace.wsgi import body
from wire import Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import vivace

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit is Linux's")

APP = """
import os
HELD = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hold":
        HELD.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(40))
    if path == "/open":
        os.close(os.open("/dev/null", os.O_RDONLY))
    if path == "/large":
        HELD.append(bytearray(120_000_000))
    if path == "/free":
        while HELD:
            kept = HELD.pop()
            if isinstance(kept, int):
                os.close(kept)
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode() + b" %d" % size]
"""

BODY = b"x" * 3_000_000
IN_CHUNKS = request("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n\r\n"


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", "--threads", "4", "--workers", "0", cwd=tmp_path) as served:
        assert fetch(served.url, "/").body == b"/ 0"
        yield served
        served.send_signal()
        assert served.wait() == 0, served.log
    assert "please report" not in served.log


def limit(served: Command, kind: int, soft: int) -> None:
    resource.prlimit(served.process.pid, kind, (soft, resource.prlimit(served.process.pid, kind)[1]))


def descriptors(served: Command) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))


# Descriptors.


def test_connections_beyond_the_descriptors_wait_and_are_served(command: Command) -> None:
    """Nobody is accepted and dropped: who comes too many waits in the backlog until a descriptor comes back."""
    limit(command, resource.RLIMIT_NOFILE, descriptors(command) + 4)
    with ExitStack() as stack:
        holding = [stack.enter_context(Client(command.url)).send(b"GET /half HTTP/1.1\r\n") for _ in range(4)]
        waiting = [stack.enter_context(Client(command.url)).send(request(f"/{number}")) for number in range(4)]
        command.said("no new connection could be accepted: Too many open files")
        for client in holding:
            client.socket.close()
        assert [client.read_response().body for client in waiting] == [b"/%d 0" % number for number in range(4)]
    assert command.log.count("Too many open files") == 1, "one line, however often it was tried"


def test_descriptors_taken_by_the_application(command: Command) -> None:
    """Its own failure is a 500 with its traceback; when it gives them back, those who waited are served."""
    with Client(command.url) as client:
        for path in ("/", "/hold"):  # by the second one every connection before it is closed
            assert client.send(request(path)).read_response().status == 200
        limit(command, resource.RLIMIT_NOFILE, descriptors(command))
        assert client.send(request("/open")).read_response().status == 500
        command.said("Too many open files: '/dev/null'")
        # An upload that needs a file for its body
        upload = client.send(request("/", method="POST", body=BODY)).read_response()
        assert (upload.status, upload.closes) == (503, True)
        command.said("ulimit -n")
    with Client(command.url) as client, Client(command.url) as waiting:
        client.send(request("/free"))
        waiting.send(request("/waited"))
        assert client.read_response().status == 200
        assert waiting.read_response().body == b"/waited 0"
    assert fetch(command.url, "/open").status == 200
    assert fetch(command.url, request("/", method="POST", body=BODY)).body == b"/ %d" % len(BODY)


# Disk.


def test_a_disk_that_takes_no_more_of_a_body(command: Command) -> None:
    """507, and nobody else notices; the next body is kept again. (A full disk is hard to come by, a limit is not.)"""
    before = descriptors(command)
    limit(command, resource.RLIMIT_FSIZE, 100_000)
    with Client(command.url) as beside:
        refused = fetch(command.url, request("/", method="POST", body=BODY))
        assert (refused.status, refused.closes) == (507, True)
        command.said("a request body could not be kept: File too large")
        assert beside.send(request("/beside")).read_response().body == b"/beside 0"
        small = fetch(command.url, request("/", method="POST", body=b"x" * 1000))
        assert small.body == b"/ 1000", "what fits into memory needs no disk"
    limit(command, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    assert fetch(command.url, request("/", method="POST", body=BODY)).body == b"/ %d" % len(BODY)
    until(lambda: descriptors(command) <= before, what="the files of refused bodies are closed")


# Memory.


def size_bytes(served: Command) -> int:
    return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_taken_by_the_application(command: Command) -> None:
    """A 500 where it failed; the server goes on beside it."""
    limit(command, resource.RLIMIT_AS, size_bytes(command) + 60_000_000)
    with Client(command.url) as client:
        assert client.send(request("/large")).read_response().status == 500
        command.said("MemoryError")
        assert client.send(request("/next")).read_response().body == b"/next 0"
    limit(command, resource.RLIMIT_AS, resource.RLIM_INFINITY)
    assert fetch(command.url, "/large").status == 200
    assert fetch(command.url, "/free").status == 200


class Failing:
    """Raises MemoryError the first time, then does what it stands for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.fails = function, True

    def __call__(self, *args: Any) -> Any:
        if self.fails:
            self.fails = False
            raise MemoryError
        return self.function(*args)


@pytest.mark.parametrize(
    ("owner", "name", "data", "status"),
    [
        (body.Spool, "add", IN_CHUNKS, 503),
        (body.Spool, "finish", IN_CHUNKS, 503),
        (reading, "parse_head", request("/new"), 0),
        (serving, "Exchange", IN_CHUNKS, 0),
        (loop, "Exchange", request("/"), 0),
    ],
    ids=["body", "whole body", "head", "before the application", "fast path"],
)
def test_no_memory_while_a_request_is_read(
    serve_bare: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    owner: Any,
    name: str,
    data: bytes,
    status: int,
) -> None:
    """It costs that request: a 503 while it is read, the connection otherwise. Nobody waits for ever."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["wsgi.input"].read()]

    with serve_bare(app) as server:
        for _ in range(8):  # its route is known, and quick
            assert fetch(server, data).status == 200
        with Client(server) as client:
            assert client.send(data).read_response().status == 200
            failing = Failing(getattr(owner, name))
            monkeypatch.setattr(owner, name, lambda *args: failing(*args))
            client.send(data if name != "parse_head" else request("/another"))
            if status:
                assert client.read_response().status == status
            assert client.has_ended()
        assert fetch(server, data).status == 200
        until(lambda: server.server.loop.closed.snapshot()["memory"] == 1)
    log = capfd.readouterr().err
    assert NO_MEMORY in log
    assert "Traceback" not in log


# Threads.


def test_no_thread_for_a_request_that_needs_one(
    vivace_server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said; the request waits, and runs when the system gives threads again, without another one's coming."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = vivace_server(app, threads=4, lanes="pool", queue_timeout_s=40)
    until(lambda: server.server.loop.leader, what="it has begun")
    with monkeypatch.context() as patch, Client(server) as client:
        patch.setattr(threading.Thread, "start", refuse)
        client.send(request("/waits"))
        until(lambda: len(server.server.loop.pool.waiting) == 1)
        assert "the system starts no more threads" in capfd.readouterr().err
        patch.undo()
        assert client.read_response().body == b"/waits"


def test_no_thread_to_begin_with(vivace_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot serve says so instead of waiting."""
    from vivace.config.load import from_keywords
    from vivace.worker.server import Server, open_listeners

    settings = from_keywords(bind="127.0.0.1:0", threads=4)
    server = Server(lambda environ, start_response: [], settings, open_listeners(settings, {}))
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("no")))
    with pytest.raises(SettingError, match="starts no thread"):
        server.run()
    for listener in server.listeners:
        listener.socket.close()
