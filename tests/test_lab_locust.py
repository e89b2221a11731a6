"""The other engine: Locust makes the load of the same file, here and on workers that fetch what they need."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from loaded import HELLO, Loaded
from vivace.cli.bench import run
from vivace.cli.main import EXIT_FAILED
from vivace.errors import SettingError
from vivace.lab import locust
from vivace.lab.plan import OPEN, Load, Place, Shot
from vivace.lab.result import from_json
from vivace.observe.histogram import BUCKETS, bucket_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SHOTS = [
    Shot("GET", "/often", [("X-Quoted", 'a"""b\\\'')], weight=9, name="often"),
    Shot("POST", "/seldom", body=b"\x00\xff", weight=1, name="seldom"),
]
pytestmark = pytest.mark.timeout(120)


def of(head: bytes) -> str:
    return head.decode().split(" ")[1]


def test_closed_loop_sends_what_the_load_says() -> None:
    def answer(head: bytes, body: bytes) -> bytes:
        return HELLO if b"/often" in head else b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"

    with Loaded(answer) as server:
        result = locust.run(Load(SHOTS, connections=3, seconds=3.0, warmup_s=0), server.place, locust.Fleet())
        seen = Counter(map(of, server.heads))
        assert server.connections == 3
    total = result.total
    assert set(seen) == {"/often", "/seldom"}
    assert 0 < seen["/seldom"] < seen["/often"] / 3
    assert b'X-Quoted: a"""b\\\'' in server.heads[[of(head) for head in server.heads].index("/often")]
    assert server.bodies[[of(head) for head in server.heads].index("/seldom")] == b"\x00\xff"
    assert total.answers == server.requests == sum(total.latency.values()) == sum(total.statuses.values())
    assert set(total.statuses) == {"2xx", "4xx"}
    assert {name: sum(found.values()) for name, found in total.names.items()} == {
        "often": total.statuses["2xx"],
        "seldom": total.statuses["4xx"],
    }
    assert total.errors == {}
    assert 0 < result.percentiles()[0] <= total.slowest_s < 3
    assert result.server is not None
    assert result.server.pid == os.getpid()
    assert result.loader.cpu_share > 0


def test_open_loop_counts_from_the_intended_time() -> None:
    """200 a second by four users of a server that answers 100 a second: who comes late has waited."""
    turn = threading.Lock()

    def answer(head: bytes, body: bytes) -> bytes:
        with turn:
            time.sleep(0.01)
        return HELLO

    load = Load([Shot()], OPEN, rate=200, connections=4, seconds=2.0, warmup_s=0, arrivals="even")
    with Loaded(answer) as server:
        result = locust.run(load, server.place, locust.Fleet())
    assert result.rate < 110
    assert result.percentiles((0.99,))[0] > 0.5, "the queue counts"
    assert max(result.total.service) < bucket_of(0.5), "each was served in its turn"
    assert result.loader.late_p99_s < 1.0


def test_workers_of_other_machines(tmp_path: Path) -> None:
    """They run elsewhere, have Locust alone, and ask the master for its file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said: list[str] = []
    workers: list[subprocess.Popen[bytes]] = []

    def call(text: str) -> None:
        said.append(text)
        words = text.partition("locust ")[2].replace("THIS_MACHINE", "127.0.0.1").split()
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = [sys.executable, "-m", "locust", *words]
        with open(os.devnull, "wb") as null:
            workers.extend(subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=null, stderr=null) for _ in "ab")

    try:
        with Loaded() as server:
            load = Load(SHOTS, connections=4, seconds=3.0, warmup_s=0)
            result = locust.run(load, server.place, locust.Fleet(2, port), tell=call)
            assert result.total.answers == server.requests > 0
    finally:
        for worker in workers:
            worker.wait(30)
    assert "waiting for 2 workers" in said[0]
    assert result.loader.processes == 1


def test_the_buckets_are_ours(tmp_path: Path) -> None:
    """The file imports nothing of vivace, so it has them again."""
    text = locust.written(Load([Shot()]), Place("localhost", 1))
    start, end = text.index("def bucket"), text.index("class Record")
    names: dict[str, Any] = {}
    exec("import struct\nFLOAT, WORD = struct.Struct('>f'), struct.Struct('>H')\n" + text[start:end], names)
    for seconds in (-1.0, 0.0, 1e-9, 2.0**-20, 1e-3, 0.0123, 1.0, 59.9, 4000.0, 1e9):
        assert names["bucket"](seconds) == bucket_of(seconds), seconds
    assert names["bucket"](1e9) == BUCKETS - 1


def test_what_it_cannot_do() -> None:
    with pytest.raises(SettingError, match="Unix sockets"):
        locust.run(Load([Shot()]), Place("localhost", 0, path="/run/app.sock"), locust.Fleet())
    with pytest.raises(SettingError, match="--replay"):
        locust.run(Load([Shot()], OPEN, at_times=[(0.0, 0)]), Place("localhost", 1), locust.Fleet())
    with pytest.raises(SettingError, match="--workers"):
        run(["http://localhost:1", "--workers", "2"])
    with pytest.raises(SettingError, match="give one of own, locust"):
        run(["http://localhost:1", "--engine", "k6"])


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with Loaded(lambda head, body: None) as server:
        words = ["--engine", "locust", "-c", "2", "--time", "1s", "--warmup", "0", "--json"]
        assert run([server.place.url, *words]) == EXIT_FAILED
    result = from_json(json.loads(capsys.readouterr().out))
    assert result.total.answers == 0
    assert sum(result.total.errors.values()) > 0, "what has no answer is an error"
