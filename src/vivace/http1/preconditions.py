"""Conditional requests (RFC 9110 section 13): whether the client has, or must not have, what there is now. Pure.

* `evaluate` goes in the order of RFC 9110 section 13.2.2 for GET and HEAD of a representation that exists.
* `range_applies` is its last step: whether a Range is to be looked at.
* An entity tag is written as in ETag, quotes included: `"abc"`, or `W/"abc"` for a weak one; "" is none at all. A time
  is in Unix seconds; None is none.
* What cannot be read says nothing: a date that is none leaves its field ignored (sections 13.1.3 and 13.1.4), and a
  list of tags holds those before the first thing in it that is no tag. So a malformed If-None-Match is answered with
  the whole, and a malformed If-Match with 412.

Must not know: which methods change something. A caller that runs them evaluates for itself.
"""

from __future__ import annotations

import re

from vivace.http1.dates import read_date

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# RFC 9110 section 8.8.3: entity-tag = [ weak ] opaque-tag; section 5.6.1: empty members of a list are skipped.
# Possessive and anchored, so linear.
_MEMBER = re.compile(r'[ \t,]*+((?:W/)?+"[\x21\x23-\x7e\x80-\xff]*+")[ \t]*+(?=,|\Z)')


def weakly_same(a: str, b: str) -> bool:
    """RFC 9110 section 8.8.3.2: the opaque tags are equal."""
    return a != "" and a.removeprefix("W/") == b.removeprefix("W/")


def strongly_same(a: str, b: str) -> bool:
    """RFC 9110 section 8.8.3.2: equal, and neither is weak."""
    return a == b and a.startswith('"')


def lists(field_value: str, etag: str, weak: bool) -> bool:
    """Whether a value of If-Match or If-None-Match holds `etag`, of something that exists, by weak or strong
    comparison."""
    if field_value == "*":
        return True
    same = weakly_same if weak else strongly_same
    if not etag:
        return False
    at = 0
    while member := _MEMBER.match(field_value, at):
        if same(member[1], etag):
            return True
        at = member.end()
    return False


def evaluate(environ: Mapping[str, Any], etag: str, modified_s: int | None) -> int:
    """For GET or HEAD of what exists and has this tag and time of change: 304, 412, or 0 to answer it in full."""
    field = environ.get("HTTP_IF_MATCH")
    if field is not None:
        if not lists(field, etag, False):
            return 412
    elif modified_s is not None and (field := environ.get("HTTP_IF_UNMODIFIED_SINCE")) is not None:
        date = read_date(field)
        if date is not None and modified_s > date:
            return 412
    field = environ.get("HTTP_IF_NONE_MATCH")
    if field is not None:
        return 304 if lists(field, etag, True) else 0
    if modified_s is not None and (field := environ.get("HTTP_IF_MODIFIED_SINCE")) is not None:
        date = read_date(field)
        if date is not None and modified_s <= date:
            return 304
    return 0


def range_applies(environ: Mapping[str, Any], etag: str, modified_s: int | None, now: float | None = None) -> bool:
    """Whether the request's Range is of what there is now: it has no If-Range, or one that is true (section 13.1.5).

    With `now`, a time of change less than a second ago is no strong validator (section 8.8.2.2): a second change within
    the same second would have the same Last-Modified.
    """
    field = environ.get("HTTP_IF_RANGE")
    if field is None:
        return True
    if field.endswith('"'):
        return strongly_same(field, etag)
    if modified_s is None or (now is not None and modified_s + 1 > now):
        return False
    return read_date(field) == modified_s
