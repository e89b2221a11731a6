"""`vivace top [SERVER]`: what a running server does, live in a terminal.

SERVER is a port, host:port, a process number or a pidfile, as for `vivace ctl`. The server listens for nothing extra:
its shared page is read. `--url` reads the admin address of a server elsewhere.

Where stdout is no terminal, or with --once or --json, it prints one snapshot. Exit codes: 0; 1 if a worker is stuck,
none serves or the server has ended, so that it can serve as a health check; 2 if no server is found.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque

from vivace.cli.main import EXIT_FAILED, EXIT_OK
from vivace.cli.top_keys import SORTS, View, press
from vivace.cli.top_source import LocalSource, RemoteSource
from vivace.cli.top_view import report, routes_of, screen
from vivace.errors import SettingError
from vivace.observe.snapshot import between

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Source = LocalSource | RemoteSource

USAGE = (
    "vivace top [SERVER] [--url URL [--token T]] [--once] [--json] [--interval S] [--sort KEY] [--route R]; "
    f"KEY is one of {', '.join(SORTS)}"
)
SWITCHES = ("--once", "--json")
VALUES = ("--url", "--token", "--interval", "--sort", "--route")
INTERVAL_S = 1.0
INTERVAL_LEAST_S, INTERVAL_MOST_S = 0.1, 3600.0
STEP_S = 0.5
HISTORY_MAX = 130
"""Snapshots that are kept, and how far apart they are at least: enough for the longest window."""
PIPE_COLUMNS = 120


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what it does not know."""
        self.server = self.url = self.token = self.route = ""
        self.sort, self.interval_s = "p99", INTERVAL_S
        self.once = self.json = False
        words = list(argv)
        while words:
            word, equals, value = words.pop(0).partition("=")
            if word in VALUES:
                if not equals and not words:
                    raise SettingError(f"{word} needs a value; {USAGE}")
                self._set(word, value if equals else words.pop(0))
            elif word in SWITCHES and not equals:
                setattr(self, word[2:], True)
            elif word.startswith("-") or self.server:
                raise SettingError(f"top: {word!r} is not understood; {USAGE}")
            else:
                self.server = word + equals + value
        if self.url and self.server:
            raise SettingError("top: give a SERVER of this machine or the --url of another one, not both")

    def _set(self, word: str, value: str) -> None:
        if word == "--interval":
            try:
                self.interval_s = float(value.removesuffix("s"))
            except ValueError:
                self.interval_s = 0.0
            if not INTERVAL_LEAST_S <= self.interval_s <= INTERVAL_MOST_S:
                raise SettingError(
                    f"--interval {value}: give seconds, from {INTERVAL_LEAST_S} to {INTERVAL_MOST_S:.0f}"
                )
        elif word == "--sort":
            if value not in SORTS:
                raise SettingError(f"--sort {value}: give one of {', '.join(SORTS)}")
            self.sort = value
        elif word == "--token" and value.startswith("@"):
            try:
                with open(value[1:]) as file:
                    self.token = file.read().strip()
            except OSError as error:
                raise SettingError(f"--token {value}: {error.strerror}") from None
        else:
            setattr(self, word[2:], value)


def run(argv: list[str]) -> int:
    """Shows the server until the user quits; returns the exit code. Raises SettingError."""
    options = Options(argv)
    source = RemoteSource(options.url, options.token) if options.url else LocalSource(options.server)
    try:
        return _run(source, options)
    finally:
        source.close()


def _run(source: Source, options: Options) -> int:
    on_terminal = sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if options.once or options.json or not on_terminal:
        return _once(source, options)
    from vivace.cli.terminal import Ended, Terminal

    try:
        with Terminal(colours=not os.environ.get("NO_COLOR")) as terminal:
            _live(Live(source, options), terminal)
    except Ended as end:
        return 128 + end.number if end.number not in (0, 2) else EXIT_OK
    return EXIT_OK


# One snapshot.


def _once(source: Source, options: Options) -> int:
    older = source.look()
    if older is not None and not _unwell(older, between(None, older)):
        time.sleep(options.interval_s)
    newer = source.look()
    if newer is None:
        raise SettingError(source.problem)
    figures = between(older, newer)
    if options.json:
        print(json.dumps({"snapshot": newer, "figures": figures}, indent=2))
    else:
        width = _columns()
        for line in report(View(options.sort, options.route, options.interval_s), newer, figures, width):
            print(line)
    return EXIT_FAILED if _unwell(newer, figures) else EXIT_OK


def _unwell(snapshot: dict[str, Any], figures: dict[str, Any]) -> bool:
    """Whether there is something that nobody need wait for: no worker, or one that is stuck."""
    return not snapshot["workers"] or any(worker["stuck"] for worker in figures["workers"])


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PIPE_COLUMNS
    except (OSError, ValueError):
        return PIPE_COLUMNS


# Live.


class Live:
    """What has been seen so far, and how it is looked at."""

    def __init__(self, source: Source, options: Options) -> None:
        self.view = View(options.sort, options.route)
        self.interval_s = options.interval_s
        self.due_s = 0.0
        self._source = source
        self._seen: deque[dict[str, Any]] = deque(maxlen=HISTORY_MAX)

    def look(self) -> None:
        """Takes the next snapshot. Of those before it some are kept, see STEP_S."""
        self.due_s = time.monotonic() + self.interval_s
        found = self._source.look()
        if found is None:
            return
        if len(self._seen) > 1 and self._seen[-1]["monotonic_s"] - self._seen[-2]["monotonic_s"] < STEP_S:
            self._seen.pop()
        self._seen.append(found)

    @property
    def note(self) -> str:
        return self._source.problem

    def now(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The newest snapshot, and the figures since the one at the begin of the window."""
        if not self._seen:
            return None, None
        newest = self._seen[-1]
        older = None
        if self.view.window_s:
            begins_s = newest["monotonic_s"] - self.view.window_s - self.interval_s / 2
            pid = newest["server"]["pid"]
            older = next(
                (row for row in self._seen if row["server"]["pid"] == pid and row["monotonic_s"] >= begins_s), None
            )
            if older is newest:
                older = self._seen[-2] if len(self._seen) > 1 else None
        return newest, between(older, newest)


def _live(live: Live, terminal: Any) -> None:
    """Draws and listens to keys until the user quits."""
    while True:
        if not live.view.paused and time.monotonic() >= live.due_s:
            live.look()
        snapshot, figures = live.now()
        columns, rows = terminal.size
        terminal.show(screen(live.view, snapshot, figures, columns, rows, live.note))
        wait_s = 3600.0 if live.view.paused else live.due_s - time.monotonic()
        key = terminal.key(wait_s)
        routes = [row["name"] for row in routes_of(live.view, figures)] if figures is not None else []
        if key and not press(live.view, key, routes):
            return
