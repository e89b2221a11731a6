"""A real nginx or HAProxy in front of a server, each request numbered by the proxy, and a tap on the line between them.

    client -> proxy -> Tap -> server

The proxy gives each request an id, in X-Id, and writes a line of log for it: the id, the status of the backend, and the
X-Seen of its response, with which the server says whose request it answered. That is the proxy's own account of what it
sent and what it took for the answer.
"""

from __future__ import annotations

import selectors
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wire import TIMEOUT_S, until

if TYPE_CHECKING:
    from typing import Self

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors error;
events {{ worker_connections 512; }}
http {{
    log_format seen '$request_id $upstream_status $upstream_http_x_seen';
    access_log {folder}/log seen;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream app {{ server unix:{folder}/tap; keepalive 1; keepalive_requests 100000; }}
    server {{
        listen unix:{folder}/front; {options}
        lingering_close off; client_header_timeout 2s; client_body_timeout 2s;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_next_upstream off; proxy_ignore_client_abort on;
            proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Id $request_id;
        }}
    }}
}}
"""

HAPROXY = """
global
    log stdout format raw local0
defaults
    mode http
    log global
    timeout client 2s
    timeout server 5s
    timeout connect 2s
    timeout http-request 2s
    retries 0
    http-reuse always
    {options}
listen front
    bind {folder}/front
    http-request set-var(txn.id) uuid()
    http-request set-header X-Id %[var(txn.id)]
    http-response set-var(txn.seen) res.hdr(X-Seen)
    log-format "%[var(txn.id)] %ST %[var(txn.seen)]"
    server app unix@{folder}/tap
"""

LAX_NGINX = "ignore_invalid_headers off; underscores_in_headers on; merge_slashes off; proxy_request_buffering off;"

CONFIGURATIONS = {
    "nginx": ("nginx", NGINX, ""),
    "nginx, lax": ("nginx", NGINX, LAX_NGINX),
    "haproxy": ("haproxy", HAPROXY, ""),
    "haproxy, lax": ("haproxy", HAPROXY, "option accept-invalid-http-request"),
}


def program(name: str) -> str | None:
    """Where `name` is installed; Debian keeps servers where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Logged(NamedTuple):
    """What a proxy says of one request."""

    id: str
    status: str
    seen: str  # the id of the request that the server says it answered; "-": it says none


class Line:
    """One connection from the proxy to the server: what went up and what came down, in order."""

    def __init__(self) -> None:
        self.up = b""
        self.down = b""


class Tap:
    """Listens at `path`, passes everything on to the Unix socket `target` and back, and keeps a copy."""

    def __init__(self, path: Path, target: str) -> None:
        self.lines: list[Line] = []
        self._target = target
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.send(b"x")
        self._thread.join(TIMEOUT_S)
        self._selector.close()
        for sock in (self._listener, self._stop, self._stopped, *self._open):
            sock.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopped:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data is not None:
                    self._pass_on(key)

    def _accept(self) -> None:
        proxy, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        line = Line()
        self.lines.append(line)
        self._open |= {proxy, server}
        self._selector.register(proxy, selectors.EVENT_READ, (line, server, True))
        self._selector.register(server, selectors.EVENT_READ, (line, proxy, False))

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        source: socket.socket = key.fileobj  # type: ignore[assignment]
        line, other, up = key.data
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        try:
            if data:
                # Before it is sent: once a client has its answer, what led to it stands here.
                if up:
                    line.up += data
                else:
                    line.down += data
                other.sendall(data)
                return
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self._selector.unregister(source)
        if other.fileno() not in self._selector.get_map():
            for sock in (source, other):
                self._open.discard(sock)
                sock.close()


class Proxy:
    """One of CONFIGURATIONS, in front of the server at the Unix socket `target`."""

    def __init__(self, name: str, folder: Path, target: str) -> None:
        command, template, options = CONFIGURATIONS[name]
        self.url = f"unix:{folder}/front"
        self._log = folder / "log"
        configuration = folder / "configuration"
        configuration.write_text(template.format(folder=folder, options=options))
        path = program(command)
        assert path is not None
        arguments = {
            "haproxy": [path, "-db", "-f", str(configuration)],
            "nginx": [path, "-p", str(folder), "-c", str(configuration), "-e", str(folder / "errors")],
        }
        self.tap = Tap(folder / "tap", target)
        with self._log.open("wb") as log:  # HAProxy logs to its stdout, nginx to the file itself
            self._process = subprocess.Popen(
                arguments[command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL
            )

    def __enter__(self) -> Self:
        try:
            until(lambda: self._process.poll() is not None or answers(self.url), what="the proxy does not start")
            assert self._process.poll() is None, "the proxy ended at once"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        self.tap.stop()

    def log(self) -> list[Logged]:
        """What the proxy has logged so far."""
        text = self._log.read_text()
        return [Logged(*line.split()) for line in text[: text.rfind("\n") + 1].splitlines()]


def answers(url: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(url.removeprefix("unix:"))
        except OSError:
            return False
    return True
