"""A file with the number of the server's process, for whoever wants to send it a signal.

Rules:

* A server holds its pidfile by a lock (fcntl(2), F_SETLK) for as long as it lives. The number alone does not tell
  whether its server lives: numbers are given out again, and in containers it is always the same ones. Only where the
  file system has no locks the number decides.
* Nothing is replaced but a pidfile: an empty file, or one with a number in it.
* It appears whole, by a rename, and is removed by the process that wrote it only, if it is still the same file.
* A pidfile that was asked for and cannot be written is an error at the start: somebody is going to rely on it. At the
  end nothing can be helped any more, and nothing is said.
"""

from __future__ import annotations

import errno
import os
import stat

from vivace.errors import SettingError
from vivace.procfs import alive

HELD = (errno.EAGAIN, errno.EACCES)
"""What F_SETLK says of another's lock (POSIX leaves the choice)."""

NUMBER_BYTES_MAX = 32
"""So much is read of a file to see whether there is a number in it, and nothing else."""

TRIES_MAX = 10
"""Another server may put its own file in place between our look and our lock; not for ever."""


class Pidfile:
    """The pidfile at `path`; nothing happens before `write`."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # the application may change the directory
        self._fd = -1
        self._pid = 0

    def write(self, predecessor: int = 0) -> None:
        """Puts this process's number there, unless a live server other than `predecessor` holds the file.

        Raises SettingError.
        """
        try:
            for _ in range(TRIES_MAX):
                old = self._open()
                try:
                    self._refuse_if_held(old, predecessor)
                    if self._is_in_place(old):
                        self._replace()
                        return
                finally:
                    os.close(old)
        except OSError as error:
            raise SettingError(
                f"pidfile {self.path}: {error.strerror}; name a file in a directory that this user may write to, or "
                "leave it off (systemd and containers need none)"
            ) from None
        raise SettingError(f"pidfile {self.path}: other servers keep writing it; name another file")

    def remove(self) -> None:
        """Removes the file, if it is this process's; where only its content may be changed, empties it."""
        if self._fd < 0 or self._pid != os.getpid():
            return
        fd, self._fd = self._fd, -1
        try:
            if self._is_in_place(fd):
                os.ftruncate(fd, 0)
                os.unlink(self.path)
        except OSError:
            pass
        finally:
            os.close(fd)

    def _open(self) -> int:
        """The file that is there, or else an empty one."""
        how = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            # Without O_CREAT: with it, root may not open another user's file in a folder such as /tmp
            # (fs.protected_regular).
            return os.open(self.path, how)
        except FileNotFoundError:
            return os.open(self.path, how | os.O_CREAT, 0o644)

    def _refuse_if_held(self, fd: int, predecessor: int) -> None:
        """Takes the lock, or raises SettingError where another server has it."""
        import fcntl

        text = os.pread(fd, NUMBER_BYTES_MAX, 0).decode("ascii", "replace").strip() if _is_file(fd) else "?"
        if text and not text.isdecimal():
            raise SettingError(f"pidfile {self.path}: exists and is no pidfile; remove it, or name another file")
        holder = int(text or 0)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            locked = error.errno in HELD
        if holder and holder == predecessor:
            return
        if locked or (holder != os.getpid() and alive(holder)):
            raise SettingError(
                f"pidfile {self.path}: process {holder or '(just starting)'} holds it; stop that one, or name "
                "another file"
            )

    def _replace(self) -> None:
        """Puts a new file, locked as well, into the place of the old one, which is locked."""
        import fcntl

        number = os.getpid()
        new = f"{self.path}.{number}"
        try:
            os.unlink(new)  # of a process that died with this number
        except FileNotFoundError:
            pass
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(fd, 0o644)  # whatever the umask: it is there to be read
            os.write(fd, b"%d\n" % number)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # no locks here: the number has to do
            os.rename(new, self.path)
        except OSError:
            os.close(fd)
            os.unlink(new)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._pid = fd, number

    def _is_in_place(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)
