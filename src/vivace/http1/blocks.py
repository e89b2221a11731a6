# HOT  bench: benchmarks/bench_head.py  budget: 1.6 us (2 new lines behind 6 known ones)
"""Heads that repeat but for some lines: a cookie, a token, a trace of their own; or but for a query.

The field lines before the first that never repeats are a block; all of them, where each repeats. A head whose block is
known costs a search, a lookup and the reading of what is left: half of what `parse_head` costs.

Rules:

1. `Blocks.parse` returns what `parse_head` would, or None where it is not certain to: then that is asked.
2. A block is made of valid lines, none of them odd, a credential or made for one request, and no name comes twice. It
   holds a Host and nothing that delimits or ends the message.
3. It begins with the CRLF of the request line and ends before that of the line that never repeats. What is searched
   for is that CRLF, the name and the colon (a mark): so its last line ends where it ended before.
4. Blocks are kept at the second look. All is bounded: a peer can make this useless, and neither large nor wrong.

Must not know: sockets, bodies, routes.
"""

from __future__ import annotations

from vivace.http1 import fields, target
from vivace.http1.fields import oddity, read_new, varies
from vivace.http1.flags import HTTP10, PRIVATE
from vivace.http1.target import read_request_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.http1.head import HeadLimits

BLOCKS_MAX = 256  # sites see some dozens: one a kind of browser and of request
BLOCK_BYTES_MAX = 2048  # a browser's lines before its cookies take 500 to 1,000
SEEN_MAX = 4096
LOOK_EVERY = 8  # heads of which one is looked at: some kinds are never fit, and a look costs a quarter of a parse_head
MARKS_MAX = 4  # as many searches are made in a head that has none of them

_END = b"\r\n\r\n"  # the mark where every line repeats

# Fields that mean something to the server: behind a block they are a matter for parse_head; in one, the other three.
_MEANT = frozenset(
    ("HTTP_HOST", "HTTP_CONNECTION", "HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH", "CONTENT_TYPE")
)
_UNCHANGING = {"HTTP_HOST", "HTTP_CONNECTION", "CONTENT_TYPE"}
_PERSISTENT = (None, "keep-alive")  # values of Connection that leave everything as it is (RFC 9112 section 9.3)

_kept_line = fields.lines.get
_kept_request_line = target.kept.get


