"""What waits at the listening sockets of a process: the length of each accept queue, and its limit.

The kernel is asked for its listening sockets over netlink (sock_diag(7)), whichever process they belong to, so nothing
runs in the server. That takes 0.3 ms and grows with the listening sockets of the machine, not with its connections.
Where that is refused, or the process has a network of its own, its /proc/PID/net/tcp is read, which grows with the
connections (50 ms with 1,700 of them) and has no limits of queues.

Rules: never raises; empty where nothing can be known. Must not know: the server.
"""

from __future__ import annotations

import os
import socket
import struct

from vivace.observe.descriptors import LISTEN, address_of, decoded, rows
from vivace.procfs import sockets_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Row = tuple[int, str, int, int | None, int | None]
    """(inode, address, queue, backlog, drops)"""

NETLINK_SOCK_DIAG = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
NLM_F_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER = struct.Struct("=IHHII")
INET_REQUEST = struct.Struct("=BBBxI48x")
INET_ROW = struct.Struct("=4BHH16s16s3I5I")
INET_DIAG_SKMEMINFO = 7
SK_MEMINFO_DROPS = 8
UNIX_REQUEST = struct.Struct("=BBHIII8x")
UNIX_ROW = struct.Struct("=4BI8x")
UNIX_DIAG_NAME, UNIX_DIAG_RQLEN = 0, 4
UDIAG_SHOW_NAME_RQLEN = 0x11
ATTRIBUTE = struct.Struct("=HH")
LISTENING = 1 << 10  # TCP_LISTEN

READS_MAX = 1000
"""Each brings some hundred sockets."""
WAIT_S = 1.0


class Listeners:
    """Looks at the listening sockets of one process. Keeps which ones these are, for whoever looks often."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._known: set[int] = set()
        self._own: set[int] = set()

    def look(self) -> list[dict[str, Any]]:
        """For each listening socket {"address", "queue", "backlog", "drops", "overflows"}, by address.

        * `queue`: connections that are complete and not accepted yet, exact at this moment. `backlog`: the most it
          holds; with one more the kernel turns clients away (TCP: it is silent, and they try again after a second).
        * `drops`: attempts to connect that this socket has turned away since it was made. Exact; None where the
          kernel does not tell, as of Unix sockets.
        * `overflows`: those that were turned away because a queue was full, of all TCP sockets of this machine (or
          network namespace): the kernel has no such number for one socket.
        """
        rows = list(self._rows())
        inodes = {row[0] for row in rows}
        if inodes != self._known:
            self._known, self._own = inodes, inodes & sockets_of(self._pid)
        overflows = overflows_of(self._pid)
        return [
            {
                "address": address,
                "queue": queue,
                "backlog": backlog,
                "drops": drops,
                "overflows": None if address.startswith("unix:") else overflows,
            }
            for inode, address, queue, backlog, drops in sorted(rows, key=lambda row: row[1])
            if inode in self._own
        ]

    def _rows(self) -> list[Row]:
        if _network(self._pid) == _network(os.getpid()):
            try:
                return [*_inet(socket.AF_INET), *_inet(socket.AF_INET6), *_unix()]
            except OSError:
                pass
        return list(_in_tables(self._pid))


def listeners(pid: int) -> list[dict[str, Any]]:
    """One look at the listening sockets of process `pid`: see `Listeners.look`."""
    return Listeners(pid).look()


def overflows_of(pid: int) -> int | None:
    """ListenOverflows of the network of process `pid` (/proc/PID/net/netstat, 100 us); None where it is not told."""
    try:
        with open(f"/proc/{pid}/net/netstat", encoding="ascii") as file:
            names, values = file.readline().split(), file.readline().split()
        return int(values[names.index("ListenOverflows")])
    except (OSError, ValueError, IndexError):
        return None


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


# Over netlink.


def _inet(family: int) -> Iterator[Row]:
    """Listening TCP sockets: linux/inet_diag.h, inet_diag_req_v2 and inet_diag_msg."""
    request = INET_REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_SKMEMINFO - 1), LISTENING)
    for data in _dump(request):
        row = INET_ROW.unpack_from(data)
        port, raw = socket.ntohs(row[4]), row[6]
        queue, backlog, inode = row[12], row[13], row[15]
        host = socket.inet_ntop(family, raw[: 4 if family == socket.AF_INET else 16])
        memory = _attributes(data, INET_ROW.size).get(INET_DIAG_SKMEMINFO, b"")
        drops = struct.unpack_from("=I", memory, SK_MEMINFO_DROPS * 4)[0] if len(memory) >= 36 else None
        yield inode, address_of((host, port)), queue, backlog, drops


def _unix() -> Iterator[Row]:
    """Listening Unix sockets: linux/unix_diag.h, unix_diag_req and unix_diag_msg."""
    for data in _dump(UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, LISTENING, 0, UDIAG_SHOW_NAME_RQLEN)):
        inode = UNIX_ROW.unpack_from(data)[4]
        attributes = _attributes(data, UNIX_ROW.size)
        lengths = attributes.get(UNIX_DIAG_RQLEN, b"")
        if len(lengths) >= 8:
            name = attributes.get(UNIX_DIAG_NAME, b"")
            path = address_of(name) if name[:1] == b"\0" else name.rstrip(b"\0").decode("utf-8", "replace")
            yield inode, f"unix:{path}", *struct.unpack("=II", lengths[:8]), None


def _dump(request: bytes) -> Iterator[bytes]:
    """The messages that answer `request`. Raises OSError where the kernel does not answer such."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as asker:
        asker.settimeout(WAIT_S)
        asker.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        for _ in range(READS_MAX):
            data = asker.recv(65536)
            at = 0
            while at + HEADER.size <= len(data):
                size, kind, *_ = HEADER.unpack_from(data, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR or size < HEADER.size:
                    raise OSError("the kernel does not tell of its sockets")
                yield data[at + HEADER.size : at + size]
                at += (size + 3) & ~3


def _attributes(data: bytes, at: int) -> dict[int, bytes]:
    """Attributes of a message from `at` on (netlink(7))."""
    found = {}
    while at + ATTRIBUTE.size <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < ATTRIBUTE.size:
            break
        found[kind] = data[at + ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found


# From /proc.


def _in_tables(pid: int) -> Iterator[Row]:
    """Listening TCP sockets in the tables of the network of `pid` (proc_pid_net(5)): rx_queue is the accept queue."""
    for table in ("tcp", "tcp6"):
        for words in rows(pid, table):
            if len(words) > 9 and words[3] == LISTEN:
                yield int(words[9]), decoded(words[1]), int(words[4].partition(":")[2], 16), None, None
