"""How many processors this process may use: its affinity, and the CPU quota of its control groups.

Rules: never raises where there is no /proc or /sys; what is not known is no limit.
"""

from __future__ import annotations

import os


def processors() -> int:
    """Processors that this process may use; a quota counts rounded up. Reads a few small files."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, min(count, -int(-quota // 1))) if quota else count


def cgroup_quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float:
    """CPUs that the control groups of this process allow (v2 cpu.max, v1 cpu.cfs_quota_us); 0: no limit is known."""
    folders = [""]
    try:
        with open(own) as file:
            for line in file:
                _, controllers, path = line.strip().split(":", 2)
                parts = path.strip("/").split("/")
                prefix = "" if not controllers else "cpu/" if "cpu" in controllers.split(",") else None
                if prefix is not None:
                    folders += [prefix + "/".join(parts[: depth + 1]) for depth in range(len(parts))]
                    folders.append(prefix)
    except (OSError, ValueError):
        pass
    found = [quota for folder in set(folders) if (quota := _quota(os.path.join(root, folder)))]
    return min(found, default=0.0)


def _quota(folder: str) -> float:
    try:
        with open(os.path.join(folder, "cpu.max")) as file:
            most, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open(os.path.join(folder, "cpu.cfs_quota_us")) as file:
                most = file.read().strip()
            with open(os.path.join(folder, "cpu.cfs_period_us")) as file:
                period = file.read().strip()
        except OSError:
            return 0.0
    if most == "max" or int(most) <= 0:
        return 0.0
    return int(most) / int(period)
