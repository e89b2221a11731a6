"""Two machines and one Redis: what they share, and what happens to them when it is away.

    python -m benchmarks.two_machines

Each machine is a network namespace of its own (root, and `ip` of iproute2, are needed; else two loopback addresses, and
then no line can be cut). One pair of interfaces leads to Redis, another to the clients, so that the first can be cut
alone. In each runs a vivace with --cache-store. Prints what it finds, and ends with a status if a step did not hold.

The last part is a comparison: how soon a machine that waits for another one hears of the response, by being told
(publish and subscribe, as vivace does) and by looking at growing intervals.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
PORT = 8000
REDIS_PORT = 16379

APPLICATION = """
import os, threading, time
lock, calls = threading.Lock(), 0

def app(environ, start_response):
    global calls
    if environ["REQUEST_METHOD"] == "POST":
        start_response("204 No Content", [])
        return []
    if environ["PATH_INFO"] == "/calls":
        start_response("200 OK", [("Cache-Control", "no-store")])
        return [b"%d" % calls]
    with lock:
        calls += 1
        number = calls
    time.sleep(0.2 if "slow" in environ["PATH_INFO"] else 0.01)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=600")])
    return [b"%s made as number %d by %s" % (environ["PATH_INFO"].encode(), number, os.environ["MACHINE"].encode())]
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Machine:
    """A namespace and the server in it."""

    def __init__(self, number: int, spaces: bool) -> None:
        self.name = f"vivace{number}"
        self.spaces = spaces
        self.links = [f"vv{number}r", f"vv{number}c"]
        self.redis_host = f"10.77.{number}.1" if spaces else "127.0.0.1"
        self.host = f"10.78.{number}.2" if spaces else f"127.0.0.{number + 1}"
        self.server: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        if not self.spaces:
            return
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        for link, network in zip(self.links, (self.redis_host, self.host), strict=True):
            base = network.rpartition(".")[0]
            run("ip", "link", "add", link, "type", "veth", "peer", "name", "in" + link, "netns", self.name)
            run("ip", "address", "add", f"{base}.1/24", "dev", link)
            run("ip", "-n", self.name, "address", "add", f"{base}.2/24", "dev", "in" + link)
            run("ip", "link", "set", link, "up")
            run("ip", "-n", self.name, "link", "set", "in" + link, "up")

    def serve(self, folder: str) -> None:
        inside = ["ip", "netns", "exec", self.name] if self.spaces else []
        options = [
            "--bind",
            f"{self.host}:{PORT}",
            "--cache",
            "--cache-store",
            f"redis://{self.redis_host}:{REDIS_PORT}/0",
        ]
        self.server = subprocess.Popen(
            [*inside, sys.executable, "-m", "vivace", "app:app", *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{SOURCE}:{folder}", "MACHINE": self.name},
            stderr=open(f"{folder}/{self.name}.log", "wb"),
        )
        until(lambda: can_connect(self.host, PORT))

    def cut(self, *, cut: bool) -> None:
        """The line to Redis."""
        run("ip", "link", "set", self.links[0], "down" if cut else "up")

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
        if self.spaces:
            subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)

    def ask(self, path: str, method: str = "GET") -> tuple[str, str]:
        """Body and Cache-Status."""
        connection = http.client.HTTPConnection(self.host, PORT, timeout=20)
        try:
            connection.request(method, path, headers={"Host": "site.example"})
            response = connection.getresponse()
            assert response.status in (200, 204), response.status
            return response.read().decode(), response.getheader("Cache-Status") or ""
        finally:
            connection.close()

    def calls(self) -> int:
        return int(self.ask("/calls")[0])


class Redis:
    """Keeps nothing on disk."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            sys.exit("neither redis-server nor valkey-server is installed")
        options = ["--port", str(REDIS_PORT), "--save", "", "--protected-mode", "no"]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        until(lambda: can_connect("127.0.0.1", REDIS_PORT))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def can_connect(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def until(true: Callable[[], bool], limit_s: float = 20.0) -> float:
    """Seconds that it took."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > limit_s:
            sys.exit("FAILED: it did not come to pass in time")
        time.sleep(0.002)
    return time.monotonic() - begun


def hold(said: str, holds: bool) -> None:
    print(f"{'ok    ' if holds else 'FAILED'} {said}")
    if not holds:
        sys.exit(1)


