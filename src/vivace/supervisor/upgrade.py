"""Replacing the program in place: the same process goes on as what is installed now, and its workers serve meanwhile.

The supervisor asks the new program whether it would start (`--check-config`), then executes it in its own place
(execve(2)). The process number stays, so systemd and a container notice nothing; so do the listening sockets, the
shared page and the workers, which are still its children. The new program takes them over, starts a new generation,
and lets the old one go as after any reload.

What is handed over stands in one environment variable, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

from vivace.errors import SettingError
from vivace.net.listen import Listener, adopt
from vivace.observe.layout import S_PID
from vivace.observe.page import Page
from vivace.supervisor.policy import Member, Scaler
from vivace.supervisor.process import HANDOVER, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from vivace.supervisor.process import Supervisor

SAID_MAX = 500


def replace_program(supervisor: Supervisor) -> None:
    """Does not return, unless by SettingError: what is installed now would not start."""
    if supervisor.page.fd < 0:
        raise SettingError("this system has no memfd_create; start the server anew instead")
    directory = supervisor.settings.directory  # of the command line: the setting chdir has left it
    _try_out(supervisor.settings.boot_timeout_s, directory)
    fds = [supervisor.page.fd]
    fds += [listener.socket.fileno() for listener in supervisor.listeners]
    fds += [each.fileno() for pair in supervisor.inboxes for each in pair]
    fds += [child.channel.fileno() for child in supervisor.children.values()]
    if supervisor.ground.admin is not None:
        fds.append(supervisor.ground.admin.listener.socket.fileno())
    if supervisor.attendant.channel is not None:
        fds.append(supervisor.attendant.channel.fileno())
    for fd in fds:
        os.set_inheritable(fd, True)
    supervisor.console.info("replacing the program")
    # A signal that comes before the new program listens waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    inner = os.getcwd()
    try:
        os.chdir(directory)
        variables = supervisor.notifier.variables if supervisor.notifier is not None else {}
        environ = {**os.environ, **variables, HANDOVER: json.dumps(_told(supervisor))}
        os.execve(sys.executable, sys.orig_argv, environ)
    except OSError as error:
        os.chdir(inner)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for fd in fds:
            os.set_inheritable(fd, False)
        raise SettingError(f"{sys.executable} cannot be executed: {error.strerror}") from None


def _try_out(timeout_s: float, directory: str) -> None:
    """Asks the program that is installed now whether it would start with this command line. Raises SettingError."""
    import subprocess

    command = [sys.executable, *sys.orig_argv[1:], "--check-config"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False, cwd=directory
        )
    except subprocess.TimeoutExpired:
        raise SettingError(f"{' '.join(command)} did not end within boot_timeout") from None
    except OSError as error:
        raise SettingError(f"{command[0]} cannot be executed: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-SAID_MAX:]
        raise SettingError(said or f"{' '.join(command)} ended with {done.returncode}")


def _told(supervisor: Supervisor) -> dict[str, Any]:
    roster, attendant = supervisor.roster, supervisor.attendant
    admin = supervisor.ground.admin
    return {
        "attendant": [attendant.pid, attendant.channel.fileno()] if attendant.channel is not None else [],
        "page": supervisor.page.fd,
        "inboxes": [[each.fileno() for each in pair] for pair in supervisor.inboxes],
        "generation": roster.newest,
        "target": roster.target,
        "scale": [supervisor.scaler.least, supervisor.scaler.most],
        "listeners": [
            {
                "fd": listener.socket.fileno(),
                "spec": listener.spec,
                "text": listener.text,
                "path": listener.path,
                "owned": listener.owned,
            }
            for listener in (*supervisor.listeners, *([admin.listener] if admin is not None else ()))
        ],
        "children": [
            {
                "number": child.number,
                "pid": child.pid,
                "channel": child.channel.fileno(),
                "generation": roster.members[child.number].generation,
                "state": roster.members[child.number].state,
                "by_s": child.by_s,
            }
            for child in supervisor.children.values()
        ],
    }


class Inheritance:
    """What the program before left to this one."""

    def __init__(self, told: dict[str, Any]) -> None:
        try:
            self.page = Page.attach(told["page"])
            os.set_inheritable(told["page"], False)
        except ValueError:  # of another version: what is counted begins anew, and who serves now is seen no more
            os.close(told["page"])
            self.page = Page.create(len(told["inboxes"]))
        self.inboxes = [(_socket(inbox), _socket(outbox)) for inbox, outbox in told["inboxes"]]
        self.generation: int = told["generation"]
        self.listeners: dict[str, Listener] = {}
        self._target: int = told["target"]
        self._scale: list[int] = told["scale"]
        self._children: list[dict[str, Any]] = told["children"]
        self._attendant: list[int] = told.get("attendant", [])
        for row in told["listeners"]:
            listener = adopt(_socket(row["fd"]))
            listener.borrowed = False
            listener.text, listener.spec = row["text"], row["spec"]
            listener.path, listener.owned = row["path"], row["owned"]
            self.listeners[listener.spec] = listener

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Inheritance:
        """The inheritance in `environ`, which loses it."""
        return cls(json.loads(environ.pop(HANDOVER)))

    def settle(self, supervisor: Supervisor) -> None:
        """Gives the workers to their new supervisor, and asks it for a new generation."""
        from vivace.supervisor.crew import Child
        from vivace.supervisor.watch import Bounds, Watch

        roster, now = supervisor.roster, time.monotonic()
        roster.newest = roster.generation = self.generation
        roster.target = self._target  # what `vivace ctl scale` said is not forgotten
        supervisor.scaler = Scaler(*self._scale)
        if self._attendant:
            pid, fd = self._attendant
            supervisor.attendant.take_over(pid, _socket(fd), end=True)
        for row in self._children:
            watch = Watch(Bounds(supervisor.settings), now)
            child = Child(row["number"], row["pid"], _socket(row["channel"]), watch)
            child.by_s = row["by_s"]
            supervisor.adopt(child)
            supervisor.page.section(child.number).words[S_PID] = child.pid
            roster.members[child.number] = Member(child.number, row["generation"], now, row["state"])
        roster.served = True
        roster.reload()


def _socket(fd: int) -> socket.socket:
    """A socket that was inherited, and is not to be again."""
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    return sock
