"""Listening sockets: from an address as the user writes it to a socket that accepts.

Addresses: `host:port`, `[::1]:port`, `:port` (every interface), `unix:path`, `unix:@name` (Linux's abstract names) and
`fd://N` (a socket the parent opened). systemd hands sockets over by `LISTEN_FDS` (sd_listen_fds(3)).

Everything that can go wrong here is the user's to mend, so each failure is a `SettingError` that says
which address, what happened and what to do. Knows nothing of settings, HTTP or connections.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

USUAL_PORT = "8000"

SYSTEMD_FIRST_FD = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


class Address:
    """Where to listen. `kind` is "tcp" (host, port), "unix" (host is the path) or "fd" (port is the number)."""

    __slots__ = ("host", "kind", "port", "text")

    def __init__(self, kind: str, host: str, port: int, text: str) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self.text = text


class Listener:
    """A socket that accepts, and what a client and an application may be told about it."""

    __slots__ = (
        "borrowed",
        "owned",
        "path",
        "redirects",
        "server_name",
        "server_port",
        "shared",
        "socket",
        "spec",
        "text",
    )

    def __init__(self, sock: socket.socket, text: str, server_name: str, server_port: str) -> None:
        self.socket = sock
        self.text = text
        """As a person writes it, with the port that was really bound: `http://127.0.0.1:8000`, `unix:/run/app.sock`."""
        self.server_name = server_name
        self.server_port = server_port
        self.path = ""
        """The socket file to remove at the end, or ""."""
        self.owned = False
        """Bound here: what waits in its queue is served before it closes, for nobody else will."""
        self.borrowed = True
        """The socket object is the caller's and stays open."""
        self.spec = ""
        """The setting that asked for it, to find it again by."""
        self.shared = False
        """Other processes accept from the same queue."""
        self.redirects = False
        """Everybody who comes here is sent on to the listeners that speak TLS."""

    @property
    def is_unix(self) -> bool:
        return self.text.startswith("unix:")


def parse_address(text: str) -> Address:
    """`text` as an `Address`; raises SettingError."""
    if text.startswith("unix:"):
        path = text[5:].removeprefix("//")
        if not path or path == "@":
            raise SettingError(f"bind {text!r} names no file; write unix:/path/to/socket")
        return Address("unix", path, 0, text)
    if text.startswith("fd://"):
        if not text[5:].isdecimal() or len(text) > 14:
            raise SettingError(f"bind {text!r}: {text[5:]!r} is no descriptor number; write fd://3")
        return Address("fd", "", int(text[5:]), text)
    host, port = _split_host(text)
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise SettingError(f"bind {text!r}: {port[:20]!r} is no port; write host:port with a port from 0 to 65535")
    return Address("tcp", host, int(port), text)


def _split_host(text: str) -> tuple[str, str]:
    """(host, port) of host:port, [::1]:port, host, [::1] and port alone."""
    if not text:
        raise SettingError("bind '' names no address; write host:port, such as 127.0.0.1:8000")
    if text.startswith(("/", "./", "../")):
        raise SettingError(f"bind {text!r} is a path; write unix:{text} for a Unix socket")
    if "/" in text:
        raise SettingError(
            f"bind {text!r}: write host:port, such as 127.0.0.1:8000, without http:// and without a path"
        )
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise SettingError(f"bind {text!r}: the bracket is not closed; write [::1]:8000")
        if rest and not rest.startswith(":"):
            raise SettingError(f"bind {text!r}: {rest!r} follows the bracket; write [::1]:8000")
        return host, rest[1:] if rest else USUAL_PORT
    if text.isdigit():
        return "127.0.0.1", text
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, USUAL_PORT
    if ":" in host:
        raise SettingError(f"bind {text!r}: write an IPv6 address in brackets, such as [::1]:8000")
    return host, port


def open_listener(
    address: Address, *, backlog: int, unix_mode: int | None = None, unix_owner: str = "", reuse_port: bool = False
) -> Listener:
    """Opens, binds and listens. `unix_owner` is "user", "user:group" or ":group". Raises SettingError.

    `reuse_port`: a TCP address is only bound, so that `twin` can listen there, in each of several processes.
    """
    if address.kind == "unix":
        return _open_unix(address, backlog, unix_mode, unix_owner)
    if address.kind == "fd":
        return _inherited(address.port, address.text, backlog)
    return _open_tcp(address, backlog, reuse_port)


def adopt(sock: socket.socket, *, backlog: int | None = None) -> Listener:
    """A socket that someone else bound (systemd, a parent, `wsgiref`'s users) as a `Listener`."""
    if backlog is not None:
        sock.listen(backlog)
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return Listener(sock, f"http://{shown}:{port}", host, str(port))
    name = sock.getsockname()
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return Listener(sock, "unix:" + text.replace("\0", "@", 1), "localhost", "80")  # PEP 3333: never empty


def _own(listener: Listener, path: str = "") -> Listener:
    listener.owned = True
    listener.borrowed = False
    listener.path = path
    return listener


