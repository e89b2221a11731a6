"""Cache-Control (RFC 9111 section 5.2) and its targeted kind (RFC 9213): a field value to directives.

    Cache-Control   = #cache-directive
    cache-directive = token [ "=" ( token / quoted-string ) ]

Rules:

1. Names are compared in lower case. A name that is no token is no directive: `max-age =1` has a space too much.
2. Of a directive that is repeated the more restrictive counts (RFC 9111 section 4.2.1 lets a cache choose between the
   first and stale): fewer seconds, an argument that cannot be read, or none at all for no-cache and private.
3. What is malformed is dropped, except that a word in it that forbids is heard: `private; max-age=60` is private.
4. A quoted string may hold commas and equals signs; one that never ends takes the rest of the field.
5. A targeted field is a Dictionary of structured fields (RFC 8941 section 3.2), read strictly: one error anywhere and
   the whole field counts as absent (RFC 9213 section 2.1).
6. What was read is remembered by its text, and shared: nobody may change it.

Must not know: what a directive means.
"""

from __future__ import annotations

import re

from vivace.http1.fields import is_token

SECONDS_MAX = 2**31
"""What longer times are cut to (RFC 9111 section 1.2.2)."""

KEPT_MAX = 512
KEPT_CHARS_MAX = 256

# RFC 9110 section 5.6.4: quoted-string; the closing mark may be missing.
_element = re.compile(r'[ \t,]*+([^,"=]*+)(?:=((?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\Z))*+))?([^,]*+)', re.DOTALL).match
_escaped = re.compile(r"\\(.)").sub

_word = re.compile(r"[a-z\-]+").findall

_known: dict[str, dict[str, str | None]] = {}

_FORBIDDING = frozenset(("private", "no-store", "no-cache"))
_LEAST = frozenset(("max-age", "s-maxage", "max-stale", "stale-while-revalidate", "stale-if-error"))


def directives(text: str) -> dict[str, str | None]:
    """Directives of one field value, lines already joined by commas: name to argument. Not to be changed."""
    try:
        return _known[text]
    except KeyError:
        pass
    found: dict[str, str | None] = {}
    if '"' in text:
        at = 0
        while at < len(text) and (match := _element(text, at)):
            name, value, rest = match.groups()
            at = match.end() + 1
            if not rest:
                _add(found, name.rstrip(" \t") if value is None else name, value)
    else:
        for part in text.split(","):
            name, equals, value = part.strip(" \t").partition("=")
            _add(found, name, value if equals else None)
    if len(text) <= KEPT_CHARS_MAX:
        if len(_known) >= KEPT_MAX:
            _known.clear()
        _known[text] = found
    return found


def seconds(value: str | None) -> int | None:
    """delta-seconds (RFC 9111 section 1.2.2), at most SECONDS_MAX; None if it is none."""
    if value is None or not value.isdigit() or not value.isascii():
        return None
    digits = value.lstrip("0")
    return SECONDS_MAX if len(digits) > 10 else min(int(digits or "0"), SECONDS_MAX)


def _add(found: dict[str, str | None], name: str, value: str | None) -> None:
    if is_token(name) is None:
        _hear(found, name)
        return
    name = name.lower()
    if value is not None:
        value = value.rstrip(" \t")
        if value[:1] == '"':
            value = _escaped(r"\1", value[1:-1] if value[-1] == '"' else value[1:])
        elif is_token(value) is None:
            _hear(found, value)
    if name not in found:
        found[name] = value
        return
    before = found[name]
    if name in _LEAST:
        one, other = seconds(before), seconds(value)
        if one is not None and (other is None or other < one):
            found[name] = value
    elif before is not None:
        found[name] = None if value is None else f"{before},{value}"


def _hear(found: dict[str, str | None], malformed: str) -> None:
    for word in _word(malformed.lower()):
        if word in _FORBIDDING:
            found[word] = None


# RFC 8941 section 3.1.2 and 3.3; a member without a value is true.
_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_BARE = (
    r"-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}"  # decimal, integer
    r'|"(?:[ !#-\[\]-~]|\\["\\])*+"'  # string
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"  # token
    r"|:[A-Za-z0-9+/=]*+:|\?[01]"  # bytes, boolean
)
_PARAMETERS = rf"(?:; *+{_KEY}(?:=(?:{_BARE}))?)*+"
_item = re.compile(rf"({_BARE}){_PARAMETERS}").match
_INNER = rf"\( *+((?:(?:{_BARE}){_PARAMETERS}(?: ++|(?=\))))*+)\)"
_member = re.compile(rf"({_KEY})(?:=(?:({_BARE})|{_INNER}))?{_PARAMETERS}").match
_comma = re.compile(r"[ \t]*+,[ \t]*+(?=[^ \t,])").match
_integer = re.compile(r"-?[0-9]+").fullmatch

_SECONDS = frozenset(("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"))


def targeted(text: str) -> dict[str, str | None] | None:
    """Directives of a targeted field, in the shape of `directives`; None: empty or malformed, to be ignored.

    A time that is no Integer makes the whole field malformed as well: what its author meant is not known, and falling
    back on Cache-Control is what RFC 9213 does with every other error.
    """
    text = text.strip(" ")
    found: dict[str, str | None] = {}
    at, end = 0, len(text)
    if not text:
        return None
    while True:
        match = _member(text, at)
        if match is None:
            return None
        name, bare, inner = match.groups()
        at = match.end()
        found.pop(name, None)  # RFC 8941 section 4.2.2: the last of a repeated key counts
        if name in _SECONDS and (bare is None or not _integer(bare)):
            return None
        if inner is not None:
            found[name] = ",".join(_plain(item) for item in _items(inner))
        elif bare is None or bare == "?1":
            found[name] = None
        elif bare != "?0":
            found[name] = _plain(bare)
        if at == end:
            return found
        comma = _comma(text, at)
        if comma is None:
            return None
        at = comma.end()


def _items(inner: str) -> list[str]:
    found, at = [], 0
    while match := _item(inner, at):
        found.append(match[1])
        at = match.end()
        while inner[at : at + 1] == " ":
            at += 1
    return found


def _plain(bare: str) -> str:
    return _escaped(r"\1", bare[1:-1]) if bare[0] == '"' else bare
