"""`vivace ctl status|reload|upgrade|scale N|stop|reopen [SERVER]`: talk to a running server.

SERVER is a port, host:port, a process number or a pidfile; it may be left out where only one server runs. The command
reads the server's shared page and sends it signals: nothing has to listen for it, and no file has to be written.
"""

from __future__ import annotations

import json
import os
import signal
import time

from vivace.cli.main import EXIT_FAILED, EXIT_OK
from vivace.config.kinds import nearest
from vivace.errors import SettingError
from vivace.observe.layout import H_FAILED, H_GENERATION, H_PID, H_STATE, H_SUPERVISED, H_TARGET, H_WANTED, RELOADING
from vivace.observe.snapshot import take
from vivace.procfs import alive
from vivace.supervisor.find import find_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.observe.page import Page

USAGE = (
    "vivace ctl status|reload|upgrade|stop|reopen [SERVER], or vivace ctl scale N [SERVER]; SERVER is a port, "
    "a process number or a pidfile"
)
COMMANDS = ("status", "reload", "upgrade", "scale", "stop", "reopen")
LOOK_S = 0.05
SCALE_WAIT_S = 5.0
RELOAD_WAIT_S = 120.0


def run(argv: list[str]) -> int:
    """One command; returns the exit code. Raises SettingError where it makes no sense or finds no server."""
    as_json = "--json" in argv
    words = [word for word in argv if word != "--json"]
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise SettingError(f"{unknown[0]}: no such option; {USAGE}")
    what = words[0] if words else ""
    if what not in COMMANDS:
        raise SettingError(_unknown(what))
    count = 2 if what == "scale" else 1
    if not count <= len(words) <= count + 1:
        raise SettingError(f"ctl: {USAGE}")
    page = find_server(words[count] if len(words) > count else "")
    if what == "status":
        return _status(page, as_json=as_json)
    _need_supervisor(page, what)
    if what == "scale":
        return _scale(page, words[1])
    if what == "reopen":
        _signal(page, signal.SIGUSR1)
        return EXIT_OK
    if what == "stop":
        return _stop(page)
    return _reload(page, signal.SIGHUP if what == "reload" else signal.SIGUSR2)


def _unknown(what: str) -> str:
    """What to say to a word that is no command."""
    if not what:
        return f"ctl: {USAGE}"
    meant = " or ".join(word for word in COMMANDS if word.startswith(what)) or nearest(what, COMMANDS)
    return f"ctl {what}: no such command; " + (f"did you mean {meant}?" if meant else USAGE)


def _need_supervisor(page: Page, what: str) -> None:
    """Only a supervisor can do what is asked. To a process that serves by itself the signals mean other things."""
    if page.words[H_SUPERVISED]:
        return
    pid = page.words[H_PID]
    advice = {
        "stop": f"end the program itself (kill -TERM {pid}, where nothing else handles it)",
        "reopen": f"send it USR1 (kill -USR1 {pid}), if it is the vivace command or vivace.serve",
    }.get(what, "start it with --workers 1 or more, or start it again")
    raise SettingError(f"ctl {what}: process {pid} serves by itself, without a supervisor that could do that; {advice}")


def _signal(page: Page, number: int) -> None:
    pid = page.words[H_PID]
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise SettingError(f"the server, process {pid}, has ended") from None
    except PermissionError:
        raise SettingError(
            f"the server, process {pid}, belongs to another user; try as that user, or as root"
        ) from None


def _status(page: Page, *, as_json: bool) -> int:
    state = take(page)
    if as_json:
        print(json.dumps(state, indent=2))
        return EXIT_OK
    server = state["server"]
    crew = (
        f"generation {server['generation']}, {server['target']} worker{'s' * (server['target'] != 1)} wanted"
        if server["supervised"]
        else f"{len(state['workers'])} server{'s' * (len(state['workers']) != 1)} without a supervisor"
    )
    print(f"vivace, process {server['pid']}, {server['state']} for {_span(server['age_s'])}: {crew}")
    if server["note"]:
        print(f"last failure: {server['note']}")
    row = "{:>8} {:>4} {:<9} {:>8} {:>9} {:>11} {:>5} {:>6} {:>8}"
    print(row.format("process", "gen", "state", "age", "requests", "connections", "busy", "queued", "memory"))
    for worker in state["workers"]:
        print(
            row.format(
                worker["pid"],
                worker["generation"],
                worker["state"],
                _span(worker["age_s"]),
                worker["requests"],
                worker["connections"],
                worker["threads_busy"],
                worker["queued"],
                _size(worker["system"].get("memory_bytes")),
            )
        )
        for request in worker["in_progress"]:
            print(f"{'':>9}{request['age_s']:.3f} s  {request['request']}")
    return EXIT_OK


def _span(seconds: float) -> str:
    """A length of time in two digits and a unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: int | None) -> str:
    return "?" if size is None else f"{size / 2**20:.1f} M"


def _scale(page: Page, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise SettingError(f"scale {text}: give a number of workers from 1 to 1024")
    page.words[H_WANTED] = int(text) + 1
    _signal(page, signal.SIGTTIN)
    give_up = time.monotonic() + SCALE_WAIT_S
    while page.words[H_WANTED]:
        if time.monotonic() > give_up or not alive(page.words[H_PID]):
            raise SettingError("the server did not answer")
        time.sleep(LOOK_S)
    print(f"{page.words[H_TARGET]} workers wanted")
    return EXIT_OK


def _reload(page: Page, number: int) -> int:
    """Waits until the new generation serves and the old one goes, or the reload has failed."""
    failed, generation = page.words[H_FAILED], page.words[H_GENERATION]
    _signal(page, number)
    give_up = time.monotonic() + RELOAD_WAIT_S
    while True:
        time.sleep(LOOK_S)
        words = page.words
        if words[H_FAILED] != failed:
            print(f"failed, the old workers serve on: {page.note}")
            return EXIT_FAILED
        if words[H_GENERATION] > generation and words[H_STATE] != RELOADING:
            print(f"generation {words[H_GENERATION]} serves")
            return EXIT_OK
        if not alive(page.words[H_PID]):
            raise SettingError("the server has ended")
        if time.monotonic() > give_up:
            raise SettingError(f"the reload is not done after {RELOAD_WAIT_S:.0f} s; see vivace ctl status")


def _stop(page: Page) -> int:
    pid = page.words[H_PID]
    _signal(page, signal.SIGTERM)
    while alive(page.words[H_PID]):
        time.sleep(LOOK_S)
    print(f"process {pid} has stopped")
    return EXIT_OK
