"""Who the server is: from the names of a user and a group to a process that has their rights and no others.

Rules:

* Names are looked up before anything is given up, by whoever starts the server; the rights are given up by each process
  for itself, after its sockets, logs and pidfile are open and before the application is imported.
* The order is supplementary groups, group, user: each later step takes away the right to the earlier one.
* A process that could become root again does not serve.
* HOME, USER and LOGNAME follow the user, as under systemd's User=: what the application imports looks for its files
  there, and may not read root's.
"""

from __future__ import annotations

import os

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

UMASK_KEPT = 0o1000
"""As a setting: leave it as it is."""

NUMBER_MAX = (1 << 32) - 2
"""setuid(2): the number after it, (uid_t) -1, means "no change"."""


class Identity:
    """A user, a group and the supplementary groups, as numbers; `name` and `home` are "" where nobody knows them."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], name: str = "", home: str = "") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.name = name
        self.home = home


def find_identity(user: str, group: str) -> Identity | None:
    """Who the server is to be, None where that is who it is already.

    `user` and `group` are names or numbers; without a group it is the user's own, without a user only the group
    changes. Raises SettingError where one does not exist, or this process may not become that.
    """
    if not user and not group:
        return None
    uid, own_gid, name, home = _find_user(user) if user else (os.geteuid(), os.getegid(), "", "")
    if group:
        gid = _find_group(group)
    elif own_gid is None:
        raise SettingError(f"user {user!r} has no entry and thus no group; name one with group")
    else:
        gid = own_gid
    groups = tuple(os.getgrouplist(name, gid)) if name else (gid,)
    now = (os.geteuid(), os.getegid())
    if now == (uid, gid) and (uid != 0 or set(os.getgroups()) <= set(groups)):
        return None
    if now[0] != 0:
        what = f"user {user!r}" if user else f"group {group!r}"
        raise SettingError(
            f"{what}: only root may become another; this process runs as user {now[0]} and group {now[1]}. "
            "Start it as root, or leave user and group to what starts it (systemd: User=, containers: USER)"
        )
    return Identity(uid, gid, groups, name, home)


def become(identity: Identity, environ: MutableMapping[str, str] | None = None) -> None:
    """Gives up every right but those of `identity`, for all threads; `environ` (os.environ) follows it.

    Raises SettingError where the system does not allow it, or would allow the way back, or where nothing could be
    imported any more.
    """
    try:
        os.setgroups(identity.groups)
        os.setgid(identity.gid)  # of root, these two set the real, the effective and the saved one (POSIX)
        os.setuid(identity.uid)
    except OSError as error:
        raise SettingError(
            f"user {identity.name or identity.uid}: {error.strerror}; the process lacks the capabilities "
            "CAP_SETUID and CAP_SETGID"
        ) from None
    if identity.uid != 0 and _may_return():
        raise SettingError(
            f"user {identity.name or identity.uid}: the process could become root again, because it keeps the "
            "capability CAP_SETUID; take that away (systemd: CapabilityBoundingSet=, AmbientCapabilities=)"
        )
    for path in (os.__file__, __file__):
        if not os.access(path, os.R_OK):
            raise SettingError(
                f"user {identity.name or identity.uid}: may not read {path}; install Python and vivace where that "
                "user may read them, not in root's home"
            )
    environ = os.environ if environ is None else environ
    if identity.name:
        environ["USER"] = environ["LOGNAME"] = identity.name
        environ["HOME"] = identity.home


def owner(identity: Identity | None) -> str:
    """`identity` as `unix_owner` writes it, "" for none."""
    return "" if identity is None else f"{identity.uid}:{identity.gid}"


def give(path: str, identity: Identity | None) -> None:
    """Makes `identity` the owner of the file at `path`, if there is both. Raises SettingError."""
    if identity is None or not path:
        return
    try:
        os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingError(
            f"{path}: cannot be given to user {identity.name or identity.uid}: {error.strerror}"
        ) from None


def set_umask(mode: int) -> None:
    """Takes these permissions from new files, of this process and its children; UMASK_KEPT leaves it."""
    if mode < UMASK_KEPT:
        os.umask(mode)


def _find_user(user: str) -> tuple[int, int | None, str, str]:
    """(uid, its own gid or None, name, home). Raises SettingError."""
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        uid = _number(user, "user")
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return uid, None, "", ""  # as containers have it
    return entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir


def _find_group(group: str) -> int:
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return _number(group, "group")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise SettingError(f"{what} {text!r}: no such {what} on this machine; check the name, or create it first")
    if int(text) > NUMBER_MAX:
        raise SettingError(f"{what} {text!r}: numbers go up to {NUMBER_MAX}")
    return int(text)


def _may_return() -> bool:
    """Whether this process can become root. It is then."""
    try:
        os.setuid(0)
    except OSError:
        return False
    return True
