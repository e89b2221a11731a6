"""`vivace cache [SERVER] stats|ls|purge|why`: what a running server keeps of responses, and having it forget some.

SERVER is a port, host:port, a process number or a pidfile, as for `vivace ctl`; it may be left out where only one
server runs. Nothing listens for this command: it and the workers write into files in memory (`cache.control` for
purges, `observe.desk` for questions).

Exit codes: 0; 1 if a worker did not answer, or has not seen a purge, in time; 2 if there is no server, or no cache.
"""

from __future__ import annotations

import json

from vivace.cache.control import Control, controls_of
from vivace.cli.cache_view import SORTS, entries_text, merged_entries, merged_lines, merged_stats, stats_text
from vivace.cli.main import EXIT_FAILED, EXIT_OK, tell
from vivace.cli.words import Words
from vivace.errors import SettingError
from vivace.observe.desk import ask_places
from vivace.observe.layout import H_PID
from vivace.supervisor.find import find_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page

    Answers = list[tuple[int, dict[str, Any]]]

USAGE = (
    "vivace cache [SERVER] stats, ls [--sort KEY] [--limit N], purge PATH... | --tag TAG... | --all [--soft], or "
    f"why URL [-H 'Name: value']... [-X METHOD], each with --json; KEY is one of {', '.join(SORTS)}"
)
VERBS = ("stats", "ls", "purge", "why")
SWITCHES = {"--json": VERBS, "--all": ("purge",), "--soft": ("purge",)}
VALUES = {"--tag": ("purge",), "-H": ("why",), "-X": ("why",), "--sort": ("ls",), "--limit": ("ls",)}
WAIT_S = 5.0
"""For the workers. They look once a second, unless something holds them up."""
LIMIT, LIMIT_MAX = 50, 100_000
FIELDS = {"size": "bytes"}
"""What the workers call a sort key, if not the same."""


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        options = Words("cache", argv, SWITCHES, VALUES, USAGE)
        words, given = options.left, options.given
        first = words.pop(0) if len(words) > 1 and words[0] not in VERBS else ""
        self.verb = words.pop(0) if words else ""
        if self.verb not in VERBS:
            raise SettingError(f"cache: {USAGE}")
        for name, _ in given:
            if self.verb not in {**SWITCHES, **VALUES}[name]:
                raise SettingError(f"cache {self.verb}: {name} means nothing there; {USAGE}")
        self.json = ("--json", "") in given
        self.soft = ("--soft", "") in given
        self.all = ("--all", "") in given
        self.tags = [value for name, value in given if name == "--tag"]
        self.headers = [_field(value) for name, value in given if name == "-H"]
        self.method = next((value.upper() for name, value in given if name == "-X"), "GET")
        self.sort = next((value for name, value in given if name == "--sort"), "hits")
        self.limit = _number(next((value for name, value in given if name == "--limit"), str(LIMIT)))
        if self.sort not in SORTS:
            raise SettingError(f"--sort {self.sort}: give one of {', '.join(SORTS)}")
        # What is no path or URL is the server; a pidfile goes before the verb.
        self.targets = [word for word in words if word.startswith(("/", "http://", "https://"))]
        servers = [word for word in words if word not in self.targets] + [first] * bool(first)
        if len(servers) > 1 or (self.targets and self.verb in ("stats", "ls")):
            raise SettingError(f"cache {self.verb}: more was given than it takes; {USAGE}")
        self.server = servers[0] if servers else ""
        self._check()

    def _check(self) -> None:
        if self.verb == "why" and (len(self.targets) != 1 or self.targets[0].startswith("/")):
            raise SettingError(
                "cache why: give one URL, with the host that clients ask for: vivace cache why https://example.org/news"
            )
        if self.verb == "purge" and bool(self.targets) + bool(self.tags) + self.all != 1:
            raise SettingError(
                "cache purge: give paths (/news, /news/* for all that begin so), --tag TAG or --all, one kind at a time"
            )


