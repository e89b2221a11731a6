"""What an application keeps: a value and how long it may be used, in this process and as bytes. Pure.

Rules:

* What is kept cannot be changed by who gets it. Exactly None, bool, int, float, str and bytes are kept as they are:
  nobody can change them. Everything else is pickled, so that each `get` makes an object of its own, as cachelib's
  SimpleCache and Django's LocMemCache do.
* Bytes that come from outside of this process are unpickled only where the caller says that whoever can write there is
  trusted with running code ("Warning: the pickle module is not secure", Python's documentation; CVE-2021-33026 is the
  same in Flask-Caching). Without that only the plain types cross.
* Times are seconds of the clock that the caller uses for all of them.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

PLAIN: Final = (type(None), bool, int, float, str, bytes)

OVERHEAD_BYTES: Final = 250
"""A Kept with its slots and numbers, beside its value and tags."""

_HEAD = struct.Struct("<4sc3dI")
_MAGIC = b"vva\x01"


class Kept:
    """One value. After `until` it is gone; after `fresh_until` it may still be used while a new one is made."""

    __slots__ = ("data", "fresh_until", "made", "pickled", "tags", "until")

    def __init__(
        self, data: object, pickled: bool, made: float, fresh_until: float, until: float, tags: tuple[str, ...]
    ) -> None:
        self.data = data
        self.pickled = pickled
        self.made = made
        self.fresh_until = fresh_until
        self.until = until
        self.tags = tags

    @property
    def value(self) -> object:
        """An object of one's own. Raises what unpickling raises."""
        if not self.pickled:
            return self.data
        from pickle import loads

        return loads(self.data)  # type: ignore[arg-type]

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        data = self.data
        if type(data) is str or type(data) is bytes:
            length = len(data) * (1 if type(data) is bytes or data.isascii() else 4)
        else:
            length = data.bit_length() // 8 if type(data) is int else 0
        return OVERHEAD_BYTES + length + sum([len(tag) + 60 for tag in self.tags])


def keep(value: object, made: float, fresh_s: float, stale_s: float, tags: Iterable[str] = ()) -> Kept:
    """`value` as it is kept. Raises what pickling raises (PicklingError, TypeError, AttributeError); ValueError."""
    tags = tuple(tags)
    for tag in tags:
        if "\n" in tag:
            raise ValueError(f"the tag {tag!r} has a line break in it")
    pickled = type(value) not in PLAIN
    if pickled:
        from pickle import HIGHEST_PROTOCOL, dumps

        value = dumps(value, HIGHEST_PROTOCOL)
    return Kept(value, pickled, made, made + fresh_s, made + fresh_s + stale_s, tags)


_TO_BYTES = {bytes: b"b", str: b"s", int: b"i", float: b"f", bool: b"t", type(None): b"n"}


def write(kept: Kept) -> bytes:
    """As bytes for other processes."""
    data = kept.data
    kind = b"p" if kept.pickled else _TO_BYTES[type(data)]
    if isinstance(data, bytes):
        body = data
    elif isinstance(data, str):
        body = data.encode("utf-8", "surrogatepass")
    elif isinstance(data, float):
        body = data.hex().encode()
    else:
        body = b"%x" % data if isinstance(data, int) else b""
    names = "\n".join(kept.tags).encode("utf-8", "surrogatepass")
    return _HEAD.pack(_MAGIC, kind, kept.made, kept.fresh_until, kept.until, len(names)) + names + body


def read(packed: bytes, unpickle: bool) -> Kept | None:
    """None if it is nothing that `write` has made, or pickled and not `unpickle`. Unpickles nothing yet."""
    try:
        magic, kind, made, fresh_until, until, tag_bytes = _HEAD.unpack_from(packed)
        begin = _HEAD.size + tag_bytes
        names = packed[_HEAD.size : begin].decode("utf-8", "surrogatepass")
        if magic != _MAGIC or len(packed) < begin or (kind == b"p" and not unpickle):
            return None
        data = _from_bytes(kind, packed[begin:])
    except (struct.error, ValueError, OverflowError):
        return None
    return Kept(data, kind == b"p", made, fresh_until, until, tuple(names.split("\n")) if names else ())


def _from_bytes(kind: bytes, body: bytes) -> object:
    if kind in b"pb":
        return body
    if kind == b"s":
        return body.decode("utf-8", "surrogatepass")
    if kind == b"f":
        return float.fromhex(body.decode("ascii"))
    if kind == b"n":
        return None
    number = int(body, 16)
    return number != 0 if kind == b"t" else number
