"""The supervisor, by the real command with real workers, signals and clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

import vivace
from command import Command
from crowd import Crowd
from vivace.observe.layout import H_MAGIC
from vivace.supervisor.find import find_server
from wire import TIMEOUT_S, until

APP = """
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"] or 1))
    if path == "/hold":  # with the lock of the interpreter: nothing of this process runs meanwhile
        import ctypes
        ctypes.PyDLL(None).usleep(200_000)
    if path == "/exit":
        os._exit(7)
    if path == "/segv":
        import ctypes
        ctypes.string_at(0)
    if path == "/grow":
        app.kept = bytearray(60_000_000)
    body = f"{os.getpid()} {VERSION} {environ['wsgi.multiprocess']}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

VERSION = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


class Served(Command):
    """`vivace app:app` with workers, and what its clients see."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        super().__init__("app:app", "--bind", "127.0.0.1:0", *arguments, cwd=folder)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str = "/") -> list[str]:
        """[process, version, multiprocess] of one answer, on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            return response.read().decode().split()
        finally:
            connection.close()

    def workers(self) -> set[int]:
        """The processes that serve, as far as the log tells."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return {int(pid) for pid in Path(path).read_text().split()}

    def write(self, old: str, new: str) -> None:
        """As by a person: each change at another second, by which bytecode is known to be stale."""
        path = self.folder / "app.py"
        changed_s = path.stat().st_mtime + 1
        path.write_text(path.read_text().replace(old, new))
        os.utime(path, (changed_s, changed_s))

    def status(self) -> dict[str, Any]:
        """What `vivace ctl status --json` says."""
        return json.loads(self.ctl("status", "--json"))

    def ctl(self, *words: str, code: int = 0) -> str:
        """The output of `vivace ctl`."""
        environ = {**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)}
        command = [sys.executable, "-m", "vivace", "ctl", *words, str(self.process.pid)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout


def lost(server: Served, path: str) -> None:
    """A request that gets no answer."""
    with pytest.raises((OSError, HTTPException)):
        server.get(path)


class Load(Crowd):
    """Clients that keep asking; every answer that is not one is a failure."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self._port = port
        self.answers = 0
        self.failures: list[str] = []
        super().__init__([self._ask] * clients)

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        while not self.stop.is_set():
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(str(response.status))
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


def test_workers_share_the_port(folder: Path) -> None:
    with Served(folder, "--workers", "2") as server:
        server.said("worker .* serves", 2)
        seen: set[str] = set()

        def both_answer() -> bool:
            """Whichever is held, the other one takes what comes meanwhile."""
            with Crowd([lambda: seen.update(server.get("/hold")[:1])]):
                seen.update(server.get()[0] for _ in range(20))
            return len(seen) == 2

        until(both_answer)
        assert {int(pid) for pid in seen} == server.workers()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_one_worker_is_not_multiprocess_and_several_are(folder: Path) -> None:
    with Served(folder) as server:
        assert server.get()[2] == "False"
        assert int(server.get()[0]) != server.process.pid
    with Served(folder, "-w2") as server:
        assert server.get()[2] == "True"


def test_without_a_supervisor(folder: Path) -> None:
    with Served(folder, "--workers", "0") as server:
        assert int(server.get()[0]) == server.process.pid


def test_application_that_cannot_be_loaded_is_said_once_and_ends_everything(folder: Path) -> None:
    (folder / "app.py").write_text("import nowhere_at_all\n")
    with Served(folder, "-w", "3") as server:
        assert server.wait() == 1
        assert server.log.count("No module named 'nowhere_at_all'") == 1


@pytest.mark.parametrize(("path", "how"), [("/exit", "exited with code 7"), ("/segv", "ended by SIGSEGV")])
def test_worker_that_dies_is_named_with_its_request_and_replaced(folder: Path, path: str, how: str) -> None:
    with Served(folder) as server:
        pid = server.get()[0]
        lost(server, path)
        [line] = server.said(f"worker {pid} .*{how}.*\n.*GET {path}.*")
        assert "held 1 request" in line
        until(lambda: server.get()[0] != pid)
        if path == "/segv":
            server.said("string_at")  # the stack of the fault


def test_killed_worker_loses_only_what_it_held(folder: Path) -> None:
    with Served(folder, "-w2", "--lanes", "pool") as server:
        server.said("worker .* serves", 2)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        connection.request("GET", "/slow?30")
        [held] = until(lambda: [row["pid"] for row in server.status()["workers"] if row["in_progress"]])
        began = time.monotonic()
        os.kill(held, signal.SIGKILL)
        named = r"held 1 request on \d+ connections?:\n +GET /slow\?30 from 127.0.0.1, for "
        server.said(f"worker {held} was ended by SIGKILL.*{named}")
        server.said("worker .* serves", 3)
        assert time.monotonic() - began < 5
        connection.close()
        server.get()


