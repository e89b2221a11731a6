"""`vivace doctor [SERVER | APP]`: what makes a server slow, with the line of code and the change to try.

SERVER is a port, host:port, a process number or a pidfile, as for `vivace top`; without one it is the only server there
is. It is looked at while it serves. APP is an application (`app:app`, `path/app.py`): it is started on a free port,
loaded and ended; words behind `--` are options of the server, as in `vivace doctor app:app -- --threads 8`.

--try starts it with each setting that was found to help, and says what it did.

Exit codes: 0; 1 if nothing could be examined; 2 if something given makes no sense or the application does not start; 3
if something was found that --fail-on names.
"""

from __future__ import annotations

import json
import sys

from vivace.cli.main import EXIT_FAILED, EXIT_OK
from vivace.cli.words import Words, save
from vivace.errors import SettingError
from vivace.explain.table import KINDS
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.explain.evidence import Evidence
    from vivace.explain.finding import Finding, Report
    from vivace.lab.plan import Shot

EXIT_GATE = 3
USAGE = (
    "vivace doctor [SERVER | APP] [--url /PATH]... [--requests FILE] [--clients N] [--seconds S] [--json] "
    "[-o FILE.html] [--evidence FILE.json] [--fail-on serious|minor|ID,...] [--try] [--quiet] [-- OPTIONS OF THE "
    "SERVER]"
)
SWITCHES = ("--json", "--quiet", "--try")
VALUES = ("--url", "--requests", "-r", "--clients", "-c", "--seconds", "-o", "--evidence", "--fail-on", "--host")
SECONDS = 10.0
SECONDS_LEAST, SECONDS_MOST = 1.0, 3600.0
TRY_S = 3.0
"""Of each load with --try."""
CLIENTS = 8
HEADERS = (("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"))
"""As browsers say it; a request file says its own."""


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        end = argv.index("--") if "--" in argv else len(argv)
        self.server_options = argv[end + 1 :]
        given = Words("doctor", argv[:end], SWITCHES, VALUES, USAGE, 1)
        self.what = given.left[0] if given.left else ""
        self.urls = given.all("--url")
        self.json, self.quiet, self.tries = given.has("--json"), given.has("--quiet"), given.has("--try")
        self.file = given.last("--requests", "-r")
        self.host = given.last("--host")
        self.html, self.evidence = given.last("-o"), given.last("--evidence")
        self.seconds = _number("--seconds", given.last("--seconds"), SECONDS, SECONDS_LEAST, SECONDS_MOST)
        self.clients = int(_number("--clients", given.last("--clients", "-c"), CLIENTS, 1, 10_000))
        self.fail_on = [word for word in given.last("--fail-on").split(",") if word]
        self._check()

    @property
    def is_app(self) -> bool:
        """Whether it is to be started: SERVER is a number, host:port or a file that holds a number."""
        return self.what.endswith(".py") or (
            ":" in self.what
            and not self.what.rpartition(":")[2].isdecimal()
            and "/" not in self.what.rpartition(":")[2]
        )

    def _check(self) -> None:
        for word in self.fail_on:
            if word not in ("serious", "minor") and word not in KINDS:
                raise SettingError(f"--fail-on {word}: give serious, minor, or one of {', '.join(KINDS)}")
        if not self.is_app and (self.urls or self.file or self.server_options or self.tries):
            raise SettingError(
                f"doctor: requests and options are for an application that is started, as app:app; "
                f"{self.what or 'the server'} runs already and is looked at as it is"
            )
        if self.urls and self.file:
            raise SettingError("doctor: give --url or --requests, not both")

    def shots(self) -> list[Shot]:
        """What is sent. Raises SettingError."""
        from vivace.lab.plan import Place, Shot
        from vivace.lab.requests import read

        if self.file:
            return read(self.file, Place("localhost", 80), host=self.host).shots
        for url in self.urls:
            if not url.startswith("/"):
                raise SettingError(f"--url {url}: give a path of the application, as /books?page=2")
        return [Shot(target=url, headers=list(HEADERS)) for url in self.urls or ["/"]]


def _number(name: str, text: str, default: float, least: float, most: float) -> float:
    try:
        value = float(text.removesuffix("s")) if text else default
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise SettingError(f"{name} {text}: give a number from {least:g} to {most:g}")
    return value


def run(argv: list[str]) -> int:
    """Examines, reports; returns the exit code. Raises SettingError."""
    options = Options(argv)
    tell: Callable[[str], None] = (lambda text: None) if options.quiet else _note
    evidence, report = _examined(options, tell)
    if options.evidence:
        save(options.evidence, json.dumps(evidence.to_json()), "--evidence")
    if options.html:
        from vivace.explain.report_page import page

        title = f"vivace doctor {options.what}".strip()
        save(options.html, page(report, evidence, title, f"vivace {__version__}"), "-o")
    if options.json:
        print(json.dumps({"version": __version__, **report.to_json(), "server": _server(evidence)}, indent=2))
    else:
        from vivace.explain.report_text import lines

        print("\n".join(lines(report, evidence)))
    if failing(report, options.fail_on):
        return EXIT_GATE
    return EXIT_OK if report.ruled_out or report.findings else EXIT_FAILED


def failing(report: Report, fail_on: list[str]) -> list[Finding]:
    """The findings that --fail-on names."""
    severities = {"serious": ("serious",), "minor": ("serious", "minor")}
    return [
        finding
        for finding in report.findings
        if any(finding.id == word or finding.severity in severities.get(word, ()) for word in fail_on)
    ]


def _examined(options: Options, tell: Callable[[str], None]) -> tuple[Evidence, Report]:
    from vivace.explain.examining import examine

    if options.is_app:
        from vivace.explain.subject import Subject

        subject = Subject(options.what, options.shots(), options.server_options, clients=options.clients)
        evidence = subject.examine(options.seconds, tell)
        report = examine(evidence)
        if options.tries:
            from vivace.explain.trying import try_out

            report = try_out(report, subject, min(options.seconds, TRY_S), tell)
        return evidence, report
    from vivace.explain.gathering import gather
    from vivace.supervisor.find import find_server

    page = find_server(options.what)
    try:
        tell(f"looking for {options.seconds:.0f} s")
        evidence = gather(page, options.seconds)
    finally:
        page.close()
    return evidence, examine(evidence)


def _server(evidence: Evidence) -> dict[str, object]:
    figures = evidence.figures
    return {
        "seconds": figures["seconds"],
        "rate": figures["rate"],
        "mean_s": figures["mean_s"],
        "p50_s": figures["p50_s"],
        "p99_s": figures["p99_s"],
        "shares": figures["shares"],
        "workers": len(evidence.snapshot["workers"]),
        "machine": evidence.machine,
        "load": evidence.load,
    }


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