def systemd_listeners(environ: Mapping[str, str], *, backlog: int) -> list[Listener]:
    """The sockets of systemd's socket activation, [] where there is none for this process."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        raise SettingError(f"LISTEN_FDS is {count!r}, which is no number: start the service through systemd")
    fds = range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count))
    adopted: list[Listener] = []
    try:
        adopted.extend(_inherited(fd, f"fd://{fd}", backlog) for fd in fds)
    except SettingError:
        for listener in adopted:
            listener.socket.close()
        raise
    return adopted


def close_listener(listener: Listener) -> None:
    """Stops listening at a socket opened here; removes its file, if it is still the one that was made."""
    if listener.borrowed:
        return
    if listener.path:
        _remove(listener.path)
    listener.socket.close()


_made: dict[str, tuple[int, int]] = {}
"""Socket files of this process: path -> (device, inode)."""


def _remove(path: str) -> None:
    """Removes the socket file at `path`, if it is still the one that was made here."""
    made = _made.pop(path, None)
    if made is not None and _inode(path) == made:
        try:
            os.unlink(path)
        except OSError:
            pass


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _inherited(fd: int, text: str, backlog: int) -> Listener:
    """A listener on a copy of descriptor `fd`, which stays open for whoever else has it."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise SettingError(f"bind {text!r}: descriptor {fd} is no socket")
        sock = socket.socket(fileno=os.dup(fd))
        os.set_inheritable(fd, False)  # it is the server's now, not that of programs which the application starts
    except OSError as error:
        raise SettingError(
            f"bind {text!r}: descriptor {fd} cannot be used ({error.strerror}); "
            "it must be a socket left open by the parent"
        ) from None
    try:
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise SettingError(
            f"bind {text!r}: descriptor {fd} cannot listen ({error.strerror}); it must be a bound stream socket"
        ) from None
    listener = adopt(sock)
    listener.borrowed = False
    return listener


def twin(listener: Listener, *, backlog: int) -> None:
    """Gives `listener` a socket of its own at the same address (SO_REUSEPORT, socket(7)). Raises SettingError."""
    before = listener.socket
    sock = socket.socket(before.family, before.type, before.proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            only = before.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(before.getsockname())
        adopt(sock, backlog=backlog)
    except OSError as error:
        sock.close()
        raise SettingError(f"reuse_port: {listener.text} cannot be bound again ({error.strerror})") from None
    before.close()
    listener.socket = sock


def _open_tcp(address: Address, backlog: int, reuse_port: bool) -> Listener:
    try:
        found = socket.getaddrinfo(
            _plain_host(address.host), address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(
            f"bind {address.text!r}: no address for host {address.host!r} ({reason}); give an address of this machine, "
            "such as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    if not address.host:
        # Every interface: the IPv6 wildcard that also takes IPv4, where the system has IPv6.
        found.sort(key=lambda row: row[0] != socket.AF_INET6)
    failure: OSError | None = None
    for family, kind, protocol, _, name in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(address.host)))
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(name)
            return _own(adopt(sock, backlog=None if reuse_port else backlog))
        except OSError as error:
            sock.close()
            failure = error
    raise SettingError(_bind_problem(address, failure))


def _plain_host(host: str) -> str | bytes | None:
    """ASCII as bytes: a str would be encoded by IDNA, and importing that codec costs a fifth of the start."""
    return host.encode("ascii") if host.isascii() and host else host or None


def _open_unix(address: Address, backlog: int, mode: int | None, owner: str) -> Listener:
    name = "\0" + address.host[1:] if address.host.startswith("@") else address.host
    path = "" if name[0] == "\0" else os.path.abspath(name)  # the application may change the directory
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = None
    try:
        if path:
            _clear_stale(address)
        sock.bind(name)
        made = _inode(path) if path else None
        if made is not None:
            _made[path] = made
        if path and owner:
            os.chown(path, *_owner_ids(owner))
        if path and mode is not None:
            os.chmod(path, mode)
        return _own(adopt(sock, backlog=backlog), path)
    except (OSError, SettingError) as error:
        sock.close()
        if made is not None:
            _remove(path)
        if isinstance(error, OSError):
            raise SettingError(_bind_problem(address, error)) from None
        raise


def _clear_stale(address: Address) -> None:
    """Removes a socket file that a dead server left; refuses to touch anything else."""
    path = address.host
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingError(f"bind {address.text!r}: {path} exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass
    raise SettingError(f"bind {address.text!r}: another server listens there; stop it or choose another path")


def _owner_ids(owner: str) -> tuple[int, int]:
    import grp
    import pwd

    user, _, group = owner.partition(":")
    try:
        uid = -1 if not user else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise SettingError(f"unix_owner {owner!r}: {error.args[0]}") from None
    return uid, gid


def _bind_problem(address: Address, failure: OSError | None) -> str:
    code = failure.errno if failure is not None else None
    reason = (failure.strerror or str(failure)) if failure is not None else "no usable address"
    advice = {
        errno.EADDRINUSE: "another program listens there; stop it, or choose another port (port 0 takes a free one)",
        errno.EACCES: "not permitted; ports below 1024 and some folders need more rights, choose another one",
        errno.EPERM: "not permitted; choose another address, or start with the rights it needs",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address; 127.0.0.1 and 0.0.0.0 always work",
        errno.ENOENT: "the folder does not exist; create it first",
    }.get(code or 0, reason)
    if failure is not None and "too long" in str(failure):
        advice = "the path is too long for a socket (about 100 bytes); choose a shorter one"
    return f"bind {address.text!r}: {advice}"
