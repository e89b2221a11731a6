"""embed and pytest_plugin: a server in a script, in a thread of its own, and as a fixture.

How a server stops stands in test_stopping.py, where it listens in test_listening.py.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import app_of
from command import SERVES
from vivace.errors import SettingError
from wire import fetch, until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

HELLO = app_of([b"hello"])


# background: in a thread.


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_background() -> None:
    before = threads()
    with vivace.background(HELLO) as server:
        assert server.url == f"http://{server.host}:{server.port}"
        assert (server.host, server.port > 0) == ("127.0.0.1", True)
        assert fetch(server).body == b"hello"
    until(lambda: threads() == before, what="threads are left over")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_background_answers_what_came_before_it_was_started() -> None:
    """It listens from the beginning."""
    server = vivace.background(HELLO)
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        with server:
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_background_without_a_reload_that_is_not_wanted() -> None:
    with vivace.background(HELLO, reload=False, env=[]) as server:
        assert fetch(server).body == b"hello"


def test_background_on_a_unix_socket(tmp_path: Path) -> None:
    with vivace.background(HELLO, bind=f"unix:{tmp_path}/app.sock") as server:
        assert server.url == f"unix:{tmp_path}/app.sock"
        assert fetch(server).body == b"hello"
    assert os.listdir(tmp_path) == []


def test_background_stops_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), vivace.background(HELLO) as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_background_stopped_twice_and_without_a_start(tmp_path: Path) -> None:
    server = vivace.background(HELLO).start()
    server.stop()
    server.stop()
    server = vivace.background(HELLO, bind=f"unix:{tmp_path}/app.sock")
    server.stop()
    assert os.listdir(tmp_path) == []


def test_several_at_once() -> None:
    with vivace.background(app_of([b"one"])) as one, vivace.background(app_of([b"two"])) as two:
        assert (fetch(one).body, fetch(two).body) == (b"one", b"two")


@pytest.mark.parametrize("how", ["background", "serve"])
def test_settings_that_are_wrong_are_all_told(how: str) -> None:
    with pytest.raises(SettingError) as raised:
        getattr(vivace, how)(HELLO, thread=8, bind="nowhere:99999", lanes="fast")
    text = str(raised.value)
    assert len(raised.value.problems) == 3
    assert "threads" in text
    assert "99999" in text
    assert "learn" in text


@pytest.mark.parametrize("how", ["background", "serve"])
def test_settings_that_come_too_late_for_the_application(tmp_path: Path, how: str) -> None:
    before = os.getcwd(), dict(os.environ), list(sys.path)
    late: dict[str, Any] = {"chdir": str(tmp_path), "env": ["A=b"], "python-path": "lib", "app_dir": "lib"}
    with pytest.raises(SettingError) as raised:
        getattr(vivace, how)(HELLO, **late, name="web", reload=True, bind="127.0.0.1:0")
    assert [problem.partition(": has no effect, ")[0] for problem in raised.value.problems] == [
        *("app_dir", "chdir", "env", "name", "python_path", "reload")
    ]
    assert raised.value.problems[1] == (
        "chdir: has no effect, since the application is imported already: call os.chdir() before you import it; "
        "or serve it with the vivace command"
    )
    assert (os.getcwd(), dict(os.environ), list(sys.path)) == before


@pytest.mark.parametrize("how", ["background", "serve"])
def test_a_server_that_cannot_be_made_leaves_no_listener(tmp_path: Path, how: str) -> None:
    """The sockets are open by then."""
    if sys.platform != "linux":
        pytest.skip("this system may have a kqueue")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SettingError, match="this system has no kqueue"):
        getattr(vivace, how)(HELLO, bind=f"unix:{tmp_path}/a", poller="kqueue")
    gc.collect()
    assert os.listdir(tmp_path) == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# serve: in a script.

SCRIPT = """
import signal, sys, threading, vivace

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [threading.current_thread().name.encode()]

for time in range(2):
    vivace.serve(app, bind="127.0.0.1:0", threads=int(sys.argv[1]))
    print("returned", signal.getsignal(signal.SIGINT) is signal.default_int_handler,
          signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("threads", [1, 8])
def test_serve_until_a_signal_and_once_more(threads: int) -> None:
    """It returns, and leaves the signals as they were."""
    command = [sys.executable, "-c", SCRIPT, str(threads)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as script:
        assert script.stderr is not None
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                [url] = re.findall(SERVES, script.stderr.readline())
                assert (fetch(url).body == b"MainThread") is (threads == 1)
                script.send_signal(number)
                assert script.stderr.readline().endswith("[INFO] stopped\n")
                assert script.stderr.readline() == "returned True True\n"
            assert script.stderr.read() == ""
        finally:
            script.kill()
    assert script.returncode == 0


THREAD = """
import os, sys, threading, vivace
sys.path.insert(0, sys.argv[1])
from wire import Client, fetch, until

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

threading.Thread(target=vivace.serve, args=(app,), kwargs={"bind": "unix:app.sock"}, daemon=True).start()
def listens():
    try:
        return Client("unix:app.sock").socket.close() is None
    except OSError:
        return False

until(listens)
print(fetch("unix:app.sock").body.decode())
"""


def test_serve_from_another_thread(tmp_path: Path) -> None:
    """Signals are the main thread's: it serves for ever, and ends with the program."""
    command = [sys.executable, "-c", THREAD, os.path.dirname(__file__)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr


# The fixture.

TESTS = """
import socket, pytest

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

ports = []

def test_two_servers(vivace_server):
    one, two = vivace_server(app), vivace_server(app, threads=1)
    ports.extend([one.port, two.port])
    for server in (one, two):
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    two.stop()

def test_they_are_gone():
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
"""


def test_the_fixture_is_found_without_being_asked_for(tmp_path: Path) -> None:
    """By its entry point, in a project that knows nothing of ours."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "2 passed" in run.stdout, run.stdout
