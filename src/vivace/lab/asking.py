"""One request that is to be sent, made of what a file said: checked, so that it is one request whatever stood there.

Rules:

1. A method is a token, a target is origin-form or `*`, made of 0x21 to 0x7E without `#` (RFC 9112 section 3); a field's
   name is a token, its value holds no control character but HTAB (RFC 9110 section 5.5). No CR or LF of a log gets out.
2. Framing is never taken from a file: Content-Length is written from the body, and what belongs to a connection
   (RFC 9110 section 7.6.1) is left out, as are a browser's fields with a colon in front.
3. Credentials are dropped unless they are asked for, and the names of those dropped are told.
4. Names are bounded, so that a report has at most NAMES_MAX of them.

Pure. Must not know: files, formats, sockets.
"""

from __future__ import annotations

import re

from vivace.http1.fields import is_token
from vivace.http1.target import METHOD_CHARS_MAX, is_authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Pairs = list[tuple[str, str]]

TARGET_CHARS_MAX = 64 * 1024
"""RFC 9112 section 3 asks for 8,000 at least; no server that is known takes more than 64 KiB."""
VALUE_CHARS_MAX = 64 * 1024
HEADERS_MAX = 256
NAMES_MAX = 100
OTHER = "(other)"

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
"""RFC 9110 section 9.2.1. TRACE is safe, too, and no server answers it."""

is_target = re.compile(r"/[!\"$-~]*|\*").fullmatch  # 0x21 to 0x7E without "#"
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search

CONNECTION_FIELDS = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings")
)
"""RFC 9110 section 7.6.1."""
WRITTEN_FIELDS = frozenset(("host", "content-length", "expect"))
"""By whoever sends the request."""
CREDENTIALS = ("cookie", "auth", "token", "secret", "api-key", "apikey", "session", "passw", "credential")
CREDENTIALS_TOO = ("csrf", "xsrf", "jwt", "signature", "assertion")
"""A field whose name holds one of these is not sent unless it is asked for."""

_PART_IS_VALUE = re.compile(r"[^/]*[0-9%][^/]*|[^/]{33,}").fullmatch
NAME_PARTS_MAX = 8


def is_credential(name: str) -> bool:
    """Whether a field of this name (any case) may say who somebody is."""
    lower = name.lower()
    return any(part in lower for part in (*CREDENTIALS, *CREDENTIALS_TOO))


def checked_method(method: str) -> str:
    """Raises ValueError."""
    if not is_token(method) or len(method) > METHOD_CHARS_MAX:
        raise ValueError(f"{shown(method)} is no method (RFC 9110 section 9.1)")
    if method == "CONNECT":
        raise ValueError("CONNECT asks a proxy for a tunnel; give another method")
    return method


def checked_target(method: str, target: str) -> str:
    """Raises ValueError."""
    if not is_target(target) or (target == "*" and method != "OPTIONS"):
        raise ValueError(
            f"{shown(target)} is no request target: it begins with / and holds neither spaces nor '#' nor anything but "
            "ASCII; other characters are percent-encoded"
        )
    if len(target) > TARGET_CHARS_MAX:
        raise ValueError(f"a target of {len(target)} characters; {TARGET_CHARS_MAX} are the most")
    return target


def checked_field(name: str, value: str) -> tuple[str, str]:
    """Raises ValueError."""
    if not is_token(name):
        raise ValueError(f"{shown(name)} is no name of a field (RFC 9110 section 5.1)")
    if _control(value) or len(value) > VALUE_CHARS_MAX:
        raise ValueError(f"the field {name} holds a control character, or more than {VALUE_CHARS_MAX} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the field {name} holds half of a surrogate pair, which has no UTF-8") from None
    return name, value.strip(" \t")


def checked_fields(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Fields that a user wrote for this purpose. Raises ValueError, also for those that are not his to write."""
    found: Pairs = []
    for name, value in pairs:
        if name.lower() in ("content-length", *CONNECTION_FIELDS):
            raise ValueError(f"the field {name} belongs to the connection, or follows from the body; leave it out")
        if name.lower() == "host" and not is_authority(value):
            raise ValueError(f"the field Host is {shown(value)}; it is a host, or host:port")
        found.append(checked_field(name, value))
    if len(found) > HEADERS_MAX:
        raise ValueError(f"{len(found)} fields; {HEADERS_MAX} are the most")
    return found


def recorded_fields(pairs: Iterable[tuple[str, str]], credentials: bool, dropped: set[str]) -> Pairs:
    """Fields that a browser sent, without those of its connection. Raises ValueError.

    Names of credentials that are left out are added to `dropped`, in small letters.
    """
    found: Pairs = []
    for name, value in pairs:
        lower = name.lower()
        if lower.startswith(":") or lower in CONNECTION_FIELDS or lower in WRITTEN_FIELDS:
            continue
        if not credentials and is_credential(name):
            dropped.add(lower)
            continue
        found.append(checked_field(name, value))
    if len(found) > HEADERS_MAX:
        raise ValueError(f"{len(found)} fields; {HEADERS_MAX} are the most")
    return found


def name_of(method: str, target: str) -> str:
    """What requests of one kind are called in a report: no query; parts of a path that look like values are {}.

    A part looks like a value if it holds a digit or an escape, or is longer than 32 characters.
    """
    parts = target.partition("?")[0].split("/")
    if len(parts) > NAME_PARTS_MAX:
        parts = [*parts[:NAME_PARTS_MAX], "..."]
    return method + " " + "/".join(["{}" if _PART_IS_VALUE(part) else part for part in parts])


class Names:
    """Hands out names, the first NAMES_MAX that come; the rest are one."""

    def __init__(self, first: Iterable[str] = ()) -> None:
        self._known = set(first)

    def of(self, method: str, target: str) -> str:
        name = name_of(method, target)
        if name not in self._known:
            if len(self._known) >= NAMES_MAX:
                return OTHER
            self._known.add(name)
        return name


def shown(text: str, most: int = 60) -> str:
    """Foreign text in a message: quoted, escaped, cut."""
    return ascii(text if len(text) <= most else text[:most] + "...")
