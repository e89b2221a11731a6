"""traceparent and tracestate: W3C Trace Context Level 2, https://www.w3.org/TR/trace-context-2/ (section 3).

Rules:

* What is not exactly right is as good as absent: the trace is begun anew, and nothing is repaired. A wrong traceparent
  takes the tracestate with it; a wrong tracestate costs itself alone.
* A higher version is read as far as it is known, and goes on as version 00.

Must not know: where random numbers come from, who is believed, what is done with a trace.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    TraceParent = tuple[str, str, int]
    """trace-id, parent-id, flags."""

SAMPLED, RANDOM = 1, 2
"""Flags: the caller may have recorded the trace; the trace-id's last seven bytes are random."""

PARENT_CHARS = 55
MEMBERS_MAX = 32
STATE_CHARS_MAX = 32 * 513
"""So many the longest list has: 32 times a key and a value of 256 each. (512 is what has to be passed on at least.)"""

# version "-" trace-id "-" parent-id "-" trace-flags, HEXDIGLC throughout; version ff is forbidden, and so are zeros.
_parent = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?=-|\Z)").match

# key = ( lcalpha / DIGIT ) 0*255( keychar ); value = 0*255( chr ) nblk-chr; chr = %x20 / nblk-chr
_member = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
).fullmatch


def read_traceparent(text: str) -> TraceParent | None:
    """What the value of a traceparent field says; None where it is none. Unknown flags are left out."""
    found = _parent(text)
    if found is None or (found[1] == "00" and len(text) != PARENT_CHARS):
        return None
    flags = int(found[4], 16)
    return found[2], found[3], flags & (SAMPLED | RANDOM)


def read_tracestate(text: str) -> str:
    """The members of a tracestate field, in their order, separated by commas; "" where it is wrong or empty."""
    if len(text) > STATE_CHARS_MAX:
        return ""
    members: list[str] = []
    keys: set[str] = set()
    for part in text.split(","):
        member = part.strip(" \t")
        if not member:
            continue  # an empty member is allowed: it is what joining fields leaves
        found = _member(member)
        if found is None or found[1] in keys or len(members) == MEMBERS_MAX:
            return ""
        keys.add(found[1])
        members.append(member)
    return ",".join(members)


def write_traceparent(trace_id: str, parent_id: str, flags: int) -> str:
    """The value of a traceparent field, version 00."""
    return f"00-{trace_id}-{parent_id}-{flags:02x}"
