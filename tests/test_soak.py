"""Good, slow, broken and vanishing clients at once; afterwards nothing is left over.

Invariant: every connection that was opened is closed and counted under exactly one reason; no thread but the loop's, no
descriptor and no file remains; the good clients saw nothing of the others. Memory may grow by MEMORY_BYTES_MAX, and
its objects by OBJECTS_MAX, between the first part of the soak, which warms caches, and its end.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import Command
from wire import Client, WireError, chunked, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SOAK_S = 10.0
MEMORY_BYTES_MAX = 1 << 20
"""Resident, once the C library has given back what it can."""
OBJECTS_MAX = 1000
"""Containers that Python's collector knows: a connection leaked in a thousand would show."""

APP = """
import ctypes, gc, json, time
from vivace.worker.server import Server

libc = ctypes.CDLL(None)
served = []
init = Server.__init__

def kept(self, *args, **kwargs):
    init(self, *args, **kwargs)
    served.append(self)

Server.__init__ = kept

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/state":
        loop = served[0].loop
        state = {"closed": loop.closed.snapshot(), "open": len(loop.conns), "threads": loop.pool.total}
        if environ["QUERY_STRING"] == "objects":
            gc.collect()
            if hasattr(libc, "malloc_trim"):
                libc.malloc_trim(0)
            state["objects"] = len(gc.get_objects())
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(state).encode()]
    body = environ["wsgi.input"].read()
    if path.startswith("/sleep"):
        time.sleep(0.01)
    if path == "/burn":
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass
    if path == "/fail":
        raise ValueError("as it should")
    if path == "/file":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](open("file", "rb"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/cut":
        return cut()
    if path == "/stream":
        return (b"x" * 1000 for _ in range(2000))
    if path == "/large":
        return [b"x" * 2_000_000]
    return [(environ["QUERY_STRING"] + " ").encode() + body]

def cut():
    yield b"begun"
    raise ValueError("as it should")
"""


class Soak:
    """Clients of all kinds against `url` until `stop`; counts the connections they open, keeps what went wrong."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.seed = seed
        self.stop = threading.Event()
        self.opened = 0
        self.lock = threading.Lock()
        self.failures: list[str] = []
        kinds: list[tuple[Callable[..., None], int]] = [
            (self.good, 4),
            (self.uploading, 2),
            (self.downloading, 2),
            (self.slow_sender, 3),
            (self.slow_reader, 3),
            (self.broken, 2),
            (self.vanishing, 4),
            (self.idle, 2),
        ]
        self.threads = [
            threading.Thread(target=self._repeat, args=(kind, number))
            for kind, count in kinds
            for number in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _repeat(self, kind: Callable[[Client, random.Random], None], number: int) -> None:
        chance = random.Random(f"{self.seed} {kind.__name__} {number}")
        while not self.stop.is_set():
            try:
                with Client(self.url, timeout_s=20, receive_bytes=65536) as client:
                    with self.lock:
                        self.opened += 1
                    kind(client, chance)
            except Exception as error:
                self.failures.append(f"{kind.__name__}: {error!r}")

    # The good ones look at every answer.

    def good(self, client: Client, chance: random.Random) -> None:
        for _ in range(50):
            batch = [(chance.choice(["/", "/sleep", "/sleep2", "/burn"]), chance.random()) for _ in range(3)]
            client.send(b"".join(request(f"{path}?{number}", method="POST", body=b"body") for path, number in batch))
            for _, number in batch:
                assert client.read_response().body == f"{number} body".encode()
        assert client.send(request("/fail")).read_response().status == 500

    def uploading(self, client: Client, chance: random.Random) -> None:
        for _ in range(3):
            body = b"x" * chance.choice([10, 70_000, 2_000_000])
            client.send(request("/?up", method="POST", body=body))
            assert client.read_response().body == b"up " + body
            client.send(request("/?up", "Transfer-Encoding: chunked", method="POST") + chunked([body[:5], body[5:]]))
            assert client.read_response().body == b"up " + body

    def downloading(self, client: Client, chance: random.Random) -> None:
        for _ in range(3):
            path = chance.choice(["/stream", "/large", "/file"])
            assert client.send(request(path)).read_response().body == b"x" * 2_000_000

    # Slow ones get their answer all the same.

    def slow_sender(self, client: Client, chance: random.Random) -> None:
        data = request("/?slow", method="POST", body=b"x" * 200)
        for at in range(0, len(data), 20):
            client.send(data[at : at + 20])
            time.sleep(chance.uniform(0, 0.02))
        assert client.read_response().body == b"slow " + b"x" * 200

    def slow_reader(self, client: Client, chance: random.Random) -> None:
        client.send(request(chance.choice(["/stream", "/large", "/file"]), "Connection: close"))
        size = 0
        while part := client.socket.recv(100_000):
            size += len(part)
            time.sleep(chance.uniform(0, 0.01))
        assert size > 2_000_000

    # Broken ones get 4xx, or a cut connection where the application failed.

    def broken(self, client: Client, chance: random.Random) -> None:
        if chance.random() < 0.3:
            assert not client.send(request("/cut")).read_response().whole
            return
        client.send(chance.choice([b"BROKEN\r\n\r\n", b"\x16\x03\x01\x02", request("/", "X : y"), b"GET / HTTP/1.1\n"]))
        assert client.read_response().status == 400
        assert client.has_ended()

    # These leave at any moment.

    def vanishing(self, client: Client, chance: random.Random) -> None:
        data = chance.choice(
            [
                b"",
                request("/")[:10],
                request("/", method="POST", body=b"x" * 2_000_000)[: chance.randrange(1_900_000)],
                request("/sleep"),
                request("/sleep") * 5,
                request("/large") * 3,
                request("/stream"),
                request("/file"),
                request("/", "Expect: 100-continue", "Content-Length: 5", method="POST"),
                request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
            ]
        )
        try:
            client.send(data)
            if data and chance.random() < 0.5:
                client.socket.settimeout(0.05)
                client.read_bytes(chance.randrange(1000))
        except (OSError, WireError):
            pass
        chance.choice([client.reset, client.socket.close, client.finish_sending])()

    def idle(self, client: Client, chance: random.Random) -> None:
        client.send(request("/?idle")).read_response()
        self.stop.wait(chance.uniform(0.1, 1.0))
        if chance.random() < 0.5:
            assert client.send(request("/?idle")).read_response().body == b"idle "


def memory_bytes(pid: int) -> int:
    """Resident memory that is the process's own."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def descriptors(pid: int) -> int:
    """How many are open, but for those by which each thread may watch how long it waits for a core."""
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += not os.readlink(fd).endswith("/schedstat")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


