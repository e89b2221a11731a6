"""Access logs as what to send: a weighted mix of what was asked for. With its own timing: `lab.replay`.

Rules:

* Bounded memory, however long the log and whoever wrote it: blocks of BLOCK_BYTES, lines of LINE_BYTES_MAX, tables of
  DISTINCT_MAX requests and TABLE_BYTES_MAX. A mix with more distinct requests than that is an even sample of the lines:
  each time the table is full every line in it stays with a chance of one half, and so does every later line.
* A log has no bodies, no cookies and no fields. Methods that are not safe (RFC 9110 section 9.2.1) are left out unless
  they are asked for, and then have no body.
* A line that is not understood is left out and counted, with the number of the first; too many are refused, as they
  say that the file is something else. All of a log is read before anything is sent.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter

from vivace.errors import SettingError
from vivace.lab.access_lines import (
    MIX,
    NO_REQUEST,
    is_common,
    is_json,
    read_common,
    read_json,
)
from vivace.lab.asking import NAMES_MAX, OTHER, SAFE_METHODS, checked_method, checked_target, name_of
from vivace.lab.plan import Shot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

BLOCK_BYTES = 1 << 20
LINE_BYTES_MAX = 256 * 1024
DISTINCT_MAX = 50_000
TABLE_BYTES_MAX = 64 * 1024 * 1024
STRANGE_MAX = 10
"""Lines that are not understood are borne with up to this many, or one in a hundred."""


class Left:
    """What was left out of a log, and why."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines = 0
        self.strange = 0
        self.first_strange = (0, "")
        self.no_request = 0
        self.methods: Counter[str] = Counter()
        self.invalid = 0
        self.other_hosts = 0

    def on_strange(self, number: int, why: str) -> None:
        """A line that is not of the format. Raises SettingError when there are too many of them."""
        self.strange += 1
        if self.strange == 1:
            self.first_strange = (number, why)
        if self.strange > STRANGE_MAX and self.strange * 100 > number:
            first, reason = self.first_strange
            raise SettingError(
                f"{self.path}: line {first}: {reason}; nor do {self.strange - 1} more of the first {number} lines. "
                "Give a log in the common or combined format, or vivace's JSON"
            )

    def notes(self, scale: float = 1.0) -> list[str]:
        """In words. `scale`: lines for each that was counted."""
        about = "about " if scale != 1 else ""
        found = []
        if self.strange:
            first, reason = self.first_strange
            found.append(f"{self.strange} lines are not understood and left out; line {first}: {reason}")
        if self.no_request:
            found.append(f"{self.no_request} lines hold no request (a client that said nothing, or no HTTP); left out")
        if self.invalid:
            found.append(f"{about}{self.invalid * scale:.0f} requests cannot be sent as they stand there; left out")
        if self.methods:
            names = ", ".join(f"{about}{count * scale:.0f} {name}" for name, count in self.methods.most_common(5))
            found.append(
                f"left out, as a log has no bodies and they may change things: {names}; --unsafe sends them, empty"
            )
        if self.other_hosts:
            found.append(f"{self.other_hosts} requests were for other hosts; left out")
        return found


