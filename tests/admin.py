"""A server with an admin address, as the real command, and clients that count what they get."""

from __future__ import annotations

import json
import re
import threading
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from command import Command
from crowd import Crowd
from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("it failed as it should")
    if path == "/exit":
        os._exit(7)
    if path in ("/sleep", "/slow"):
        time.sleep(0.02 if path == "/sleep" else float(environ["QUERY_STRING"].rpartition("=")[2]))
    start_response("404 Not Found" if path == "/none" else "200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
ADMIN = re.compile(r"/metrics are at (http://\S+|unix:\S+)")


class Shown(Command):
    """`vivace app:app` with an admin address; `folder` gets the application."""

    def __init__(self, folder: Path, *arguments: str, admin: str = "127.0.0.1:0", **popen: Any) -> None:
        (folder / "app.py").write_text(APP)
        super().__init__("app:app", "--bind", "127.0.0.1:0", "--admin", admin, *arguments, cwd=folder, **popen)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def admin(self) -> str:
        """Where it shows; of the last process that said so."""
        found: list[str] = until(lambda: ADMIN.findall(self.log), what="no admin address")
        return found[-1]

    def see(self, path: str, method: str = "GET", body: str = "", **fields: str) -> tuple[int, dict[str, str], str]:
        """(status, fields, text) of an answer at the admin address; `fields` with _ for -."""
        host = self.admin.removeprefix("http://").replace("0.0.0.0", "127.0.0.1")
        connection = HTTPConnection(host, timeout=TIMEOUT_S)
        try:
            connection.request(
                method, path, body or None, {key.replace("_", "-"): text for key, text in fields.items()}
            )
            response = connection.getresponse()
            return response.status, {key.lower(): text for key, text in response.getheaders()}, response.read().decode()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, text = self.see(path)
        assert status == 200, text
        return json.loads(text)

    def get(self, path: str = "/") -> int:
        """The status of one answer of the application."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


class Clients(Crowd):
    """Who keep asking and count the answers by path; an answer that does not come is `lost`."""

    def __init__(self, port: int, *paths: str, count: int = 4) -> None:
        self.answers: dict[str, int] = dict.fromkeys(paths, 0)
        self.lost = 0
        self._port = port
        self._guard = threading.Lock()
        super().__init__([self._ask] * count)

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        while not self.stop.is_set():
            for path in self.answers:
                try:
                    connection.request("GET", path)
                    connection.getresponse().read()
                except (OSError, HTTPException):
                    connection.close()
                    with self._guard:
                        self.lost += 1
                    continue
                with self._guard:
                    self.answers[path] += 1
            self.stop.wait(0.002)
        connection.close()
