"""The raw numbers: docs/benchmarks.json, read, merged and written; and what is said of the machine.

Shape: {"loads": {name: {"date", "command", "seconds", "loops_per_ms", "machine", "versions",
"skipped": {server: reason}, "rounds": [{server: {figure: value}}]}}}. A run replaces the records of the loads it
measured and leaves the others. Each record carries its own machine and versions, so that records of different days can
stand side by side and be told apart.

Never in it: host names, users, paths.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import servers

Record = dict[str, Any]


def read(path: Path) -> dict[str, Record]:
    """Load name -> record; empty if there is no file yet."""
    return json.loads(path.read_text())["loads"] if path.exists() else {}


def merged(old: Mapping[str, Record], new: Mapping[str, Record]) -> dict[str, Record]:
    return {**old, **new}


def write(path: Path, records: Mapping[str, Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text(records))
    part.replace(path)


def text(records: Mapping[str, Record]) -> str:
    """JSON with one line for each server in each round, so that a change reads as one."""
    return json.dumps({"loads": records}, indent=1, cls=_Lines, ensure_ascii=False) + "\n"


class _Lines(json.JSONEncoder):
    """Indents down to a server's figures, which stay on one line."""

    def encode(self, o: Any) -> str:
        return self._encoded(rounded(o), "")

    def _encoded(self, value: Any, indent: str) -> str:
        inner = indent + " "
        if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
            lines = [f"{inner}{json.dumps(key)}: {self._encoded(item, inner)}" for key, item in value.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        if isinstance(value, list) and value:
            return "[\n" + ",\n".join(inner + self._encoded(item, inner) for item in value) + f"\n{indent}]"
        return json.dumps(value, ensure_ascii=self.ensure_ascii)


def rounded(value: Any) -> Any:
    """Floats to five significant digits, more than any of them deserves."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value


def machine() -> dict[str, str | int]:
    """Cores, kernel, processor and memory."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    release = re.match(r"[\d.]*\d", platform.release())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 1,
        "virtual": "yes" if re.search(r"^flags.*\bhypervisor\b", info, re.MULTILINE) else "no",
        "memory_gib": round(gib),
        "kernel": f"{platform.system()} {release[0] if release else 'unknown'}",
    }


def versions() -> dict[str, str]:
    found = {"CPython": platform.python_version(), **servers.versions(list(servers.SERVERS))}
    if "vivace" not in found:
        found["vivace"] = _printed([sys.executable, "-m", "vivace", "--version"], str(servers.SOURCE))
    for name, option in (("nginx", "-v"), ("wrk", "-v"), ("strace", "-V")):
        path = servers.command_path(name)
        if path:
            found[name] = _printed([path, option], "")
    return {name: version for name, version in found.items() if version}


def _printed(argv: list[str], python_path: str) -> str:
    """The first thing that looks like a version in what the command prints."""
    environment = {**os.environ, "PYTHONPATH": python_path}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr) if done.returncode in (0, 1) else None
    return match[0] if match else ""
