"""What lies in a Redis or Valkey, byte by byte, and the scripts that run there. Pure.

A value: MAGIC, CRC-32 of what follows, epoch and number of the last purge that its maker knew of, its tags, what was
packed. A purge: sender, a number of its own, kind, soft, pattern, with tabs between. `at`: EPOCH:NUMBER.
"""

from __future__ import annotations

import struct
from zlib import crc32

from vivace.cache.purges import KINDS, Purge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Position = tuple[str, int]
    """Epoch and number."""

MAGIC = b"vvR1"
HEAD = struct.Struct(">4sI16sQI")
"""MAGIC, CRC-32 of what follows, epoch, number, bytes of the tags."""

# KEYS: at, log. ARGV: a new epoch; the epoch, number and purge that are known last. Returns `at` and the purges since.
# Where the store has lost what was known, or has nothing, a new epoch begins.
CATCH_UP = """
local at = redis.call('GET', KEYS[1])
local epoch, number = string.match(at or '', '^(%x+):(%d+)$')
local known = string.format('%d', ARGV[3])
if epoch == ARGV[2] then
  local last = redis.call('XRANGE', KEYS[2], known .. '-0', known .. '-0')[1]
  if tonumber(number) < tonumber(known) or last and last[2][2] ~= ARGV[4] then epoch = nil end
else
  known = '0'
end
if not epoch then
  at = ARGV[1] .. ':0'
  redis.call('SET', KEYS[1], at)
  redis.call('DEL', KEYS[2])
end
if at == ARGV[2] .. ':' .. known then return {at, {}} end
return {at, redis.call('XRANGE', KEYS[2], string.format('%d-0', known + 1), '+')}
"""

# KEYS: at, log, once. ARGV: a new epoch, LOG_MAX, the purge, the channel, ONCE_S or "". Returns `at`.
PUBLISH = """
if ARGV[5] ~= '' and not redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[5]) then
  return redis.call('GET', KEYS[1])
end
local epoch, number = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(%d+)$')
if not epoch then
  epoch, number = ARGV[1], 0
  redis.call('DEL', KEYS[2])
end
number = string.format('%d', number + 1)
redis.call('SET', KEYS[1], epoch .. ':' .. number)
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], number .. '-0', 'purge', ARGV[3])
redis.call('PUBLISH', ARGV[4], '')
return epoch .. ':' .. number
"""

# KEYS: claim. ARGV: token, channel. Only one's own claim is taken back.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('PUBLISH', ARGV[2], '')
"""


def read_at(at: bytes | None) -> Position | None:
    """Epoch and number."""
    epoch, _, number = (at or b"").partition(b":")
    return (epoch.decode("latin-1"), int(number)) if len(epoch) == 16 and number.isdigit() else None


def seal(packed: bytes, position: Position, tags: Iterable[str]) -> bytes:
    """As it lies in the store."""
    names = "\n".join(tags).encode("utf-8", "surrogatepass")
    rest = HEAD.pack(MAGIC, 0, position[0].encode(), position[1], len(names))[8:] + names + packed
    return MAGIC + crc32(rest).to_bytes(4, "big") + rest


def open_sealed(value: bytes) -> tuple[Position, tuple[str, ...], bytes] | None:
    """Position, tags and what was packed; None: not ours, or not whole."""
    try:
        magic, check, epoch, number, tag_bytes = HEAD.unpack_from(value)
        if magic != MAGIC or crc32(memoryview(value)[8:]) != check:
            return None
        begin = HEAD.size + tag_bytes
        names = value[HEAD.size : begin].decode("utf-8", "surrogatepass")
    except (struct.error, ValueError):
        return None
    return (epoch.decode("latin-1"), number), tuple(names.split("\n")) if names else (), value[begin:]


def write_purge(sender: str, count: int, purge: Purge) -> bytes:
    """As it stands in the log."""
    parts = (sender, str(count), purge.kind, "1" if purge.soft else "0", purge.pattern)
    return "\t".join(parts).encode("utf-8", "surrogatepass")


def read_log(entries: list[Any], own: str, now: float) -> tuple[tuple[Purge, ...], list[Purge]]:
    """The purges of a stream, taken to be of `now`, and those of them that others than `own` sent.

    What cannot be read is a purge of everything.
    """
    log: list[Purge] = []
    others: list[Purge] = []
    for name, fields in entries:
        number = int(name.partition(b"-")[0])
        try:
            sender, _, kind, soft, pattern = fields[1].decode("utf-8", "surrogatepass").split("\t", 4)
        except ValueError:
            sender, kind, soft, pattern = "", "all", "0", ""
        log.append(Purge(kind if kind in KINDS else "all", pattern, now, soft=soft == "1", number=number))
        if sender != own:
            others.append(log[-1])
    return tuple(log), others
