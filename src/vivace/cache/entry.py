"""What is remembered: a response (Entry), or by which fields the responses of a URL differ (VaryRecord). As bytes, too.

Rules:

1. An entry holds nothing that belongs to one connection or one message: no hop-by-hop field and no Age. What is sent is
   made of it by `answering`.
2. Its body, status and fields never change once it is in a store; a 304 makes a new entry (`storing.freshened`).
   What may change: `coded`, by adding to it; `fresh_until_s`, to an earlier time; `flags`, by adding; what was
   answered and sent last.
3. `unpack` takes any bytes and never raises: they may come from another version, or another machine's mistake.

Must not know: what makes a response reusable (`policy`), where it lies.
"""

from __future__ import annotations

import struct

from vivace.http1.fields import is_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Headers = list[tuple[str, str]]

# Flags of an entry.
NO_CACHE = 1  # never reused without asking the application (RFC 9111 section 5.2.2.4)
MUST_REVALIDATE = 2  # never reused stale (5.2.2.2, 5.2.2.8)
NO_STALE = 4  # s-maxage: never reused stale (5.2.2.10), unless the response itself allows it (RFC 5861)
SHARED = 8  # public, must-revalidate or s-maxage: for requests with Authorization, too (RFC 9111 section 3.5)
IMPLICIT = 16  # freshness by a rule or a guess, not by the response: not for requests with cookies or Authorization
NEGOTIATED = 32  # it is compressed for who takes it: Vary says so on each answer
ONCE = 64  # answers the request that it was made for, and is not to be kept

ASK_S = 3600.0
"""How much longer what is stale and can be asked about is worth keeping (Varnish keep: off; nginx inactive: 10 min)."""

OVERHEAD_BYTES = 900
"""An entry without anything in it, its dict slots and those of a store; measured with sys.getsizeof, rounded up."""

_PAIR_BYTES = 160  # a tuple and two small strings


class Entry:
    """A response that may be reused. Times are Unix seconds."""

    __slots__ = (
        "answered",
        "answered_304",
        "answered_age",
        "answered_age_304",
        "body",
        "born_s",
        "coded",
        "date_s",
        "etag",
        "flags",
        "fresh_until_s",
        "headers",
        "key",
        "lifetime_s",
        "modified_s",
        "sent",
        "sie_s",
        "status",
        "stored_s",
        "swr_s",
        "tags",
        "vary",
    )

    def __init__(
        self,
        key: str,
        status: str,
        headers: Headers,
        body: bytes = b"",
        *,
        stored_s: float,
        age_s: float = 0.0,
        lifetime_s: float = 0.0,
        swr_s: float = 0.0,
        sie_s: float = 0.0,
        date_s: int = 0,
        etag: str = "",
        modified_s: int | None = None,
        flags: int = 0,
        tags: tuple[str, ...] = (),
        vary: tuple[str, ...] = (),
    ) -> None:
        """`age_s` is its age when it was stored (RFC 9111 section 4.2.3: corrected_initial_age); `vary` names the
        fields of the request that it depends on, in lower case."""
        self.key = key
        self.status = status
        self.headers = headers
        self.body = body
        self.stored_s = stored_s
        self.born_s = stored_s - age_s
        self.lifetime_s = lifetime_s
        self.fresh_until_s = self.born_s + lifetime_s
        self.swr_s = swr_s
        self.sie_s = sie_s
        self.date_s = date_s
        self.etag = etag
        self.modified_s = modified_s
        self.flags = flags
        self.tags = tags
        self.vary = vary
        self.coded: dict[str, bytes] = {}
        self.answered: tuple[str, Headers, bytes] | None = None
        self.answered_304: Headers = []
        self.answered_age = self.answered_age_304 = -1
        self.sent: tuple[bytes, str, bytes] | None = None
        """The Date line, coding and head of the whole as it was sent last; for who sends it."""

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        text = sum([len(name) + len(value) for name, value in self.headers]) + 2 * len(self.key)
        coded = sum([len(body) + 100 for body in self.coded.values()])
        return OVERHEAD_BYTES + text + _PAIR_BYTES * len(self.headers) + len(self.body) + coded

    @property
    def code(self) -> int:
        """The status code."""
        return int(self.status[:3])

    @property
    def kept_s(self) -> float:
        """How long after it was stored it may still be of use."""
        stale_s = max(self.swr_s, self.sie_s, ASK_S if self.etag or self.modified_s is not None else 0.0)
        return max(0.0, self.born_s + self.lifetime_s + stale_s - self.stored_s)

    @property
    def reusable(self) -> bool:
        """Whether who waits for it may be answered with it: not if it came stale, or each is to be validated."""
        return self.born_s + self.lifetime_s > self.stored_s and not self.flags & NO_CACHE

    def age_s(self, now: float) -> int:
        """Its current age (RFC 9111 section 4.2.3), never negative."""
        return max(0, int(now - self.born_s))

    def expire(self, at: float) -> None:
        """A soft purge: from then on it is stale, and may be used as what is stale may be."""
        self.fresh_until_s = min(self.fresh_until_s, at)