# --- reloading --------------------------------------------------------------------------------------------


def test_reload_under_load_loses_nothing_and_brings_new_code(folder: Path) -> None:
    with Served(folder, "-w2") as server:
        server.said("worker .* serves", 2)
        with Load(server.port) as load:
            for version in range(2, 5):
                server.write(f"VERSION = {version - 1}", f"VERSION = {version}")
                assert f"generation {version} serves" in server.ctl("reload")
                assert server.get()[1] == str(version)
        assert load.failures == []
        assert load.answers > 20


def test_reload_takes_new_settings_and_names_those_it_cannot_take(folder: Path) -> None:
    (folder / "vivace.toml").write_text("workers = 1\n")
    with Served(folder) as server:
        server.get()
        (folder / "vivace.toml").write_text("workers = 2\nbacklog = 7\n")
        server.send_signal(signal.SIGHUP)
        server.said("backlog: a change takes effect with USR2")
        until(lambda: len(server.workers()) == 2)
        (folder / "vivace.toml").write_text("wokers = 2\n")
        assert "failed" in server.ctl("reload", code=1)
        server.said("the settings are wrong and stay as they were: vivace.toml: wokers: no such setting")
        server.get()


def test_reload_of_broken_code_leaves_the_old_serving(folder: Path) -> None:
    with Served(folder, "-w2") as server:
        server.said("worker .* serves", 2)
        before = server.workers()
        server.write("VERSION = 1", "VERSION = ")
        assert "SyntaxError" in server.ctl("reload", code=1)
        server.said("the reload has failed; the old workers serve on")
        assert server.workers() == before
        assert server.get()[1] == "1"
        server.write("VERSION = ", "VERSION = 2")
        server.ctl("reload")
        assert server.get()[1] == "2"


def test_program_is_replaced_in_place_under_load(folder: Path) -> None:
    with Served(folder, "-w2") as server:
        server.said("worker .* serves", 2)
        before = server.workers()
        with Load(server.port) as load:
            server.write("VERSION = 1", "VERSION = 2")
            server.ctl("upgrade")
            until(lambda: not before & server.workers())
            assert server.get()[1] == "2"
            assert "3 workers wanted" in server.ctl("scale", "3")
            server.ctl("upgrade")
            until(lambda: len(server.workers()) == 3)
        assert load.failures == []
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_program_with_another_layout_of_the_page_makes_a_new_one(folder: Path) -> None:
    with Served(folder, "-w2") as server:
        server.said("worker .* serves", 2)
        page = find_server(str(server.port))
        page.words[H_MAGIC] += 1  # as if an older version had made it
        with Load(server.port) as load:
            server.write("VERSION = 1", "VERSION = 2")
            server.send_signal(signal.SIGUSR2)
            until(lambda: server.get()[1] == "2")
            server.said("worker .* serves", 4)
            until(lambda: len(server.workers()) == 2)
        assert load.failures == []
        assert "generation" in server.ctl("status")
        page.close()


def test_program_that_would_not_start_is_not_put_in_place(folder: Path) -> None:
    with Served(folder) as server:
        pid = server.get()[0]
        server.write("VERSION = 1", "VERSION = ")
        assert "SyntaxError" in server.ctl("upgrade", code=1)
        assert server.get()[0] == pid


def test_preloaded_application_is_loaded_once_and_anew_at_a_reload(folder: Path) -> None:
    with (folder / "app.py").open("a") as file:
        file.write("\nprint('loaded', VERSION, flush=True)\n")
    with Served(folder, "-w2", "--preload") as server:
        server.said("worker .* serves", 2)
        assert len(server.said("loaded 1")) == 1
        server.write("VERSION = 1", "VERSION = 2")
        server.ctl("reload")
        assert server.get()[1] == "2"


# --- scaling and replacing --------------------------------------------------------------------------------


def test_ttin_and_ttou(folder: Path) -> None:
    with Served(folder) as server:
        server.get()
        server.send_signal(signal.SIGTTIN)
        until(lambda: len(server.workers()) == 2)
        server.send_signal(signal.SIGTTOU)
        until(lambda: len(server.workers()) == 1)
        server.send_signal(signal.SIGTTOU)
        server.get()
        assert len(server.workers()) == 1


