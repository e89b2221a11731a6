"""The response cache of several workers: one worker's miss is every worker's hit, and what one forgets all forget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import vivace
from command import Command
from wire import TIMEOUT_S, Client, Response, until

APP = """
import os, time

def app(environ, start_response):
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    with open("calls", "ab", buffering=0) as calls:
        calls.write(f"{method} {path} {os.getpid()}\\n".encode())
    if path == "/slow":
        while not os.path.exists("go"):
            time.sleep(0.01)
    number = open("calls").read().count(f"{method} {path} ")
    start_response("200 OK", [
        ("Cache-Control", environ["QUERY_STRING"] or "max-age=600"), ("X-Made-By", str(os.getpid())),
        ("Surrogate-Key", "things"),
    ])
    return [str(number).encode()]
"""


def ask(client: Client, path: str, method: str = "GET") -> Response:
    client.send(f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n".encode())
    return client.read_response(method=method)


class Server:
    def __init__(self, command: Command, folder: Path) -> None:
        self.command = command
        self.url = command.url
        self.folder = folder

    @property
    def calls(self) -> list[str]:
        try:
            return (self.folder / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []

    def clients(self) -> tuple[Client, Client]:
        """Two connections, to one worker each; as soon as there are two workers."""
        opened: dict[str, Client] = {}
        spare: list[Client] = []

        def both() -> bool:
            for _ in range(20):  # a worker that has many more connections than the other one passes new ones on
                client = Client(self.url)
                made_by = ask(client, "/who?private").field("X-Made-By") or ""
                if opened.setdefault(made_by, client) is not client:
                    spare.append(client)
            while len(opened) < 2 and spare:
                spare.pop().socket.close()
            return len(opened) == 2

        try:
            until(both)
        finally:
            for client in spare if len(opened) == 2 else [*spare, *opened.values()]:
                client.socket.close()
        first, second = opened.values()
        (self.folder / "calls").unlink()
        return first, second

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vivace", "cache", str(self.command.process.pid), *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "shop.py").write_text(APP)
    options = ("--workers", "2", "--threads", "4", "--cache", "--bind", "127.0.0.1:0", "--no-access-log")
    with Command("shop.py", *options, cwd=tmp_path) as command:
        yield Server(command, tmp_path)


def test_what_one_has_made_the_other_has(server: Server) -> None:
    one, two = server.clients()
    with one, two:
        assert [ask(client, "/a").body for client in (one, two, two, one)] == [b"1"] * 4
    assert len(server.calls) == 1


def test_what_one_changes_the_other_forgets(server: Server) -> None:
    one, two = server.clients()
    with one, two:
        assert [ask(client, "/a").body for client in (one, two, two)] == [b"1"] * 3
        ask(one, "/a", "POST")
        until(lambda: ask(two, "/a").body == b"2")  # as soon as it has looked
        assert ask(one, "/a").body == b"2"


def test_one_call_for_the_clients_of_both(server: Server) -> None:
    one, two = server.clients()
    more = [Client(server.url) for _ in range(20)]
    try:
        for client in (one, two, *more):
            client.send(b"GET /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
        until(lambda: server.calls)
        (server.folder / "go").touch()
        assert {client.read_response().body for client in (one, two, *more)} == {b"1"}
    finally:
        for client in (one, two, *more):
            client.socket.close()
    assert len(server.calls) == 1


def test_one_call_however_the_workers_meet(server: Server) -> None:
    one, two = server.clients()
    with one, two:
        for number in range(60):
            for client in (one, two):
                client.send(b"GET /%d HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n" % number)
            assert {client.read_response().body for client in (one, two)} == {b"1"}
    assert len(server.calls) == 60


def test_whoever_waits_for_a_worker_that_is_killed_is_served(server: Server) -> None:
    one, two = server.clients()
    with one, two:
        one.send(b"GET /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
        until(lambda: server.calls)
        two.send(b"GET /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
        os.kill(int(server.calls[0].split()[2]), signal.SIGKILL)
        (server.folder / "go").touch()
        assert two.read_response().status == 200


def test_a_reload_keeps_it(server: Server) -> None:
    with Client(server.url) as client:
        assert ask(client, "/a").body == b"1"
    before = {line.split()[2] for line in server.calls}
    server.command.send_signal(signal.SIGHUP)

    def renewed() -> bool:
        with Client(server.url) as client:
            return (ask(client, "/who?private").field("X-Made-By") or "") not in before

    until(renewed)
    with Client(server.url) as client:
        assert ask(client, "/a").body == b"1"


class TestFromOutside:
    def test_purging(self, server: Server) -> None:
        one, two = server.clients()
        with one, two:
            for number, purge in enumerate((["/a"], ["--tag", "things"], ["--all"], ["/*"]), 1):
                assert [ask(client, "/a").body for client in (one, two, one)] == [b"%d" % number] * 3
                server.cli("purge", *purge)
            assert [ask(client, "/a").body for client in (one, two)] == [b"5"] * 2
            server.cli("purge", "/b")
            assert ask(one, "/a").body == b"5"

    def test_looking(self, server: Server) -> None:
        one, two = server.clients()
        with one, two:
            for client in (one, two, one):
                ask(client, "/a")
            assert "/a" in server.cli("ls")
            assert "1" in server.cli("stats")
            why = server.cli("why", "http://a.test/a")
            assert "answered from what is kept" in why
            assert "nothing is kept" in server.cli("why", "http://a.test/b")

    def test_purged_while_it_is_made(self, server: Server) -> None:
        one, two = server.clients()
        with one, two:
            one.send(b"GET /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
            until(lambda: server.calls)
            waiting = threading.Thread(target=lambda: server.cli("purge", "--all"))
            waiting.start()
            waiting.join(TIMEOUT_S)
            (server.folder / "go").touch()
            assert one.read_response().body == b"1"
            assert ask(two, "/slow").body == b"2"
