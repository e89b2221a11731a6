"""What the profiler that is always on costs: CPU time per request with it against without it, in one server.

python -m benchmarks.bench_profiler [hello|flask] [seconds]

It is switched on and off, a quarter of a second each, in the order on off off on, while `vivace bench` loads the
server: so whatever else the machine does falls on both alike, and hundreds of pairs make up for the noise of each.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from typing import Any

import vivace
from vivace.observe.sampling import Profiler

WINDOW_S = 0.25
SETTLE_S = 0.02
CONNECTIONS = 4
DRAWS = 4000


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The smallest application."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def flask_app() -> Any:
    """A little JSON from Flask."""
    from flask import Flask, jsonify

    app = Flask(__name__)

    @app.get("/")
    def index() -> Any:
        return jsonify(items=[{"id": number, "name": f"item {number}"} for number in range(20)])

    return app


class Counted:
    """An application that counts its calls."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.calls += 1
        return self.app(environ, start_response)


def window(app: Counted, profiler: Profiler | None) -> tuple[float, int]:
    """(CPU seconds, requests) of one window, with this profiler or none."""
    if profiler is not None:
        profiler.begin()
    time.sleep(SETTLE_S)
    cpu, calls = time.process_time(), app.calls
    time.sleep(WINDOW_S)
    found = time.process_time() - cpu, app.calls - calls
    if profiler is not None:
        profiler.end()
    return found


def ratio(pairs: list[tuple[tuple[float, int], tuple[float, int]]]) -> float:
    """CPU per request with : without, of all windows together."""
    with_s, with_calls = (sum(on[part] for on, _ in pairs) for part in (0, 1))
    without_s, without_calls = (sum(off[part] for _, off in pairs) for part in (0, 1))
    return (with_s / with_calls) / (without_s / without_calls)


def main() -> None:
    """Measures and prints."""
    name = sys.argv[1] if len(sys.argv) > 1 else "hello"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    app = Counted(flask_app() if name == "flask" else hello)
    with vivace.background(app, access_log=False, profile=False) as running:
        profiler = Profiler(running.server.loop.section, running.server.loop.monitor)
        load = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vivace",
                "bench",
                running.url,
                "-c",
                str(CONNECTIONS),
                "--time",
                f"{seconds + 3:g}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(2.0)
        pairs = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            on, off = window(app, profiler), window(app, None)
            pairs.append((on, off))
            off, on = window(app, None), window(app, profiler)
            pairs.append((on, off))
        load.terminate()
        load.wait()
        told = profiler.told({"since_s": 1.0})
    assert not [thread for thread in threading.enumerate() if thread.name == "vivace-profiler"]
    drawn = sorted(ratio(random.choices(pairs, k=len(pairs))) for _ in range(DRAWS))
    calls = sum(on[1] + off[1] for on, off in pairs)
    cpu_us = 1e6 * sum(off[0] for _, off in pairs) / sum(off[1] for _, off in pairs)
    print(f"{name}: {calls} requests, {cpu_us:.1f} us of CPU each without; with the profiler {ratio(pairs):.4f}x")
    print(f"  95%: {drawn[int(0.025 * DRAWS)]:.4f} to {drawn[int(0.975 * DRAWS)]:.4f}, of {len(pairs)} pairs")
    on_s = len(pairs) * (WINDOW_S + SETTLE_S)
    print(f"  {told['looks'] / on_s:.0f} looks a second, {1e6 * told['cost_s'] / max(1, told['looks']):.0f} us each")


if __name__ == "__main__":
    main()
