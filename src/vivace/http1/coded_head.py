"""The fields of a response that say whether it may be compressed, and those that change when it is. Pure.

Heads are lists of (name, value), as given to start_response; none is changed, a new one is returned. A head that is not
such a list is nobody's here: `read` returns None, and the exchange says what is wrong with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Headers = list[tuple[str, str]]

ACCEPT_ENCODING = "Accept-Encoding"

# What may be done to a response.
NEVER, VARIES, CODABLE = 0, 1, 2

READ = frozenset(
    ("content-type", "content-length", "content-encoding", "content-range", "cache-control", "vary", "etag")
)

UNTRUE = frozenset(("content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"))
"""Said of the bytes before they were coded: RFC 9110 section 8.6, RFC 1864, RFC 3230, RFC 9530. Ranges would be of
other bytes than those that were sent."""


# name as given -> the name in READ, or "" for another; Vary -> the same with Accept-Encoding
_names: dict[str, str] = {}
_merged: dict[str, str] = {}

REMEMBERED_MAX = 256
"""What an application repeats is remembered: it has some thirty names, and fewer values of Vary."""


def remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Bounded: when it is full, all of it is learnt again."""
    if len(memory) >= REMEMBERED_MAX:
        memory.clear()
    memory[key] = value


def _learn(name: str) -> str:
    key = name.lower()
    if key not in READ:
        key = ""
    remember(_names, name, key)
    return key


def read(headers: Any) -> dict[str, str] | None:
    """Lower-case name -> value of the fields in READ; several lines of one are joined (RFC 9110 section 5.3)."""
    found: dict[str, str] = {}
    known = _names.get
    try:
        for name, value in headers:
            key = known(name)
            if key is None:
                key = _learn(name)
            if key:
                found[key] = f"{found[key]}, {value}" if key in found else value + ""
    except (TypeError, ValueError, AttributeError):
        return None
    return found if type(headers) is list else None


def varied(headers: Headers, vary: str | None) -> Headers:
    """`headers`, whose Vary is `vary`, with Accept-Encoding in it (RFC 9110 section 12.5.5)."""
    if vary is None:
        return [*headers, ("Vary", ACCEPT_ENCODING)]
    merged = _merged.get(vary)
    if merged is None:
        names = [name.strip(" \t") for name in vary.lower().split(",")]
        enough = "*" in names or "accept-encoding" in names
        merged = vary if enough else ", ".join([part for part in (vary.strip(" \t,"), ACCEPT_ENCODING) if part])
        remember(_merged, vary, merged)
    if merged == vary:
        return headers
    kept = [header for header in headers if header[0].lower() != "vary"]
    kept.append(("Vary", merged))
    return kept


def coded(headers: Headers, coding: str, size: int | None = None) -> Headers:
    """`headers` of the same response in `coding`, of `size` bytes if that is known. Vary is `varied`'s to add."""
    changed = []
    for header in headers:
        key = header[0].lower()
        if key == "etag":
            changed.append((header[0], weak(header[1])))
        elif key not in UNTRUE:
            changed.append(header)
    changed.append(("Content-Encoding", coding))
    if size is not None:
        changed.append(("Content-Length", str(size)))
    return changed


def weak(etag: str) -> str:
    """The weak form of an entity tag (RFC 9110 section 8.8.3): of something else there is none."""
    text = etag.strip(" \t")
    return f"W/{text}" if text[:1] == '"' else etag


def told_again(headers: Headers, etag: str | None, if_none_match: str | None) -> Headers:
    """`headers` of a 304 to a client that has the coded response: it must find its own, weak ETag in it, because a
    strong one selects no stored response with a weak one (RFC 9111 section 4.3.4)."""
    if not etag or not if_none_match:
        return headers
    text = etag.strip(" \t")
    if text[:1] != '"' or text not in if_none_match:
        return headers
    if any(tag == text for tag in _tags(if_none_match)):
        return headers
    return [(name, weak(value)) if name.lower() == "etag" else (name, value) for name, value in headers]


def _tags(text: str) -> Iterable[str]:
    return (tag.strip(" \t") for tag in text.split(","))
