"""`vivace slow [SERVER] [--route R] [--running] [--limit N] [--json]`: the last slow requests, and those that still
run, each with what it spent its time on.

SERVER is a port, host:port, a process number or a pidfile, as for `vivace ctl`; it may be left out where only one
server runs. A worker that does not answer is shown as the shared page describes it.

Exit codes: 0; 1 if a worker did not answer; 2 if there is no server.
"""

from __future__ import annotations

import json

from vivace.cli.main import EXIT_FAILED, EXIT_OK, tell
from vivace.cli.top_tables import clock
from vivace.cli.top_text import span
from vivace.cli.words import Words
from vivace.errors import SettingError
from vivace.observe.call_tree import written
from vivace.observe.layout import H_PID
from vivace.observe.slow import slow_requests
from vivace.supervisor.find import find_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

USAGE = "vivace slow [SERVER] [--route 'GET /path'] [--running] [--limit N] [--json]"
SWITCHES = ("--running", "--json")
VALUES = ("--route", "--limit")
WAIT_S = 2.0
LIMIT = 20
"""Requests that have ended, shown if nothing else is said."""
LINES_MAX = 16
"""Of the tree of one request."""
INDENT = " " * 10
LEAST_S = 0.0005
"""What is shorter is not told."""


class Options:
    """The command line, read."""

    def __init__(self, argv: list[str]) -> None:
        """Raises SettingError for what makes no sense."""
        given = Words("slow", argv, SWITCHES, VALUES, USAGE, 1)
        self.running, self.json = given.has("--running"), given.has("--json")
        self.route = given.last("--route")
        self.server = given.left[0] if given.left else ""
        limit = given.last("--limit") if given.has("--limit") else str(LIMIT)
        if not limit.isdecimal():
            raise SettingError(f"--limit {limit}: give a number")
        self.limit = int(limit)


def run(argv: list[str]) -> int:
    """Shows them once; returns the exit code. Raises SettingError for what makes no sense or finds no server."""
    options = Options(argv)
    page = find_server(options.server)
    try:
        pid = page.words[H_PID]
        found = slow_requests(page, WAIT_S, options.route)
    finally:
        page.close()
    if options.running:
        del found["finished"]
    else:
        found["finished"] = found["finished"][: options.limit]
    if options.json:
        print(json.dumps({"server": pid, **found}, indent=2))
    else:
        for line in text_of(found, pid):
            print(line)
    silent = found["silent"]
    tell([f"process {worker} has not answered; of it is shown what the shared page says" for worker in silent])
    return EXIT_FAILED if silent else EXIT_OK


def text_of(found: Row, pid: int) -> list[str]:
    """What `slow_requests` has found, as lines; without "finished" only those that run, however long they have."""
    slow_s = found["slow_s"]
    limit = f"took {span(slow_s)} or longer" if slow_s is not None else "no limit is set (slow_request is 0)"
    limit += ", or longer than 99 of 100 of their route" if found["by_route"] else ""
    lines = [f"vivace, process {pid}: {limit if 'finished' in found else 'requests that run'}"]
    running = found["running"]
    if "finished" in found:
        running = [row for row in running if slow_s is not None and row["age_s"] >= slow_s]
    lines.append(f"RUNNING ({len(running)})")
    for row in running:
        lines += _running(row)
    if "finished" in found:
        lines.append(f"ENDED ({len(found['finished'])})")
        for row in found["finished"]:
            lines += _finished(row)
    if not found["sampled"] and len(found["silent"]) == 0:
        lines.append("Nothing is known of what they did: the server does not profile (--no-profile).")
    return lines


def _running(row: Row) -> list[str]:
    queued = f"queued {span(row['queued_s'])}, " if row["queued_s"] is not None else ""
    at = f", at {row['at'][0]} ({row['at'][1]}:{row['at'][2]})" if row["at"] else ""
    now = f"{queued}{row['phase'] or 'held up'}{at}" + (f", {row['waits']}" if row["waits"] else "")
    head = f"  {span(row['age_s']):>7}  {row['request']}  {_who(row)}"
    return [head, INDENT + now, *_seen(row)]


def _finished(row: Row) -> list[str]:
    lane = f"  {row['lane']}" if row["lane"] else ""
    what = f"{row['request']}  {row['status'] or '-'}{lane}  ended {clock(row['ended_s'])}"
    lines = [f"  {span(row['response_s']):>7}  {what}  {_who(row)}", INDENT + ", ".join(_took(row))]
    if row["by"] != "slow_request":
        lines.append(f"{INDENT}99 of 100 of its route take less than {span(row['limit_s'])}")
    return lines + _seen(row)


def _took(row: Row) -> list[str]:
    """What it spent its time on, but for trifles."""
    parts = [f"queued {span(row['queued_s'])}"]
    if row["body_s"] >= LEAST_S:
        parts.append(f"its body {span(row['body_s'])}")
    if row["blocked_s"] or row["cpu_s"] < row["application_s"]:
        waited = [
            f"{span(row[name])} {on}"
            for name, on in (("gil_s", "for the GIL"), ("ready_s", "for a core"))
            if row[name] is not None and row[name] >= max(LEAST_S, 0.05 * row["application_s"])
        ]
        parts.append(f"computing {span(row['cpu_s'])}")
        parts.append(f"waiting {span(row['blocked_s'])}" + (f" ({', '.join(waited)})" if waited else ""))
    else:  # its route was not measured closely
        parts.append(f"in the application {span(row['application_s'])}")
    if row["send_s"] >= LEAST_S:
        parts.append(f"sending {span(row['send_s'])}")
    return parts


def _who(row: Row) -> str:
    parts = [f"process {row['pid']}" if row["pid"] is not None else "a worker that has ended"]
    if row["client"]:
        parts.append(f"from {row['client']}")
    if row["request_id"]:
        parts.append(f"id {row['request_id']}")
    return "  ".join(parts)


def _seen(row: Row) -> list[str]:
    """What the profiler saw, and collections."""
    total_s = sum(row["states"].values())
    lines = []
    if total_s:
        states = sorted(row["states"].items(), key=lambda item: -float(item[1]))
        shares = [f"{state} {seconds / total_s:.0%}" for state, seconds in states if seconds >= 0.005 * total_s]
        lines.append(f"{INDENT}of {span(total_s)} that were seen: {', '.join(shares)}")
    if row["gc_s"]:
        lines.append(f"{INDENT}held up by collections of garbage: {span(row['gc_s'])}")
    return lines + [INDENT + line for line in written(row["tree"], LINES_MAX)]
