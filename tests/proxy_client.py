"""What the tests of servers behind proxies share: an application that shows what it was told, and where clients are."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from wire import TIMEOUT_S, Client, request

if TYPE_CHECKING:
    from typing import Any

SHOWN = (
    *("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME"),
    *("PATH_INFO", "REQUEST_URI", "vivace.peer", "vivace.peer_port", "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"),
    *("HTTP_X_REAL_IP", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"),
)


def show(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The keys SHOWN, and the size of the body, as JSON."""
    start_response("200 OK", [("Content-Type", "application/json")])
    size = len(environ["wsgi.input"].read(1000))
    return [json.dumps({"size": size, **{key: environ[key] for key in SHOWN if key in environ}}).encode()]


class From(Client):
    """A client with an address of its own: all of 127.0.0.0/8 is this machine (Linux)."""

    def __init__(self, server: Any, address: str = "127.0.0.1") -> None:
        self.buffer = b""
        self.ended = ""
        url = server if isinstance(server, str) else server.url
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S, (address, 0))

    def told(self, data: bytes = b"") -> dict[str, Any]:
        """What `show` answers to `data`, by default a GET."""
        response = self.send(data or request()).read_response()
        assert response.status == 200, response
        found: dict[str, Any] = json.loads(response.body)
        return found