def state(command: Command, target: str = "/state") -> dict[str, Any]:
    """What the server says of itself, over a connection of its own."""
    return dict(json.loads(fetch(command.url, request(target, "Connection: close")).body))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks into /proc")
@pytest.mark.timeout(120)
def test_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One heap, and whatever is large outside of it (mallopt(3)): what is measured is use, not fragments.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "file").write_bytes(b"x" * 2_000_000)
    spill = tmp_path / "spill"
    spill.mkdir()
    settings = ["--threads", "16", "--thread-idle-s", "0.5", "--body-memory-bytes", "100000", "--spill-dir", str(spill)]
    with Command("app:app", "--bind", "127.0.0.1:0", *settings, cwd=tmp_path) as command:
        pid = command.process.pid
        assert state(command)["open"] == 1
        states = 1
        found: dict[str, Any] = {}
        before = descriptors(pid)
        opened = 0
        sizes: list[int] = []
        objects: list[int] = []
        for part in (1, 2):
            soak = Soak(command.url, part)
            time.sleep(SOAK_S / 2)
            soak.join()
            opened += soak.opened
            assert soak.failures == []

            def all_closed() -> bool:
                nonlocal states, found
                states += 1
                found = state(command)
                return bool(found["open"] == 1 and found["threads"] <= 2)

            until(all_closed, 10)
            # This request's own connection is not closed yet; its predecessors are.
            assert sum(found["closed"].values()) == opened + states - 1
            until(lambda: descriptors(pid) <= before)
            assert len(os.listdir(f"/proc/{pid}/task")) <= 3
            objects.append(state(command, "/state?objects")["objects"])
            states += 1
            sizes.append(memory_bytes(pid))
        assert found["closed"]["bug"] == 0
        assert (
            min(found["closed"][reason] for reason in ("client", "client_early", "client_gone", "refused", "aborted"))
            > 0
        )
        assert objects[1] - objects[0] <= OBJECTS_MAX
        assert sizes[1] - sizes[0] <= MEMORY_BYTES_MAX
        assert opened > 200
        command.send_signal()
        assert command.wait() == 0
    assert "vivace failed" not in command.log
    assert list(spill.iterdir()) == []
