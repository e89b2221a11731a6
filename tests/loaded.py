"""A server to be loaded: a thread a connection, and a function from a request to the bytes of its answer."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from vivace.lab.plan import Place
from wire import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Loaded:
    """Answers what `answer(head, body)` says: bytes, a list of pieces, or None to close. Counts."""

    def __init__(self, answer: Callable[[bytes, bytes], Any] = lambda head, body: HELLO, context: Any = None) -> None:
        self._answer, self._context = answer, context
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def place(self) -> Place:
        return Place("127.0.0.1", self.listener.getsockname()[1], tls=self._context is not None, verify=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(TIMEOUT_S)
        self.listener.close()
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._converse(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def _converse(self, sock: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            while len(data) < length:
                data += sock.recv(1 << 20)
            body, data = data[:length], data[length:]
            with self._lock:
                self.requests += 1
                if len(self.heads) < 1000:
                    self.heads.append(head)
                    self.bodies.append(body)
            said = self._answer(head, body)
            if said is None:
                return
            for piece in said if isinstance(said, list) else [said]:
                sock.sendall(piece)
            if b"connection: close" in b"".join(said if isinstance(said, list) else [said]).lower():
                return


class Stall:
    """Stands still for `length_s` from `after_s` after the first request; of one at a time, as a lock is held then."""

    def __init__(self, after_s: float, length_s: float) -> None:
        self._after_s, self._length_s = after_s, length_s
        self._lock = threading.Lock()
        self._begin_s = 0.0

    def __call__(self, head: bytes, body: bytes) -> bytes:
        with self._lock:
            now = time.monotonic()
            self._begin_s = self._begin_s or now
            left_s = self._begin_s + self._after_s + self._length_s - now
            if 0 < left_s <= self._length_s:
                time.sleep(left_s)
        return HELLO
