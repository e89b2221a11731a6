"""The handler classes, and handlers that were never run: what the loop calls a subclass's methods on.

In the standard module a handler *is* the handling of a connection: its constructor reads, answers and logs. Here the
loop does that, and a handler is only made where its class overrides something that must be called: an object with the
attributes that such methods use, filled from the environ.
"""

from __future__ import annotations

import http.client
import socket
import sys
from platform import python_implementation
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard

from vivace.version import __version__ as __version__

if TYPE_CHECKING:
    from typing import Any

server_version = "vivace/" + __version__
sys_version = python_implementation() + "/" + sys.version.split()[0]
software_version = server_version + " " + sys_version

LINE_BYTES_MAX = 65536
"""The longest request line on the classic path: that of http.server."""


class ServerHandler(standard.ServerHandler):
    """Runs the application on the classic path. On both paths its `server_software` is the Server field."""

    server_software = "vivace"  # RFC 9110 section 10.2.4 advises against more than the product's name


class LateHeaders:
    """`headers`, made of the environ when it is first asked for: building a message costs more than a request does."""

    def __get__(self, handler: Any, owner: type) -> http.client.HTTPMessage:
        environ = vars(handler).get("vivace_environ")
        if environ is None:
            raise AttributeError("headers")
        message = vars(handler)["headers"] = http.client.HTTPMessage()
        for key, name in (("CONTENT_TYPE", "Content-Type"), ("CONTENT_LENGTH", "Content-Length")):
            if key in environ and key not in handler.vivace_added:
                message[name] = environ[key]
        for key, value in environ.items():
            if key[:5] == "HTTP_" and key not in handler.vivace_added:
                message[key[5:].replace("_", "-").title()] = value
        return message


class WSGIRequestHandler(standard.WSGIRequestHandler):
    """To be subclassed. Which methods may be overridden, and what each costs, stands in `overrides.HANDLER`."""

    server_version = server_version
    headers = LateHeaders()

    def handle(self) -> None:
        """The classic path: one request, read and answered by the standard library's blocking code."""
        import vivace.simple_server as simple_server  # looked up at each call: a script may have put another one there

        self.raw_requestline = self.rfile.readline(LINE_BYTES_MAX + 1)
        if len(self.raw_requestline) > LINE_BYTES_MAX:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if not self.parse_request():
            return  # it has been answered
        server: Any = self.server
        rfile: Any = self.rfile
        wfile: Any = self.wfile
        running: Any = simple_server.ServerHandler(
            rfile,
            wfile,
            self.get_stderr(),
            self.get_environ(),
            multithread=isinstance(server, ThreadingMixIn),
        )
        running.request_handler = self
        running.run(server.get_app())


class Request:
    """What stands for the client's socket, which belongs to the loop: its two names, and nothing that could harm it."""

    def __init__(self, server_address: Any, client_address: Any) -> None:
        self._server_address = server_address
        self._client_address = client_address

    def getsockname(self) -> Any:
        return self._server_address

    def getpeername(self) -> Any:
        return self._client_address

    def fileno(self) -> int:
        """As of a socket that is closed."""
        return -1

    def shutdown(self, how: int) -> None:
        """Does nothing: the loop ends connections."""

    def close(self) -> None:
        """Does nothing: the loop ends connections."""


def client_address(server: Any, environ: dict[str, Any]) -> tuple[Any, ...]:
    """(host, port) of the client, with flow and scope for IPv6, as `accept` returns it."""
    port = environ.get("REMOTE_PORT")
    rest = (0, 0) if server.address_family == socket.AF_INET6 else ()
    return (environ.get("REMOTE_ADDR", ""), int(port) if port else 0, *rest)


def make_handler(server: Any, environ: dict[str, Any], added: frozenset[str] = frozenset()) -> Any:
    """A handler of `server` for the request in `environ`, never run. `added`: keys that the client did not send."""
    cls = server.RequestHandlerClass
    handler = cls.__new__(cls)
    address = client_address(server, environ)
    method = environ.get("REQUEST_METHOD", "")
    target = environ.get("REQUEST_URI", "")
    version = environ.get("SERVER_PROTOCOL", "")
    line = f"{method} {target} {version}" if method else ""
    request = Request(server.server_address, address)
    vars(handler).update(
        server=server,
        client_address=address,
        request=request,
        connection=request,
        rfile=environ.get("wsgi.input"),
        wfile=None,
        raw_requestline=(line + "\r\n").encode("latin-1"),
        requestline=line,
        command=method,
        path=target,
        request_version=version,
        close_connection=True,
        vivace_environ=environ,
        vivace_added=added,
    )
    if not isinstance(handler, WSGIRequestHandler):
        vars(handler)["headers"] = LateHeaders().__get__(handler, cls)
    return handler
