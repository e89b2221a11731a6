"""Does the profiler say what is true? Its shares of `f`, which computes, and of `g`, which waits, beside what their own
clocks said, and beside py-spy and pyinstrument on the same load (`apps/shares.py`).

    pip install py-spy pyinstrument
    python -m benchmarks.sampling                  # 30 s with one client, and with four; prints a table
    python -m benchmarks.sampling --seconds 10 --clients 1

vivace and py-spy look at the same server in the same seconds. pyinstrument has to run within the requests, and takes
part of their time, so it has a run of its own. With several clients `f` takes longer than it computes: it waits for the
GIL, which is a part of its time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from vivace.lab import crew  # noqa: E402
from vivace.lab.plan import Load, Place, Shot  # noqa: E402
from vivace.lab.server import from_preset, start  # noqa: E402
from vivace.observe.desk import ask  # noqa: E402
from vivace.observe.page import page_of  # noqa: E402

Shares = dict[str, float]
"""Function -> seconds, of "f" and "g"."""


def loaded(clients: int, seconds: float, within: bool) -> dict[str, Shares]:
    """Who looked -> what was seen of one run. `within`: by pyinstrument, in the requests; else from outside of them."""
    command = from_preset("vivace", "shares:app", folder=str(ROOT / "benchmarks" / "apps"))
    if within:
        command.environ["PYINSTRUMENT"] = "1"
    found: dict[str, Shares] = {}
    with start(command, "/truth") as running, tempfile.TemporaryDirectory() as folder:
        place = Place(*running.address)
        load = Load([Shot(target="/")], connections=clients, seconds=seconds + 2.0, warmup_s=0.0)
        loader = threading.Thread(target=crew.run, args=(load, place))
        loader.start()
        time.sleep(1.0)
        before = truth(running.url)
        began_s = time.time()
        spy = None if within else spied(before["pid"], seconds, f"{folder}/spy")
        time.sleep(seconds)
        after = truth(running.url)
        if within:
            found["pyinstrument"] = less(after["pyinstrument"], before["pyinstrument"])
        else:
            found["vivace"] = profiled(running.pid, began_s)
        loader.join()
        if spy is not None:
            spy.wait(seconds)
            found["py-spy"] = collapsed(Path(f"{folder}/spy").read_text())
        found["the clocks"] = less({"f": after["f_s"], "g": after["g_s"]}, {"f": before["f_s"], "g": before["g_s"]})
    return found


def truth(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/truth") as answer:
        return dict(json.loads(answer.read()))


def less(after: Shares, before: Shares) -> Shares:
    return {name: after[name] - before[name] for name in after}


def profiled(pid: int, since_s: float) -> Shares:
    """What the profiler of the server's workers kept since then."""
    page = page_of(pid)
    if page is None:
        raise SystemExit(f"process {pid} has no page")
    try:
        answers = ask(page, {"ask": "profile", "since_s": since_s}, 10.0)
    finally:
        page.close()
    found = {"f": 0.0, "g": 0.0}
    for answer in answers.values():
        if answer is None or "error" in answer:
            raise SystemExit(f"a worker does not say what it saw: {answer}")
        for _, _, stack, seconds in answer["samples"]:
            add(found, [answer["frames"][number][0] for number in answer["stacks"][stack]], seconds)
    return found


def spied(pid: int, seconds: float, file: str) -> subprocess.Popen[bytes] | None:
    spy = shutil.which("py-spy", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
    if spy is None:
        return None
    words = [spy, "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", "100", "--idle"]
    return subprocess.Popen(
        [*words, "--format", "raw", "--output", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def collapsed(text: str) -> Shares:
    """Of lines `frame (file:line);frame ... count`."""
    found = {"f": 0.0, "g": 0.0}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        add(found, [frame.partition(" ")[0] for frame in stack.split(";")], float(count))
    return found


def add(found: Shares, functions: list[str], weight: float) -> None:
    for name in found:
        if name in functions:
            found[name] += weight


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4])
    options = parser.parse_args()
    print("| clients | who looked | f | g | off by |", "|---|---|---|---|---|", sep="\n", flush=True)
    for clients in options.clients:
        for within in (False, True):
            found = loaded(clients, options.seconds, within)
            true = share(found["the clocks"])
            for name, seconds in found.items():
                points = f"{(share(seconds) - true) * 100:+.1f} points" if name != "the clocks" else ""
                run = f"{name}, run with pyinstrument" if within and not points else name
                print(f"| {clients} | {run} | {share(seconds):.1%} | {1 - share(seconds):.1%} | {points} |", flush=True)


def share(seconds: Shares) -> float:
    """Of f, of both."""
    return seconds["f"] / (seconds["f"] + seconds["g"] or 1.0)


if __name__ == "__main__":
    main()
