"""THE table of servers: one row each, how it is started, its settings for each kind of load, and why they are
fair.

Rules: vivace runs at its defaults. Every peer gets the setting that suits the load best, as far as its
documents and trials showed; where a default would cost it, the default is changed and the reason stands in
its row. Access logs are off everywhere. All serve one worker process on 127.0.0.1.

Words in braces are filled in: {python} {here} {app} {port} {dir} {file}.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"

QUICK, MIXED, IDLE = "quick", "mixed", "idle"  # the kinds of settings: see Load.settings

NO_KEEPALIVE = "it closes every connection"


@dataclass(frozen=True)
class Server:
    name: str
    label: str
    language: str
    needs: str  # what must be installed: "module NAME" or "command NAME"
    command: str
    why: str  # the settings and their reasons, for the report
    settings: Mapping[str, str] = field(default_factory=dict)  # added to the command, by kind of settings
    cannot: Mapping[str, str] = field(default_factory=dict)  # name of a load -> why it is not run
    apps: tuple[str, ...] | None = None  # the applications it can stand in for; None: all
    config: str = ""  # a template in this folder, filled in as {dir}/config

    def absent(self) -> str | None:
        """Why it cannot run here, None if it can."""
        kind, _, name = self.needs.partition(" ")
        if kind == "command":
            return None if command_path(name) else f"{name} is not installed"
        if name == "vivace":
            return None if (SOURCE / "vivace" / "__main__.py").exists() or has(name) else "vivace is not installed"
        return None if has(name) else f"{name} is not installed"

    def refuses(self, load: str, app: str) -> str | None:
        """Why it is not measured under this load, None if it is."""
        if self.apps is not None and app not in self.apps:
            return "it runs no application"
        return self.cannot.get(load)


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def command_path(name: str) -> str | None:
    """A program beside this interpreter (a virtual environment's), or on the path, or where daemons live."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(folders))


def compile_source() -> None:
    """Leaves byte code beside vivace's sources, as an installer does for the peers (and as PYTHONDONTWRITEBYTECODE
    prevents).
    """
    if not has("vivace"):
        compileall.compile_dir(SOURCE, quiet=1)


def environment(server: Server) -> dict[str, str]:
    """vivace from this source tree, unless a vivace is installed. The peers get no longer search path for it."""
    return {"PYTHONPATH": str(SOURCE)} if server.needs == "module vivace" and not has("vivace") else {}


# gunicorn takes its C parser by itself if it is installed; said aloud, so that the report can say which one ran.
GUNICORN_PARSER = "fast" if has("gunicorn_h1c") else "python"

SERVERS: tuple[Server, ...] = (
    Server(
        "vivace",
        "vivace",
        "Python",
        "module vivace",
        "{python} -m vivace {app}:app --bind 127.0.0.1:{port} {settings}",
        "Defaults in every load; with the idle connections a keep-alive time longer than the measuring.",
        settings={IDLE: "--keepalive-timeout 600"},
    ),
    Server(
        "bjoern",
        "bjoern",
        "C",
        "module bjoern",
        "{python} {here}/start.py bjoern {app} {port}",
        "It has no settings that matter here. One thread, so a slow request stops the others.",
    ),
    Server(
        "fastwsgi",
        "fastwsgi",
        "C",
        "module fastwsgi",
        "{python} {here}/start.py fastwsgi {app} {port}",
        "Log level 0. One thread, so a slow request stops the others.",
    ),
    Server(
        "granian",
        "Granian",
        "Rust",
        "module granian",
        "{python} -m granian --interface wsgi --http 1 --no-ws --no-access-log --log-level error --workers 1 "
        "--host 127.0.0.1 --port {port} {settings} {app}:app",
        "One worker; HTTP/1 only and no WebSockets, which saves it the detection. One blocking thread, the choice of "
        "its own benchmarks and its best rate on quick applications; 64 in the mixed loads, more than the 32 slow "
        "requests at once. With the idle connections its limits on connections and on the time to the next head are "
        "raised.",
        settings={
            QUICK: "--blocking-threads 1",
            MIXED: "--blocking-threads 64",
            IDLE: "--blocking-threads 1 --backlog 4096 --backpressure 20000 --http1-header-read-timeout 60000",
        },
    ),
    Server(
        "gunicorn",
        f"gunicorn gthread, {GUNICORN_PARSER} parser",
        "Python",
        "module gunicorn",
        "{python} -m gunicorn {app}:app --bind 127.0.0.1:{port} --worker-class gthread --workers 1 "
        "--http-parser " + GUNICORN_PARSER + " --no-control-socket --log-level error {settings}",
        "One gthread worker, four threads (64 in the mixed loads); keep-alive for a minute, as its default of 2 s "
        "would close connections that the others keep; no control socket. The C parser if gunicorn_h1c is installed, "
        "else the Python one; the label says which.",
        settings={
            QUICK: "--threads 4 --keep-alive 60",
            MIXED: "--threads 64 --keep-alive 60",
            IDLE: "--threads 4 --keep-alive 600 --worker-connections 20000",
        },
    ),
    Server(
        "uwsgi",
        "uWSGI http11",
        "C",
        "command uwsgi",
        "{uwsgi} --http11-socket 127.0.0.1:{port} --module {app}:app --home {prefix} --enable-threads "
        "--disable-logging --die-on-term --listen 1024 --need-app {settings}",
        "http11-socket is its fastest way to keep-alive, without the router process. A connection holds a thread for "
        "as long as it is open, so it gets more threads than the load has connections: 16, and 64 in the mixed loads.",
        settings={QUICK: "--threads 16", MIXED: "--threads 64"},
        cannot={"idle": "each open connection would hold one of its threads"},
    ),
    Server(
        "waitress",
        "waitress",
        "Python",
        "module waitress",
        "{python} -m waitress --listen=127.0.0.1:{port} --connection-limit=20000 --backlog=1024 "
        "--asyncore-use-poll --channel-timeout=600 {settings} {app}:app",
        "Four threads, its default (64 in the mixed loads); poll() in place of select(), which cannot hold more than "
        "1,024 descriptors; the limit on connections raised from 100.",
        settings={QUICK: "--threads=4", MIXED: "--threads=64", IDLE: "--threads=4"},
    ),
    Server(
        "wsgiref",
        "wsgiref.simple_server",
        "Python",
        "module wsgiref",
        "{python} {here}/start.py wsgiref {app} {port}",
        "A handler that writes no log line, and a listen queue of 1,024 in place of 5, which would drop connections. "
        "It closes every connection.",
        cannot={
            "idle": NO_KEEPALIVE,
            "syscalls": NO_KEEPALIVE,
            "isolation": "an idle connection stops it for as long as it stays",
        },
    ),
    Server(
        "nginx",
        "nginx, no application",
        "C",
        "command nginx",
        "{nginx} -c {dir}/config",
        "`return 200` with the same 13 bytes, and the same file by sendfile: what the kernel and a C server need "
        "without an application. One worker, no log, keep-alive without a limit on requests.",
        apps=("hello", "files"),
        config="nginx.conf",
    ),
)

# vivace measured a second time in each round, as if it were another server: its ratio shows the noise (A/A).
CONTROL = replace(SERVERS[0], name="control", label="vivace again (control)", why="")


def named(names: list[str]) -> list[Server]:
    """The rows of these names, in the table's order. Raises KeyError for an unknown one."""
    known = {server.name: server for server in SERVERS}
    for name in names:
        known[name]
    return [server for server in SERVERS if server.name in names]


def label(name: str) -> str:
    return next((server.label for server in (*SERVERS, CONTROL) if server.name == name), name)


def short(name: str) -> str:
    """The label without what follows a comma: for sentences and pictures."""
    return label(name).partition(",")[0]


def argv(server: Server, app: str, settings: str, port: int, folder: Path, file: str) -> list[str]:
    """The command to execute; writes the configuration file into `folder` if the server has one."""
    words = {
        "python": sys.executable,
        "prefix": sys.prefix,
        "here": str(HERE),
        "app": app,
        "port": str(port),
        "dir": str(folder),
        "uwsgi": command_path("uwsgi") or "",
        "nginx": command_path("nginx") or "",
    }
    if server.config:
        text = (HERE / server.config).read_text()
        for mark, value in (("@PORT@", str(port)), ("@DIR@", str(folder)), ("@FILE@", file)):
            text = text.replace(mark, value)
        (folder / "config").write_text(text)
    command = server.command.replace("{settings}", server.settings.get(settings, ""))
    return [word.format(**words) for word in command.split()]


def shown_settings(server: Server) -> str:
    """The command as the report shows it, without paths."""
    plain = {name: name for name in ("python", "uwsgi", "nginx")}
    plain |= {
        "settings": "SETTINGS",
        "here": "benchmarks",
        "app": "APP",
        "port": "PORT",
        "dir": "DIR",
        "prefix": "PREFIX",
    }
    return " ".join(server.command.format(**plain).split())


def versions(servers: list[Server]) -> dict[str, str]:
    """Name -> version of each server that is a distribution, and of the frameworks."""
    found = {}
    for name in [server.name for server in servers] + ["Flask", "Django", "Jinja2"]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
