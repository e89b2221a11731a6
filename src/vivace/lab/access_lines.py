"""A line of an access log: when, which method, which target. The common and combined formats, and vivace's JSON.

    common     host ident user [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" 200 2326
    combined   the same, and more behind it; whatever stands in front of the time does not matter either
    JSON       an object a line, with `time`, `method`, `target` as docs/logging.md has them

Rules:

* What is escaped in the request line is read as Apache, nginx and vivace write it: \\" \\\\ \\t \\x0a.
* A line that has the form, but whose request is no request (`-`, a TLS hello), is NO_REQUEST; a line without the form
  raises ValueError. Neither is repaired.
* Linear in the line's length: nothing is tried twice.

Pure. Must not know: files, shots.
"""

from __future__ import annotations

import calendar
import json
import re
from datetime import datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Asked = tuple[float, str, str]  # Unix seconds, method, target

NO_REQUEST: Final = (0.0, "", "")

MIX = re.compile(rb'(?:[^\n\[]*\[[^\]\n]*\] "([A-Z]+ [!#-\[\]-~]+) HTTP/[0-9.]+" [0-9-][^\n]*|[^\n]*)\n')
"""Each line of a block once: method and target, or nothing where the line is unusual. All of them without escapes."""
TIMED = re.compile(rb'(?:[^\n\[]*\[([^\]\n]*)\] "([A-Z]+) ([!#-\[\]-~]+) HTTP/[0-9.]+" [0-9-][^\n]*|[^\n]*)\n')
"""The same, with the time, and method and target apart."""

_time = re.compile(rb'\[([0-3][0-9]/[A-Za-z]{3}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\] "').search
_request = re.compile(rb'((?:[^"\\]|\\.)*+)" (?:[0-9]{3}|-)(?: |\Z)').match
_escape = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_request_line = re.compile(r"([^ ]+) ([^ ]+) HTTP/[0-9](?:\.[0-9])?").fullmatch
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "v": "\v", "f": "\f"}

_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}


def is_common(line: bytes) -> bool:
    """Whether a line without its end has the common format, or more."""
    found = _time(line)
    return found is not None and _request(line, found.end()) is not None


def is_json(line: bytes) -> bool:
    """Whether a line is an object as vivace's JSON log has them."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "target" in found and "time" in found


def read_common(line: bytes) -> Asked:
    """One line without its end. Raises ValueError."""
    when = _time(line)
    request = _request(line, when.end()) if when else None
    if when is None or request is None:
        raise ValueError("it does not have the form of the common or combined log format")
    read = _request_line(_unescaped(request[1]))
    if read is None:
        return NO_REQUEST
    return common_time(when[1]), read[1], read[2]


def _unescaped(raw: bytes) -> str:
    text = raw.decode("latin-1")
    if "\\" not in text:
        return text
    return _escape.sub(lambda found: _meant(found[1]), text)


def _meant(escape: str) -> str:
    return chr(int(escape[1:], 16)) if len(escape) == 3 else _PLAIN.get(escape, escape)


def common_time(text: bytes) -> float:
    """`10/Oct/2000:13:55:36 -0700` as Unix seconds. Raises ValueError."""
    try:
        month = _MONTHS[text[3:6]]
        day, year = int(text[:2]), int(text[7:11])
        hour, minute, second = int(text[12:14]), int(text[15:17]), int(text[18:20])
        zone = int(text[22:24]) * 3600 + int(text[24:26]) * 60
        # A leap second is there; days are checked by datetime.
        datetime(year, month, day, hour, minute, min(second, 59))
    except (KeyError, ValueError):
        raise ValueError(
            f"[{text.decode('latin-1')[:40]!a}] is no time of a log, as [10/Oct/2000:13:55:36 -0700]"
        ) from None
    local = calendar.timegm((year, month, day, hour, minute, second))
    return float(local + zone if text[21:22] == b"-" else local - zone)


def read_json(line: bytes) -> tuple[Asked, str]:
    """One line, and the host that it was for, "" where that is not said. Raises ValueError.

    The time in the log is the end of the response; `seconds` before it the application began.
    """
    try:
        found: Any = json.loads(line)
    except RecursionError:
        raise ValueError("it is too deep") from None
    except ValueError:
        raise ValueError("it is no JSON object") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    method, target, when = (found.get(name) for name in ("method", "target", "time"))
    if method is None or target is None:
        return NO_REQUEST, ""
    if not isinstance(method, str) or not isinstance(target, str) or not isinstance(when, str):
        raise ValueError("it needs time, method and target, which are strings")
    try:
        end_s = datetime.fromisoformat(when).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"its time is {when[:40]!a}, and not as RFC 3339 has it") from None
    seconds = found.get("seconds")
    if isinstance(seconds, int | float) and 0 < seconds < 86400:
        end_s -= seconds
    host = found.get("host")
    return (end_s, method, target), host if isinstance(host, str) else ""
