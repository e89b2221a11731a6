"""Finding a running server from outside: by its process number, its pidfile, its port, or as the only one there is.

A server is a process that holds a shared page (`observe.page`) in whose header it stands: a supervisor, or a process
that serves by itself (`observe.own`), with one server or several. Linux only: everything is read from /proc. Of other
users' processes nothing is seen, unless by root.
"""

from __future__ import annotations

import os

from vivace.errors import SettingError
from vivace.observe.layout import H_PID
from vivace.observe.page import Page, page_of
from vivace.procfs import sockets_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def find_server(name: str) -> Page:
    """The page of the server that `name` means: "" (the only one), a port, `host:port`, a pid or a pidfile.

    Raises SettingError if there is none, or more than one.
    """
    if not os.path.isdir("/proc/self/fd"):
        raise SettingError("this system has no /proc to find a server by; use signals instead (docs/deployment.md)")
    if not name:
        return _only_one()
    if os.path.isfile(name):
        return _by_pidfile(name)
    _, colon, port = name.rpartition(":")
    if colon:
        return _by_port(port, name)
    if not name.isdecimal():
        raise SettingError(f"{name!r}: give a port, host:port, a process number or a pidfile")
    return _by_number(int(name))


def _by_number(number: int) -> Page:
    """A port or a process: the one of the two that is a server. A process may well have the number of a port at which
    somebody else listens."""
    if number > 65535 or not _inodes(number):
        return _by_pid(number)
    try:
        by_pid = page_of(number)
    except OSError:
        by_pid = None
    try:
        by_port = _by_port(str(number), str(number))
    except SettingError:
        if by_pid is None:
            raise
        return by_pid
    if by_pid is not None and by_pid.words[H_PID] != by_port.words[H_PID]:
        raise SettingError(
            f"{number} is the port of one server (process {by_port.words[H_PID]}) and the process of another; "
            f"give 127.0.0.1:{number} for the port, a port or a pidfile for the process"
        )
    return by_port


def _servers() -> Iterator[Page]:
    """The page of every server that can be seen, once each."""
    for entry in os.listdir("/proc"):
        try:
            page = page_of(int(entry)) if entry.isdecimal() else None
        except OSError:
            continue
        if page is not None and page.words[H_PID] == int(entry):
            yield page


def _only_one() -> Page:
    pages = list(_servers())
    if len(pages) == 1:
        return pages[0]
    if not pages:
        raise SettingError("no vivace server of this user is running; give its port or process number, if it is")
    pids = ", ".join(str(page.words[H_PID]) for page in pages)
    raise SettingError(f"{len(pages)} servers are running, the processes {pids}; say which one")


def _by_pid(pid: int) -> Page:
    try:
        page = page_of(pid)
    except FileNotFoundError:
        raise SettingError(f"there is no process {pid}, and nobody listens at a port of that number") from None
    except PermissionError:
        raise SettingError(f"process {pid} belongs to another user; try as that user, or as root") from None
    if page is None:
        raise SettingError(
            f"process {pid} is no vivace server, or one that does not measure (--no-metrics, no workers)"
        )
    return page


def _by_pidfile(path: str) -> Page:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.isdecimal():
        raise SettingError(f"{path}: holds no process number")
    return _by_pid(int(text))


def _by_port(port: str, name: str) -> Page:
    if not port.isdecimal() or int(port) > 65535:
        raise SettingError(f"{name!r}: {port!r} is no port")
    inodes = _inodes(int(port))
    if not inodes:
        raise SettingError(f"nobody listens at port {port}")
    for page in _servers():
        if inodes & sockets_of(page.words[H_PID]):
            return page
    raise SettingError(f"who listens at port {port} is no vivace server, belongs to another user, or does not measure")


def _inodes(port: int) -> set[int]:
    """The inodes of the sockets that listen at `port`."""
    from vivace.observe.descriptors import listening  # 5 ms, which ctl with a process number need not pay

    return listening(port)


def ports_of(pid: int) -> list[int]:
    """The TCP ports at which process `pid` listens; empty where that cannot be seen."""
    from vivace.observe.descriptors import all_listening

    held = sockets_of(pid)
    return sorted({port for inode, port in all_listening() if inode in held})
