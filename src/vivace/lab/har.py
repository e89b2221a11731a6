"""Requests that a browser recorded: HAR 1.2, as the network panels of Chromium, Firefox and Safari save it.

Rules:

* Taken is what was asked of one host by http or https. What never reached it (data:, blob:, WebSockets, an answer from
  the browser's own cache) and other hosts are left out, counted and told.
* Cookies, authorization and other credentials are left out unless they are asked for, and told either way.
* A body is sent as it was recorded. A request whose body is not in the file is left out: without it, it is another one.
* What an entry lacks or has of a wrong type is refused, with its line.

Reads no file: it gets the text. Must not know: sockets.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import Counter
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from vivace.errors import SettingError
from vivace.lab.asking import Names, checked_method, checked_target, recorded_fields, shown
from vivace.lab.plan import Shot
from vivace.lab.timetable import Timetable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.asking import Pairs

ENTRIES_MAX = 100_000
_escape_needed = re.compile(r"[^!\"$-~]")
_PORTS = {"http": 80, "https": 443}


class Har:
    """The requests of one file that are to be sent, in their order, and what was left out."""

    def __init__(self, path: str, text: str, *, host: str, named: bool, credentials: bool = False) -> None:
        """`host`: whose requests are taken, host or host:port. `named`: the user named it, and Host says so."""
        self._path = path
        self._text = text
        self._host = host.lower()
        self._named = named
        self._credentials = credentials
        self.shots: list[Shot] = []
        self.times: list[float] = []
        self._left: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._sent: set[str] = set()
        self._names = Names()

    def read(self) -> None:
        """Raises SettingError."""
        try:
            found: Any = json.loads(self._text)
            entries = found["log"]["entries"]
            if not isinstance(entries, list):
                raise TypeError
        except json.JSONDecodeError as error:
            raise SettingError(f"{self._path}: line {error.lineno}: {error.msg}; a HAR file is JSON") from None
        except (KeyError, TypeError):
            raise SettingError(
                f"{self._path}: line 1: a HAR file is an object with log.entries; this is none"
            ) from None
        except (ValueError, RecursionError) as error:
            raise SettingError(f"{self._path}: {error}") from None
        if len(entries) > ENTRIES_MAX:
            raise SettingError(f"{self._path}: {len(entries)} requests; {ENTRIES_MAX} are the most")
        for number, entry in enumerate(entries):
            try:
                self._take(entry)
            except (ValueError, SettingError) as error:
                where = line_of(self._text, "entries", number)
                raise SettingError(f"{self._path}: {where}entry {number + 1}: {error}") from None
        if not self.shots:
            raise SettingError(self._nothing())

    def _nothing(self) -> str:
        others = ", ".join(f"{host} ({count})" for host, count in self._hosts.most_common(8))
        if not others:
            return f"{self._path}: it holds no request that can be sent"
        return (
            f"{self._path}: no request for {self._host}; it has some for {others}. Give --host NAME to send those for "
            "one of them to the server, with that name in Host"
        )

    def _take(self, entry: Any) -> None:
        request = member(entry, "request", dict)
        url = member(request, "url", str)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"url {shown(url)}: {error}") from None
        scheme = parts.scheme.lower()
        if scheme not in _PORTS:
            self._left["no http: " + (scheme if scheme.isalpha() and len(scheme) < 20 else "?")] += 1
            return
        if entry.get("_fromCache") or entry.get("_webSocketMessages") is not None:
            self._left["answered from the browser's cache, or a WebSocket"] += 1
            return
        if not self._is_wanted((parts.hostname or "").lower(), port, scheme):
            self._hosts[parts.netloc.rpartition("@")[2].lower()[:100]] += 1
            return
        target = _escape_needed.sub(_escaped, (parts.path or "/") + ("?" + parts.query if parts.query else ""))
        method = checked_method(member(request, "method", str))
        checked_target(method, target)
        recorded = [(member(one, "name", str), member(one, "value", str)) for one in member(request, "headers", list)]
        if any(name.lower() == "upgrade" and value.lower() == "websocket" for name, value in recorded):
            self._left["answered from the browser's cache, or a WebSocket"] += 1
            return
        body = self._body(request)
        if body is None:
            self._left["its body is not in the file"] += 1
            return
        before_s = self._moment(entry)
        headers: Pairs = [("Host", self._host)] if self._named else []
        headers += recorded_fields(recorded, self._credentials, self._dropped)
        self.shots.append(Shot(method, target, headers, body, name=self._names.of(method, target)))
        self.times.append(before_s)

    def _is_wanted(self, host: str, port: int | None, scheme: str) -> bool:
        """Without a port in the name that was given, that of the scheme counts, or any if the user gave it."""
        if ":" in host:
            host = f"[{host}]"
        if self._host == host:
            return self._named or port in (None, *_PORTS.values())
        return self._host == f"{host}:{port or _PORTS[scheme]}"

    def _moment(self, entry: Any) -> float:
        text = member(entry, "startedDateTime", str)
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            raise ValueError(f"startedDateTime {shown(text)} is not as ISO 8601 has it") from None

    def _body(self, request: Any) -> bytes | None:
        """None: there was one, and it is not here."""
        posted = request.get("postData")
        size = request.get("bodySize")
        if posted is None:
            return None if isinstance(size, int) and size > 0 else b""
        if not isinstance(posted, dict):
            raise ValueError("postData is no object")
        text = posted.get("text")
        if isinstance(text, str) and text:
            if posted.get("encoding") == "base64":
                return b64decode(text, validate=True)
            return text.encode("utf-8", "surrogatepass")
        params = posted.get("params")
        if isinstance(params, list) and params:
            if not str(posted.get("mimeType")).startswith("application/x-www-form-urlencoded"):
                return None
            return urlencode([(member(one, "name", str), one.get("value") or "") for one in params]).encode()
        return None if isinstance(size, int) and size > 0 else b""

    def notes(self) -> list[str]:
        """What was left out, in words."""
        found = [f"{count} requests are left out: {why}" for why, count in self._left.most_common(10)]
        if self._hosts:
            most = ", ".join(f"{host} ({count})" for host, count in self._hosts.most_common(5))
            found.append(f"{self._hosts.total()} requests for other hosts are left out: {most}")
        if self._dropped:
            names = ", ".join(sorted(self._dropped)[:12])
            found.append(f"credentials are left out: {names}; --credentials sends them")
        if self._credentials:
            found.append("cookies and authorization are sent as they were recorded")
        return found

    def timetable(self, speed: float) -> Timetable:
        """When each is due, in seconds after the first; `shots` are its indices."""
        due = Timetable()
        first_s = min(self.times)
        for at_s, index in sorted((at_s, index) for index, at_s in enumerate(self.times)):
            due.append((at_s - first_s) / speed, index)
        return due

    def mix(self) -> list[Shot]:
        """Each different request once, weighted by how often it is there."""
        merged: dict[object, tuple[Shot, int]] = {}
        for shot in self.shots:
            key = (shot.method, shot.target, tuple(shot.headers), shot.body)
            merged[key] = (shot, merged.get(key, (shot, 0))[1] + 1)
        return [
            Shot(shot.method, shot.target, shot.headers, shot.body, float(count), name=shot.name)
            for shot, count in merged.values()
        ]


def _escaped(found: re.Match[str]) -> str:
    """What a URL may not hold, percent-encoded, as a browser does before it sends it."""
    return "".join([f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")])


def member(found: Any, name: str, kind: type) -> Any:
    """A member of an object. Raises ValueError where it is missing or something else."""
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        what = "a string" if kind is str else "an object" if kind is dict else "an array"
        raise ValueError(f"{name} is missing, or is not {what}")
    return value


def line_of(text: str, name: str, number: int) -> str:
    """`line N: ` of an element of the array `name` in valid JSON; "" if it cannot be told."""
    begin = re.search(rf'"{re.escape(name)}"\s*:\s*\[\s*', text)
    decoder = json.JSONDecoder()
    at = begin.end() if begin else 0
    try:
        for _ in range(number if begin else 0):
            at = decoder.raw_decode(text, at)[1]
            gap = re.compile(r"\s*,\s*").match(text, at)
            at = gap.end() if gap else len(text)
    except ValueError:
        return ""
    return f"line {text.count(chr(10), 0, at) + 1}: " if begin and at < len(text) else ""
