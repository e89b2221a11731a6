"""Descriptors, threads, disk and memory taken away in turn, under load, and given back."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import clients
from ..processes import Running
from .trial import Result, Setup, descriptors_of, log_of, size_bytes, wait_until, worker_of

TITLE = "Descriptors, threads, disk and memory exhausted in turn"
HOW = (
    "Eight clients ask for a quick route, one that waits and an upload of 2 MB, one request after another on kept "
    "connections. Meanwhile a limit of the running process is lowered below what it uses (prlimit), and lifted again. "
    "Lost is a request that gets no answer, unless its connection, kept between two requests, was closed to make room "
    "(RFC 9112 section 9.5 has clients expect that), and one that the application ran and nobody got the answer of."
)
CLIENTS = 8
UPLOAD = b"x" * 2_000_000
SERVICE_S = 2.0  # after the limit is lifted
NEVER = resource.RLIM_INFINITY


class Load:
    """Clients that never stop asking; counts what they get, and what was lost on a kept connection."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.closed = 0
        self.wrong = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        requests = [
            clients.Request(path="/?load"),
            clients.Request(path="/sleep?load"),
            clients.Request(method="POST", path="/?load", body=UPLOAD),
        ]
        while not self._stop.is_set():
            turn = 0
            try:
                # Waiting in the backlog is no loss: a connection that was not accepted yet.
                with clients.Client(self.server.address, timeout_s=30.0) as client:
                    for turn in range(30):
                        request = requests[(turn + number) % 3]
                        answer = client.ask(request)
                        self.statuses[answer.status] += 1
                        self.wrong += answer.status == 200 and answer.body != b"%d bytes" % len(request.body)
                        if answer.status in (503, 507) or self._stop.is_set():
                            break  # such an answer may close the connection
            except TimeoutError:
                self.lost += 1
            except OSError:
                self.closed += turn > 0
                self.lost += turn == 0
                time.sleep(0.01)


@contextmanager
def lowered(server: Running, kind: int, soft: int) -> Iterator[None]:
    """The limit of the running process, for a while."""
    pid = worker_of(server)
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def descriptors(setup: Setup, result: Result, server: Running) -> None:
    """Fewer than there are connections: the others wait, or take the place of those that are idle."""
    idle = clients.open_idle(server.address, 50, b"GET / HTTP/1.1\r\n")
    time.sleep(0.5)
    with lowered(server, resource.RLIMIT_NOFILE, max(20, descriptors_of(server) - 20)):
        time.sleep(setup.seconds / 8)
    clients.release(idle)


def threads(setup: Setup, result: Result, server: Running) -> None:
    """No room for another thread's stack."""
    with lowered(server, resource.RLIMIT_AS, size_bytes(server) + 7_000_000):
        for _ in range(3):
            _burst(server, 24)
            time.sleep(setup.seconds / 24)


def _burst(server: Running, count: int) -> None:
    """So many requests that wait, at once: more than there are threads for so far."""
    wire = clients.Request(path="/sleep").wire(server.address)
    clients.release(clients.open_idle(server.address, count, wire))


def disk(setup: Setup, result: Result, server: Running) -> None:
    """Files of 100 kB at most: bodies of 2 MB cannot be kept."""
    with lowered(server, resource.RLIMIT_FSIZE, 100_000):
        time.sleep(setup.seconds / 8)


def memory(setup: Setup, result: Result, server: Running) -> None:
    """What the process has and little more; the application wants far more."""
    with lowered(server, resource.RLIMIT_AS, size_bytes(server) + 6_000_000):
        deadline = time.perf_counter() + setup.seconds / 8
        while time.perf_counter() < deadline:
            try:
                clients.ask(server.address, clients.Request(path="/memory"), timeout_s=10.0)
            except OSError:
                pass
            time.sleep(0.1)


TRIALS: dict[str, tuple[Callable[[Setup, Result, Running], None], str]] = {
    "descriptors": (descriptors, "no new connection could be accepted: Too many open files"),
    "threads": (threads, "the system starts no more threads"),
    "disk": (disk, "a request body could not be kept: File too large"),
    "memory": (memory, "emory"),
}


def run(setup: Setup) -> Result:
    result = Result("exhaustion", TITLE, HOW)
    for name, (take, line) in TRIALS.items():
        with setup.serving("--threads", "32") as server, setup.watched(result, server):
            _one(setup, result, server, name, take, line)
    return result


def _one(
    setup: Setup,
    result: Result,
    server: Running,
    name: str,
    take: Callable[[Setup, Result, Running], None],
    line: str,
) -> None:
    with Load(server) as load:
        time.sleep(setup.seconds / 16)
        before = load.statuses[200]
        take(setup, result, server)
        lifted = time.perf_counter()
        during = load.statuses[200] - before
        failures = dict(load.statuses)
        back = wait_until(lambda: _serves(server), SERVICE_S)
        took_s = time.perf_counter() - lifted
        time.sleep(setup.seconds / 16)
    later = dict(load.statuses)
    ran = int(clients.ask(server.address, clients.Request(path="/count")).body)
    answered = later.get(200, 0) + later.get(500, 0)
    log = log_of(server)
    lines = [text for text in log.splitlines() if line in text]
    result.target(f"{name}: a clear log line", lines[0].split("] ", 3)[-1][:150] if lines else log[-200:], bool(lines))
    result.target(
        f"{name}: service again when it is over",
        f"all routes answered 200 after {took_s:.2f} s" if back else f"not within {SERVICE_S:.0f} s",
        back and server.process.poll() is None,
    )
    clean = load.wrong == 0 and "please report" not in log
    result.target(
        f"{name}: nothing lost that was accepted",
        f"{load.lost} lost, the application ran {ran:,} and {answered:,} were answered; {during:,} meanwhile, refused "
        f"{_others(failures) or 'none'}; {load.closed} kept connections closed between two requests",
        load.lost == 0 and ran == answered and clean,
    )
    result.row(f"{name}: lines in the log", f"{len(lines)}; statuses at the end {_others(later) or 'all 200'}")
    setup.say(f"exhaustion, {name}: {[target.found for target in result.targets[-3:]]}")


def _others(statuses: dict[int, int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()) if status != 200)


def _serves(server: Running) -> bool:
    """Every route answers, an upload as well."""
    requests = [clients.Request(), clients.Request(path="/sleep"), clients.Request(method="POST", body=UPLOAD)]
    try:
        return all(clients.ask(server.address, request).status == 200 for request in requests)
    except OSError:
        return False
