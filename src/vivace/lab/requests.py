"""What to send, from wherever it is written down: a URL with options as of curl, a request file, a HAR file, a log.

    from_url(url, method, headers, data)     one request
    read(path, ...)                          a file, recognised by what is in it

Both return `Requests`: shots, for a replay their timetable, and notes, which say what was left out and are to be shown.

Rules: a file is recognised by its content, not by its name; gzip is undone for all. Everything that is refused is so
with a SettingError, before anything is sent.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from urllib.parse import quote

from vivace.errors import SettingError
from vivace.lab import access_logs, request_file
from vivace.lab.access_lines import is_common, is_json
from vivace.lab.asking import checked_fields, checked_method, checked_target
from vivace.lab.har import Har
from vivace.lab.plan import Shot, read_url
from vivace.lab.replay import replay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivace.lab.plan import Place
    from vivace.lab.timetable import Timetable

FILE_BYTES_MAX = 256 * 1024 * 1024
"""Of a request file or a HAR file, which are read as a whole; browsers' HAR files have tens of megabytes."""
LOOK_BYTES = 64 * 1024
SPEED_MAX = 1e4
_URL_SAFE = "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What is left as it is: everything printable; others, and `#`, have no place in a target."""

LOG, HAR, TOML, JSON = "access log", "HAR", "TOML", "JSON"


class Requests:
    """What is to be sent."""

    __slots__ = ("due", "notes", "shots")

    def __init__(self, shots: list[Shot], due: Timetable | None = None, notes: Sequence[str] = ()) -> None:
        self.shots = shots
        self.due = due
        """When, in a replay: for `Load.at_times`. None: by weight."""
        self.notes = list(notes)


def from_url(
    url: str, method: str = "", headers: Sequence[str] = (), data: Sequence[str] = ()
) -> tuple[Place, Requests]:
    """One request, from what curl calls URL, -X, -H and -d. Raises SettingError.

    `headers` are "Name: value"; one of "Name:" takes a field away. Of `data`, all are joined by & and sent by POST as a
    form unless something else is said; @FILE is what the file holds.
    """
    try:
        place, target = read_url(quote(url, safe=_URL_SAFE + "#") if not url.startswith("unix:") else url)
        pairs = checked_fields(filter(None, map(_field, headers)))
        body = b"&".join(map(_data, data))
        if data and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("Content-Type", "application/x-www-form-urlencoded"))
        verb = checked_method(method or ("POST" if data else "GET"))
        return place, Requests([Shot(verb, checked_target(verb, target), pairs, body)])
    except ValueError as error:
        raise SettingError(str(error)) from None


def _field(text: str) -> tuple[str, str] | None:
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"-H {text!r}: give a field as 'Name: value'")
    return (name.strip(), value.strip()) if value.strip() else None


def _data(text: str) -> bytes:
    return request_file.read_body(text[1:]) if text.startswith("@") else text.encode("utf-8", "surrogateescape")


def read(
    path: str,
    place: Place,
    *,
    replayed: bool = False,
    speed: float = 1.0,
    host: str = "",
    credentials: bool = False,
    unsafe: bool = False,
    seed: int = 1,
) -> Requests:
    """The requests of a file, for the server at `place`. Raises SettingError.

    `replayed`: at their own times, `speed` times as fast (HAR, access logs). `host`: take those for this host, and
    write it in Host. `credentials`: send a HAR's cookies and authorization. `unsafe`: send a log's POST and the like.
    """
    if not 0 < speed <= SPEED_MAX:
        raise SettingError(f"--speed {speed:g}: give a number above 0, up to {SPEED_MAX:g}; 10 is ten times as fast")
    kind = recognised(path)
    if kind == LOG:
        log = access_logs.Log(path, host=host, unsafe=unsafe)
        if replayed:
            return Requests(*replay(log, speed, seed))
        shots, notes = access_logs.mix(log, seed)
        return Requests(shots, None, notes)
    text = _text_of(path)
    if kind == HAR:
        har = Har(path, text, host=host or place.authority, named=bool(host), credentials=credentials)
        har.read()
        if replayed:
            return Requests(har.shots, har.timetable(speed), har.notes())
        return Requests(har.mix(), None, har.notes())
    if replayed:
        raise SettingError(f"{path}: a request file has no times; --replay goes with an access log or a HAR file")
    shots = request_file.read_toml(path, text) if kind == TOML else request_file.read_json(path, text)
    if host:
        shots = [_to_host(shot, host) for shot in shots]
    return Requests(shots)


def _to_host(shot: Shot, host: str) -> Shot:
    headers = [("Host", host), *(pair for pair in shot.headers if pair[0].lower() != "host")]
    return Shot(shot.method, shot.target, headers, shot.body, shot.weight, shot.think_s, shot.name)


def recognised(path: str) -> str:
    """LOG, HAR, TOML or JSON, by what the file holds. Raises SettingError."""
    head = _begin(path)
    lines = [line for raw in head.split(b"\n", 200) if (line := raw.strip())]
    if any(is_common(line) or is_json(line) for line in lines[:100]):
        return LOG
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin[:1] == b"{":
        return HAR if _first_key(begin) == "log" else JSON
    if any(line.startswith((b"[[", b"[defaults]")) for line in lines):
        return TOML
    if path.endswith(".toml") and lines:
        return TOML
    what = "it is empty" if not lines else "line 1 is none of them"
    raise SettingError(
        f"{path}: {what}. Give a request file (TOML or JSON), a HAR file, or an access log in the common or combined "
        "format or vivace's JSON; see docs/requests.md"
    )


def _first_key(begin: bytes) -> str:
    try:
        text = begin[1:].decode("utf-8", "replace").lstrip()
        return str(json.JSONDecoder().raw_decode(text)[0])
    except (ValueError, RecursionError):
        return ""


def _begin(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SettingError(
                f"{path}: give a file; it is looked at more than once, so a pipe or directory will not do"
            )
        with open(path, "rb") as file:
            head = file.read(LOOK_BYTES)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path, "rb") as unpacked:
                head = unpacked.read(LOOK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SettingError(f"{path}: {error}") from None
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from None
    return head


def _text_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as whole:
            data = whole.read(FILE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SettingError(f"{path}: {error}") from None
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise SettingError(
            f"{path}: more than {FILE_BYTES_MAX >> 20} MiB; that is more than a file of this kind may have"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}: line {line}: byte {error.start} is not UTF-8") from None
