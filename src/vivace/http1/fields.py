# HOT  bench: benchmarks/bench_head.py  budget: 1.3 us (2 new lines among 8)
"""Field lines: their grammar, the environ key of each name, and the cache of lines that repeat.

    field-line = field-name ":" OWS field-value OWS        (RFC 9112 section 5)
    field-name = token                                     (RFC 9110 section 5.1)

Rules:

1. A name is a token, directly followed by the colon: a space before it, an empty name or a folded
   line (RFC 9112 sections 5.1 and 5.2) is refused, never repaired. So is every control byte but HTAB.
2. A name with "_" cannot be told from one with "-" in environ, so it never reaches the cache and the
   caller's policy decides. A `Proxy` field is always dropped: HTTP_PROXY is a setting of many HTTP
   clients (httpoxy, CVE-2016-5385).
3. Credentials, and values that differ in every request, are never kept (`is_private`).
4. Every cache is bounded. Names and lines come from the peer: when a cache is full, all of it is
   forgotten, which costs a relearning and cannot be made to cost memory.

Must not know: which fields mean something to the server. That is `head` and `framing`.
"""

from __future__ import annotations

import re

from vivace.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# RFC 9110 section 5.6.2: token = 1*tchar
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
is_token = re.compile(TOKEN).fullmatch

# RFC 9110 section 5.5: a field value is VCHAR, obs-text, SP and HTAB. This table changes every other
# byte, so a line holds none if the table leaves it as it is (at half the cost of translate's `delete`).
CONTROLS = bytes(byte if byte == 0x09 or (byte >= 0x20 and byte != 0x7F) else ord("?") for byte in range(256))

LINES_MAX = 4096  # lines kept; a client has 6 to 15 of them, and shares most with other clients
LINE_BYTES_MAX = 256  # the longest line kept: a browser's User-Agent and Accept fit
NAMES_MAX = 1024  # names kept; the IANA registry of field names has some 250
NAME_BYTES_MAX = 64  # the longest name kept: registered ones have up to 42
NAME_LINES_MAX = 256  # lines kept of one name: with more, it varies too much to be worth keeping
NAME_MISSES_MAX = 16384  # new lines of such a name after which everything is learnt again

# Parts of names whose values are credentials, or follow one user ...
_CREDENTIALS = ("cookie", "auth", "token", "secret", "key", "session", "passw", "credential")
_IDENTITIES = ("signature", "jwt", "assertion", "oidc", "saml", "csrf", "xsrf", "cert")
# ... or which differ in every request (W3C Trace Context, B3, X-Ray, the request ids of proxies).
_TRACES = ("trace", "span", "b3", "baggage", "correlation")
_IDS = ("request-id", "requestid", "-ray", "nonce", "timestamp", "-start", "uuid")
_NEVER_KEPT = (*_CREDENTIALS, *_IDENTITIES, *_TRACES, *_IDS)

# What is odd about a line, as flags.
PRIVATE = 1  # not to be kept
UNDERSCORE = 2  # its name holds "_"
DROPPED = 4  # never reaches environ

# line -> (environ key, value), of valid lines only: found here, a line needs no other check.
lines: dict[bytes, tuple[str, str]] = {}
# name as sent -> (environ key, oddity)
names: dict[bytes, tuple[str, int]] = {}
# environ key -> lines of it that may still be kept; negative: not kept although there was no room
_room: dict[str, int] = {}


def read_new(new: list[bytes], entries: list[Any]) -> int:
    """Fill the None in `entries` with (environ key, value) of the line at the same place in `new`.

    Returns the oddities of these lines, or-ed. Raises Refused 400.
    """
    oddities = 0
    known_name = names.get
    for index, entry in enumerate(entries):
        if entry is None:
            line = new[index]
            if line.translate(CONTROLS) != line:
                raise Refused(400, "a field line holds a control character, or CR or LF alone (RFC 9110 section 5.5)")
            name, colon, value = line.partition(b":")
            key, odd = (colon and known_name(name)) or _learn(name, colon)
            entries[index] = entry = (key, value.strip(b" \t").decode("latin-1"))
            oddities |= odd or _keep(line, entry)
    return oddities


def oddity(line: bytes) -> int:
    """What is odd about a line that `read_new` has read."""
    name = line.partition(b":")[0]
    return (names.get(name) or _learn(name, b":"))[1]


def varies(line: bytes) -> bool:
    """Whether lines of this one's name are not kept, for their name or because there are too many of them."""
    name = line.partition(b":")[0]
    key, odd = names.get(name) or _learn(name, b":")
    return odd & PRIVATE != 0 or _room.get(key, 0) < 0


def is_private(name: str) -> bool:
    """Whether values of this (lower-case) field name may not outlive their message, or do not repeat."""
    return any(part in name for part in _NEVER_KEPT)


def is_credential(name: str) -> bool:
    """Whether values of this (lower-case) field name tell one user from another."""
    return any(part in name for part in (*_CREDENTIALS, *_IDENTITIES))


def forget() -> None:
    """Empty the caches."""
    lines.clear()
    names.clear()
    _room.clear()


def _keep(line: bytes, entry: tuple[str, str]) -> int:
    """Keep a line, if there is room for one more of its name; otherwise it counts as PRIVATE."""
    if len(line) > LINE_BYTES_MAX:
        return 0
    key = entry[0]
    if len(lines) >= LINES_MAX or _room.get(key, 0) <= -NAME_MISSES_MAX:
        forget()
    _room[key] = room = _room.get(key, NAME_LINES_MAX) - 1
    if room < 0:
        return PRIVATE
    lines[line] = entry
    return 0


def _learn(name: bytes, colon: bytes) -> tuple[str, int]:
    """(environ key, oddity) of a new name. Raises Refused 400."""
    text = name.decode("latin-1")
    if not colon or is_token(text) is None:
        raise Refused(400, _fault(text, colon))
    # RFC 3875 section 4.1.18, PEP 3333
    key = text.upper().replace("-", "_")
    odd = PRIVATE if is_private(text.lower().replace("_", "-")) else 0
    if "_" in text:
        odd |= UNDERSCORE
    elif key == "PROXY":
        odd |= DROPPED
    # Content_Type must not pose as Content-Type: only a name as registered loses its HTTP_.
    if odd & UNDERSCORE or key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    known = (key, odd)
    if len(name) <= NAME_BYTES_MAX:
        if len(names) >= NAMES_MAX:
            forget()
        names[name] = known
    return known


def _fault(name: str, colon: bytes) -> str:
    if name[:1] in (" ", "\t"):
        return "a field line is folded (RFC 9112 section 5.2): send it on one line"
    if not colon:
        return "a field line has no colon"
    if name[-1:] in (" ", "\t"):
        return "there is white space between a field name and its colon (RFC 9112 section 5.1)"
    return "a field name is not a token (RFC 9110 section 5.1)"
