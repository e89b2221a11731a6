"""A service elsewhere that answers after a while: what the patients wait for. A process of its own.

`start()` returns its URL; GET /anything?ms=20 is answered after 20 ms. It ends when the process that started it does:
then the pipe that it reads from is closed.
"""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
import time


def start() -> str:
    """Starts it beside this process, and returns where it listens."""
    words = [sys.executable, "-S", __file__]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _started.append(process)
    assert process.stdout
    return process.stdout.readline().strip()


_started: list[subprocess.Popen[str]] = []
"""Kept, so that the pipes stay open as long as this process lives."""


class Answer(socketserver.StreamRequestHandler):
    """Of one request, on a thread of its own."""

    def handle(self) -> None:
        target = self.rfile.readline().decode("latin-1").split()[1]
        while self.rfile.readline().strip():
            pass
        path, _, milliseconds = target.partition("?ms=")
        time.sleep(float(milliseconds or 0) / 1000)
        body = f"{len(path)} of {path}\n".encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Answer) as server:
        print("http://{}:{}".format(*server.server_address), flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()
