"""HTTP caches in front of an origin, each on one core: vivace's own, nginx's proxy_cache, Varnish. For the trials.

The origin of the other two is a vivace without a cache on the loader's core, which is idle while what is asked for is
kept. nginx: one worker, sendfile, open_file_cache, connections to the origin kept, no log. Varnish: its default
parameters and VCL with memory of 256 MiB, or a VCL that drops Cookie fields where requests carry such.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import clients, servers
from .processes import Running, free_port

APP = "remembered"
FOLDER = str(servers.HERE / "apps")
READY = clients.Request()


def vivace(core: int, *settings: str, more: Mapping[str, str] | None = None, app: str = APP) -> Running:
    """A vivace that serves apps/`app`.py with `settings`, and `more` in its environment."""
    port = free_port()
    argv = [sys.executable, "-m", "vivace", f"{app}:app", "--bind", f"127.0.0.1:{port}", *settings]
    return Running(argv, FOLDER, {**servers.environment(servers.SERVERS[0]), **(more or {})}, port, core)


def bjoern(core: int) -> Running:
    """The same application without a cache."""
    port = free_port()
    argv = [sys.executable, str(servers.HERE / "start.py"), "bjoern", APP, str(port)]
    return Running(argv, FOLDER, {}, port, core)


def nginx(core: int, origin: int, folder: str) -> Running:
    """nginx as in nginx_cache.conf."""
    port = free_port()
    text = (servers.HERE / "nginx_cache.conf").read_text()
    config = Path(folder, "nginx_cache.conf")
    config.write_text(
        text.replace("@PORT@", str(port)).replace("@ORIGIN@", str(origin)).replace("@DIR@", folder),
    )
    return Running([servers.command_path("nginx") or "nginx", "-c", str(config)], folder, {}, port, core)


def varnish(core: int, origin: int, folder: str, *, cookies: bool) -> Running:
    """Varnish; `cookies`: it answers requests with cookies, too."""
    port = free_port()
    source = ["-b", f"127.0.0.1:{origin}"]
    if cookies:
        script = Path(folder, "cookies.vcl")
        script.write_text((servers.HERE / "cookies.vcl").read_text().replace("@ORIGIN@", str(origin)))
        source = ["-f", str(script)]
    kept = str(Path(folder, "cookies" if cookies else "plain"))
    argv = ["-F", "-j", "none", "-n", kept, "-a", f"127.0.0.1:{port}", "-t", "3600", "-s", "malloc,256m", *source]
    return Running([servers.command_path("varnishd") or "varnishd", *argv], folder, {}, port, core)


@contextmanager
def all_of(core: int, origin_core: int) -> Iterator[dict[str, Running]]:
    """Each that is installed, answering; and Flask alone under bjoern."""
    with tempfile.TemporaryDirectory(prefix="vivace-caches-") as folder, vivace(origin_core) as origin:
        os.chmod(folder, 0o777)  # nginx keeps its files as another user
        origin.wait_ready(READY)
        port = origin.address[1]
        started = {"vivace": vivace(core, "--cache"), "vivace again": vivace(core, "--cache")}
        if servers.command_path("nginx"):
            started["nginx"] = nginx(core, port, folder)
        if servers.command_path("varnishd"):
            started["Varnish"] = varnish(core, port, folder, cookies=False)
            started["Varnish, cookies dropped"] = varnish(core, port, folder, cookies=True)
        if servers.has("bjoern"):
            started["Flask on bjoern"] = bjoern(core)
        try:
            for server in started.values():
                server.wait_ready(READY)
            yield started
        finally:
            for server in started.values():
                server.__exit__()


def version_of(command: str) -> str:
    """What nginx and Varnish say of themselves."""
    path = servers.command_path(command)
    if path is None:
        return f"{command} is not installed"
    flag = "-V" if command == "varnishd" else "-v"
    told = subprocess.run([path, flag], capture_output=True, text=True, check=False).stderr
    return told.splitlines()[0].strip().removeprefix("nginx version: ") if told else command