def crowd(count: int, act: Callable[[int], object]) -> float:
    """Seconds until all of so many threads have acted."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun


def shared(one: Machine, two: Machine) -> bool:
    """Whether what one makes now reaches the other."""
    path = f"/{time.monotonic_ns()}"
    one.ask(path)
    time.sleep(0.05)
    return "hit" in two.ask(path)[1]


def share(one: Machine, two: Machine) -> None:
    until(lambda: shared(one, two))
    body, _ = one.ask("/page")
    time.sleep(0.1)  # what is put is put behind the answer
    found, status = two.ask("/page")
    hold(f"what the first made the second has: {status}", body == found and "hit" in status)
    before = one.calls() + two.calls()
    bodies: list[str] = []
    taken_s = crowd(200, lambda number: bodies.append((one, two)[number % 2].ask("/slow")[0]))
    calls = one.calls() + two.calls() - before
    hold(f"200 clients of both want what takes 200 ms: {calls} call, {taken_s * 1000:.0f} ms in all", calls == 1)
    hold("and all of them got the same", len(set(bodies)) == 1)


def purge(one: Machine, two: Machine) -> None:
    old, _ = two.ask("/page")
    one.ask("/page", "POST")
    taken_s = until(lambda: two.ask("/page")[0] != old)
    hold(f"a POST on the first makes the second's invalid within {taken_s * 1000:.0f} ms", True)


def lose_redis(one: Machine, two: Machine, redis: Redis) -> None:
    """kill -9 in the middle of traffic."""
    stop, taken, failed = threading.Event(), [0.0], []

    def traffic(machine: Machine, offset: int) -> None:
        number = offset
        while not stop.is_set():
            number += 4
            begun = time.monotonic()
            try:
                machine.ask(f"/traffic/{number % 200}")
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failed.append(error)
            taken.append(time.monotonic() - begun)

    threads = [threading.Thread(target=traffic, args=((one, two)[number % 2], number)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    redis.kill()
    time.sleep(1)
    one.ask("/page", "POST")
    lost = [machine.ask("/without")[1] for machine in (one, two)]
    redis.start()
    time.sleep(2.5)
    stop.set()
    for thread in threads:
        thread.join()
    slowest_ms = max(taken) * 1000
    hold(f"{len(taken)} requests around a kill -9: {len(failed)} failed, slowest {slowest_ms:.0f} ms", not failed)
    hold(f"each served by itself meanwhile: {lost}", all("stored" in status for status in lost))
    taken_s = until(lambda: shared(one, two))
    hold(f"they share again ({taken_s * 1000:.0f} ms later)", True)


def lose_line(one: Machine, two: Machine) -> None:
    one.ask("/news")
    old, _ = two.ask("/news")
    two.cut(cut=True)
    time.sleep(1)
    begun = time.monotonic()
    two.ask("/cut-off")
    cut_s = time.monotonic() - begun
    one.ask("/news", "POST")
    hold(f"cut off, the second answers in {cut_s * 1000:.0f} ms, what it has: {two.ask('/news')[0] == old}", cut_s < 1)
    two.cut(cut=False)
    taken_s = until(lambda: two.ask("/news")[0] != old)
    hold(f"the line is back: {taken_s:.1f} s later it knows what was purged", True)


def compare_waiting() -> None:
    """Told, or looking: what is added to the time that the other machine takes."""
    from vivace.cache.redis_store import RedisStore

    url = f"redis://127.0.0.1:{REDIS_PORT}/1"
    maker, waiter = (RedisStore(url, warn=print) for _ in range(2))
    for store in (maker, waiter):
        store.start()
        assert store.wait_joined(5)

    def look(key: str) -> None:
        pause_s = 0.002
        while waiter.get(key) is None:
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)

    ways: dict[str, Callable[[str], object]] = {"told": lambda key: waiter.wait(key, 10), "looking": look}
    print("\nmaking takes | way     | later by, median of 20 | at most | CPU of who waits")
    for made_s in (0.02, 0.2, 0.5):
        for way, wait in ways.items():
            late, cpu = [], []
            for number in range(20):
                key = f"{way} {made_s} {number}"
                assert maker.claim(key, 10)
                put_at: list[float] = []

                def make(key: str = key, put_at: list[float] = put_at, made_s: float = made_s) -> None:
                    time.sleep(made_s)
                    put_at.append(time.monotonic())
                    maker.put(key, b"x" * 10_000, 10, release=key)

                thread = threading.Thread(target=make)
                thread.start()
                used = time.thread_time()
                wait(key)
                late.append(time.monotonic() - (put_at or [time.monotonic()])[0])
                cpu.append(time.thread_time() - used)
                thread.join()
            middle, most, used_ms = statistics.median(late), max(late), statistics.mean(cpu) * 1000
            row = f"{made_s * 1000:>9.0f} ms | {way:7} | {middle * 1000:>19.2f} ms | {most * 1000:4.0f} ms"
            print(f"{row} | {used_ms:.2f} ms")
    for store in (maker, waiter):
        store.stop()


@contextlib.contextmanager
def machines(spaces: bool) -> Iterator[tuple[Machine, Machine]]:
    both = Machine(1, spaces), Machine(2, spaces)
    try:
        for machine in both:
            machine.open()
        yield both
    finally:
        for machine in both:
            machine.close()


def can_make_spaces() -> bool:
    if os.geteuid() or not shutil.which("ip"):
        return False
    made = subprocess.run(["ip", "netns", "add", "vivace0"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", "vivace0"], capture_output=True, check=False)
    return made.returncode == 0


def main() -> None:
    spaces = can_make_spaces()
    print("two network namespaces" if spaces else "two loopback addresses: no line can be cut")
    redis = Redis()
    with tempfile.TemporaryDirectory() as folder, machines(spaces) as (one, two):
        Path(folder, "app.py").write_text(APPLICATION)
        try:
            redis.start()
            for machine in (one, two):
                machine.serve(folder)
            share(one, two)
            purge(one, two)
            lose_redis(one, two, redis)
            if spaces:
                lose_line(one, two)
            for machine in (one, two):
                lines = Path(folder, f"{machine.name}.log").read_text().splitlines()
                print(f"\n{machine.name} said:", *[line for line in lines if "cache_store" in line], sep="\n  ")
            compare_waiting()
        finally:
            redis.kill()


if __name__ == "__main__":
    main()
