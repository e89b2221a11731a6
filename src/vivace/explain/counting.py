"""How often a request asks the database, or another service: counted exactly, in one request under cProfile.

Samples say where the time goes, not how often. So the application is called in a process of its own (`python -m
vivace.explain.counting`), once to warm up and once to count, for each target.

Rules: the process that counts has ended when `count` returns; whatever goes wrong there, the counts are missing and
that is all. GET and HEAD only: it is not known what another method may change.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from vivace.schedule.route import Route
from vivace.schedule.routes import RouteTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.lab.plan import Shot

    Counts = dict[str, dict[str, int]]

LIMIT_S = 20.0
TARGETS_MAX = 8

DATABASE, CLIENT = "database", "http client"
"""Kinds of `frames`."""
_DATABASE = re.compile(
    r"'execute(?:many)?' of '(?:sqlite3|psycopg2?|_mysql|MySQLdb|asyncpg|oracledb)|"
    r"/(?:django/db/backends/utils|sqlalchemy/engine/default|psycopg/cursor|pymysql/cursors|peewee)\.py"
    r":\d+\((?:_?do_)?execute"
)
_CLIENT = re.compile(r"/(?:http/client|httpcore/_sync/connection_pool)\.py:\d+\((?:getresponse|handle_request)\)")


def count(app: str, shots: Iterable[Shot], environ: dict[str, str] | None = None) -> Counts | None:
    """{route: {DATABASE: calls, CLIENT: calls}} of one request each; "" is the route if there is but one. None: it
    could not be counted."""
    table = RouteTable(lambda name: Route(name, 0.0))
    targets = {
        shot.target: table.find(shot.method, shot.target.partition("?")[0]).name for shot in shots if _safe(shot)
    }
    asked = dict([*targets.items()][:TARGETS_MAX])
    if not asked:
        return None
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [path for path in (*os.environ.get("PYTHONPATH", "").split(os.pathsep), source) if path]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vivace.explain.counting", app, *asked],
            env={**os.environ, **(environ or {}), "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=True,
        )
        told = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    found: Counts = {asked[target]: counts for target, counts in told.items() if target in asked}
    if len(found) == 1:
        found[""] = next(iter(found.values()))
    return found


def _safe(shot: Shot) -> bool:
    return shot.method in ("GET", "HEAD")


# In the process that counts.


def counted(application: Callable[..., Any], target: str) -> dict[str, int]:
    """The calls of one request."""
    import cProfile
    import pstats

    _call(application, target)
    profile = cProfile.Profile()
    profile.runcall(_call, application, target)
    found = {DATABASE: 0, CLIENT: 0}
    rows: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, line, function), (_, calls, *_) in rows.items():
        name = f"{file}:{line}({function})"
        for kind, pattern in ((DATABASE, _DATABASE), (CLIENT, _CLIENT)):
            if pattern.search(name):
                found[kind] = max(found[kind], calls)  # one call passes several of these functions
    return found


def _call(application: Callable[..., Any], target: str) -> None:
    from wsgiref.util import setup_testing_defaults

    path, _, query = target.partition("?")
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET"}
    setup_testing_defaults(environ)
    body = application(environ, lambda status, headers, exc_info=None: lambda data: None)
    try:
        for _ in body:
            pass
    finally:
        if hasattr(body, "close"):
            body.close()


def main() -> None:
    from vivace.worker.application import load_application

    app, *targets = sys.argv[1:]
    code = 1
    try:
        application = load_application(app, os.getcwd())[0]
        print("\n" + json.dumps({target: counted(application, target) for target in targets}), flush=True)
        code = 0
    finally:
        os._exit(code)  # threads of the application may live on


if __name__ == "__main__":
    main()
