"""No line of the access log is lost or doubled, whatever becomes of the workers meanwhile: one for each answer."""

from __future__ import annotations

import re
import signal
from collections import Counter
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import Command
from crowd import Crowd
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

APP = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"].endswith("7"):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "1")])
    return [b"x"]
"""

CLIENTS = 4


class Load(Crowd):
    """Clients that ask for one path after the other, and know which were answered."""

    def __init__(self, port: int) -> None:
        self.answered: list[str] = []
        self._port = port
        super().__init__(partial(self._ask, number) for number in range(CLIENTS))

    def _ask(self, number: int) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        serial = 0
        while not self.stop.is_set():
            serial += 1
            path = f"/{number}/{serial}"
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
            except OSError:  # a server that has stopped
                connection.close()
                self.stop.wait(0.01)
                continue
            assert response.status == 200
            self.answered.append(path)
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def serve_and_count(folder: Path, meanwhile: Callable[[Command, Load], None], *options: str, file: bool = True) -> None:
    """One line for each answer, after a load during which `meanwhile` happens and which the server's end interrupts."""
    log = folder / "access.log"
    where = ("--access-log-file", str(log)) if file else ("--access-log",)
    command = ("app:app", "--bind", "127.0.0.1:0", *where, "--access-log-format", "line %U %s .", *options)
    with Command(*command, cwd=folder) as server:
        with Load(int(server.url.rpartition(":")[2])) as load:
            until(lambda: len(load.answered) > 200)
            meanwhile(server, load)
            count = len(load.answered)
            until(lambda: len(load.answered) > count + 200)
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0, server.log
        text = "".join(path.read_text() for path in folder.glob("access.log*")) if file else server.log
    lines = [line for line in text.splitlines() if "/" in line and (file or line.startswith("line "))]
    assert all(re.fullmatch(r"line /\d+/\d+ 200 \.", line) for line in lines)
    logged = Counter(line.split()[1] for line in lines)
    answered = Counter(load.answered)
    assert answered - logged == Counter()
    # What is more has been answered as well, to a client that had left; at most the last one of each.
    assert len(logged - answered) <= CLIENTS
    assert max(logged.values()) == 1


def nothing(server: Command, load: Load) -> None:
    pass


@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_a_stop(folder: Path, workers: str) -> None:
    serve_and_count(folder, nothing, "--workers", workers)


def test_a_single_thread(folder: Path) -> None:
    serve_and_count(folder, nothing, "--threads", "1")


def test_stdout_that_workers_share(folder: Path) -> None:
    """A pipe: no line is cut by another worker's."""
    serve_and_count(folder, nothing, "--workers", "2", file=False)


def test_reloads(folder: Path) -> None:
    def reload(server: Command, load: Load) -> None:
        for count in (1, 2):
            server.send_signal(signal.SIGHUP)
            server.said("worker .* goes", 2 * count)

    serve_and_count(folder, reload, "--workers", "2")


def test_workers_that_are_replaced_after_so_many_requests(folder: Path) -> None:
    def replaced(server: Command, load: Load) -> None:
        server.said("worker .* goes", 2)

    serve_and_count(folder, replaced, "--workers", "2", "--max-requests", "150")


def test_a_program_that_is_replaced(folder: Path) -> None:
    def upgrade(server: Command, load: Load) -> None:
        server.send_signal(signal.SIGUSR2)
        server.said("replacing the program")
        server.said("worker .* goes")

    serve_and_count(folder, upgrade, "--workers", "1")


def test_files_that_are_rotated(folder: Path) -> None:
    def rotate(server: Command, load: Load) -> None:
        for number in range(3):
            (folder / "access.log").rename(folder / f"access.log.{number}")
            server.send_signal(signal.SIGUSR1)
            until((folder / "access.log").exists)
            count = len(load.answered)
            until(lambda count=count: len(load.answered) > count + 50)  # type: ignore[misc]

    serve_and_count(folder, rotate, "--workers", "2")


def test_a_reload_takes_a_new_format(folder: Path) -> None:
    """And says that another file takes more than that."""
    config = folder / "vivace.toml"
    config.write_text('access_log_file = "a.log"\naccess_log_format = "one %U"\n')
    with Command("app:app", "--bind", "127.0.0.1:0", cwd=folder) as server:
        url = server.url
        get(url, "/1")
        config.write_text('access_log_file = "b.log"\naccess_log_format = "two %U"\naccess_log_skip = ["/skip*"]\n')
        server.send_signal(signal.SIGHUP)
        server.said("worker .* goes")
        log = folder / "a.log"
        until(lambda: get(url, "/2") or "two /2\n" in log.read_text())  # the old worker answers what it has accepted
        get(url, "/skipped")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert re.fullmatch(r"one /1\n(one /2\n)*(two /2\n)+", log.read_text())
    assert not (folder / "b.log").exists()
    assert "access_log_file: a change takes effect with USR2 or a new start" in server.log


def get(url: str, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=TIMEOUT_S)
    connection.request("GET", path)
    assert connection.getresponse().read() == b"x"
    connection.close()