def _field(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise SettingError(f"-H {text!r}: give a field as 'Name: value'")
    return [name.strip(), value.strip()]


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise SettingError(f"--limit {text}: give a number from 1 to {LIMIT_MAX}")
    return int(text)


def run(argv: list[str]) -> int:
    """One command; returns the exit code. Raises SettingError where it makes no sense or finds no cache."""
    options = Options(argv)
    page = find_server(options.server)
    controls: list[Control] = []
    try:
        pid = page.words[H_PID]
        controls = _controls(pid)
        if options.verb == "purge":
            return _purge(pid, controls, options)
        return _ask(page, options)
    finally:
        page.close()
        for control in controls:
            control.close()


def _controls(pid: int) -> list[Control]:
    try:
        controls = controls_of(pid)
    except OSError as error:
        raise SettingError(f"process {pid} cannot be looked into: {error.strerror}; try as its user, or root") from None
    if not controls:
        raise SettingError(f"the server, process {pid}, keeps no responses; start it with --cache")
    return controls


# Purges.


def _purge(pid: int, controls: list[Control], options: Options) -> int:
    wanted = [("path", _path(target)) for target in options.targets] + [("tag", tag) for tag in options.tags]
    late: list[int] = []
    workers = 0
    for control in controls:
        number = 0
        for kind, pattern in wanted or [("all", "")]:
            try:
                number = control.purge(kind, pattern, soft=options.soft)
            except ValueError as error:
                raise SettingError(f"cache purge: {error}") from None
            if not number:
                raise SettingError("another process holds the log of purges and does not go on; nothing was purged")
        late += control.wait_applied(number, WAIT_S)
        workers += len(control.workers())
    what = ", ".join([pattern for _, pattern in wanted]) or "everything"
    if options.json:
        print(json.dumps({"server": pid, "purged": what, "soft": options.soft, "workers": workers, "late": late}))
    else:
        done = "is stale now" if options.soft else "is purged"
        print(f"{what} {done}; seen by {workers - len(late)} of {workers} worker{'s' * (workers != 1)}")
    if late:
        names = ", ".join(map(str, late))
        tell([f"not seen after {WAIT_S:.0f} s by: {names}. What they keep may still be served; see vivace top"])
    return EXIT_FAILED if late else EXIT_OK


def _path(target: str) -> str:
    """Path and query of what may be a URL. Its host does not count: a purge is for all hosts."""
    if target.startswith("/"):
        return target
    return "/" + target.partition("://")[2].partition("/")[2]


# Questions.


def _ask(page: Page, options: Options) -> int:
    pid = page.words[H_PID]
    question: dict[str, Any] = {"ask": f"cache_{options.verb}"}
    if options.verb == "ls":
        question |= {"limit": options.limit, "sort": FIELDS.get(options.sort, options.sort)}
    elif options.verb == "why":
        question |= {"method": options.method, "url": options.targets[0], "headers": options.headers}
    answers: Answers = []
    silent = []
    for worker, answer in sorted(ask_places(page, question, WAIT_S), key=lambda each: each[0]):
        if answer is None:
            silent.append(f"process {worker} has not answered within {WAIT_S:.0f} s")
        elif "error" in answer:
            silent.append(f"process {worker}: {answer['error']}")
        else:
            answers.append((worker, answer))
    _show(pid, answers, options)
    tell(silent)
    if not answers and not silent:
        tell([f"the server, process {pid}, has no worker at the moment"])
    return EXIT_FAILED if silent or not answers else EXIT_OK


def _show(pid: int, answers: Answers, options: Options) -> None:
    if options.verb == "stats":
        total = merged_stats([answer for _, answer in answers])
        lines = stats_text(pid, total, answers)
    elif options.verb == "ls":
        total = merged_entries([answer for _, answer in answers], options.sort, options.limit)
        lines = entries_text(total)
    else:
        total = {"lines": merged_lines(answers)}
        lines = total["lines"]
    if options.json:
        workers = {str(worker): answer for worker, answer in answers}
        print(json.dumps({"server": pid, "total": total, "workers": workers}, indent=2))
    elif answers:
        for line in lines:
            print(line)