class VaryRecord:
    """Stands at the primary key of a URL whose responses differ by fields of the request."""

    __slots__ = ("fields", "key", "mark", "names", "number", "secret", "stored_s")

    def __init__(self, key: str, names: Iterable[str], number: int, stored_s: float) -> None:
        """Names in lower case. `number` is new for each record."""
        ordered = tuple(sorted(set(names)))
        self.key = key
        self.names = frozenset(ordered)
        self.number = number
        self.stored_s = stored_s
        self.fields = tuple((name, _environ_key(name)) for name in ordered)
        self.secret = any(is_private(name) for name in ordered)
        """Values of these fields are not to be seen in a key."""
        self.mark = f"{number:x}:{','.join(ordered)}"

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return OVERHEAD_BYTES + len(self.key) + _PAIR_BYTES * len(self.fields)


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


# Packed: the head, the lengths of all texts and blobs, then these one after the other.
#   entry:  key, status, etag, (name, value)*, tag*, vary*, coding*; body, coded body*
#   record: key, name*
# In the head: magic with a version; kind; flags; counts of headers, tags, fields of Vary (or names), codings;
# whether there is a modification time; number or that time; stored, born, fresh until, lifetime, stale while
# and if error; date.
_HEAD = struct.Struct("<4s2B4HBq6dq")
_MAGIC = b"viv\x01"
_ENTRY, _RECORD = 1, 2


def pack(thing: Entry | VaryRecord) -> bytes:
    """As bytes that any process of this version reads."""
    if isinstance(thing, VaryRecord):
        names = [name for name, _ in thing.fields]
        about: tuple[object, ...] = (
            _MAGIC,
            _RECORD,
            0,
            0,
            0,
            len(names),
            0,
            0,
            thing.number,
            thing.stored_s,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        return _joined(about, [thing.key, *names], [])
    texts = [thing.key, thing.status, thing.etag]
    for name, value in thing.headers:
        texts += (name, value)
    coded = thing.coded.copy().items()  # another thread may add to it
    texts += [*thing.tags, *thing.vary, *[coding for coding, _ in coded]]
    head = (
        *(_MAGIC, _ENTRY, thing.flags, len(thing.headers), len(thing.tags), len(thing.vary), len(coded)),
        *(thing.modified_s is not None, thing.modified_s or 0, thing.stored_s, thing.born_s, thing.fresh_until_s),
        *(thing.lifetime_s, thing.swr_s, thing.sie_s, thing.date_s),
    )
    return _joined(head, texts, [thing.body, *[body for _, body in coded]])


def unpack(packed: bytes) -> Entry | VaryRecord | None:
    """None if it is nothing that `pack` has made."""
    try:
        head = _HEAD.unpack_from(packed)
        if head[0] != _MAGIC or head[1] not in (_ENTRY, _RECORD):
            return None
        return _record(packed, head) if head[1] == _RECORD else _entry(packed, head)
    except (struct.error, ValueError, IndexError, OverflowError):
        return None


def _joined(head: tuple[object, ...], texts: list[str], blobs: list[bytes]) -> bytes:
    parts = [text.encode("utf-8", "surrogateescape") for text in texts] + blobs
    return b"".join([_HEAD.pack(*head), struct.pack(f"<{len(parts)}I", *map(len, parts)), *parts])


def _parts(packed: bytes, count: int) -> list[bytes]:
    """Raises struct.error, ValueError."""
    lengths = struct.unpack_from(f"<{count}I", packed, _HEAD.size)
    at = _HEAD.size + 4 * count
    if at + sum(lengths) != len(packed):
        raise ValueError("cut off, or longer than it should be")
    parts = []
    for length in lengths:
        parts.append(bytes(packed[at : at + length]))
        at += length
    return parts


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")


def _record(packed: bytes, head: tuple[Any, ...]) -> VaryRecord:
    key, *names = map(_text, _parts(packed, 1 + head[5]))
    return VaryRecord(key, names, head[8], head[9])


def _entry(packed: bytes, head: tuple[Any, ...]) -> Entry:
    flags, headers, tags, vary, codings, has_modified, modified = head[2:9]
    texts = 3 + 2 * headers + tags + vary + codings
    parts = _parts(packed, texts + 1 + codings)
    key, status, etag, *rest = map(_text, parts[:texts])
    int(status[:3])
    pairs = iter(rest[: 2 * headers])
    names = rest[2 * headers :]
    stored_s, born_s, fresh_until_s, lifetime_s, swr_s, sie_s, date_s = head[9:16]
    entry = Entry(
        *(key, status, list(zip(pairs, pairs, strict=True)), parts[texts]),
        stored_s=stored_s,
        age_s=stored_s - born_s,
        lifetime_s=lifetime_s,
        swr_s=swr_s,
        sie_s=sie_s,
        date_s=date_s,
        etag=etag,
        modified_s=modified if has_modified else None,
        flags=flags,
        tags=tuple(names[:tags]),
        vary=tuple(names[tags : tags + vary]),
    )
    entry.born_s = born_s
    entry.fresh_until_s = fresh_until_s
    entry.coded = dict(zip(names[tags + vary :], parts[texts + 1 :], strict=True))
    return entry
