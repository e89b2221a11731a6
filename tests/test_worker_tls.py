"""worker.tls: what the settings of TLS need of one another, and the command with TLS on."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import app_of
from certs import Authority, SecureClient
from command import Command
from vivace.cli.main import main
from vivace.config.load import from_keywords
from vivace.errors import SettingError
from vivace.worker.console import Console
from vivace.worker.server import Server, make_tls, open_listeners
from wire import TIMEOUT_S, Client, request

if TYPE_CHECKING:
    from typing import Any

HELLO = app_of([b"hello"])

APP = """
import sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(sorted(sys.modules)).encode()]
"""


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        ({"https_redirect": "127.0.0.1:0"}, ["https_redirect leads nowhere without TLS"]),
        ({"certfile": "a", "tls_self_signed": True}, ["certfile and tls_self_signed are both given"]),
        ({"certfile": ["a", "b"], "keyfile": "c"}, ["2 certfile and 1 keyfile are given"]),
        ({"tls_self_signed": True, "tls_client": "required"}, ["tls_client required needs tls_ca_file"]),
        ({"tls_self_signed": True, "tls_ca_file": "x"}, ["tls_ca_file has no effect without tls_client"]),
        (
            {"certfile": ["a", "b"], "keyfile": "c", "tls_client": "optional"},
            ["2 certfile and 1 keyfile are given", "tls_client optional needs tls_ca_file"],
        ),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], problems: list[str]) -> None:
    """Said all at once, with the settings: nothing listens yet."""
    with pytest.raises(SettingError) as raised:
        from_keywords(bind="127.0.0.1:0", **settings)
    for problem, start in zip(raised.value.problems, problems, strict=True):
        assert problem.startswith(start)


def test_what_does_not_go_together_is_a_mistake_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app:app", "--certfile=a", "--tls-self-signed"]) == 2
    assert capsys.readouterr().err.startswith("vivace: certfile and tls_self_signed are both given")


def test_a_file_that_is_not_there() -> None:
    """The listeners are closed again."""
    chosen = from_keywords(bind="127.0.0.1:0", certfile="/no/such.pem")
    listeners = open_listeners(chosen, {})
    with pytest.raises(SettingError) as raised:
        Server(HELLO, chosen, listeners)
    [problem] = raised.value.problems
    assert problem.startswith("certfile '/no/such.pem' cannot be read: No such file or directory")
    assert all(listener.socket.fileno() < 0 for listener in listeners)


def test_without_tls_nothing_is_made() -> None:
    assert make_tls(from_keywords(), Console()) is None


def test_one_tls_for_several_servers(authority: Authority) -> None:
    """Made before a fork: every worker has the same certificate."""
    chosen = from_keywords(bind="127.0.0.1:0", tls_self_signed=True)
    made = make_tls(chosen, Console("error"))
    assert made is not None
    servers = [Server(HELLO, chosen, open_listeners(chosen, {}), tls=made) for _ in range(2)]
    try:
        assert all(server.addresses[0].startswith("https://127.0.0.1:") for server in servers)
        contexts = {
            server.loop.acceptor._sites[fd][1].secure for server in servers for fd in server.loop.acceptor._sites
        }
        assert contexts == {True}
    finally:
        for server in servers:
            server.stop()
            server.run()


def test_the_command(tmp_path: Path) -> None:
    """Self-signed, with curl as the client, and the way from http. What TLS needs is imported, and no more."""
    (tmp_path / "app.py").write_text(APP)
    options = ("--bind", "127.0.0.1:0", "--https-redirect", "127.0.0.1:0", "--tls-self-signed")
    with Command("app:app", *options, cwd=tmp_path) as command:
        command.said("redirects to https")
        secure, plain = command.urls
        assert secure.startswith("https://127.0.0.1:")
        curl = ["curl", "--silent", "--show-error", "--insecure", "--location", plain]
        modules = subprocess.run(curl, capture_output=True, text=True, check=True).stdout.split()
        assert "ssl" in modules
        command.send_signal()
        assert command.wait() == 0
    assert "Traceback" not in command.log


def test_check_config_looks_at_the_certificates(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    one, two = authority.issue("one.test"), authority.issue("two.test")
    for key, code in ((one.key, 0), (two.key, 1)):
        arguments = ["--certfile", str(one.cert), "--keyfile", str(key), "--check-config"]
        with Command("app:app", *arguments, cwd=tmp_path) as command:
            assert command.wait() == code
            assert ("is not the key of" in command.log) is bool(code)


def test_a_passphrase_is_asked_for_at_a_terminal(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    pair = authority.issue("localhost", password=b"secret")
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(Path(vivace.__file__).parent.parent)}
    options = ["--bind", "127.0.0.1:0", "--certfile", str(pair.cert), "--keyfile", str(pair.key)]
    process = subprocess.Popen(
        [sys.executable, "-m", "vivace", "app:app", *options],
        cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = b""
        while b"passphrase of" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"secret\n")
        while b"Ctrl-C" not in shown:
            shown += os.read(ours, 1000)
        assert b" on https://127.0.0.1:" in shown
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        os.close(ours)


def test_a_unix_socket_can_speak_tls(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("localhost")
    options: Any = {**pair.settings, "bind": f"unix:{tmp_path}/app.sock"}
    with vivace.background(HELLO, **options) as server:
        assert server.url == f"unix:{tmp_path}/app.sock"
        with Client(server) as plain:
            assert plain.send(request()).read_response().status == 400
        with SecureClient(server, authority.client()) as client:
            assert client.send(request()).read_response().body == b"hello"
