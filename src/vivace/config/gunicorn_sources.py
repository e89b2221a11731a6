"""Where gunicorn's settings stand beside the command line: a gunicorn.conf.py, and GUNICORN_CMD_ARGS.

A gunicorn.conf.py is a Python program. It is run as gunicorn runs it: as a module called `__config__`, with the
current directory first on sys.path for as long as that takes. What it leaves behind under the name of one of
gunicorn's settings is taken by the table in `gunicorn`, and everything that it set is accounted for in the notes: what
was taken and what it is called here, what was not and why, the hooks, and gunicorn's own defaults that would have
served the application in another way.

GUNICORN_CMD_ARGS is read because containers and services are configured by it: to leave it aside would start a server
with other settings than the same environment gave before. VIVACE_* variables, which can only be meant for vivace, go
before it; a file comes after it, as in gunicorn.

Rules: imported only when one of the two is used. Nothing here serves or binds. A value that cannot be read is a
problem of its own line, and all are reported together; only a file that fails ends it at once.
"""

from __future__ import annotations

import os
import sys

from vivace.config import argv as command_line
from vivace.config import kinds
from vivace.config.gunicorn import TABLE, value_of, warning
from vivace.config.settings import ROWS, names
from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

    Source = tuple[dict[str, Any], dict[str, str]]

NEAR = 0.9
"""How alike an unknown name must be to be called a mistake: a gunicorn.conf.py may have names of its own."""


def from_variable(text: str, problems: list[str], notes: list[str]) -> Source:
    """The settings in GUNICORN_CMD_ARGS: a command line, as a shell would split it."""
    import shlex

    where = "GUNICORN_CMD_ARGS"
    try:
        words = shlex.split(text)
    except ValueError as error:
        problems.append(f"{where}: {error}; quote it as in a shell")
        return {}, {}
    values, origins, wrong, said = command_line.read(words)
    problems += [f"{where}: {problem}" for problem in wrong]
    if "app" in values:
        said.append(f"{values.pop('app')}: the application is not taken from there, as in gunicorn")
        del origins["app"]
    if values:
        options = ", ".join(origins.values())
        said.insert(0, f"{options} counted, where neither the command line nor a VIVACE_* variable says otherwise")
    notes += [f"{where}: {line}" for line in said]
    return values, {name: f"{where}: {option}" for name, option in origins.items()}


def from_file(
    location: str,
    shown: str,
    here: str,
    before: set[str],
    environ: Mapping[str, str],
    problems: list[str],
    notes: list[str],
) -> Source:
    """The settings in the gunicorn.conf.py at `location`, a path or python:module; `shown` is what to call it.

    `before` has the rows that were given elsewhere already. Paths are as they stand in the file. Raises SettingError,
    with the file's own exception as its cause, if it fails.
    """
    namespace = _run(location, shown, here)
    hooks = [name for name, entry in TABLE.items() if entry.kind == "hook" and namespace.get(name)]
    values, origins, report = _taken(namespace, shown, _kept_from(namespace, hooks, environ), problems)
    report += _left(namespace, shown, problems)
    report += [f"{name}: a hook, which is not called; instead: {TABLE[name].note}" for name in hooks]
    report += _defaults(namespace, before, environ)
    report += _mistaken(namespace)
    notes.append(f"{shown} is read as a file of gunicorn; --print-config writes the vivace.toml that means the same")
    notes += [f"{shown}: {line}" for line in report]
    return values, origins


def _run(location: str, shown: str, here: str) -> dict[str, Any]:
    """The names that the file or module binds. Raises SettingError."""
    sys.path.insert(0, here)
    try:
        if location.startswith("python:"):
            name = location.removeprefix("python:")
            __import__(name)
            return vars(sys.modules[name])
        with open(location, "rb") as file:
            source = file.read()
        module = type(sys)("__config__")
        module.__file__ = location
        sys.modules["__config__"] = module
        exec(compile(source, location, "exec", dont_inherit=True), vars(module))  # the user's own program
        return vars(module)
    except (Exception, SystemExit) as error:
        trace = _users_frames(error.__traceback__)
        if isinstance(error, (OSError, ModuleNotFoundError)) and trace is None:
            reason = error.strerror if isinstance(error, OSError) else f"{error}, in {here}"
            raise SettingError(f"{shown}: cannot be read: {reason}") from None
        sentence = f"{shown} raised {type(error).__name__}; the traceback is the file's own"
        raise SettingError(sentence) from error.with_traceback(trace)
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _users_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor the import system's."""
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if filename != __file__ and not filename.startswith("<frozen importlib"):
            return traceback
        traceback = traceback.tb_next
    return None


