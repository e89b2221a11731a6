"""THE table of servers that can be named: a row each, how it is started with an application, and why so.

Rules: one worker process each, no access log, and the settings that its documents advise for quick applications.
What the user adds stands behind them, and so wins. vivace runs at its defaults.

Words in braces are filled in: {python} {app} {port} {host} {prefix}.
"""

from __future__ import annotations

import os
import shutil
import sys

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTED = "vivace.lab.hosted:application"


class Preset:
    """`needs`: a module, or a program (`program` says so). `options`: whether it takes any."""

    __slots__ = ("command", "name", "needs", "options", "program", "why")

    def __init__(
        self, name: str, needs: str, command: str, why: str, *, program: bool = False, options: bool = True
    ) -> None:
        self.name = name
        self.needs = needs
        self.command = command
        self.why = why
        self.program = program
        self.options = options


PRESETS = {
    row.name: row
    for row in (
        Preset("vivace", "", "{python} -m vivace {app} --bind {host}:{port}", "Its defaults."),
        Preset(
            "gunicorn",
            "gunicorn",
            f"{{python}} -m gunicorn {HOSTED} --bind {{host}}:{{port}} --worker-class gthread --workers 1 --threads 4 "
            "--keep-alive 60 --log-level error {control}",
            "gthread, its worker with keep-alive; for a minute, as its default of 2 s would close connections that "
            "the others keep. No control socket.",
        ),
        Preset(
            "granian",
            "granian",
            "{python} -m granian --interface wsgi --http 1 --no-ws --no-access-log --log-level error --workers 1 "
            f"--blocking-threads 1 --host {{host}} --port {{port}} {HOSTED}",
            "HTTP/1 only and no WebSockets, which saves it the detection. One blocking thread, the choice of its own "
            "benchmarks; an application that waits needs more (--blocking-threads 64).",
        ),
        Preset(
            "uwsgi",
            "uwsgi",
            f"{{uwsgi}} --http11-socket {{host}}:{{port}} --module {HOSTED} --home {{prefix}} --enable-threads "
            "--disable-logging --die-on-term --need-app --threads 64",
            "http11-socket is its fastest way to keep-alive, without the router process. A connection holds a thread "
            "for as long as it is open, so it has 64.",
            program=True,
        ),
        Preset(
            "waitress",
            "waitress",
            "{python} -m waitress --listen={host}:{port} --threads=4 --connection-limit=20000 --backlog=1024 "
            f"--asyncore-use-poll --channel-timeout=600 {HOSTED}",
            "Four threads, its default; poll() in place of select(), which holds at most 1,024 descriptors.",
        ),
        Preset(
            "bjoern",
            "bjoern",
            "{python} -m vivace.lab.peers bjoern {port}",
            "It has no settings that matter here. One thread: a slow request stops the others.",
            options=False,
        ),
        Preset(
            "wsgiref",
            "",
            "{python} -m vivace.lab.peers wsgiref {port}",
            "Without log lines, and with a listen queue of 1,024 in place of 5. It closes every connection.",
            options=False,
        ),
    )
}


def words_of(name: str, app: str, options: Sequence[str]) -> list[str]:
    """The command of a preset, with {host} and {port} left to fill in. Raises SettingError: not installed, or it
    takes no options.
    """
    row = PRESETS[name]
    if options and not row.options:
        raise SettingError(f"{name} takes no options here, but {' '.join(options)!r} was given")
    program = _installed(row)
    known = {
        "{python}": sys.executable,
        "{app}": app,
        "{prefix}": sys.prefix,
        "{uwsgi}": program,
    }
    words = [known.get(word, word) for word in row.command.split() if word != "{control}"]
    if "{control}" in row.command and _major(row.needs) >= 25:  # the first with a control socket
        words.append("--no-control-socket")
    if name in ("granian", "waitress"):  # the application comes last
        return [*words[:-1], *options, words[-1]]
    return words + list(options)


def _installed(row: Preset) -> str:
    """The path of its program, if it is one. Raises SettingError where it is not installed."""
    if not row.needs:
        return ""
    if row.program:
        places = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
        if found := shutil.which(row.needs, path=places):
            return found
    else:
        from importlib.util import find_spec

        if find_spec(row.needs):
            return ""
    raise SettingError(
        f"{row.name} is not installed beside this Python ({sys.executable}); install it: "
        f"{sys.executable} -m pip install {row.needs}"
    )


def _major(distribution: str) -> int:
    """The first number of its version; 0 if it has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        first = version(distribution).partition(".")[0]
    except PackageNotFoundError:
        return 0
    return int(first) if first.isdecimal() else 0
