"""What files cost that are served without the application, beside nginx: 1 KB, 100 KB and 100 MB, over real sockets.

python -m benchmarks.bench_static [rounds [seconds]]     prints CPU per request, MB/s, and vivace's over nginx's

Both servers run on the first core, the loader on the second, in turns; figures are medians of the rounds. nginx is as
in nginx.conf: sendfile, tcp_nopush, no log, a file opened for each request; "remembering" is the same with its
open_file_cache, which believes what it knows of files for 60 s.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from . import clients
from .clients import Request
from .processes import Running, cores, free_port
from .stats import median
from .wrk import Wrk

CONF = (Path(__file__).parent / "nginx.conf").read_text()
REMEMBERING = "sendfile on;\n    open_file_cache max=1000;\n    open_file_cache_valid 60s;"
APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


class Case(NamedTuple):
    """A file, asked for by so many connections; `bulk`: by a client that discards what it reads."""

    name: str
    size: int
    connections: int
    bulk: bool


CASES = (
    Case("1k.txt", 1000, 40, False),
    Case("100k.bin", 100_000, 8, False),
    Case("1m.bin", 1_000_000, 4, True),
    Case("100m.bin", 100_000_000, 2, True),
)


def start(server: str, folder: str, core: int) -> Running:
    """A server of `folder`/files at /static."""
    port = free_port()
    if server == "vivace":
        options = ["--bind", f"127.0.0.1:{port}", "--static", f"/static={folder}/files"]
        paths = {"PYTHONPATH": os.pathsep.join([path for path in sys.path if path])}
        return Running([sys.executable, "-m", "vivace", "app:app", *options], folder, paths, port, core)
    text = CONF.replace("location = /file", "location /static/").replace("@FILE@", f"{folder}/files/")
    if server == "remembering":
        text = text.replace("sendfile on;", REMEMBERING)
    config = Path(folder, f"{server}.conf")
    config.write_text(text.replace("@PORT@", str(port)).replace("@DIR@", folder))
    return Running(["nginx", "-c", str(config)], folder, {}, port, core)


def measure(server: str, case: Case, folder: str, seconds: int) -> tuple[float, float]:
    """(CPU us per request, MB/s)."""
    ours, theirs = cores()
    request = Request("GET", f"/static/{case.name}")
    with start(server, folder, ours) as running:
        running.wait_ready(request)
        before = running.cpu_s()
        if case.bulk:
            tally = clients.bulk(running.address, request, case.connections, seconds)
            requests, elapsed_s = tally.body_bytes / case.size, tally.seconds
        else:
            numbers = Wrk(running.address, request, case.connections, seconds, theirs).result()
            requests, elapsed_s = numbers.requests, numbers.seconds
            if numbers.errors or numbers.refused:
                raise SystemExit(f"{server}: {numbers}")
        return (running.cpu_s() - before) / requests * 1e6, requests * case.size / elapsed_s / 1e6


def main(rounds: int = 5, seconds: int = 2) -> None:
    """Prints a line for each file and server."""
    with tempfile.TemporaryDirectory(prefix="vivace-static-") as folder:
        os.chmod(folder, 0o755)  # nginx reads the files as another user
        Path(folder, "app.py").write_text(APP)
        Path(folder, "files").mkdir()
        os.sched_setaffinity(0, {cores()[1]})
        for case in CASES:
            Path(folder, "files", case.name).write_bytes(os.urandom(1 << 16) * (case.size >> 16) or b"x" * case.size)
            os.truncate(Path(folder, "files", case.name), case.size)
            found: dict[str, list[tuple[float, float]]] = {}
            for _ in range(rounds):
                for server in ("vivace", "nginx", "remembering"):
                    found.setdefault(server, []).append(measure(server, case, folder, seconds))
            for server, figures in found.items():
                cpu_us, mb_s = (median([figure[column] for figure in figures]) for column in (0, 1))
                pairs = zip(found["vivace"], figures, strict=True)
                ratios = [(ours[0] / theirs[0], ours[1] / theirs[1]) for ours, theirs in pairs]
                cpu, rate = (median([ratio[column] for ratio in ratios]) for column in (0, 1))
                print(f"{case.name:10} {server:12} {cpu_us:10.1f} us {mb_s:8.0f} MB/s   vivace/it {cpu:.2f} {rate:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