def test_worker_is_replaced_after_so_many_requests(folder: Path) -> None:
    with Served(folder, "--max-requests", "20", "--max-requests-jitter", "0") as server:
        with Load(server.port, 2) as load:
            server.said(r"goes: it has had \d+ requests \(max_requests\)", 2)
        assert load.failures == []


def test_worker_is_replaced_when_it_is_old(folder: Path) -> None:
    with Served(folder, "--max-lifetime", "1s") as server:
        server.said(r"goes: it is old enough \(max_lifetime\)")
        server.get()


def test_worker_that_is_too_big_is_replaced(folder: Path) -> None:
    with Served(folder, "--memory-soft", "40MiB") as server:
        pid = server.get("/grow")[0]
        server.said(rf"worker {pid} goes: it has \d+ MiB of resident memory \(memory_soft\)")
        until(lambda: server.get()[0] != pid)


def test_worker_that_is_far_too_big_is_killed_with_its_requests_named(folder: Path) -> None:
    with Served(folder, "--memory-hard", "40MiB", "--lanes", "pool") as server:
        pid = server.get("/grow")[0]
        server.said(rf"worker {pid} has \d+ MiB of resident memory, more than memory_hard, and is ended")
        server.said(rf"worker {pid} was ended by SIGKILL")
        until(lambda: server.get()[0] != pid)


# --- stopping ---------------------------------------------------------------------------------------------


def test_term_waits_for_what_is_in_flight(folder: Path) -> None:
    with Served(folder, "-w2", "--lanes", "pool") as server:
        server.get()
        answers: list[list[str]] = []
        thread = threading.Thread(target=lambda: answers.append(server.get("/slow?1")))
        thread.start()
        until(lambda: "GET /slow?1" in server.ctl("status"))
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        thread.join(TIMEOUT_S)
        assert len(answers) == 1


@pytest.mark.parametrize("numbers", [(signal.SIGQUIT,), (signal.SIGTERM, signal.SIGTERM)], ids=["QUIT", "TERM twice"])
def test_at_once(folder: Path, numbers: tuple[int, ...]) -> None:
    with Served(folder, "--lanes", "pool") as server:
        server.get()
        thread = threading.Thread(target=lambda: lost(server, "/slow?30"))
        thread.start()
        until(lambda: "GET /slow?30" in server.ctl("status"))
        for number in numbers:
            server.send_signal(number)
            time.sleep(0.1)
        assert server.wait() == 128 + numbers[-1]
        thread.join(TIMEOUT_S)


def test_workers_end_when_their_supervisor_is_killed(folder: Path) -> None:
    with Served(folder, "-w2") as server:
        server.said("worker .* serves", 2)
        workers = server.workers()
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        server.said("the supervisor is gone: stopping")


def test_unix_socket_is_removed_at_the_end_and_not_by_a_worker(folder: Path) -> None:
    path = folder / "app.sock"
    with Command("app:app", "-b", f"unix:{path}", cwd=folder) as server:
        assert server.url == f"unix:{path}"
        server.send_signal(signal.SIGHUP)
        until(lambda: server.log.count("goes:") == 1)
        assert path.exists()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not path.exists()


# --- development ------------------------------------------------------------------------------------------


def test_reload_on_change_shows_a_mistake_in_the_browser_and_recovers(folder: Path) -> None:
    with Served(folder, "--reload") as server:
        assert server.get()[1] == "1"
        server.write("VERSION = 1", "VERSION = 2")
        until(lambda: server.get()[1] == "2")
        server.write("VERSION = 2", "VERSION = <b>")

        def failed() -> str:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
            connection.request("GET", "/")
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            return text if response.status == 500 else ""

        page = until(failed)
        assert "SyntaxError" in page
        assert "VERSION = &lt;b&gt;" in page
        server.said("SyntaxError")
        server.write("VERSION = <b>", "VERSION = 3")

        def mended() -> bool:
            try:
                return server.get()[1] == "3"
            except AssertionError:
                return False

        until(mended)


def test_each_worker_has_a_socket_of_its_own(folder: Path) -> None:
    with Served(folder, "-w2", "--reuse-port") as server:
        server.said("worker .* serves", 2)
        seen = set()
        until(lambda: seen.add(server.get()[0]) or len(seen) == 2)
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert sum(row[3] == "0A" and int(row[1].partition(":")[2], 16) == server.port for row in rows) == 2
        with Load(server.port) as load:
            server.ctl("reload")
        assert len(server.said("goes:", 2)) == 2
        assert load.answers > 0
