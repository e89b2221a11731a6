"""What an open descriptor is, in words: of this process or of another one.

A socket tells its addresses itself; where one of another process cannot be borrowed for that, it is looked up in its
/proc/PID/net by its inode. Never raises; a descriptor that cannot be read is just its number.
"""

from __future__ import annotations

import os
import socket
import sys

KINDS = {
    "[eventpoll]": "an epoll instance",
    "[eventfd]": "an eventfd",
    "[timerfd]": "a timer",
    "[signalfd]": "a signalfd",
    "inotify": "an inotify instance",
    "[io_uring]": "an io_uring",
}
PIDFD_GETFD = 438  # on every architecture: include/uapi/asm-generic/unistd.h
SYN_SENT = "02"  # include/net/tcp_states.h
LISTEN = "0A"


def describe(pid: int, fd: int) -> str:
    """`fd 7, TCP socket 10.0.0.2:40412 to 10.0.0.5:5432`, or as much of it as can be known."""
    try:
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        link = ""
    what = _named(pid, fd, link)
    return f"fd {fd}, {what}" if what else f"fd {fd}"


def _named(pid: int, fd: int, link: str) -> str:
    kind, colon, rest = link.partition(":")
    if kind == "socket" or (not link and pid == os.getpid()):
        return (
            (_own_socket(fd) if pid == os.getpid() else _borrowed(pid, fd))
            or _socket_in_tables(pid, rest[1:-1])
            or (link and "a socket")
        )
    if kind == "pipe":
        return "a pipe"
    if kind == "anon_inode":
        return KINDS.get(rest, rest.strip("[]"))
    if link.startswith("/dev/"):
        return link
    return f"file {link}" if link and not colon else link


def _own_socket(fd: int) -> str:
    """A socket of this process, "" where it is none, or where it has no address to tell."""
    try:
        sock = socket.socket(fileno=os.dup(fd))  # a duplicate: its owner may close it meanwhile
    except OSError:
        return ""
    with sock:
        name = _kind_of(sock.family, sock.type)
        try:
            peer = address_of(sock.getpeername())
        except OSError:
            return ""
        try:
            own = address_of(sock.getsockname())
        except OSError:
            own = ""
    if peer and own:
        return f"{name} {own} to {peer}"
    return f"{name} {peer or own}".rstrip()


def _borrowed(pid: int, fd: int) -> str:
    """A socket of another process, through a duplicate of its descriptor (pidfd_getfd(2), Linux 5.6, with the rights of
    ptrace): 0.1 ms, where the tables take 50 ms on a machine with thousands of sockets. "" where that is refused."""
    try:
        import ctypes

        process = os.pidfd_open(pid)
    except (ImportError, AttributeError, OSError):
        return ""
    try:
        duplicate: int = ctypes.CDLL(None).syscall(PIDFD_GETFD, process, fd, 0)
    finally:
        os.close(process)
    if duplicate < 0:
        return ""
    try:
        return _own_socket(duplicate)
    finally:
        os.close(duplicate)


def _kind_of(family: int, kind: int) -> str:
    if family == getattr(socket, "AF_UNIX", None):
        return "Unix socket"
    if family in (socket.AF_INET, socket.AF_INET6):
        return "TCP socket" if kind == socket.SOCK_STREAM else "UDP socket"
    return "socket"


def address_of(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    if isinstance(address, bytes):
        return "@" + address[1:].decode("utf-8", "replace")  # abstract (unix(7))
    return str(address)


def _socket_in_tables(pid: int, inode: str) -> str:
    """The socket with this inode in the tables of the process's network (proc_pid_net(5)), "" if not there."""
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for words in rows(pid, table):
            if len(words) > 9 and words[9] == inode:
                return _in_words(table[:3].upper(), words[1], words[2], words[3])
    for words in rows(pid, "unix"):
        if len(words) > 6 and words[6] == inode:
            return f"Unix socket {words[7]}" if len(words) > 7 else "Unix socket"
    return ""


def rows(pid: int, table: str) -> list[list[str]]:
    """The words of each line of `table`, the headings first; none where it cannot be read."""
    try:
        with open(f"/proc/{pid}/net/{table}", encoding="utf-8", errors="replace") as file:
            return [line.split() for line in file]
    except OSError:
        return []


def listening(port: int) -> set[int]:
    """The inodes of the TCP sockets that listen at `port`, in the network of this process."""
    return {inode for inode, listens_at in all_listening() if listens_at == port}


def all_listening() -> list[tuple[int, int]]:
    """(inode, port) of every TCP socket that listens, in the network of this process."""
    return [
        (int(row[9]), int(row[1].rpartition(":")[2], 16))
        for table in ("tcp", "tcp6")
        for row in rows(os.getpid(), table)
        if row[3] == LISTEN
    ]


def _in_words(protocol: str, own: str, peer: str, state: str) -> str:
    if protocol == "TCP" and state == LISTEN:
        return f"TCP socket listening at {decoded(own)}"
    if protocol == "TCP" and state == SYN_SENT:
        return f"TCP socket, connecting to {decoded(peer)}"
    return f"{protocol} socket {decoded(own)} to {decoded(peer)}"


def decoded(text: str) -> str:
    """`0100007F:1F90` is 127.0.0.1:8080: 32-bit words in the machine's own order, the port as a number."""
    host, _, port = text.partition(":")
    data = bytes.fromhex(host)
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    family = socket.AF_INET if len(data) == 4 else socket.AF_INET6
    return address_of((socket.inet_ntop(family, data), int(port, 16)))
