"""The request file: what to send, written down in TOML or JSON. docs/requests.md is its description.

    [defaults]                      requests, an array of tables: [[request]] in TOML, "requests": [...] in JSON
    headers = { Accept = "*/*" }    name, method, path, headers, weight, think,
    think = "1s"                    and one of body, body_file, body_base64, json, form

Rules: what is not known is refused, with the nearest right name; nothing is guessed. A body from a file is found from
the directory of the request file. Reads no other file. Must not know: sockets.
"""

from __future__ import annotations

import binascii
import json
import os
import re
import tomllib
from base64 import b64decode
from math import isfinite
from urllib.parse import urlencode

from vivace.config.kinds import nearest
from vivace.errors import SettingError
from vivace.lab.asking import checked_fields, checked_method, checked_target, shown
from vivace.lab.har import line_of
from vivace.lab.plan import Shot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.lab.asking import Pairs

BODIES = ("body", "body_file", "body_base64", "json", "form")
KEYS = ("name", "method", "path", "headers", "weight", "think", *BODIES)
DEFAULT_KEYS = ("method", "headers", "weight", "think")
REQUESTS_MAX = 50_000
BODY_BYTES_MAX = 64 * 1024 * 1024
NAME_CHARS_MAX = 100
_duration = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)").fullmatch
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_header_of_toml = re.compile(r"^[ \t]*\[\[[ \t]*request[ \t]*\]\]", re.MULTILINE)


def read_toml(path: str, text: str) -> list[Shot]:
    """Raises SettingError, one line for each problem."""
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SettingError(f"{path}: {error}") from None
    starts = [match.start() for match in _header_of_toml.finditer(text)]
    requests = found.get("request")
    # One inside a string would make the numbers wrong.
    known = isinstance(requests, list) and len(starts) == len(requests)

    def where(number: int) -> str:
        return f"line {text.count(chr(10), 0, starts[number]) + 1}: " if known else ""

    return _shots(path, found, "request", where)


def read_json(path: str, text: str) -> list[Shot]:
    """Raises SettingError, one line for each problem."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"{path}: line {error.lineno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise SettingError(f"{path}: {error}") from None
    return _shots(path, found, "requests", lambda number: line_of(text, "requests", number))


def _shots(path: str, found: Any, member: str, where: Any) -> list[Shot]:
    if not isinstance(found, dict) or not isinstance(found.get(member), list) or not found[member]:
        example = "[[request]] tables" if member == "request" else '{"requests": [{"path": "/"}]}'
        raise SettingError(f"{path}: line 1: a request file has {example}; see docs/requests.md")
    problems = [f"{path}: {_unknown(key, ('defaults', member))}" for key in found if key not in ("defaults", member)]
    defaults = found.get("defaults", {})
    try:
        _check_keys(defaults, DEFAULT_KEYS)
    except ValueError as error:
        problems.append(f"{path}: defaults: {error}")
        defaults = {}
    requests = found[member]
    if len(requests) > REQUESTS_MAX:
        raise SettingError(f"{path}: {len(requests)} requests; {REQUESTS_MAX} are the most")
    shots = []
    for number, request in enumerate(requests):
        try:
            shots.append(_shot(os.path.dirname(path), defaults, request))
        except (ValueError, SettingError) as error:
            problems.append(f"{path}: {where(number)}request {number + 1}: {error}")
            if len(problems) >= 20:
                break
    if not problems and not any(shot.weight for shot in shots):
        problems.append(f"{path}: all weights are 0, so there is nothing to send")
    if problems:
        raise SettingError(*problems)
    return shots


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = nearest(key, known)
    return f"{shown(key)} is not known" + (f"; is {near} meant?" if near else f"; there are {', '.join(known)}")


def _check_keys(table: Any, known: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise ValueError("it is no table")
    for key in table:
        if key not in known:
            raise ValueError(_unknown(key, known))


def _shot(directory: str, defaults: dict[str, Any], request: Any) -> Shot:
    _check_keys(request, KEYS)
    given = {**defaults, **request}
    method = checked_method(_text(given, "method", "GET"))
    target = checked_target(method, _text(given, "path", ""))
    name = _text(given, "name", f"{method} {target.partition('?')[0]}")
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        name = ascii(name)[:NAME_CHARS_MAX]
    body, kind = _body(directory, request)
    headers = _headers(request.get("headers", {}))
    own = {field.lower() for field, _ in headers}
    headers = [pair for pair in _headers(defaults.get("headers", {})) if pair[0].lower() not in own] + headers
    if kind and not any(field.lower() == "content-type" for field, _ in headers):
        headers.append(("Content-Type", kind))
    return Shot(method, target, checked_fields(headers), body, _weight(given), _seconds(given), name)


def _text(given: dict[str, Any], key: str, default: str) -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not text")
    if not value and key == "path":
        raise ValueError("path is missing; give one that begins with /")
    return value


def _headers(found: Any) -> Pairs:
    """A table of names and values, a value being text or a list of texts; or a list of pairs."""
    pairs: Pairs = []
    items = found.items() if isinstance(found, dict) else found if isinstance(found, list) else None
    if items is None:
        raise ValueError("headers is no table")
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], str):
            raise ValueError("headers: a pair is [name, value]")
        values = item[1] if isinstance(item[1], list) else [item[1]]
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"headers: the value of {shown(item[0])} is not text")
        pairs += [(item[0], value) for value in values]
    return pairs


def _weight(given: dict[str, Any]) -> float:
    value = given.get("weight", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9 or not isfinite(value):
        raise ValueError(f"weight {shown(str(value))}: give a number from 0; 2 is sent twice as often as 1")
    return float(value)


def _seconds(given: dict[str, Any]) -> float:
    value = given.get("think", 0.0)
    if isinstance(value, str) and (found := _duration(value)):
        value = float(found[1]) * _UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise ValueError(f"think {shown(str(value))}: give a time up to an hour, as 0.5, '500ms', '2s' or '1m'")
    return float(value)


def _body(directory: str, request: dict[str, Any]) -> tuple[bytes, str]:
    """(the body, its type where that follows)."""
    given = [key for key in BODIES if key in request]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: a request has one body")
    if not given:
        return b"", ""
    value = request[given[0]]
    if given[0] == "json":
        try:
            return json.dumps(value).encode(), "application/json"
        except TypeError:
            raise ValueError("json: a date or time is no JSON; write it as text") from None
    if given[0] == "form":
        if not isinstance(value, dict) or not all(isinstance(one, str | int | float | list) for one in value.values()):
            raise ValueError("form is a table of names and values")
        return urlencode(value, doseq=True).encode(), "application/x-www-form-urlencoded"
    if not isinstance(value, str):
        raise ValueError(f"{given[0]} is not text")
    if given[0] == "body_file":
        return read_body(os.path.join(directory, value)), ""
    if given[0] == "body_base64":
        try:
            return b64decode(value, validate=True), ""
        except binascii.Error as error:
            raise ValueError(f"body_base64: {error}") from None
    return value.encode("utf-8", "surrogatepass"), ""


def read_body(path: str) -> bytes:
    """What a file holds. Raises ValueError."""
    try:
        with open(path, "rb") as file:
            data = file.read(BODY_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > BODY_BYTES_MAX:
        raise ValueError(f"{path} is larger than {BODY_BYTES_MAX} bytes, the most that a body may have")
    return data
