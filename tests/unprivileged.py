"""What a user without rights may read: a Python, and a copy of vivace."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import vivace

IMPORTS = "import grp, sys; sys.exit(sys.version_info < (3, 11))"


@functools.cache
def readable() -> tuple[str, str]:
    """(executable, folder for sys.path) that nobody may use; skips the test where there is no such Python."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            subprocess.run([python, "-c", IMPORTS], capture_output=True, check=True, user="nobody", group=65534)
            break
        except (OSError, subprocess.CalledProcessError):
            continue
    else:
        pytest.skip("no Python of this machine can be read by everybody")
    folder = tempfile.mkdtemp(prefix="vivace-")  # pytest's own folders are for one user alone
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(Path(vivace.__file__).parent, Path(folder, "vivace"), ignore=shutil.ignore_patterns("__pycache__"))
    os.chmod(folder, 0o755)
    return python, folder
