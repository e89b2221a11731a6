"""How many processors a process may use: its affinity, and what control groups allow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vivace.config.load import from_keywords
from vivace.observe import processors as module
from vivace.observe.processors import cgroup_quota, processors
from vivace.worker.console import Console
from vivace.worker.planning import make_plan


def test_processors_follow_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from vivace.observe.processors import processors; print(processors())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, 0.0),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "200000", "cpu/d/cpu.cfs_period_us": "100000"}, 2.0),
        ("4:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"}, 0.0),
        ("nonsense", {}, 0.0),
    ],
)
def test_quota_of_control_groups(tmp_path: Path, own: str, files: dict[str, str], quota: float) -> None:
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    assert cgroup_quota(str(tmp_path / "fs"), str(tmp_path / "own")) == quota


def test_the_quota_bounds_what_the_scheduler_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(module, "cgroup_quota", lambda: 1.5)
    assert processors() == 2
    assert make_plan(lambda environ, start_response: [], from_keywords(), Console()).policy.cores == 2
