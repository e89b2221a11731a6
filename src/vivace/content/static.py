"""Files below a directory as a WSGI application: GET and HEAD, conditions, ranges, files compressed beforehand.

Rules:

* What a path leads to is found by `directory`, which never leaves the directory, and hides names that begin with a dot.
* What was found is believed for FACTS_S, and small files are kept in memory as long as nothing of them changes: then a
  request costs no system call beside those of its connection. Both are bounded.
* A file keeps its answers' heads with it: its type, its ETag, how long it may be kept.
* ETag is strong (RFC 9110 section 8.8.3), made from the time of the last change in nanoseconds and the size: the same
  on every machine that got the file with its time (rsync, tar), and cheap. What is not told apart by those (a change to
  the same size within one tick of the file system's clock, 4 ms) is not told apart here. A file from before 1980 has a
  time that somebody made up, for every file the same (reproducible builds), so there the time of its arrival counts.
* `app.js.br`, `.zst` or `.gz` beside `app.js` is what a client that takes it gets in place of it, with an ETag of its
  own; if it is as new. Times are compared by the second, because some compressors copy them no more exactly.

Threads: any, several at once where a disk is slow; `_lock` is held where what is known changes. Must not know: sockets,
settings.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from functools import partial
from threading import Lock
from time import monotonic, time

from vivace.content.directory import Directory, identity_of, segments_of
from vivace.content.file_types import type_of
from vivace.http1.accept import best_coding
from vivace.http1.dates import write_date
from vivace.http1.preconditions import evaluate, range_applies
from vivace.http1.ranges import content_range, multipart, read_ranges, unsatisfied_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.content.directory import Place

    Headers = list[tuple[str, str]]
    Environ = dict[str, Any]
    StartResponse = Callable[[str, Headers], object]
    SendParts = Callable[[int, list[Any], Callable[[], None]], Iterable[bytes]]

FACTS_S = 1.0
"""For so long a file that has changed may be answered as it was. nginx open_file_cache_valid: 60 s."""

FILES_MAX = 4096
"""Files known at once; when there are more, all are forgotten."""

KEPT_BYTES_MAX = 262144
"""The largest file kept in memory ..."""

KEPT_BYTES_SUM_MAX = 16 << 20
"""... and all of them together, of one mount in one worker."""

SETTLED_S = 2
"""A file that has changed within the last seconds may change again without a trace: FAT's clock ticks every 2 s."""

MADE_UP_S = 315619200
"""Times up to 1980-01-02 are nobody's: 0 and 1 of reproducible builds, and the least that a ZIP archive can say."""

YEAR_S = 31536000

CODINGS = (("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz"))
"""The server's favourite first: the smallest."""

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG, errno.ENXIO)

# RFC 3986 section 3.3: unreserved, sub-delims, ":" and "@" of pchar; and the slash between segments.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/")

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

CHOICES_MAX = 256

TEXT = ("Content-Type", "text/plain; charset=utf-8")
NOSNIFF = ("X-Content-Type-Options", "nosniff")


class File:
    """One representation: a file, or what was compressed from it. `segments` and `suffix` name it."""

    __slots__ = ("content", "etag", "fresh", "identity", "modified_s", "segments", "settled", "size", "suffix", "whole")

    def __init__(self, segments: list[bytes], suffix: bytes, status: os.stat_result, now: float) -> None:
        self.segments = segments
        self.suffix = suffix
        self.identity = identity_of(status)
        self.size = status.st_size
        self.settled = status.st_mtime + SETTLED_S < now
        self.modified_s: int | None = None if status.st_mtime > now else int(status.st_mtime)
        stamp = status.st_mtime_ns
        if status.st_mtime <= MADE_UP_S:
            stamp, self.modified_s = status.st_ctime_ns, None
        self.etag = f'"{stamp:x}-{status.st_size:x}{suffix.decode().replace(".", "-")}"'
        self.content: bytes | None = None
        # headers of 200, and of 304
        self.whole: Headers = []
        self.fresh: Headers = []


class Known:
    """What a path leads to: the file by its codings ("" is the file itself), believed `until`."""

    __slots__ = ("files", "offered", "plain", "until")

    def __init__(self, files: dict[str, File], until: float) -> None:
        self.plain = files[""]
        self.files = files
        self.offered = tuple(coding for coding in files if coding)
        self.until = until

    def kept_bytes(self) -> int:
        """Of its files in memory."""
        return sum([file.size for file in self.files.values() if file.content is not None])