# --- what becomes of each name ----------------------------------------------------------------------------


def _kept_from(namespace: dict[str, Any], hooks: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What would be taken, but would do harm in this file or place, and why."""
    kept = {}
    mending = [name for name in ("post_fork", "post_worker_init") if name in hooks]
    if mending and namespace.get("preload_app"):
        kept["preload_app"] = (
            f"{mending[0]} may renew what must not be shared after a fork, such as connections; "
            "once the application does that by itself, give --preload"
        )
    if environ.get("LISTEN_PID") == str(os.getpid()):
        kept["bind"] = "systemd has opened the sockets, and gunicorn would take these"
    return kept


def _taken(
    namespace: dict[str, Any], shown: str, kept: dict[str, str], problems: list[str]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The values by row name, where each stood, and a line for each; `kept` are those not to take, and why."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    report: list[str] = []
    for name, entry in TABLE.items():
        given = namespace.get(name)
        if not entry.row or given is None:  # None is gunicorn's "not set"
            continue
        row = ROWS[entry.row]
        if name in kept or not row.in_files:
            report.append(f"{name}: not taken: {kept.get(name) or entry.note}")
            continue
        try:
            value = value_of(entry, given)
        except ValueError as error:
            problems.append(f"{shown}: {name}: {error}")
            continue
        if row.name in values:
            if values[row.name] != value:
                report.append(f"{name}: not taken: {entry.note}")
            continue
        values[row.name] = value
        origins[row.name] = f"{shown}: {name}"
        report.append(_line(name, row.name, value, warning(entry, given) or (entry.note if entry.say else "")))
    return values, origins, report


def _line(name: str, row_name: str, value: Any, note: str) -> str:
    row, shown = ROWS[row_name], value
    if row_name == "env":  # the value of a variable may be a password, and this line goes to the log
        shown = [pair.partition("=")[0] + "=..." for pair in value]
    elif value == "-":  # see `load`
        row, shown = (ROWS["access_log"], True) if row_name == "access_log_file" else (row, "")
    return f"{name}: taken as {row.public} = {kinds.to_toml(row, shown)}" + (f": {note}" if note else "")


def _left(namespace: dict[str, Any], shown: str, problems: list[str]) -> list[str]:
    """A line for each setting that is not taken, unless it says what holds here anyway."""
    report = []
    for name, entry in TABLE.items():
        given = namespace.get(name)
        if entry.kind not in ("left", "refused") or not given or given in entry.usual:
            continue
        if entry.kind == "refused":
            problems.append(f"{shown}: {name}: {entry.note}")
        else:
            report.append(f"{name}: not taken: {entry.note}")
    return report


def _defaults(namespace: dict[str, Any], before: set[str], environ: Mapping[str, str]) -> list[str]:
    """Where gunicorn's default, or a variable that it reads, would have served the application in another way."""

    def absent(name: str) -> bool:
        return namespace.get(name) is None and TABLE[name].row not in before

    report = []
    if absent("threads") and namespace.get("worker_class") in (None, "sync", "gthread"):
        report.append(
            f"threads: not set, and one in gunicorn; up to {ROWS['threads'].default} here. An application that is not "
            "thread-safe needs --threads 1"
        )
    if absent("timeout"):
        report.append("timeout: not set, and 30 s in gunicorn; a request may take any time here: --request-timeout")
    if absent("forwarded_allow_ips"):
        report.append(
            "forwarded_allow_ips: not set, and 127.0.0.1 in gunicorn; nobody here. Behind a proxy: --trusted-proxies"
        )
    if absent("bind") and "PORT" in environ:
        report.append(f"bind: not set; gunicorn takes PORT from the environment: --bind 0.0.0.0:{environ['PORT']}")
    if absent("workers") and "WEB_CONCURRENCY" in environ:
        count = environ["WEB_CONCURRENCY"]
        report.append(f"workers: not set; gunicorn takes WEB_CONCURRENCY from the environment: --workers {count}")
    return report


def _mistaken(namespace: dict[str, Any]) -> list[str]:
    """A line for each name that is nearly one of gunicorn's, which gunicorn would not have told, or one of ours."""
    import difflib

    report = []
    ours = names()
    for name, value in namespace.items():
        if name.startswith("_") or name in TABLE or callable(value) or isinstance(value, type(sys)):
            continue
        near = difflib.get_close_matches(name, TABLE, n=1, cutoff=NEAR)
        if near and near[0] not in namespace:
            report.append(f"{name}: no setting of gunicorn; did you mean {near[0]}?")
        elif "_" in name and name in ours and ours[name].section != "application":
            report.append(f"{name}: a setting of vivace, not of gunicorn; it belongs in a vivace.toml")
    return report
