"""`vivace bench URL` or `vivace bench SERVER`: loads a server and says what came back, and how soon.

URL is `http://`, `https://` or `unix:/socket:/target`. SERVER is what `vivace compare` takes for a side and is started
on a free port, loaded and ended: an application (`app:app`), a preset with its options (`'gunicorn --threads 8' --app
app:app`), a command with {port} in it; a path as the second word is what it is asked for.

Closed loop by default; --rate is open loop; --goal without a rate searches for the highest rate that holds it.

Exit codes: 0; 1 if nothing was answered, or no rate holds the goals; 3 if a goal was missed at the rate given.
"""

from __future__ import annotations

import json
import sys

from vivace.cli.main import EXIT_FAILED, EXIT_OK
from vivace.cli.words import Words, check_sent, requests_of, save, seconds_of
from vivace.errors import SettingError
from vivace.lab.goals import read_goal
from vivace.lab.plan import ARRIVALS, CLOSED, OPEN, TIMEOUT_S, Load, Place, read_url
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.lab.requests import Requests
    from vivace.lab.result import Result, Slice

EXIT_GATE = 3
USAGE = (
    "vivace bench URL | SERVER [/PATH] [--app APP] [-c N] [--rate N] [--goal 'p99<50ms']... [--time TIME] "
    "[--warmup TIME] [--processes N] [--engine own|locust [--workers N] [--master-port PORT]] [--timeout TIME] "
    "[--arrivals poisson|even] [--seed N] [--pid PID] [-X METHOD] [-H 'Name: value']... [-d DATA|@FILE] "
    "[-r FILE [--replay] [--speed N] [--host NAME] [--credentials] [--unsafe]] [-k] [--json] [--html FILE] [--quiet]"
)
SWITCHES = ("-k", "--json", "--quiet", "--replay", "--credentials", "--unsafe")
VALUES = (
    *("-c", "--connections", "--rate", "--goal", "--time", "--warmup", "--processes", "--timeout", "--arrivals"),
    *(
        "--engine",
        "--workers",
        "--master-port",
        "--seed",
        "--pid",
        "--app",
        "-X",
        "-H",
        "-d",
        "-r",
        "--requests",
        "--speed",
        "--host",
        "--html",
    ),
)
CONNECTIONS = {CLOSED: 10, OPEN: 100}
TIME_S = 10.0
TRY_S = 3.0
"""Of each try of a search, unless --time says otherwise."""
REPLAY_MORE_S = 0.1
"""After the last request of a replay is due."""
PROGRESS_S = 0.5
ENGINES = ("own", "locust")
URLS = ("http://", "https://", "unix:")


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        self.given = given = Words("bench", argv, SWITCHES, VALUES, USAGE, 2)
        words = given.left
        if len(words) > 1 and not words[1].startswith("/"):
            raise SettingError(f"bench: {words[1]!r} is not understood, or lacks its value; {USAGE}")
        if not words:
            raise SettingError(f"bench: give a URL or a server to load; {USAGE}")
        self.what = words[0]
        self.target = words[1] if len(words) > 1 else "/"
        self.app = self.given.last("--app")
        if self.what.startswith(URLS) and (len(words) > 1 or self.app):
            raise SettingError("bench: a URL has its path already, and its application")
        self.json, self.quiet, self.verify = given.has("--json"), given.has("--quiet"), not given.has("-k")
        self.goals = [read_goal(text) for text in self.given.all("--goal")]
        self.pid = int(self._number("--pid", 0))
        self.html = self.given.last("--html")
        self.file = self.given.last("-r", "--requests")
        self.replay = self.given.has("--replay")
        self.engine = self.given.last("--engine") or ENGINES[0]
        self.searches = bool(self.goals) and not self.given.has("--rate") and not self.replay
        self._check()

    def _check(self) -> None:
        check_sent(self.given)
        if self.engine not in ENGINES:
            raise SettingError(f"bench: --engine {self.engine}: give one of {', '.join(ENGINES)}")
        if self.engine != "locust" and (self.given.has("--workers") or self.given.has("--master-port")):
            raise SettingError("bench: --workers and --master-port are for --engine locust; see --processes")
        if self.replay and self.given.has("--rate"):
            raise SettingError("bench: --replay has times of its own, so no --rate; --speed 10 is ten times as fast")

    def _number(self, name: str, default: float, *also: str) -> float:
        text = self.given.last(name, *also)
        try:
            return float(text.replace("_", "")) if text else default
        except ValueError:
            raise SettingError(f"{name} {text}: give a number") from None

    def _whole(self, name: str, default: int, *also: str) -> int:
        value = self._number(name, default, *also)
        if value != int(value):
            raise SettingError(f"{name} {value}: give a whole number")
        return int(value)

    def _seconds(self, name: str, default: float) -> float:
        text = self.given.last(name)
        seconds = seconds_of(text) if text else default
        if seconds is None:
            raise SettingError(f"{name} {text}: give a time, as 10s, 500ms or 2m")
        return seconds

    def requests(self, place: Place, target: str) -> Requests:
        """What is sent: of the file, or one request as curl would send it. Raises SettingError."""
        speed, seed = self._number("--speed", 1.0), self._whole("--seed", 1)
        return requests_of(self.given, place, (target,), speed, seed)

    def load(self, requests: Requests) -> Load:
        """The law of the load. Raises SettingError."""
        mode = OPEN if self.given.has("--rate") or self.replay else CLOSED
        due = requests.due if requests.due is not None else ()
        length_s = TRY_S if self.searches else TIME_S
        if requests.due is not None:
            length_s = requests.due.span_s + REPLAY_MORE_S
        connections = CONNECTIONS[OPEN if self.searches else mode]
        return Load(
            requests.shots,
            mode,
            rate=self._number("--rate", 0.0),
            connections=self._whole("-c", connections, "--connections"),
            seconds=self._seconds("--time", length_s),
            processes=self._whole("--processes", 1),
            timeout_s=self._seconds("--timeout", TIMEOUT_S),
            warmup_s=self._seconds("--warmup", 0.0) if self.given.has("--warmup") else None,
            seed=self._whole("--seed", 1),
            arrivals=self.given.last("--arrivals") or ARRIVALS[0],
            at_times=due,
        )

    def fire(self, place: Place, pid: int, show: _Progress | None) -> Callable[[Load], Result]:
        """What makes the load, by the engine that is wanted."""
        if self.engine == "locust":
            from vivace.lab import locust

            fleet = locust.Fleet(self._whole("--workers", 0), self._whole("--master-port", locust.MASTER_PORT))
            return lambda load: locust.run(load, place, fleet, pid=pid, tell=_note)
        from vivace.lab import crew

        return lambda load: crew.run(load, place, pid=pid, progress=show)


