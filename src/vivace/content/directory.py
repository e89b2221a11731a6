"""Finding a file below a directory without ever leaving it, whatever its names, links and other processes do.

Rules:

* What a peer names is a list of segments. None is empty, "." or "..", holds a slash or NUL, or begins with a dot;
  `segments_of` sees to that. "\\" is refused as well: some client or proxy reads it as a slash.
* The way is walked from descriptor to descriptor (openat(2), O_NOFOLLOW), and links are resolved here, in the plainest
  way: ".." takes the last descriptor off the stack and none is left to take at the top. So a directory that is moved or
  replaced by a link meanwhile cannot lead elsewhere (openat2(2) with RESOLVE_BENEATH does the same; Python has no
  call for it).
* The directory itself is looked up by its name each time: a deployment may replace it, or what it links to.
* Nothing is opened before it is known to be a regular file; a FIFO would wait for a writer, and a device do anything.
"""

from __future__ import annotations

import os
import stat

SEGMENTS_MAX = 64
"""Of a path, and directories open at once: nobody's tree is so deep."""

LINKS_MAX = 16
"""Links on the way to one file; Linux follows 40."""

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

WELL_KNOWN = b".well-known"
"""RFC 8615: the one name with a dot that is meant for everybody."""


def segments_of(path: bytes) -> list[bytes] | None:
    """The segments of a relative path, None if it is none that may be looked for. The last may be b"": a directory."""
    if b"\0" in path or b"\\" in path:
        return None
    segments = path.split(b"/")
    if len(segments) > SEGMENTS_MAX or b"" in segments[:-1]:
        return None
    if any(segment.startswith(b".") and segment != WELL_KNOWN for segment in segments):
        return None
    return segments


class Place:
    """Something found: its directory, which the owner closes, its name there, and what it is."""

    __slots__ = ("_fd", "_follows", "_renamed", "name", "status")

    def __init__(self, fd: int, name: bytes, status: os.stat_result, follows: bool, renamed: bool) -> None:
        """`renamed`: a link led to it, so what lies beside it there has other names than here."""
        self._fd = fd
        self._follows = follows
        self._renamed = renamed
        self.name = name
        self.status = status

    def beside(self, suffix: bytes) -> os.stat_result | None:
        """The regular file whose name goes on with `suffix`, if there is one."""
        if self._renamed:
            return None
        try:
            status = os.stat(self.name + suffix, dir_fd=self._fd, follow_symlinks=self._follows)
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def check_readable(self) -> None:
        """Raises PermissionError where it cannot be opened."""
        if not os.access(self.name, os.R_OK, dir_fd=self._fd, effective_ids=True):
            raise PermissionError

    def close(self) -> None:
        """Twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Directory:
    """What lies below `root`. Any thread."""

    def __init__(self, root: str, follows: bool = False) -> None:
        """`follows`: links may lead out of it."""
        self.root = os.fsencode(os.path.abspath(root))
        self._follows = follows

    def find(self, segments: list[bytes]) -> Place:
        """What is there. Raises OSError, where it is nothing or may not be seen."""
        if not self._follows:
            return self._walk(segments)
        fd = os.open(b"/".join([self.root, *segments[:-1]]), _DIRECTORY)
        try:
            return Place(fd, segments[-1], os.stat(segments[-1], dir_fd=fd), True, False)
        except BaseException:
            os.close(fd)
            raise

    def open(self, segments: list[bytes], suffix: bytes, identity: tuple[int, ...]) -> int:
        """The descriptor of what `find` has found before, a regular file. Raises OSError, also where it is another now.

        By its name alone: what is opened is compared with what the walk found, so it need not be walked again.
        """
        fd = os.open(b"/".join([self.root, *segments]) + suffix, _FILE)
        if identity_of(os.fstat(fd)) != identity:
            os.close(fd)
            raise FileNotFoundError("it has been replaced")
        return fd

    def _walk(self, segments: list[bytes]) -> Place:
        stack = [os.open(self.root, _DIRECTORY)]
        todo = segments[::-1]
        links, renamed = 0, False
        try:
            while todo:
                name = todo.pop()
                if name in (b"", b"."):
                    continue
                if name == b"..":
                    if len(stack) == 1:
                        raise FileNotFoundError("a link leads out of the directory")
                    os.close(stack.pop())
                    continue
                target = self._step(stack, name, not todo)
                if isinstance(target, os.stat_result):
                    return Place(stack.pop(), name, target, False, renamed)
                if target is not None:
                    renamed = renamed or not todo
                    links += 1
                    if links > LINKS_MAX:
                        raise FileNotFoundError("too many links")
                    todo += self._inside(target, stack).split(b"/")[::-1]
            return Place(stack[-1], b".", os.fstat(stack.pop()), False, True)
        finally:
            for fd in stack:
                os.close(fd)

    def _step(self, stack: list[int], name: bytes, last: bool) -> os.stat_result | bytes | None:
        """One segment further: what the last one is, where a link leads, or None: into a directory."""
        if last:
            status = os.stat(name, dir_fd=stack[-1], follow_symlinks=False)
            return os.readlink(name, dir_fd=stack[-1]) if stat.S_ISLNK(status.st_mode) else status
        if len(stack) >= SEGMENTS_MAX:
            raise FileNotFoundError("too deep")
        try:
            stack.append(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=stack[-1]))
        except NotADirectoryError:
            return os.readlink(name, dir_fd=stack[-1])
        return None

    def _inside(self, target: bytes, stack: list[int]) -> bytes:
        """Where a link leads, relative to the top of `stack`: an absolute one must begin with the directory's name."""
        if not target.startswith(b"/"):
            return target
        for root in (self.root, os.path.realpath(self.root)):
            if target == root or target.startswith(root + b"/"):
                while len(stack) > 1:
                    os.close(stack.pop())
                return target[len(root) :]
        raise FileNotFoundError("a link leads out of the directory")


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """What tells one state of one file from every other, as far as the system can."""
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