class Log:
    """One file."""

    def __init__(self, path: str, *, host: str = "", unsafe: bool = False) -> None:
        self.path = path
        self.host = host
        self.unsafe = unsafe
        self.json = False

    def _open(self) -> IO[bytes]:
        try:
            with open(self.path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"  # RFC 1952 section 2.3.1
            return gzip.open(self.path, "rb") if packed else open(self.path, "rb")  # type: ignore[return-value]
        except OSError as error:
            raise SettingError(f"{self.path} cannot be read: {error.strerror}") from None

    def blocks(self) -> Iterator[bytes]:
        """The file in pieces, each of whole lines. Raises SettingError."""
        lines = 0
        rest = b""
        with self._open() as file:
            while True:
                try:
                    data = file.read(BLOCK_BYTES)
                except (OSError, EOFError, zlib.error) as error:
                    raise SettingError(f"{self.path}: after line {lines}: {error}") from None
                if not data:
                    break
                end = data.rfind(b"\n") + 1
                if end:
                    block = rest + data[:end]
                    rest = data[end:]
                    yield block
                    lines += block.count(b"\n")
                else:
                    rest += data
                if len(rest) > LINE_BYTES_MAX + BLOCK_BYTES * (not end):
                    raise SettingError(
                        f"{self.path}: line {lines + 1} is longer than {LINE_BYTES_MAX} bytes; that is no access log"
                    )
        if rest:
            yield rest + b"\n"

    def recognise(self, first: bytes) -> None:
        """Sets `json` by a first block. Raises SettingError."""
        for number, line in enumerate(first.split(b"\n", 100), 1):
            line = line.rstrip(b"\r")
            if is_common(line):
                return
            if is_json(line):
                self.json = True
                return
            if number == 100:
                break
        raise SettingError(
            f"{self.path}: line 1: not understood, nor is one of the next. Give a log in the common or combined "
            "format, vivace's JSON, a HAR file, or a request file in TOML or JSON"
        )

    def wants_host(self, host: str) -> bool:
        return not self.host or not host or host.lower() == self.host.lower()


# A mix.


def mix(log: Log, seed: int = 0) -> tuple[list[Shot], list[str]]:
    """The distinct requests of a log, weighted by how often they stand there, and notes. Raises SettingError."""
    left = Left(log.path)
    draw = random.Random(seed)
    table: Counter[bytes] = Counter()
    share = 1.0
    for block in log.blocks():
        if not left.lines:
            log.recognise(block)
        found = _json_requests(log, block, left) if log.json else _common_requests(block, left)
        left.lines += block.count(b"\n")
        if share < 1:
            chance = draw.random
            found = [each for each in found if chance() < share]
        table.update(found)
        while len(table) > DISTINCT_MAX or sum(map(len, table)) > TABLE_BYTES_MAX:
            share /= 2
            table = _thinned(table, draw)
    shots = _shots(table, log, left)
    notes = left.notes(1 / share)
    if share < 1:
        notes.append(f"the log has more than {DISTINCT_MAX} different requests: an even sample of its lines is sent")
    if not shots:
        raise SettingError(f"{log.path}: no request of its {left.lines} lines can be sent", *notes)
    return shots, notes


def _thinned(table: Counter[bytes], draw: random.Random) -> Counter[bytes]:
    """Each of the lines counted stays with a chance of one half."""
    halved = {key: draw.getrandbits(count).bit_count() for key, count in table.items()}
    return Counter({key: count for key, count in halved.items() if count})


def _common_requests(block: bytes, left: Left) -> list[bytes]:
    """`METHOD target` of each line of a block."""
    found: list[bytes] = MIX.findall(block)
    if not found.count(b""):
        return found
    for number, (key, line) in enumerate(zip(found, block.split(b"\n"), strict=False)):
        if not key and line:
            asked = unusual(line, left, left.lines + number + 1)
            if asked:
                found[number] = f"{asked[1]} {asked[2]}".encode("latin-1")
    return [key for key in found if key]


def unusual(line: bytes, left: Left, number: int) -> tuple[float, str, str] | None:
    """What the quick patterns do not understand: None for no request, which is counted."""
    try:
        asked = read_common(line.rstrip(b"\r"))
    except ValueError as error:
        left.on_strange(number, str(error))
        return None
    if asked is NO_REQUEST:
        left.no_request += 1
        return None
    return asked


def _json_requests(log: Log, block: bytes, left: Left) -> list[bytes]:
    found = []
    for number, line in enumerate(block.split(b"\n"), left.lines + 1):
        if asked := json_asked(log, line, left, number):
            found.append(f"{asked[1]} {asked[2]}".encode("utf-8", "surrogatepass"))
    return found


def json_asked(log: Log, line: bytes, left: Left, number: int) -> tuple[float, str, str] | None:
    """A line of a JSON log: None for no request, or one for another host, which is counted."""
    if not line.strip():
        return None
    try:
        asked, host = read_json(line)
    except ValueError as error:
        left.on_strange(number, str(error))
        return None
    if asked is NO_REQUEST:
        left.no_request += 1
        return None
    if not log.wants_host(host):
        left.other_hosts += 1
        return None
    return asked


def _shots(table: Counter[bytes], log: Log, left: Left) -> list[Shot]:
    wanted: list[tuple[str, str, int]] = []
    for key, count in table.items():
        method, _, target = key.decode("utf-8", "replace").partition(" ")
        if sendable(method, target, log, left, count):
            wanted.append((method, target, count))
    return shots_of(wanted, log)


def shots_of(wanted: list[tuple[str, str, int]], log: Log) -> list[Shot]:
    """A shot for each (method, target, how often). The busiest have names of their own in the report."""
    names: Counter[str] = Counter()
    for method, target, count in wanted:
        names[name_of(method, target)] += count
    known = {name for name, _ in names.most_common(NAMES_MAX)}
    headers = [("Host", log.host)] if log.host else []
    shots = []
    for method, target, count in wanted:
        name = name_of(method, target)
        shots.append(Shot(method, target, headers, weight=float(count), name=name if name in known else OTHER))
    return shots


def sendable(method: str, target: str, log: Log, left: Left, count: int = 1) -> bool:
    """Whether it is to be sent; what is not, is counted."""
    try:
        checked_method(method)
        checked_target(method, target)
    except ValueError:
        left.invalid += count
        return False
    if method not in SAFE_METHODS and not log.unsafe:
        left.methods[method if method in left.methods or len(left.methods) < NAMES_MAX else OTHER] += count
        return False
    return True