class Blocks:
    """The blocks of one listener; `base` is what each of its environs starts from. Shared by no two threads."""

    __slots__ = ("_base", "_kept", "_marks", "_misses", "_names", "_seen")

    def __init__(self, base: dict[str, Any]) -> None:
        self._base = base
        # block -> the environ of a head that had it, without what followed
        self._kept: dict[bytes, dict[str, Any]] = {}
        # what ends blocks: CRLF, name and colon of a line, the newest first; then _END, if any ends with the head
        self._marks: tuple[bytes, ...] = ()
        # names of lines behind a block, as sent -> environ key
        self._names: dict[str, str] = {}
        self._seen: set[int] = set()
        self._misses = 0

    def parse(self, head: bytes, limits: HeadLimits) -> tuple[dict[str, Any], int] | None:
        """(environ, flags) of a whole request head without a body, None if `parse_head` has to tell. Raises Refused.

        `head` may hold more than one head, or less: that is found out.
        """
        # 1. The limits; and an end that may be the head's (an empty line before it is found in 4).
        if not head.endswith(_END) or len(head) > limits.plain_bytes_max:
            return None
        # 2. The block.
        end = head.find(b"\r\n")
        for mark in self._marks:
            at = head.find(mark, end)
            if at > 0 and (template := self._kept.get(head[end:at])) is not None:
                break
        else:
            return None
        # 3. The request line.
        line = head[:end]
        keys, authority, flags = _kept_request_line(line) or read_request_line(line)
        if authority or flags & HTTP10:
            return None
        environ = template.copy()
        environ |= keys
        rest = head[at + 2 : -4]
        if not rest:
            return (environ, flags) if at == len(head) - 4 else None  # else one more line end follows
        # 4. The lines behind the block.
        bare = rest.replace(b"\r\n", b"")
        if bare.translate(fields.CONTROLS) != bare:
            return None
        lines = rest.decode("latin-1").split("\r\n")
        expected = len(environ) + len(lines)
        if expected > limits.fields_max:
            return None
        known = self._names.get
        for text in lines:
            name, colon, value = text.partition(":")
            key = known(name)
            if key is None or not colon:
                return None
            environ[key] = value.strip(" \t")
        return (environ, flags | PRIVATE) if len(environ) == expected else None

    def split(self, head: bytes, limits: HeadLimits) -> tuple[bytes, list[bytes], list[str]] | None:
        """Of a head that `parse` takes: what stands before the lines behind its block, the names of those with their
        colons, and their keys in environ. None for any other, and where no line is behind.

        Another head with the same front, and a tail of the same `tail_names`, has the same environ but for the values
        of these keys, if it is no longer than `limits.plain_bytes_max`.
        """
        parsed = self.parse(head, limits)
        for mark in self._marks if parsed is not None else ():
            at = head.find(mark)
            names = tail_names(head, at + 2)
            if at > 0 and names and head[head.find(b"\r\n") : at] in self._kept:
                return head[: at + 2], names, [self._names[name[:-1].decode("latin-1")] for name in names]
        return None

    @property
    def marks(self) -> tuple[bytes, ...]:
        """CRLF, name and colon of the lines that blocks end before."""
        return self._marks

    def learn(self, head: bytes) -> None:
        """Look at a whole head that `parse_head` has accepted; keep its block at the second look, if it is fit."""
        self._misses += 1
        if self._misses % LOOK_EVERY:
            return
        end = head.find(b"\r\n")
        lines = head[end + 2 : -4].split(b"\r\n")
        if not lines[0]:
            return
        count = next((index for index, line in enumerate(lines) if varies(line)), len(lines))
        mark = b"\r\n%b:" % lines[count].partition(b":")[0] if count < len(lines) else _END
        block = head[end : head.find(mark, end)]
        if len(block) > BLOCK_BYTES_MAX or len(mark) > fields.NAME_BYTES_MAX or block.count(b"\n") != count:
            return  # the last: a line of that name stands in the block as well
        key = hash(block)
        if key not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(key)
            return
        entries: list[Any] = list(map(_kept_line, lines[:count]))
        read_new(lines, entries)
        keys = dict(entries)
        meant = keys.keys() & _MEANT
        if (
            len(keys) != count
            or any(map(oddity, lines[:count]))
            or "HTTP_HOST" not in meant
            or not meant <= _UNCHANGING
            or keys.get("HTTP_CONNECTION") not in _PERSISTENT
        ):
            return
        if len(self._kept) >= BLOCKS_MAX or len(self._names) >= fields.NAMES_MAX:
            self._kept.clear()
            self._names.clear()
        # The request line is another each time, but a copy has the room for its keys.
        self._kept[block] = {**self._base, **read_request_line(head[:end])[0], **keys}
        self._names.update(_plain_names(lines[count:]))
        if mark not in self._marks:
            marks = [known for known in (mark, *self._marks) if known != _END][: MARKS_MAX - 1]
            self._marks = (*marks, _END) if _END in (mark, *self._marks) else tuple(marks)


def tail_names(head: bytes, at: int) -> list[bytes] | None:
    """The names of the lines from `at` to the end of a head, with their colons. None: no such tail.

    What is no field line has no name of a kept one's: b"" for one without a colon, and for a head that ends before.
    """
    tail = head[at:-4]
    bare = tail.replace(b"\r\n", b"")
    if not head.endswith(_END) or bare.translate(fields.CONTROLS) != bare:
        return None
    return [line[: line.find(b":") + 1] for line in tail.split(b"\r\n")]


def _plain_names(lines: list[bytes]) -> dict[str, str]:
    """Name as sent -> environ key, of those among `lines` that go into environ and mean nothing to the server."""
    plain = {}
    for line in lines:
        name = line.partition(b":")[0]
        key, odd = fields.names.get(name, ("", 0))
        if key and odd in (0, fields.PRIVATE) and key not in _MEANT:
            plain[name.decode("ascii")] = key
    return plain