class StaticFiles:
    """One mount. Called with environ and start_response."""

    def __init__(
        self,
        prefix: str,
        root: str,
        parts: SendParts,
        *,
        index: str = "",
        max_age_s: float = 60.0,
        immutable: str = "",
        follow_symlinks: bool = False,
    ) -> None:
        """`prefix` begins with a slash, "/" is everything; what follows it in PATH_INFO is looked for below `root`.

        `parts` makes a body from a descriptor, pieces (bytes, or offset and count) and a function that ends it.
        Raises ValueError, OSError.
        """
        self.prefix = prefix.rstrip("/").encode("utf-8").decode("latin-1")  # as in PATH_INFO (PEP 3333)
        if prefix[:1] != "/" or segments_of(self.prefix[1:].encode("latin-1")) is None:
            raise ValueError(f"{prefix!r} is no path to serve files at; give one that begins with /, as in /static")
        if index and (segments_of(os.fsencode(index)) is None or "/" in index):
            raise ValueError(f"{index!r} is no file's name for a directory; give one such as index.html")
        os.scandir(root).close()
        self._directory = Directory(root, follow_symlinks)
        self._index = os.fsencode(index)
        self._parts = parts
        self._is_lasting = re.compile(immutable).search if immutable else None
        self._brief = f"public, max-age={int(max_age_s)}" if max_age_s >= 1 else "no-cache"
        self._lock = Lock()
        self._known: dict[str, Known] = {}
        self._kept_bytes = 0
        self._choices: dict[tuple[str, tuple[str, ...]], str] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method != "GET" and method != "HEAD":
            return _tell(start_response, "405 Method Not Allowed", ("Allow", "GET, HEAD"))
        path = environ["PATH_INFO"]
        try:
            return self._answer(environ, start_response, path, method)
        except OSError as error:
            failure = error
        if self._forget(path):  # replaced since it was looked at
            try:
                return self._answer(environ, start_response, path, method)
            except OSError as error:
                failure = error
        return _fail(failure, environ, start_response)

    def _answer(self, environ: Environ, start_response: StartResponse, path: str, method: str) -> Iterable[bytes]:
        """Raises OSError, before it has called start_response."""
        known = self._known.get(path)
        if known is None or known.until < monotonic():
            known = self._look(path, known)
        file = known.plain
        if known.offered and (accepted := environ.get("HTTP_ACCEPT_ENCODING")):
            file = known.files[self._choose(accepted, known.offered)]
        outcome = evaluate(environ, file.etag, file.modified_s)
        if outcome == 304:
            start_response("304 Not Modified", file.fresh)
            return []
        if outcome:
            return _tell(start_response, "412 Precondition Failed")
        if method == "HEAD":
            start_response("200 OK", file.whole)
            return []
        if (field := environ.get("HTTP_RANGE")) is not None and (
            range_applies(environ, file.etag, file.modified_s, time())
            and (parts := read_ranges(field, file.size)) is not None
        ):
            return self._part(path, file, parts, start_response)
        content = file.content
        if content is None:
            if file.size > KEPT_BYTES_MAX:
                body = self._open(file, [(0, file.size)])
                start_response("200 OK", file.whole)
                return body
            content = self._read(path, file)
        start_response("200 OK", file.whole)
        return [content]

    def _part(
        self, path: str, file: File, parts: list[tuple[int, int]], start_response: StartResponse
    ) -> Iterable[bytes]:
        """206 with `parts`, or 416 (RFC 9110 sections 15.3.7 and 15.5.17)."""
        if not parts:
            unsatisfied = ("Content-Range", unsatisfied_range(file.size))
            return _tell(start_response, "416 Range Not Satisfiable", unsatisfied)
        pieces: list[Any] = [(first, last - first + 1) for first, last in parts]
        if len(parts) == 1:
            headers = [header for header in file.whole if header[0] != "Content-Length"]
            headers.append(("Content-Range", content_range(*parts[0], file.size)))
        else:
            whole_type = file.whole[0][1]
            parts_type, heads, closing = multipart(parts, file.size, whole_type, os.urandom(15).hex())
            headers = [header for header in file.whole if header[0] not in ("Content-Type", "Content-Length")]
            headers.append(("Content-Type", parts_type))
            pieces = [piece for pair in zip(heads, pieces, strict=True) for piece in pair]
            pieces.append(closing)
        size = sum([piece[1] if isinstance(piece, tuple) else len(piece) for piece in pieces])
        headers.append(("Content-Length", str(size)))
        if file.size > KEPT_BYTES_MAX:
            body = self._open(file, pieces)
        else:
            content = file.content if file.content is not None else self._read(path, file)
            body = [b"".join([content[p[0] : p[0] + p[1]] if isinstance(p, tuple) else p for p in pieces])]
        start_response("206 Partial Content", headers)
        return body

    # What is known of files.

    def _look(self, path: str, before: Known | None) -> Known:
        """What `path` leads to, now. Raises OSError; IsADirectoryError where its directory has an index."""
        rest = path[len(self.prefix) :].encode("latin-1")
        segments = segments_of(rest[1:]) if rest else []
        if segments is None:
            raise FileNotFoundError("a name that is not served")
        if rest.endswith(b"/"):
            segments[-1] = self._index
            if not self._index:
                raise FileNotFoundError("a directory")
        place = self._directory.find(segments)
        try:
            if stat.S_ISDIR(place.status.st_mode) and self._index:
                self._directory.find([*segments, self._index]).close()
                raise IsADirectoryError
            if not stat.S_ISREG(place.status.st_mode):
                raise FileNotFoundError("no regular file")
            place.check_readable()
            files = self._describe(segments, place, {} if before is None else before.files)
        finally:
            place.close()
        known = Known(files, monotonic() + FACTS_S)
        self._forget(path)
        with self._lock:
            if len(self._known) >= FILES_MAX:
                self._known.clear()
                self._kept_bytes = 0
            self._known[path] = known
            self._kept_bytes += known.kept_bytes()
        return known

    def _describe(self, segments: list[bytes], place: Place, before: dict[str, File]) -> dict[str, File]:
        """The file at `place` and what was compressed from it, by coding; as `before` where nothing has changed."""
        now = time()
        media_type, squeezes = type_of(os.fsdecode(segments[-1]))
        found = {"": (b"", place.status)}
        for coding, suffix in CODINGS if squeezes else ():
            status = place.beside(suffix)
            if status is not None and int(status.st_mtime) >= int(place.status.st_mtime):
                found[coding] = (suffix, status)
        lasting = self._is_lasting is not None and self._is_lasting(os.fsdecode(segments[-1])) is not None
        cache_control = f"public, max-age={YEAR_S}, immutable" if lasting else self._brief
        files = {}
        for coding, (suffix, status) in found.items():
            old = before.get(coding)
            if (
                old is not None
                and old.settled
                and old.identity == identity_of(status)
                and before.keys() == found.keys()
            ):
                files[coding] = old
                continue
            file = files[coding] = File(segments, suffix, status, now)
            file.fresh = [("ETag", file.etag), ("Cache-Control", cache_control)]
            if file.modified_s is not None:
                file.fresh.append(("Last-Modified", write_date(file.modified_s)))
            if len(found) > 1:
                file.fresh.append(("Vary", "Accept-Encoding"))
            coded = [("Content-Encoding", coding)] if coding else []
            about = [("Content-Type", media_type), ("Content-Length", str(file.size)), *coded]
            file.whole = [*about, *file.fresh, ("Accept-Ranges", "bytes"), NOSNIFF]
        return files

    def _choose(self, accepted: str, offered: tuple[str, ...]) -> str:
        """The coding for a value of Accept-Encoding: browsers have few."""
        key = (accepted, offered)
        coding = self._choices.get(key)
        if coding is None:
            if len(self._choices) >= CHOICES_MAX:
                self._choices.clear()
            coding = self._choices[key] = best_coding(accepted, offered)
        return coding

    def _forget(self, path: str) -> bool:
        """Whether there was something to forget."""
        with self._lock:
            known = self._known.pop(path, None)
            if known is not None:
                self._kept_bytes -= known.kept_bytes()
        return known is not None

    # Its bytes.

    def _open(self, file: File, pieces: list[Any]) -> Iterable[bytes]:
        """A body of `pieces`. Raises OSError."""
        fd = self._directory.open(file.segments, file.suffix, file.identity)
        return self._parts(fd, pieces, partial(os.close, fd))

    def _read(self, path: str, file: File) -> bytes:
        """All of a small file, kept from now on. Raises OSError."""
        fd = self._directory.open(file.segments, file.suffix, file.identity)
        try:
            content = os.pread(fd, file.size + 1, 0)
        finally:
            os.close(fd)
        if len(content) != file.size:
            raise FileNotFoundError("it changes")
        self._keep(path, file, content)
        return content

    def _keep(self, path: str, file: File, content: bytes) -> None:
        """From now on it is answered from memory; everything else is forgotten if that is too much."""
        with self._lock:
            known = self._known.get(path)
            if known is None or file.content is not None or file not in known.files.values():
                return  # another thread was quicker
            if self._kept_bytes + file.size > KEPT_BYTES_SUM_MAX:
                self._known = {path: known}
                self._kept_bytes = known.kept_bytes()
            file.content = content
            self._kept_bytes += file.size


def _tell(start_response: StartResponse, status: str, *headers: tuple[str, str]) -> list[bytes]:
    start_response(status, [TEXT, *headers])
    return [f"{status[4:]}\n".encode()]


def _fail(error: OSError, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The answer to what could not be found. Raises it again where the system has failed."""
    if isinstance(error, IsADirectoryError):
        query = environ.get("QUERY_STRING", "")
        path = (environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]).encode("latin-1")
        location = (
            "".join([chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in path])
            + "/"
            + (f"?{query}" if query else "")
        )
        return _tell(start_response, "301 Moved Permanently", ("Location", location))
    if isinstance(error, PermissionError):
        return _tell(start_response, "403 Forbidden")
    if isinstance(error, FileNotFoundError) or error.errno in NOT_THERE:
        return _tell(start_response, "404 Not Found")
    if error.errno in EXHAUSTED:
        return _tell(start_response, "503 Service Unavailable", ("Retry-After", "1"))
    raise error
