"""The other engine: Locust's users make the load, on as many machines as it takes, and the report is the same.

`run` takes what `crew.run` does. Locust is started as a command, with a file that has the load in it and imports
nothing of vivace, so that a worker on another machine needs Locust alone: it fetches the file from the master.

What is different from the own engine: a user is one connection with a timetable of its own, so in open loop a request
waits for its user, not for any that is free.

Rules: nothing of Locust is imported here. Whatever happens, its processes are gone when `run` returns or raises.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

from vivace.errors import SettingError
from vivace.lab.crew import Sums, result_of
from vivace.lab.plan import OPEN
from vivace.lab.processes import Watch, listener
from vivace.lab.result import added, slice_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.lab.plan import Load, Place
    from vivace.lab.result import Result

FILE = Path(__file__).with_name("files") / "locustfile.py"
MASTER_PORT = 5557
"""Locust's own."""
JOIN_S = 120
"""So long the workers of other machines may take to come."""
STARTS_S = 30.0
"""Beside the load itself: to start, to join, to add up."""
WORDS_SHOWN = 12
"""Lines of what Locust said last, when it failed."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who runs the users. `workers`: of other machines, which are waited for; 0: processes of this one."""

    workers: int = 0
    port: int = MASTER_PORT


def check(load: Load, place: Place) -> None:
    """Raises SettingError for what Locust cannot do."""
    if place.path:
        raise SettingError(f"{place.url}: Locust knows no Unix sockets; give http:// or leave out --engine locust")
    if load.at_times:
        raise SettingError("--replay has a time for each request, which Locust's users do not know: leave out --engine")
    try:
        found = subprocess.run([sys.executable, "-c", "import locust"], capture_output=True, check=False)
    except OSError as error:
        raise SettingError(f"{sys.executable}: {error.strerror}") from None
    if found.returncode:
        raise SettingError("--engine locust needs Locust beside this Python: pip install 'vivace[locust]'")


def run(
    load: Load, place: Place, fleet: Fleet, *, pid: int = 0, tell: Callable[[str], None] = lambda text: None
) -> Result:
    """Makes the load and returns what came of it. Raises SettingError where Locust does not do it.

    `tell` hears what a person has to do, where workers of other machines are waited for.
    """
    check(load, place)
    pid = pid or listener(place)
    watch = Watch(pid) if pid else None
    with tempfile.TemporaryDirectory(prefix="vivace-locust-") as folder:
        file, out = Path(folder, "locustfile.py"), Path(folder, "result.json")
        file.write_text(written(load, place))
        if fleet.workers:
            tell(
                f"waiting for {fleet.workers} workers; on each machine: "
                f"locust -f - --worker --master-host THIS_MACHINE --master-port {fleet.port}"
            )
        said, uses = _run(command(file, load, fleet), load, out, watch)
        try:
            found = json.loads(out.read_text())
        except (OSError, ValueError):
            raise SettingError(f"Locust made no load; its last words:\n{said}") from None
    if not found["loaders"]:
        raise SettingError(f"Locust made no load; its last words:\n{said}")
    return result_of(load, place, _sums(found, load, uses), watch)


def written(load: Load, place: Place) -> str:
    """The file that Locust runs. Pure, but for reading its pattern."""
    job = {
        "url": place.url,
        "verify": place.verify,
        "shots": [{**asdict(shot), "body": b64encode(shot.body).decode()} for shot in load.shots],
        "rate": load.rate if load.mode == OPEN else 0.0,
        "connections": load.connections,
        "arrivals": load.arrivals,
        "timeout_s": load.timeout_s,
        "seed": load.seed,
        "slices": load.slices,
        "slice_s": load.slice_s,
    }
    # It comes to stand in a raw text of three quotes, of which JSON never has three in a row.
    return FILE.read_text().replace("@JOB@", json.dumps(job))


def command(file: Path, load: Load, fleet: Fleet) -> list[str]:
    """Locust's command line."""
    words = [sys.executable, "-m", "locust", "-f", str(file), "--headless", "--only-summary", "--loglevel", "WARNING"]
    words += ["-u", str(load.connections), "-r", str(load.connections), "-t", f"{max(1, round(load.seconds))}s"]
    words += ["--stop-timeout", f"{load.timeout_s:g}", "--exit-code-on-error", "0"]
    if fleet.workers:
        words += ["--master", "--expect-workers", str(fleet.workers), "--expect-workers-max-wait", str(JOIN_S)]
        words += ["--master-bind-port", str(fleet.port)]
    elif load.processes > 1:
        words += ["--processes", str(load.processes)]
    return words


def _run(words: list[str], load: Load, out: Path, watch: Watch | None) -> tuple[str, dict[float, Any]]:
    """What Locust said last, and what the server had used, by the monotonic clock."""
    uses: dict[float, Any] = {}
    give_up_s = time.monotonic() + load.seconds + load.timeout_s + STARTS_S + (JOIN_S if "--master" in words else 0)
    with tempfile.TemporaryFile("w+") as log:
        environ = {**os.environ, "VIVACE_RESULT": str(out)}
        locust = subprocess.Popen(words, stdout=log, stderr=log, env=environ, start_new_session=True)
        try:
            while locust.poll() is None and time.monotonic() < give_up_s:
                use = watch.look() if watch is not None else None
                if use is not None:
                    uses[time.monotonic()] = use
                time.sleep(load.slice_s)
        finally:
            if locust.poll() is None:
                os.killpg(locust.pid, signal.SIGKILL)
                locust.wait()
        log.seek(0)
        return "\n".join(log.read().splitlines()[-WORDS_SHOWN:]), uses


def _sums(found: dict[str, Any], load: Load, uses: dict[float, Any]) -> Sums:
    """What all workers reported, as the own engine's crew would have it."""
    sums = Sums(load)
    for number, parts in found["slices"].items():
        sums.slices[int(number)] = added(map(slice_from, parts))
    for now_s, use in uses.items():
        index = round((now_s - found["began_s"]) / load.slice_s)
        if 0 <= index <= load.slices:
            sums.uses[index] = use
    sums.loaders = list(found["loaders"].values())
    return sums