def run(argv: list[str]) -> int:
    """Loads, reports; returns the exit code. Raises SettingError."""
    options = Options(argv)
    if options.what.startswith(URLS):
        place, target = read_url(options.what, options.verify)
        return _bench(options, options.load(_requests(options, place, target)), place, options.pid)
    from vivace.lab.server import start
    from vivace.lab.sides import Sides

    load = options.load(_requests(options, Place("localhost", 80), options.target))
    with Sides(options.app) as sides, start(sides.read(options.what), options.target) as running:
        return _bench(options, load, Place(*running.address), running.pid)


def _requests(options: Options, place: Place, target: str) -> Requests:
    found = options.requests(place, target)
    for note in found.notes:
        _note(f"vivace: {note}")
    return found


def _bench(options: Options, load: Load, place: Place, pid: int) -> int:
    from vivace.lab.goals import missed
    from vivace.lab.report import found_lines, lines, try_line
    from vivace.lab.search import search

    show = _Progress() if sys.stderr.isatty() and not options.quiet else None
    engine = options.fire(place, pid, show)

    def fire(one: Load) -> Result:
        try:
            return engine(one)
        finally:
            if show is not None:
                show.end()

    if options.searches:
        tell: Callable[[str], None] = (lambda text: None) if options.quiet else _note
        found = search(fire, load, options.goals, lambda one: tell(try_line(one)))
        if options.json:
            tries = [{"rate": one.rate, "missed": one.missed, **one.result.summary()} for one in found.tries]
            best = found.best.to_json() if found.best else None
            print(json.dumps({"rate": found.rate, "goals": found.goals, "tries": tries, "best": best}))
        else:
            print("\n".join(found_lines(found)))
        if found.best:
            _page(options, found.best)
        return EXIT_OK if found.rate else EXIT_FAILED
    result = fire(load)
    failed = missed(options.goals, result) if options.goals else []
    if options.json:
        print(json.dumps({**result.to_json(), "missed": failed}))
    else:
        print("\n".join([*lines(result), *(f"MISSED  {text}" for text in failed)]))
    _page(options, result)
    if not result.total.answers:
        return EXIT_FAILED
    return EXIT_GATE if failed else EXIT_OK


def _page(options: Options, result: Result) -> None:
    """Writes the page, if one is wanted."""
    if options.html:
        from vivace.lab.page import page

        save(options.html, page([(options.what, result)], made=f"vivace {__version__}"), "--html")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Progress:
    """One line on the terminal that is written over."""

    def __init__(self) -> None:
        self._slices: list[Slice] = []
        self._shown_s = 0.0

    def __call__(self, at_s: float, one: Slice) -> None:
        from vivace.lab.report import progress_line
        from vivace.lab.result import added

        self._slices.append(one)
        if at_s - self._shown_s >= PROGRESS_S:
            sys.stderr.write(f"\r{progress_line(at_s, added(self._slices))}\x1b[K")
            sys.stderr.flush()
            self._slices, self._shown_s = [], at_s

    def end(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
        self._slices, self._shown_s = [], 0.0
