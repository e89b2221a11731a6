"""`vivace profile [SERVER]`: where the time of a running server goes, by route, as a table, a picture or a file.

SERVER is a port, host:port, a process number or a pidfile, as for `vivace ctl`; it may be left out where only one
server runs. Its workers sample themselves all the time: --last shows what has been, without a wait; --seconds looks
more closely for a while.

What -o writes follows from its name: .html, .svg, .speedscope.json, .pprof (also .pb.gz), .collapsed (also .folded,
.txt), .json.

Exit codes: 0; 1 if no request was seen; 2 if there is no server, or none with a profiler.
"""

from __future__ import annotations

import json
import os
import sys
import time

from vivace.cli.main import EXIT_FAILED, EXIT_OK, tell
from vivace.cli.words import Words, save, seconds_of
from vivace.errors import SettingError
from vivace.explain.engines import ENGINES, record
from vivace.explain.profile import ask_profile, selected, text
from vivace.observe.asking import workers
from vivace.observe.layout import H_PID
from vivace.supervisor.find import find_server
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = (
    "vivace profile [SERVER] [--seconds TIME | --last TIME] [--route NAME] [--hz N] [-o FILE] [--json]; FILE ends in "
    ".html, .svg, .speedscope.json, .pprof, .collapsed or .json; [--engine py-spy|tachyon] has another one look; "
    "--cprofile N counts the calls of N requests, one at a time, FILE then also .pstats"
)
SWITCHES = ("--json",)
VALUES = ("--seconds", "--last", "--route", "--hz", "-o", "--output", "--engine", "--cprofile")
SECONDS = 30.0
HZ = 100.0
HZ_MAX = 1000
CALLS_MAX = 1000
MORE_S = 5.0
"""It looks closely for so much longer than asked, in case that this machine is slow."""
FORMATS = {
    ".html": "html",
    ".htm": "html",
    ".svg": "svg",
    ".speedscope.json": "speedscope",
    ".json": "json",
    ".pprof": "pprof",
    ".pb.gz": "pprof",
    ".collapsed": "collapsed",
    ".folded": "collapsed",
    ".txt": "collapsed",
    ".pstats": "pstats",
    ".prof": "pstats",
}


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        given = Words("profile", argv, SWITCHES, VALUES, USAGE, 1)
        self.server = given.left[0] if given.left else ""
        self.json = given.has("--json")
        self.route = given.last("--route")
        self.output = given.last("--output", "-o")
        self.format = _format(self.output)
        if given.has("--last") and (given.has("--seconds") or given.has("--hz")):
            raise SettingError("profile: --last shows what has been sampled; --seconds and --hz are for a new look")
        self.last_s = _time("--last", given.last("--last")) if given.has("--last") else 0.0
        self.seconds = _time("--seconds", given.last("--seconds")) if given.has("--seconds") else SECONDS
        self.hz = _hz(given.last("--hz")) if given.has("--hz") else HZ
        self.engine = given.last("--engine")
        if self.engine:
            self._check_engine()
        self.calls = _count(given.last("--cprofile")) if given.has("--cprofile") else 0
        if self.calls and (self.engine or self.last_s or self.json or given.has("--hz")):
            raise SettingError("profile: --cprofile has requests of its own, so no --last, --hz, --json or --engine")
        if self.format == "pstats" and not self.calls:
            raise SettingError(
                f"profile: -o {self.output}: pstats have calls counted, which samples have not: --cprofile N"
            )

    def _check_engine(self) -> None:
        if self.engine not in ENGINES:
            raise SettingError(f"profile: --engine {self.engine}: give one of {', '.join(ENGINES)}")
        if self.last_s or self.route or self.json or not self.output:
            raise SettingError(
                f"profile: --engine {self.engine} looks from now on, at all routes, and writes a file: give -o FILE, "
                "and neither --last nor --route nor --json"
            )


def _format(name: str) -> str:
    found = [kind for ending, kind in FORMATS.items() if name.endswith(ending)]
    if name and not found:
        raise SettingError(f"profile: -o {name}: its ending says what to write: {', '.join(FORMATS)}")
    return found[0] if found else ""


def _time(name: str, value: str) -> float:
    found = seconds_of(value) or 0.0
    if not 0.0 < found <= 86400.0:
        raise SettingError(f"profile: {name} {value}: give a time, as in 30, 30s or 5m")
    return found


def _count(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= CALLS_MAX:
        raise SettingError(f"profile: --cprofile {value}: give a number of requests, from 1 to {CALLS_MAX}")
    return int(value)


def _hz(value: str) -> float:
    if not value.isdecimal() or not 1 <= int(value) <= HZ_MAX:
        raise SettingError(f"profile: --hz {value}: give looks a second, from 1 to {HZ_MAX}")
    return float(value)


def run(argv: list[str]) -> int:
    """One profile; returns the exit code. Raises SettingError where it makes no sense or finds no server."""
    options = Options(argv)
    page = find_server(options.server)
    try:
        if options.engine:
            pids = sorted(set(workers(page).values()))
            files = record(options.engine, pids, options.seconds, options.hz, options.format, options.output)
            tell([f"wrote {file}" for file in files])
            return EXIT_OK
        if options.calls:
            return _count_calls(options, page)
        profile, silent = _profile(options, page)
        pid = page.words[H_PID]
    finally:
        page.close()
    tell([f"profile: the worker {one} did not answer, and is left out" for one in silent])
    profile = selected(profile, options.route)
    if options.output:
        title = f"Profile of process {pid}" + (f", {options.route}" if options.route else "")
        _save(options.output, written(options.format, profile, title))
    if options.json:
        print(json.dumps(profile, indent=1))
    elif not options.output or sys.stdout.isatty():
        print(text(profile, _columns()))
    return EXIT_OK if profile["samples"] else EXIT_FAILED


def _count_calls(options: Options, page: Any) -> int:
    from vivace.explain.call_profile import as_profile, ask_calls, pstats_file, table

    seconds, stats = ask_calls(page, options.route, options.calls, options.seconds)
    if options.format == "pstats":
        _save(options.output, pstats_file(stats))
    elif options.output:
        route = options.route or "requests under the profiler"
        _save(options.output, written(options.format, as_profile(stats, seconds, route), f"{len(seconds)} requests"))
    if not options.output or sys.stdout.isatty():
        print(table(stats, seconds))
    return EXIT_OK


def _profile(options: Options, page: Any) -> tuple[dict[str, Any], list[int]]:
    if options.last_s:
        return ask_profile(page, time.time() - options.last_s)
    ask_profile(page, time.time(), hz=options.hz, for_s=options.seconds + MORE_S)
    began_s = time.time()
    if sys.stderr.isatty():
        print(f"vivace: looking for {options.seconds:g} s", file=sys.stderr)
    time.sleep(options.seconds)
    return ask_profile(page, began_s)


def _save(name: str, content: bytes) -> None:
    save(name, content, "profile: -o")
    tell([f"wrote {name}"])


def written(kind: str, profile: dict[str, Any], title: str) -> bytes:
    """The profile in one of FORMATS."""
    from vivace.explain import flame, formats

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(profile["from_s"] or None))
    if kind == "html":
        length_s = profile["to_s"] - profile["from_s"]
        return flame.page(profile, title, f"{length_s:.3g} s, {when}", f"vivace {__version__}").encode()
    if kind == "svg":
        return flame.svg(profile, f"{title}, {when}").encode()
    if kind == "speedscope":
        return formats.speedscope(profile, title).encode()
    if kind == "pprof":
        return formats.pprof(profile)
    if kind == "collapsed":
        return formats.collapsed(profile).encode("utf-8", "replace")
    return json.dumps(profile).encode()


def _columns() -> int:
    try:
        return max(60, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return 110
